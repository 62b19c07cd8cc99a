package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
)

// decide asks the backend whether a client may come in, tells its node, and when
// the client has its answer, does what else the reply asked for. The session's
// next event waits until then.
func (s *Server) decide(ctx context.Context, d *dispatcher, e *event) {
	reply, f, trace := d.call(ctx, e)
	var v *message.Verdict
	if f == nil {
		var err error
		if v, err = s.verdictOf(e.up, reply); err != nil {
			f = &failure{codeInternal, fmt.Sprintf("backend %s gave an answer that is not valid", d.cfg.Name), err}
			d.errors.warn(s.log, err.Error(), "a backend's verdict is not valid", "backend", d.cfg.Name, "event", e.up.ID, "trace_id", e.up.TraceID, "error", err)
		}
	}
	if f != nil {
		s.refuse(ctx, e, f)
		return
	}
	if v.Reject != nil {
		s.count.rejected.Add(1)
		s.sendVerdict(ctx, e, v)
		s.replyPushes(ctx, e, trace, reply.GetPushes())
		return
	}
	s.admit(ctx, e, v, trace, reply)
}

// refuse rejects a client because nobody could decide about it.
func (s *Server) refuse(ctx context.Context, e *event, f *failure) {
	s.count.rejected.Add(1)
	s.sendVerdict(ctx, e, &message.Verdict{
		Client: e.up.Client.ID,
		Reject: &message.Reject{Message: f.message, Data: f.data()},
	})
}

// sendVerdict sends a verdict whose arrival nothing depends on.
func (s *Server) sendVerdict(ctx context.Context, e *event, v *message.Verdict) {
	st := s.begin("verdict", message.SpanProducer, e.trace, s.cfg.Now())
	err := s.sendToClient(ctx, e.up.Client, &message.Down{Verdict: v})
	st.end(s.cfg.Now(), problemOf(err))
	if err != nil {
		s.count.unanswered.Add(1)
		s.log.Debug("a verdict was lost", "event", e.up.ID, "trace_id", e.up.TraceID, "client", e.up.Client.ID, "error", err)
	}
}

// admit lets a client in. reply is nil when no backend was asked; trace is the
// traceparent of where it came from.
func (s *Server) admit(ctx context.Context, e *event, v *message.Verdict, trace string, reply *pb.EventReply) {
	st := s.begin("verdict", message.SpanProducer, e.trace, s.cfg.Now())
	o, err := s.call(ctx, []string{e.up.Client.Node}, message.Down{Verdict: v})
	if err == nil {
		err = o.failure()
	}
	st.end(s.cfg.Now(), problemOf(err))
	if err != nil || o.gone > 0 {
		// The client, or its node, has gone meanwhile: nobody came in.
		s.count.unanswered.Add(1)
		s.log.Debug("a verdict was lost", "event", e.up.ID, "trace_id", e.up.TraceID, "client", e.up.Client.ID, "error", err)
		return
	}
	s.count.accepted.Add(1)
	known := *e.up // what is published is never changed, so others see a copy
	client := *e.up.Client
	if v.UID != "" {
		client.UID = v.UID
	}
	if v.Profile != "" {
		client.Profile = v.Profile
	}
	known.Client, known.Rooms = &client, v.JoinRooms

	s.replyPushes(ctx, e, trace, reply.GetPushes())
	if s.presence != nil {
		s.presence.move(&client, v.JoinRooms, true)
	}
	s.notifyGroups(e.derive(&known))
}

// derive returns an event with another content that keeps e held. Its maker holds
// it.
func (e *event) derive(up *message.Up) *event {
	e.hold()
	d := &event{s: e.s, up: up, rule: &Rule{Ack: AckNone}, dequeued: e.dequeued, routed: e.routed, trace: e.trace, settled: e.release}
	d.holders.Store(1)
	return d
}

// notifyGroups offers an event to the subscribers and gives it up.
func (s *Server) notifyGroups(e *event) {
	s.groups.offer(e)
	e.release()
}

var (
	errNotObject = errors.New("is not a JSON object")
	errNotJSON   = errors.New("is not JSON")
)

// verdictOf makes a verdict of a reply.
func (s *Server) verdictOf(up *message.Up, r *pb.EventReply) (*message.Verdict, error) {
	v := &message.Verdict{Client: up.Client.ID, UID: r.GetUid(), Profile: r.GetProfile(), JoinRooms: r.GetJoinRooms()}
	if r.GetReject() != "" || r.GetRejectData() != "" {
		v.Reject = &message.Reject{Message: r.GetReject()}
		if v.Reject.Message == "" {
			v.Reject.Message = "rejected"
		}
		if data := r.GetRejectData(); data != "" {
			if !json.Valid([]byte(data)) {
				return nil, &fieldError{"reject_data", errNotJSON}
			}
			v.Reject.Data = []byte(data)
		}
		return v, nil
	}
	if v.UID != "" {
		if err := message.CheckName(v.UID); err != nil {
			return nil, &fieldError{"uid", err}
		}
	}
	if v.Profile != "" && !isJSONObject(v.Profile) {
		return nil, &fieldError{"profile", errNotObject}
	}
	if err := s.checkRooms("join_rooms", v.JoinRooms); err != nil {
		return nil, err
	}
	return v, nil
}
