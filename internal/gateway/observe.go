package gateway

import (
	"time"

	"holdfast/internal/message"
)

// Stage is a part of a message's way through a node.
type Stage uint8

// The stages. Clocks of several machines meet in Arrived, so it may be below zero.
const (
	Enqueued Stage = iota // of an event: from the socket until the bus has taken it
	Arrived               // of a push: from ws-api's sending until it is in the node's hands
	Written               // of a push: from there until a shard has written it to its last socket
)

func (s Stage) String() string {
	switch s {
	case Enqueued:
		return "enqueued"
	case Arrived:
		return "arrived"
	case Written:
		return "written"
	}
	return "unknown"
}

// Observer gets measurements as they happen, for histograms. Its funcs may be nil;
// they are called from shards, so they must not wait.
//
// A push is observed once for the node and once for each shard that has receivers,
// never for a single socket: a room of a hundred thousand costs as much as one of two.
type Observer struct {
	Stage func(stage Stage, took time.Duration)
}

func (o *Observer) stage(s Stage, took time.Duration) {
	if o.Stage != nil {
		o.Stage(s, took)
	}
}

// written is a push that a shard has brought to all of its sockets' sessions, or an
// acknowledgement, that counts as written when these have been flushed.
type written struct {
	arrived int64  // in nanoseconds of the node's own scale
	ack     bool   // which is no stage, and is here because it is followed
	trace   string // traceparent that came with it
}

// nanos is the time of the node's own scale in nanoseconds.
func (g *Gateway) nanos() int64 { return int64(time.Since(g.start)) }

// arrived notes that a push has reached the node and returns when.
func (g *Gateway) arrived(d *message.Delivery) int64 {
	now := time.Now()
	if !d.Pushed.IsZero() {
		g.cfg.Observe.stage(Arrived, now.Sub(d.Pushed))
		if g.cfg.Tracer != nil && message.Followed(d.Push.TraceParent) {
			g.span("transit", message.SpanConsumer, d.Push.TraceParent, d.Pushed, now)
		}
	}
	return int64(now.Sub(g.start))
}

// enqueued notes that the bus has taken an event.
func (g *Gateway) enqueued(up *message.Up) {
	g.cfg.Observe.stage(Enqueued, up.Enqueued.Sub(up.Received))
	if g.cfg.Tracer == nil || up.TraceParent == "" {
		return
	}
	g.cfg.Tracer.Span(&message.Span{
		Name: "receive", Kind: message.SpanServer, Trace: up.TraceParent, Start: up.Received, End: up.Enqueued,
		Attributes: []message.Attribute{
			{Key: "holdfast.node", Value: g.cfg.Node},
			{Key: "holdfast.type", Value: up.Type.String()},
			{Key: "holdfast.event", Value: up.Name},
			{Key: "holdfast.client", Value: up.Client.ID},
			{Key: "holdfast.namespace", Value: up.Client.Namespace},
		},
	})
}

// span tells of a step on this node, of a message that is followed.
func (g *Gateway) span(name string, kind message.SpanKind, parent string, start, end time.Time) {
	g.cfg.Tracer.Span(&message.Span{
		Name: name, Kind: kind, Trace: g.cfg.Tracer.Child(parent), Parent: parent, Start: start, End: end,
		Attributes: []message.Attribute{{Key: "holdfast.node", Value: g.cfg.Node}},
	})
}

// ackWritten notes that an acknowledgement, which came at a time, has been queued for its
// client.
func (sh *shard) ackWritten(a *message.Ack, at int64) {
	if sh.g.cfg.Tracer != nil && a.TraceParent != "" {
		sh.written = append(sh.written, written{arrived: at, ack: true, trace: a.TraceParent})
	}
}

// tellWritten observes the pushes whose fan-out has ended and whose output has been
// offered to the sockets.
func (sh *shard) tellWritten() {
	if len(sh.written) == 0 {
		return
	}
	g := sh.g
	now := g.nanos()
	for i := range sh.written {
		w := &sh.written[i]
		if !w.ack {
			g.cfg.Observe.stage(Written, time.Duration(now-w.arrived))
		}
		if g.cfg.Tracer != nil && message.Followed(w.trace) {
			g.span("deliver", message.SpanProducer, w.trace, g.start.Add(time.Duration(w.arrived)), g.start.Add(time.Duration(now)))
		}
	}
	clear(sh.written)
	sh.written = sh.written[:0]
}
