package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"connectrpc.com/connect"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
	"holdfast/proto/holdfast/v1/holdfastpb/holdfastpbconnect"
)

// eventService is EventService over a Server.
type eventService struct{ s *Server }

var _ holdfastpbconnect.EventServiceHandler = (*eventService)(nil)

const (
	defaultInFlight = 64
	maxInFlight     = 1024
	maxFilterEvents = 100
	repliesAtOnce   = 32 // of one stream that are being carried out
)

type subscription = connect.BidiStream[pb.SubscribeRequest, pb.SubscribeResponse]

// Subscribe gives events to one consumer until its stream or the server ends.
func (es *eventService) Subscribe(ctx context.Context, stream *subscription) error {
	first, err := stream.Receive()
	if errors.Is(err, io.EOF) {
		return invalid(badField("group", "the first message, which says what to read, did not come"))
	}
	if err != nil {
		return err
	}
	wants, inFlight, err := filterOfRequest(first)
	if err != nil {
		return invalid(err)
	}
	c, version, err := es.s.groups.join(first.GetGroup(), wants, inFlight)
	switch {
	case errors.Is(err, errTooManyGroups):
		return connect.NewError(connect.CodeResourceExhausted, err)
	case err != nil:
		return connect.NewError(connect.CodeUnavailable, err)
	}
	defer es.s.groups.leave(c)
	es.s.peers.await(ctx, version)
	// The headers tell the client that events are gathered for it from now on.
	if err := stream.Send(nil); err != nil {
		return err
	}

	// The reader ends when the stream does, at the latest by the return from here,
	// after which Receive fails.
	ended := make(chan error, 1)
	go func() { ended <- es.readAcks(ctx, stream, c) }()
	for {
		select {
		case <-c.wake:
			for _, d := range c.take() {
				if err := stream.Send(&pb.SubscribeResponse{Event: d.ev.proto(d.ev.trace), Attempt: d.attempt}); err != nil {
					return err
				}
			}
		case err := <-ended:
			return err
		case <-es.s.groups.closing:
			return connect.NewError(connect.CodeUnavailable, errGroupsClosed)
		}
	}
}

// filterOfRequest reads the first message of a stream.
func filterOfRequest(r *pb.SubscribeRequest) (filter, int, error) {
	var f filter
	if r.GetEventId() != "" {
		return f, 0, badField("event_id", "is set in the first message, which says what to read")
	}
	if r.GetReply() != nil {
		return f, 0, badField("reply", "is set in the first message, which says what to read")
	}
	if len(r.GetGroup()) > message.MaxKeyName {
		return f, 0, badField("group", "is longer than %d bytes", message.MaxKeyName)
	}
	if len(r.GetEvents()) > maxFilterEvents {
		return f, 0, badField("events", "has %d names, more than %d", len(r.GetEvents()), maxFilterEvents)
	}
	for i, name := range r.GetEvents() {
		if name == "" || len(name) > message.MaxKeyName {
			return f, 0, badField(fmt.Sprintf("events[%d]", i), "is empty or longer than %d bytes", message.MaxKeyName)
		}
	}
	f.events = r.GetEvents()
	for i, t := range r.GetTypes() {
		known := false
		for of, p := range eventTypes {
			if p == t {
				f.types[of], known = true, true
			}
		}
		if !known {
			return f, 0, badField(fmt.Sprintf("types[%d]", i), "%d is no type of event; CONNECT, MESSAGE and DISCONNECT are", t)
		}
	}
	if len(r.GetTypes()) == 0 {
		f.types[message.EventMessage] = true
		if len(f.events) == 0 {
			f.types[message.EventConnect], f.types[message.EventDisconnect] = true, true
		}
	}
	n := r.GetMaxInFlight()
	if n == 0 {
		n = defaultInFlight
	}
	return f, int(min(n, maxInFlight)), nil
}

// readAcks takes acknowledgements until the stream ends. Replies are carried out
// side by side, for they are about different sessions.
func (es *eventService) readAcks(ctx context.Context, stream *subscription, c *consumer) error {
	var replies sync.WaitGroup
	defer replies.Wait()
	slots := make(chan struct{}, repliesAtOnce)
	for {
		r, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if r.GetEventId() == "" {
			return invalid(badField("event_id", "is empty; every message after the first acknowledges an event"))
		}
		en := c.ack(r.GetEventId())
		if en == nil {
			continue // given again to somebody else meanwhile, or never given
		}
		if en.origin != "" {
			es.s.passOn(en, r.GetReply())
			c.done(en)
			continue
		}
		if r.GetReply() == nil {
			c.done(en)
			continue
		}
		slots <- struct{}{}
		replies.Add(1)
		go func() {
			defer replies.Done()
			es.carryOut(context.WithoutCancel(ctx), en.ev, r.GetReply())
			c.done(en)
			<-slots
		}()
	}
}

// carryOut does what a reply says. It ends though the stream may have: the event
// counts as acknowledged, and so somebody must see to the reply. Each step of it
// has a time limit of its own.
func (es *eventService) carryOut(ctx context.Context, e *event, reply *pb.EventReply) {
	es.s.carryOut(ctx, e, e.trace, reply)
	if e.rule.Ack == AckBackend && e.rule.Backend == "" {
		es.s.ackReply(ctx, e, reply)
	}
}
