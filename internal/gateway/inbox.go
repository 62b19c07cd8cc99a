package gateway

import (
	"sync"

	"holdfast/internal/message"
)

// inbox is how others reach a shard. It is bounded in items and bytes and never
// makes anybody wait:
//
//	records to deliver   refused when full; the shard repairs the rooms of the
//	                     recoverable ones from their logs, the others are lost
//	calls of ws-api      refused when full; the caller is told
//	control              answers of the registry, polls, acks, closes: has room of its
//	                     own, bounded by what the shard itself has asked for
//
// What the shard has taken and not yet brought to its sockets counts against the
// bounds too (held), for a shard that falls behind in its fan-outs would else empty
// the inbox into them without end.
type inbox struct {
	mu        sync.Mutex
	tasks     []task
	spare     []task
	records   int
	bytes     int
	held      int
	heldBytes int
	behind    behind
	limit     int
	limitMem  int
	wake      func()
	closed    bool
}

// task is one entry: a record, or something to run on the shard.
type task struct {
	record *message.Delivery
	at     int64 // when the record came, see [Gateway.nanos]
	run    func()
}

// behind is the rooms of which records were refused.
type behind struct {
	keys map[message.Key]struct{}
	all  bool // more than are noted one by one
}

// maxBehind bounds the keys that are noted for repair; past it every room of the
// shard is looked at.
const maxBehind = 4096

func (b *behind) note(d *message.Delivery) {
	for i := range d.Stamps {
		s := &d.Stamps[i]
		if s.Seq == 0 || b.all {
			continue
		}
		if len(b.keys) >= maxBehind {
			b.all, b.keys = true, nil
			return
		}
		if b.keys == nil {
			b.keys = make(map[message.Key]struct{})
		}
		b.keys[s.Key] = struct{}{}
	}
}

// post has run called on the shard; false when the shard has stopped.
func (b *inbox) post(run func()) bool {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return false
	}
	b.add(task{run: run})
	return true
}

// add queues a task and gives the lock up.
func (b *inbox) add(t task) {
	b.tasks = append(b.tasks, t)
	first := len(b.tasks) == 1
	b.mu.Unlock()
	if first {
		b.wake()
	}
}

// full tells whether there is no room for size more bytes; mu is held. An empty
// inbox has room for anything.
func (b *inbox) full(size int) bool {
	n := b.records + b.held
	return n > 0 && (n >= b.limit || b.bytes+b.heldBytes+size > b.limitMem)
}

// crowded tells whether records or calls would be refused now.
func (b *inbox) crowded() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.full(0)
}

// call has run called on the shard for a call of ws-api of about size bytes. It
// fails with message.ErrFull when there is no room, message.ErrGone when the shard
// has stopped.
func (b *inbox) call(size int, run func()) error {
	return b.bounded(size, task{run: run}, nil)
}

// deliver queues a record that came at a time. It fails as call does; the rooms of a
// recoverable record for which there was no room are noted for repair.
func (b *inbox) deliver(d *message.Delivery, at int64) error {
	return b.bounded(d.Size(), task{record: d, at: at}, d)
}

// told queues what a producer tells of these stamps. Their rooms are noted for repair
// when there is no room.
func (b *inbox) told(stamps []message.Stamp, run func()) {
	_ = b.bounded(len(stamps)*stampSize, task{run: run}, &message.Delivery{Stamps: stamps})
}

// stampSize is about what a stamp takes, in bytes.
const stampSize = 96

func (b *inbox) bounded(size int, t task, d *message.Delivery) error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return message.ErrGone
	}
	if b.full(size) {
		if d != nil {
			b.behind.note(d)
		}
		b.mu.Unlock()
		return message.ErrFull
	}
	b.records++
	b.bytes += size
	b.add(t)
	return nil
}

// take returns all that is queued, and what is behind. held and heldBytes are what
// the shard has taken before and is not through with. The slice is valid until the
// next take.
func (b *inbox) take(held, heldBytes int) (tasks []task, late behind) {
	b.mu.Lock()
	defer b.mu.Unlock()
	tasks, late = b.tasks, b.behind
	b.tasks, b.spare = b.spare[:0], tasks
	b.held, b.heldBytes = held+b.records, heldBytes+b.bytes
	b.records, b.bytes, b.behind = 0, 0, behind{}
	return tasks, late
}

// hold notes how much the shard is not through with, of what it has taken.
func (b *inbox) hold(items, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held, b.heldBytes = items, bytes
}

// look returns how full the inbox is, with what the shard has taken and is not through
// with.
func (b *inbox) look() Queue {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Queue{Items: b.records + b.held, Bytes: b.bytes + b.heldBytes, MaxItems: b.limit, MaxBytes: b.limitMem}
}

// close refuses everything from now on and returns what was queued.
func (b *inbox) close() []task {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	tasks := b.tasks
	b.tasks = nil
	return tasks
}
