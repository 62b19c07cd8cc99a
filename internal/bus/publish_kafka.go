package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"holdfast/internal/message"
)

// upQueue is events that Kafka does not have yet: those that the writer has not
// taken, and those that are on their way. Bounded in items and bytes; what does not
// fit is refused.
type upQueue struct {
	maxItems int
	maxBytes int64
	wake     chan struct{} // holds at most one: the queue is no longer empty

	mu        sync.Mutex
	queue     []queued
	items     int // in the queue or on their way
	bytes     int64
	waves     []*wave // oldest first; what is published belongs to the last
	published uint64
	full      uint64
}

type queued struct {
	up   *message.Up
	wave *wave
}

// wave is what was published between two flushes. Partitions do not wait for one
// another, so that a later event may be in Kafka before an earlier one, and how many
// are there does not tell which.
type wave struct {
	open int           // that Kafka does not have
	done chan struct{} // closed when Kafka has it, and all before it
}

func newWave() *wave { return &wave{done: make(chan struct{})} }

func (q *upQueue) init(items int, bytes int64) {
	q.maxItems, q.maxBytes, q.wake = items, bytes, make(chan struct{}, 1)
	q.waves = []*wave{newWave()}
}

func (q *upQueue) put(up *message.Up) error {
	size := int64(up.Size())
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.items > 0 && (q.items >= q.maxItems || q.bytes+size > q.maxBytes) {
		q.full++
		return message.ErrFull
	}
	last := q.waves[len(q.waves)-1]
	last.open++
	q.queue = append(q.queue, queued{up, last})
	q.items++
	q.bytes += size
	q.published++
	signal(q.wake)
	return nil
}

// takeAll returns what waits and leaves into, emptied, in its place.
func (q *upQueue) takeAll(into []queued) []queued {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := q.queue
	q.queue = into[:0]
	return waiting
}

// done makes room for as much as one event took, which was of that wave.
func (q *upQueue) done(size int, of *wave) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items--
	q.bytes -= int64(size)
	of.open--
	for len(q.waves) > 1 && q.waves[0].open == 0 {
		close(q.waves[0].done)
		q.waves = q.waves[1:]
	}
}

// flush returns when no event that was published before waits or is on its way.
func (q *upQueue) flush(ctx context.Context) error {
	done := q.endWave()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// endWave returns what is closed when all that was published so far is done; nil: it
// is. There is no more than one wave, of some bytes, for each flush since the oldest
// event was published.
func (q *upQueue) endWave() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	last := q.waves[len(q.waves)-1]
	switch {
	case q.items == 0:
		return nil
	case last.open == 0: // then there is one before it, for which others wait as well
		return q.waves[len(q.waves)-2].done
	}
	q.waves = append(q.waves, newWave())
	return last.done
}

func (q *upQueue) stats(s *Stats) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s.UpItems, s.UpBytes, s.MaxUpItems, s.MaxUpBytes = q.items, q.bytes, q.maxItems, q.maxBytes
	s.Published, s.UpFull = q.published, q.full
}

// Filled tells how full the room for events is, from 0 to 1.
func (b *Kafka) Filled() float64 {
	b.up.mu.Lock()
	defer b.up.mu.Unlock()
	return filled(b.up.items, b.up.maxItems, b.up.bytes, b.up.maxBytes)
}

// Publish queues an event for Kafka. It never blocks: without room, which is also how
// it shows that Kafka is away or does not keep up, it fails with [message.ErrFull] and
// keeps nothing. Returning nil it does not say yet that the event survives this
// process: whoever acknowledges it waits for a consumer to have it, which gets nothing
// that is not in all replicas in sync. The event must not be changed afterwards.
func (b *Kafka) Publish(up *message.Up) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return ErrClosed
	}
	return b.up.put(up)
}

// Flush returns when Kafka has every event that was published before, apart from
// those that it refuses for good.
func (b *Kafka) Flush(ctx context.Context) error {
	if err := b.up.flush(ctx); err != nil {
		return fmt.Errorf("wait for events to be in Kafka: %w", err)
	}
	return nil
}

// writeEvents hands events to the client until the bus is closed and the queue empty.
// Records are made here rather than on the shards, which have sockets to serve.
func (b *Kafka) writeEvents() {
	defer close(b.written)
	var batch []queued
	for {
		clear(batch)
		if cap(batch) > 4*upBatch {
			batch = nil // a burst has made it large
		}
		batch = b.up.takeAll(batch)
		for _, e := range batch {
			b.writeEvent(e)
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-b.up.wake:
			continue
		case <-b.base.Done():
			return
		case <-b.closing:
		}
		// Nothing enters any more; one that did just before is there by now.
		b.mu.RLock()
		batch = b.up.takeAll(batch)
		b.mu.RUnlock()
		for _, e := range batch {
			b.writeEvent(e)
		}
		return
	}
}

// writeEvent has the client write an event. The client tries until Kafka has it, in
// order, and without writing it twice.
func (b *Kafka) writeEvent(e queued) {
	up := e.up
	key, headers, body := up.Record()
	size := up.Size()
	b.events.Produce(context.Background(), kafkaRecord(b.upTopic(), key, b.signed(headers), body), func(_ *kgo.Record, err error) {
		defer b.up.done(size, e.wave)
		switch {
		case err == nil:
			b.upWritten.Add(1)
		case errors.Is(err, kgo.ErrClientClosed):
			// Close has told.
		default:
			b.upLost.Add(1)
			b.opts.Log.Error("Kafka has refused an event, which is lost", "event", up.ID, "bytes", size, "error", err)
		}
	})
}
