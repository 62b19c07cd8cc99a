package bus

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"holdfast/internal/message"
)

// Consume is [Kafka.ConsumeSettled] for a handler that is done with an event when it
// returns.
func (b *Kafka) Consume(ctx context.Context, handle func(*message.Up)) error {
	return b.ConsumeSettled(ctx, settleOnReturn(handle))
}

// ConsumeSettled hands events to handle, from one goroutine and one at a time, until
// ctx ends or the bus is closed, and then returns nil. Events of one Order come in
// the order of publishing; consumers in several processes are one group, in which each
// partition is one's. handle may block, which is the backpressure.
//
// What is committed of a partition is what lies before its first event that is not
// settled, so after a death events come again: those that were not settled, and
// others after them. settled is called from any goroutine, until Close; more than one
// call is one. While another ConsumeSettled of this bus runs, it waits for that one's
// end.
func (b *Kafka) ConsumeSettled(ctx context.Context, handle func(up *message.Up, settled func())) error {
	if !b.takeTurn(ctx) {
		return nil
	}
	m, err := b.join(b.upTopic(), b.opts.Prefix+"-up")
	if err != nil {
		b.turn <- struct{}{}
		return fmt.Errorf("join the consumers of %s: %w", b.upTopic(), err)
	}
	b.setMember(m)
	m.read(ctx, func(r *kgo.Record, again bool, hold func() message.Hold, settled func()) {
		headers, body := fromKafka(r)
		up, err := message.ParseUp(headers, body)
		if err != nil {
			b.malformed.Add(1)
			b.opts.Log.Warn("an event in Kafka is malformed and was dropped",
				"topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "error", err)
			settled()
			return
		}
		up.Again, up.Hold = again, hold
		handle(up, settled)
		b.handled.Add(1)
	})
	m.leave(func() {
		b.setMember(nil)
		b.turn <- struct{}{}
	})
	return nil
}

func (b *Kafka) setMember(m *member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.member = m
}

// ConsumePushes hands the records that backends have written to the push topic to
// handle, as [Kafka.ConsumeSettled] does events; the two may run at the same time.
func (b *Kafka) ConsumePushes(ctx context.Context, handle func(p message.PushRecord, settled func())) error {
	m, err := b.join(b.pushTopic(), b.opts.Prefix+"-push")
	if err != nil {
		return fmt.Errorf("join the consumers of %s: %w", b.pushTopic(), err)
	}
	m.read(ctx, func(r *kgo.Record, again bool, _ func() message.Hold, settled func()) {
		headers, body := fromKafka(r)
		// The time tells records apart that have one offset in two lives of a topic.
		id := fmt.Sprintf("%s-%d-%d-%d", r.Topic, r.Partition, r.Offset, r.Timestamp.UnixMilli())
		handle(message.PushRecord{ID: id, Written: r.Timestamp, Again: again, Headers: headers, Body: body}, settled)
	})
	m.leave(func() {})
	return nil
}
