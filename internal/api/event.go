package api

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
)

// event is a client's event on its way through ws-api. Whoever has something left
// to do for it holds it; when the last one has released it, the bus may forget it.
type event struct {
	s        *Server
	up       *message.Up
	rule     *Rule
	dequeued time.Time
	routed   time.Time
	trace    string // traceparent for what is done about it
	settled  func()

	holders  atomic.Int32
	answered atomic.Bool // the client has its acknowledgement, or gets none
	left     atomic.Bool // it is not done with here, and stays on the bus
}

// newEvent returns an event that its maker holds.
func (s *Server) newEvent(up *message.Up, settled func()) *event {
	e := &event{s: s, up: up, dequeued: s.cfg.Now(), trace: up.TraceParent, settled: settled}
	e.answered.Store(up.Acked)
	e.holders.Store(1)
	return e
}

func (e *event) hold() { e.holders.Add(1) }

// release gives up one hold. When nobody who might have answered the client is
// left, the client is told so.
func (e *event) release() {
	if e.holders.Add(-1) != 0 {
		return
	}
	if e.rule != nil && e.rule.Ack == AckBackend {
		ctx, cancel := context.WithTimeout(e.s.base, e.s.limits.CallTimeout) // whoever releases it has others to see to
		defer cancel()
		e.ackError(ctx, &failure{code: codeUnavailable, message: "no backend has answered this event"})
	}
	if !e.left.Load() {
		e.settled()
	}
}

// holdAgain is the pause between looks at whether an event is still this ws-api's.
const holdAgain = 50 * time.Millisecond

// mine waits until an event is this ws-api's for certain, and returns until when; the zero
// time for ever. False: another one has it, or may have and nobody is waited for any
// more. Then it is to be left alone.
//
// A ws-api that goes on after it stood still, or was cut off from the bus, has events that
// another one may be about to relay. Both would look into the log, find nothing and append.
func (e *event) mine() (until time.Time, ok bool) {
	if e.up.Hold == nil {
		return time.Time{}, true
	}
	for {
		h := e.up.Hold()
		e.up.Again = e.up.Again || h.Again
		switch {
		case h.Lost:
			return time.Time{}, false // settling it changes nothing on the bus
		case time.Now().Before(h.Until):
			return h.Until, true
		}
		select {
		case <-time.After(holdAgain):
		case <-e.s.patient.Done():
			e.left.Store(true)
			return time.Time{}, false
		}
	}
}

// session is the name under which events keep their order.
func (e *event) session() string {
	if e.up.Session != "" || e.up.Client == nil {
		return e.up.Session
	}
	return e.up.Client.ID
}

func (e *event) size() int { return e.up.Size() }

// ack answers the client, if it waits for an answer and has none yet.
func (e *event) ack(ctx context.Context, p message.Payload) {
	if !e.up.WantsAck || !e.answered.CompareAndSwap(false, true) {
		return
	}
	e.s.count.acks.Add(1)
	st := e.s.begin("ack", message.SpanProducer, e.trace, e.s.cfg.Now())
	d := &message.Down{Ack: &message.Ack{Client: e.up.Client.ID, AckID: e.up.AckID, Payload: p, TraceParent: st.trace("")}}
	err := e.tell(ctx, d)
	st.end(e.s.cfg.Now(), problemOf(err))
	if err != nil {
		e.s.count.unanswered.Add(1)
		e.s.log.Debug("an acknowledgement was lost", "event", e.up.ID, "trace_id", e.up.TraceID, "client", e.up.Client.ID, "error", err)
	}
}

// How long an acknowledgement waits for a bus that is away, and between attempts. It is
// as long as a client may be expected to wait: the event is done with afterwards, so
// that it does not come again, nor does what would answer it.
const (
	ackPatience = time.Minute
	ackAgain    = 100 * time.Millisecond
)

// tell sends an acknowledgement to whoever has the client. While the bus takes nothing,
// it waits and tries again, and with it the lane or the call that it is for: what comes
// after could not be sent either.
func (e *event) tell(ctx context.Context, d *message.Down) error {
	ctx, cancel := context.WithTimeout(ctx, ackPatience)
	defer cancel()
	for {
		try, cancel := context.WithTimeout(ctx, e.s.limits.CallTimeout)
		err := e.s.sendToClient(try, e.up.Client, d)
		cancel()
		if err == nil || errors.Is(err, message.ErrGone) {
			return err
		}
		select {
		case <-time.After(ackAgain):
		case <-e.s.patient.Done():
			return err
		case <-ctx.Done():
			return err
		}
	}
}

// ackError answers the client with an error argument.
func (e *event) ackError(ctx context.Context, f *failure) {
	if !e.up.WantsAck || e.answered.Load() {
		return
	}
	e.s.count.ackErrors.Add(1)
	e.ack(ctx, message.Payload{JSON: f.args()})
}

// Headers of an event that a backend gets.
const (
	headerReceived = "X-Time-Received"
	headerEnqueued = "X-Time-Enqueued"
	headerDequeued = "X-Time-Dequeued"
	headerRouted   = "X-Time-Routed"
)

var eventTypes = map[message.EventType]pb.EventType{
	message.EventConnect:    pb.EventType_EVENT_TYPE_CONNECT,
	message.EventMessage:    pb.EventType_EVENT_TYPE_MESSAGE,
	message.EventDisconnect: pb.EventType_EVENT_TYPE_DISCONNECT,
}

// proto makes what a backend sees, with the traceparent of the step in which it sees
// it. The text of arguments is what the client sent.
func (e *event) proto(trace string) *pb.Event {
	up := e.up
	client := clientToProto(&message.ClientInfo{Client: *up.Client, Rooms: up.Rooms, LastSeenAt: up.Received})
	out := &pb.Event{
		Id:          up.ID,
		Type:        eventTypes[up.Type],
		Client:      client,
		Event:       up.Name,
		Payload:     payloadToProto(&up.Payload),
		WantsAck:    up.WantsAck,
		Reason:      up.Reason,
		Headers:     e.headers(trace),
		Query:       validUTF8(up.Query),
		HttpHeaders: validUTF8(up.HTTPHeaders),
	}
	if up.Type == message.EventConnect {
		out.Auth = string(up.Auth)
		if out.Auth == "" {
			out.Auth = "{}"
		}
		out.Recovered = up.Recovered
	}
	return out
}

func (e *event) headers(trace string) map[string]string {
	h := make(map[string]string, 6)
	if e.up.TraceID != "" {
		h[headerTraceID] = trimTrace(e.up.TraceID)
	}
	if trace != "" {
		h[headerTraceParent] = trimTrace(trace)
	}
	for _, t := range []struct {
		name string
		at   time.Time
	}{
		{headerReceived, e.up.Received},
		{headerEnqueued, e.up.Enqueued},
		{headerDequeued, e.dequeued},
		{headerRouted, e.routed},
	} {
		if !t.at.IsZero() {
			h[t.name] = t.at.UTC().Format(time.RFC3339Nano)
		}
	}
	return h
}

// validUTF8 returns m as it is, unless a value is no text: proto3 would refuse all
// of the event for a byte in somebody's cookie.
func validUTF8(m map[string]string) map[string]string {
	clean := true
	for k, v := range m {
		clean = clean && strings.ToValidUTF8(k, "") == k && strings.ToValidUTF8(v, "") == v
	}
	if clean {
		return m
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[strings.ToValidUTF8(k, "\uFFFD")] = strings.ToValidUTF8(v, "\uFFFD")
	}
	return out
}
