package api

import (
	"context"
	"errors"
	"fmt"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
)

// serve asks a backend about an event that needs no verdict, and carries its reply
// out.
func (s *Server) serve(ctx context.Context, d *dispatcher, e *event) {
	reply, f, trace := d.call(ctx, e)
	if f != nil {
		if e.rule.Ack == AckBackend {
			e.ackError(ctx, f)
		}
		return
	}
	s.carryOut(ctx, e, trace, reply)
	if e.rule.Ack == AckBackend {
		s.ackReply(ctx, e, reply)
	}
}

// carryOut does what a reply asks for, except for the acknowledgement: rooms
// first, so that its pushes find the client in those that it was put into. trace is
// the traceparent of where the reply came from.
func (s *Server) carryOut(ctx context.Context, e *event, trace string, reply *pb.EventReply) {
	client := e.up.Client
	if e.up.Type == message.EventConnect && reply.GetReject() != "" {
		// Nobody waits for a verdict: the client is in already.
		s.replyProblem(e, s.expel(ctx, client, reply.GetReject()))
		return
	}
	if e.up.Type != message.EventDisconnect {
		s.replyProblem(e, s.moveClient(ctx, client, "leave_rooms", reply.GetLeaveRooms(), false))
		s.replyProblem(e, s.moveClient(ctx, client, "join_rooms", reply.GetJoinRooms(), true))
	}
	s.replyPushes(ctx, e, trace, reply.GetPushes())
}

// replyPushes routes the pushes of a reply in their order.
func (s *Server) replyPushes(ctx context.Context, e *event, trace string, pushes []*pb.PushRequest) {
	for i, r := range pushes {
		p, err := s.pushOf(fmt.Sprintf("pushes[%d].", i), r, nil)
		if err == nil {
			if p.TraceID == "" {
				p.TraceID = e.up.TraceID
			}
			if p.TraceParent == "" {
				p.TraceParent = trace
			}
			_, err = s.push(ctx, p, r.GetDedupId())
		}
		s.replyProblem(e, err)
	}
}

// replyProblem counts and logs that a part of a reply could not be carried out:
// nobody is left to be told.
func (s *Server) replyProblem(e *event, err error) {
	if err == nil {
		return
	}
	s.count.replyErrors.Add(1)
	s.replyErrors.warn(s.log, err.Error(), "a part of a reply was not carried out", "event", e.up.ID, "trace_id", e.up.TraceID, "name", e.up.Name, "error", err)
}

// ackReply answers the client with what a reply says, [] when it says nothing.
func (s *Server) ackReply(ctx context.Context, e *event, reply *pb.EventReply) {
	if !e.up.WantsAck {
		return
	}
	p, err := s.payloadOf("ack", reply.GetAck(), s.limits.Attachments)
	if err != nil {
		s.replyProblem(e, err)
		e.ackError(ctx, &failure{codeInternal, "the backend's acknowledgement is not valid", err})
		return
	}
	e.ack(ctx, p)
}

var errClientGone = errors.New("the client has gone")

// moveClient puts one client into rooms, or takes it out, and waits until it is done.
func (s *Server) moveClient(ctx context.Context, c *message.Client, field string, rooms []string, join bool) error {
	if len(rooms) == 0 {
		return nil
	}
	if err := s.checkRooms(field, rooms); err != nil {
		return err
	}
	o, err := s.callClient(ctx, c, membershipDown(message.ClientKey(c.Namespace, c.ID), rooms, join))
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	if o.clients == 0 {
		return fmt.Errorf("%s: %w", field, errClientGone)
	}
	if s.presence != nil {
		s.presence.move(c, rooms, join)
	}
	return nil
}

// expel closes a client that a backend does not want.
func (s *Server) expel(ctx context.Context, c *message.Client, reason string) error {
	_, err := s.callClient(ctx, c, message.Down{Disconnect: &message.Disconnect{
		To: message.ClientKey(c.Namespace, c.ID), Reason: reason,
	}})
	if err != nil {
		return fmt.Errorf("disconnect the client that was rejected: %w", err)
	}
	return nil
}

// callClient makes a call about one client to the node that held it when it sent
// its event, and where that one knows it no more, to the one that holds it now.
func (s *Server) callClient(ctx context.Context, c *message.Client, d message.Down) (outcome, error) {
	o, err := s.call(ctx, []string{c.Node}, d)
	if err == nil && o.clients == 0 {
		if now, lookup := s.cfg.Registry.Client(ctx, c.ID); lookup == nil && now.Node != c.Node {
			o, err = s.call(ctx, []string{now.Node}, d)
		}
	}
	if err != nil {
		return o, err
	}
	return o, o.failure()
}
