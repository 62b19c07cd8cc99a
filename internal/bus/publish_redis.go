package bus

import (
	"context"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	"holdfast/internal/message"
)

// partitions is into how many streams the events are divided. It is a part of what
// the processes of a cluster agree on, so that one key has one place.
const partitions = 16

// The bounds of what one script appends, so that it holds Redis up no longer than a
// few milliseconds.
const (
	appendItems = upBatch
	appendBytes = 1 << 20
)

// producerTTL is how long Redis remembers a silent producer's last event. The
// number has work to do only between an append and its repetition.
const producerTTL = 24 * time.Hour

// fullRetry is when the writer looks again whether a full partition has room.
const fullRetry = 20 * time.Millisecond

// partitionOf returns where the events of an order key go.
func partitionOf(order string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(order)) // a hash takes everything
	return int(h.Sum32() % partitions)
}

// Publish queues an event for Redis. It never blocks: without room, which is also
// how it shows that Redis is away or whose consumers do not keep up, it fails with
// [message.ErrFull] and keeps nothing. Returning nil it does not say yet that the
// event survives this process: whoever acknowledges it waits for a consumer to have
// it. The event must not be changed afterwards.
func (b *Redis) Publish(up *message.Up) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return ErrClosed
	}
	return b.up.publish(up)
}

// Filled tells how full the room for events is, from 0 to 1.
func (b *Redis) Filled() float64 { return b.up.filled() }

// Flush returns when Redis has every event that was published before.
func (b *Redis) Flush(ctx context.Context) error {
	if err := b.up.flush(ctx); err != nil {
		return fmt.Errorf("wait for events to be in Redis: %w", err)
	}
	return nil
}

// writeEvents takes events from the queue to Redis until the bus is closed and the
// queue empty, or the bus's time is over.
func (b *Redis) writeEvents() {
	defer close(b.written)
	again := b.backoff("append events")
	batch := make([]*message.Up, 0, upBatch)
	for {
		batch = b.up.peek(batch[:0])
		if len(batch) == 0 {
			select {
			case <-b.up.wake:
			case <-b.closing:
				if b.up.stats().UpItems == 0 {
					return
				}
			case <-b.base.Done():
				return
			}
			continue
		}
		n, err := b.appendEvents(b.base, batch)
		for _, up := range batch[:n] {
			b.up.done(up)
		}
		clear(batch)
		switch {
		case err != nil:
			if !again.failed(b.base, err) {
				return
			}
		case n == 0:
			if !wait(b.base, fullRetry) {
				return
			}
		default:
			again.worked()
		}
	}
}

// appendEvents sends the first events of batch, and returns how many of them Redis
// is known to have. After an error it may have more; they are sent again under the
// same numbers, by which the script knows them.
func (b *Redis) appendEvents(ctx context.Context, batch []*message.Up) (int, error) {
	keys := make([]string, 1, partitions+1)
	keys[0] = b.upKey("producer:" + b.self)
	for p := range partitions {
		keys = append(keys, b.eventsKey(p))
	}
	args := append(make([]string, 0, 40*len(batch)),
		strconv.FormatUint(b.number+1, 10), strconv.Itoa(b.opts.StreamItems), strconv.Itoa(int(producerTTL.Seconds())))
	size := 0
	for i, up := range batch {
		if size += up.Size(); i > 0 && (i == appendItems || size > appendBytes) {
			break
		}
		key, headers, body := up.Record()
		entry := fields(headers, body)
		args = append(args, strconv.Itoa(partitionOf(key)), strconv.Itoa(len(entry)))
		args = append(args, entry...)
	}
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	n, err := b.scripts.append.Exec(ctx, b.client, keys, args).AsInt64()
	if err != nil {
		return 0, err
	}
	b.number += uint64(n)
	return int(n), nil
}

func (b *Redis) eventsKey(partition int) string { return b.upKey("events:" + strconv.Itoa(partition)) }
