package bus

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"holdfast/internal/message"
)

// readBlock is for how long one XREAD waits. It bounds how late a partition that
// was just taken is read for the first time.
const readBlock = 300 * time.Millisecond

// readBytes is about how much one XREAD returns. It counts in items, so how many
// follows from the sizes of those before.
const (
	readBytes = 4 << 20
	readItems = 256 // from each partition
)

// settleBatch is how many removals travel together.
const settleBatch = 512

// Consume is [Redis.ConsumeSettled] for a handler that is done with an event when
// it returns.
func (b *Redis) Consume(ctx context.Context, handle func(*message.Up)) error {
	return b.ConsumeSettled(ctx, settleOnReturn(handle))
}

// ConsumeSettled hands events to handle, from one goroutine and one at a time, until
// ctx ends or the bus is closed, and then returns nil. Events of one Order come in
// the order of publishing, as long as all come from one node; consumers in several
// processes divide the keys among themselves. handle may block, which is the
// backpressure.
//
// Each event is kept until its settled is called, from any goroutine, until Close;
// more than one call is one. An event that was handed over and not settled when this
// process dies comes again to another consumer, so one may come twice. While another
// ConsumeSettled of this bus runs, it waits for that one's end.
func (b *Redis) ConsumeSettled(ctx context.Context, handle func(up *message.Up, settled func())) error {
	if !b.takeTurn(ctx) {
		return nil
	}
	defer func() { b.turn <- struct{}{} }()
	if !b.startKeeping() {
		return nil
	}
	defer b.work.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.taking, cancel)()

	b.claims.setConsuming(true)
	defer b.claims.setConsuming(false)
	again := b.backoff("read events")
	count := readItems
	for ctx.Err() == nil {
		readings, leased := b.claims.readable()
		if len(readings) == 0 || !leased {
			select {
			case <-b.claims.changed:
			case <-ctx.Done():
			}
			continue
		}
		entries, err := b.readEvents(ctx, readings, count)
		if err != nil {
			again.failed(ctx, err)
			continue
		}
		again.worked()
		count = b.handOut(ctx, readings, entries, handle, count)
	}
	return nil
}

// startKeeping starts the goroutines behind consuming with the first consumer, and
// counts the consumer among the bus's work. It is false once the bus is closed.
func (b *Redis) startKeeping() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.work.Add(1)
	if !b.keeping {
		b.keeping = true
		b.work.Go(b.keepClaims)
		b.work.Go(b.removeSettled)
	}
	return true
}

func (b *Redis) readEvents(ctx context.Context, readings []reading, count int) (map[string][]rueidis.XRangeSlice, error) {
	cmd := b.client.B().Arbitrary("XREAD", "COUNT", strconv.Itoa(count), "BLOCK", strconv.FormatInt(readBlock.Milliseconds(), 10), "STREAMS")
	for _, r := range readings {
		cmd = cmd.Keys(b.eventsKey(r.partition))
	}
	for _, r := range readings {
		cmd = cmd.Args(r.cursor)
	}
	return b.read(ctx, cmd.Blocking())
}

// read executes a blocking XREAD; nothing new is no error.
func (b *Redis) read(ctx context.Context, cmd rueidis.Completed) (map[string][]rueidis.XRangeSlice, error) {
	entries, err := b.client.Do(ctx, cmd).AsXReadSlices()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	return entries, err
}

// handOut gives what was read to handle, partition by partition, and returns how
// many to read the next time.
func (b *Redis) handOut(ctx context.Context, readings []reading, entries map[string][]rueidis.XRangeSlice,
	handle func(*message.Up, func()), count int,
) int {
	items, size := 0, 0
	for _, r := range readings {
		for _, entry := range entries[b.eventsKey(r.partition)] {
			items++
			for _, f := range entry.FieldValues {
				size += len(f.Value)
			}
			if ctx.Err() != nil {
				return count
			}
			switch b.claims.hand(r, entry.ID) {
			case skipIt:
				continue
			case handIt:
				b.handEvent(r, entry, handle)
				continue
			}
			break
		}
	}
	if items == 0 {
		return count
	}
	return max(1, min(readItems, readBytes/(size/items+1)/len(readings)))
}

func (b *Redis) handEvent(r reading, entry rueidis.XRangeSlice, handle func(*message.Up, func())) {
	up, err := message.ParseUp(record(entry.FieldValues))
	if err != nil {
		b.malformed.Add(1)
		b.opts.Log.Warn("an event in Redis is malformed and was dropped", "id", entry.ID, "error", err)
		b.claims.settle(r.partition, entry.ID)
		return
	}
	if ms, _, _ := strings.Cut(entry.ID, "-"); r.suspect > 0 {
		at, err := strconv.ParseInt(ms, 10, 64)
		up.Again = err != nil || at <= r.suspect
	}
	up.Hold = func() message.Hold { return b.claims.hold(r.partition, r.life) }
	var once sync.Once
	handle(up, func() { once.Do(func() { b.claims.settle(r.partition, entry.ID) }) })
	b.handled.Add(1)
}

// removeSettled deletes settled events from Redis. The queue before it is bounded by
// what is in flight: while Redis is away nothing new comes from it either.
func (b *Redis) removeSettled() {
	c := &b.claims
	again := b.backoff("remove settled events")
	for {
		batch := c.takeSettled(settleBatch)
		if len(batch) == 0 {
			select {
			case <-c.flush:
			case <-b.base.Done():
				return
			}
			continue
		}
		for err := b.remove(b.base, batch); err != nil; err = b.remove(b.base, batch) {
			if !again.failed(b.base, err) {
				return
			}
		}
		again.worked()
		c.removed(batch)
	}
}

// remove may be repeated: deleting what is gone does nothing.
func (b *Redis) remove(ctx context.Context, batch []settlement) error {
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	var ids [partitions][]string
	for _, s := range batch {
		ids[s.partition] = append(ids[s.partition], s.id)
	}
	var cmds rueidis.Commands
	for p := range ids {
		if len(ids[p]) > 0 {
			cmds = append(cmds, b.client.B().Xdel().Key(b.eventsKey(p)).Id(ids[p]...).Build())
		}
	}
	for _, reply := range b.client.DoMulti(ctx, cmds...) {
		if err := reply.Error(); err != nil {
			return err
		}
	}
	return nil
}
