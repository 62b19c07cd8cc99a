package bus

import (
	"context"
	"sync"
	"time"

	"holdfast/internal/message"
)

// upBatch is how many events a consumer takes under one lock. What it has taken
// still counts against the bounds until handled.
const upBatch = 256

// upstream is a bounded queue with one consumer at a time.
type upstream struct {
	maxItems int
	maxBytes int64
	turn     chan struct{} // holds one token, which the running consumer has
	wake     chan struct{} // holds at most one: the queue is no longer empty

	mu        sync.Mutex
	queue     []*message.Up // waiting, in order; queue[:head] is used up
	head      int
	items     int // waiting or being handled
	bytes     int64
	published uint64
	handled   uint64
	full      uint64
	flushes   []flush // who waits for events to be handled, in the order of asking
}

// flush waits until so many events have been handled in all.
type flush struct {
	handled uint64
	done    chan struct{}
}

// flush returns when every event that was published before is handled.
func (q *upstream) flush(ctx context.Context) error {
	q.mu.Lock()
	if q.items == 0 {
		q.mu.Unlock()
		return nil
	}
	f := flush{handled: q.published, done: make(chan struct{})}
	q.flushes = append(q.flushes, f)
	q.mu.Unlock()
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *upstream) init(opts Options) {
	q.maxItems, q.maxBytes = opts.UpItems, opts.UpBytes
	q.turn = make(chan struct{}, 1)
	q.turn <- struct{}{}
	q.wake = make(chan struct{}, 1)
}

func (q *upstream) publish(up *message.Up) error {
	size := int64(up.Size())
	q.mu.Lock()
	if q.items > 0 && (q.items >= q.maxItems || q.bytes+size > q.maxBytes) {
		q.full++
		q.mu.Unlock()
		return message.ErrFull
	}
	if q.head > 0 && len(q.queue) == cap(q.queue) {
		q.queue = q.compact()
	}
	q.queue = append(q.queue, up)
	q.items++
	q.bytes += size
	q.published++
	q.mu.Unlock()
	signal(q.wake)
	return nil
}

// compact moves what waits to the front of the slice, so that a queue which never
// runs empty does not grow for ever. It does so only where at least half is used
// up; else append doubles the slice. Both are O(1) for each event on average.
func (q *upstream) compact() []*message.Up {
	if q.head < len(q.queue)/2 {
		return q.queue
	}
	n := copy(q.queue, q.queue[q.head:])
	clear(q.queue[n:])
	q.head = 0
	return q.queue[:n]
}

// gathering is for how long a consumer lets events come together once they come faster
// than that. Where each wakes the consumer by itself, that costs a third of all that
// the process does for an event, the connection's reads and writes included.
const gathering = time.Millisecond

func (q *upstream) consume(ctx context.Context, handle func(*message.Up)) {
	select {
	case <-q.turn:
	case <-ctx.Done():
		return
	}
	defer func() { q.turn <- struct{}{} }()
	pause := time.NewTimer(gathering)
	defer pause.Stop()
	batch := make([]*message.Up, 0, upBatch)
	var woken time.Time
	for {
		n, whole := q.handleAll(ctx, batch, handle)
		if !whole {
			return
		}
		if n < 2 { // it is quiet: the next one does not wait
			select {
			case <-q.wake:
			case <-ctx.Done():
				return
			}
			before := woken
			if woken = time.Now(); woken.Sub(before) >= gathering {
				continue
			}
		}
		pause.Reset(gathering)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}

// handleAll handles events until there are none, and returns how many; whole is false
// when ctx has ended first. batch is room to work with.
func (q *upstream) handleAll(ctx context.Context, batch []*message.Up, handle func(*message.Up)) (n int, whole bool) {
	select {
	case <-q.wake: // by what is taken now
	default:
	}
	for {
		batch = q.peek(batch[:0])
		if len(batch) == 0 {
			return n, true
		}
		for _, up := range batch {
			if ctx.Err() != nil {
				return n, false
			}
			handle(up)
			q.done(up)
			n++
		}
		clear(batch)
	}
}

// peek appends the first events to batch. They leave the queue one by one as they
// are done, so that an end in the middle of a batch loses and repeats nothing.
func (q *upstream) peek(batch []*message.Up) []*message.Up {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := q.queue[q.head:]
	return append(batch, waiting[:min(len(waiting), upBatch)]...)
}

// done takes the first event, which is up, off the queue.
func (q *upstream) done(up *message.Up) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue[q.head] = nil
	q.head++
	if q.head == len(q.queue) {
		q.reset()
	}
	q.items--
	q.bytes -= int64(up.Size())
	q.handled++
	for len(q.flushes) > 0 && q.flushes[0].handled <= q.handled {
		close(q.flushes[0].done)
		q.flushes = q.flushes[1:]
	}
}

// reset empties the slice; one that a burst has made large is let go.
func (q *upstream) reset() {
	q.head = 0
	if cap(q.queue) > 4*upBatch {
		q.queue = nil
		return
	}
	q.queue = q.queue[:0]
}

// filled is how full the queue is, from 0 to 1.
func (q *upstream) filled() float64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return filled(q.items, q.maxItems, q.bytes, q.maxBytes)
}

// filled is how full something is that has bounds in items and bytes, from 0 to 1.
func filled(items, maxItems int, bytes, maxBytes int64) float64 {
	return min(1, max(float64(items)/float64(maxItems), float64(bytes)/float64(maxBytes)))
}

func (q *upstream) stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Stats{
		UpItems: q.items, UpBytes: q.bytes, MaxUpItems: q.maxItems, MaxUpBytes: q.maxBytes,
		Published: q.published, Handled: q.handled, UpFull: q.full,
	}
}
