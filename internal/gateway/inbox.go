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
//	control              answers of the registry, polls, acks, closes: has room of its
//	                     own, bounded by what the shard itself has asked for
type inbox struct {
	mu       sync.Mutex
	tasks    []task
	spare    []task
	records  int
	bytes    int
	behind   map[message.Key]struct{}
	limit    int
	limitMem int
	wake     func()
	closed   bool
}

// task is one entry: a record, or something to run on the shard.
type task struct {
	record *message.Delivery
	run    func()
}

// maxBehind bounds the keys that are noted for repair; past it every room of the
// shard is repaired.
const maxBehind = 4096

// post has run called on the shard; false when the shard has stopped.
func (b *inbox) post(run func()) bool {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return false
	}
	b.tasks = append(b.tasks, task{run: run})
	first := len(b.tasks) == 1
	b.mu.Unlock()
	if first {
		b.wake()
	}
	return true
}

// deliver queues a record. It reports message.ErrFull when there was no room; the
// rooms of a recoverable record are noted for repair then.
func (b *inbox) deliver(d *message.Delivery) error {
	size := d.Size()
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return message.ErrGone
	}
	if b.records > 0 && (b.records >= b.limit || b.bytes+size > b.limitMem) {
		for _, s := range d.Stamps {
			if s.Seq != 0 && len(b.behind) < maxBehind {
				if b.behind == nil {
					b.behind = make(map[message.Key]struct{})
				}
				b.behind[s.Key] = struct{}{}
			}
		}
		b.mu.Unlock()
		return message.ErrFull
	}
	b.records++
	b.bytes += size
	b.tasks = append(b.tasks, task{record: d})
	first := len(b.tasks) == 1
	b.mu.Unlock()
	if first {
		b.wake()
	}
	return nil
}

// take returns all that is queued, and the keys that are behind. The slice is
// valid until the next take.
func (b *inbox) take() (tasks []task, behind map[message.Key]struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	tasks, behind = b.tasks, b.behind
	b.tasks, b.spare = b.spare[:0], tasks
	b.records, b.bytes, b.behind = 0, 0, nil
	return tasks, behind
}

// depth returns how many records wait.
func (b *inbox) depth() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.records
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
