package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"connectrpc.com/connect"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
	"holdfast/proto/holdfast/v1/holdfastpb/holdfastpbconnect"
)

// pushService is PushService over a Server.
type pushService struct{ s *Server }

var _ holdfastpbconnect.PushServiceHandler = (*pushService)(nil)

// Push routes one message.
func (p *pushService) Push(ctx context.Context, req *connect.Request[pb.PushRequest]) (*connect.Response[pb.PushResponse], error) {
	push, err := p.s.pushOf("", req.Msg, req.Header())
	if err != nil {
		return nil, invalid(err)
	}
	resp, err := p.s.push(ctx, push, req.Msg.GetDedupId())
	if err != nil {
		return nil, rpcError(err)
	}
	return connect.NewResponse(resp), nil
}

// push routes a valid push, unless its dedupID was routed before.
func (s *Server) push(ctx context.Context, p *message.Push, dedupID string) (*pb.PushResponse, error) {
	return s.pushAs(ctx, p, once{dedupID: dedupID, messageID: s.cfg.NewID(), receipts: s.cfg.Receipts})
}

// once says how a push is not made twice.
type once struct {
	dedupID   string
	messageID string // if nobody has tried before
	// receipts of all ws-apis; nil: this one alone is asked whether dedupID was routed.
	receipts Receipts
	since    time.Time // logs may have the message from then on; zero: it was not tried, as far as the caller knows
}

// pushAs does the same with what else is known of the push.
func (s *Server) pushAs(ctx context.Context, p *message.Push, o once) (*pb.PushResponse, error) {
	began := s.cfg.Now()
	elsewhere := false
	resp, again, err := s.pushed.do(ctx, o.dedupID, o.messageID, at, func(messageID string, since time.Time) (resp *pb.PushResponse, err error) {
		p.ID = messageID
		if o.dedupID == "" || o.receipts == nil {
			if since.IsZero() || !o.since.IsZero() && o.since.Before(since) {
				since = o.since
			}
			return s.pushOnce(ctx, p, since)
		}
		resp, elsewhere, err = s.pushClaimed(ctx, p, o.dedupID, o.receipts)
		return resp, err
	})
	if again || elsewhere {
		s.count.pushesAgain.Add(1)
		return resp, nil
	}
	if err != nil {
		s.count.pushErrors.Add(1)
	}
	s.observePush(began, err)
	return resp, err
}

// pushOnce routes a push whose ID is set. since is when it was first tried, zero if it
// was not.
func (s *Server) pushOnce(ctx context.Context, p *message.Push, since time.Time) (*pb.PushResponse, error) {
	s.complete(p)
	st := s.follow(p)
	nodes, err := s.routeAgain(ctx, p, since)
	st.end(s.cfg.Now(), problemOf(err))
	if err != nil {
		return nil, err
	}
	s.count.pushes.Add(1)
	return &pb.PushResponse{MessageId: p.ID, Nodes: nodes}, nil
}

// slot is one request of a stream, and its answer when done is closed.
type slot struct {
	done chan struct{}
	resp *pb.PushResponse
	err  error
}

// PushStream routes many messages. Requests are read ahead, up to a bound; those
// that share no target are worked on side by side, those that do in their order.
func (p *pushService) PushStream(ctx context.Context, stream *connect.BidiStream[pb.PushRequest, pb.PushResponse]) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	slots := make(chan *slot, p.s.limits.StreamAhead)
	// The reader ends when the stream does, at the latest by the return from here,
	// after which Receive fails.
	go func() {
		defer close(slots)
		p.readPushes(ctx, stream, slots)
	}()
	for sl := range slots {
		select {
		case <-sl.done:
		case <-ctx.Done():
			return rpcError(ctx.Err())
		}
		if sl.err != nil {
			return rpcError(sl.err)
		}
		if err := stream.Send(sl.resp); err != nil {
			return err
		}
	}
	return nil
}

func (p *pushService) readPushes(ctx context.Context, stream *connect.BidiStream[pb.PushRequest, pb.PushResponse], slots chan<- *slot) {
	last := make(map[message.Key]*slot) // the newest request for each target
	work := workers{tasks: make(chan func())}
	defer close(work.tasks)
	for {
		req, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return
		}
		sl := &slot{done: make(chan struct{})}
		var push *message.Push
		if err == nil {
			push, err = p.s.pushOf("", req, stream.RequestHeader())
		}
		if err != nil {
			sl.err = err
			close(sl.done)
		}
		select {
		case slots <- sl:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
		before := follow(last, push.Targets, sl, p.s.limits.StreamAhead)
		work.do(func() { // ends by itself: it waits for its predecessors and for ctx
			defer close(sl.done)
			for _, b := range before {
				if <-b.done; b.err != nil {
					// The stream ends with that error. The caller begins again from there, and
					// would find this one before those that it repeats.
					sl.err = b.err
					return
				}
			}
			sl.resp, sl.err = p.s.push(ctx, push, req.GetDedupId())
		})
	}
}

// workers are goroutines that do one task after the other, since a new one for each
// push would have to grow its stack each time. There are as many as tasks have been
// under way at once; they end when tasks is closed.
type workers struct{ tasks chan func() }

// do lets an idle worker do f, or a new one. It does not wait.
func (w *workers) do(f func()) {
	select {
	case w.tasks <- f:
	default:
		go func() {
			f()
			for next := range w.tasks {
				next()
			}
		}()
	}
}

// follow enters sl as the newest for its targets, and returns those that it comes
// after. The map forgets what is done when it has grown.
func follow(last map[message.Key]*slot, targets []message.Key, sl *slot, ahead int) (before []*slot) {
	for _, key := range targets {
		if b := last[key]; b != nil && b != sl {
			before = append(before, b)
		}
		last[key] = sl
	}
	if len(last) > 16*ahead {
		for key, b := range last {
			select {
			case <-b.done:
				delete(last, key)
			default:
			}
		}
	}
	return before
}

// PushAndWait routes one message and collects the clients' acknowledgements.
func (p *pushService) PushAndWait(ctx context.Context, req *connect.Request[pb.PushRequest]) (*connect.Response[pb.PushAndWaitResponse], error) {
	push, err := p.s.pushOf("", req.Msg, req.Header())
	if err != nil {
		return nil, invalid(err)
	}
	timeout := p.s.limits.AckTimeout
	if d := req.Msg.GetAckTimeout(); d != nil {
		timeout = d.AsDuration()
		if !d.IsValid() || timeout <= 0 || timeout > p.s.limits.MaxAck {
			return nil, invalid(badField("ack_timeout", "is not above 0 and at most %v", p.s.limits.MaxAck))
		}
	}
	resp, err := p.s.pushWait(ctx, push, timeout, req.Msg.GetDedupId())
	if err != nil {
		return nil, rpcError(err)
	}
	return connect.NewResponse(resp), nil
}

// pushAndWait makes a push whose ID is set. ask is called before anybody is asked, and
// its error ends it; nil: nobody wants to know.
func (s *Server) pushAndWait(ctx context.Context, p *message.Push, timeout time.Duration, ask func() error) (resp *pb.PushAndWaitResponse, err error) {
	s.complete(p)
	st := s.follow(p)
	defer func() { st.end(s.cfg.Now(), problemOf(err)) }()
	places, err := s.places(ctx, p, false, true, time.Time{})
	if err != nil {
		s.count.pushErrors.Add(1)
		return nil, err
	}
	k, err := s.calls.begin(s.cfg.NewID(), true)
	if err != nil {
		return nil, err
	}
	defer s.calls.end(k)
	if ask != nil {
		if err := ask(); err != nil {
			return nil, err
		}
	}
	waitCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	pushed := s.cfg.Now()
	expires := pushed.Add(timeout)
	s.observe(Appended, p.Received, pushed)
	asked := byNode(places)
	for _, n := range asked {
		k.ask(n.node)
		d := &message.Down{
			Push: &message.Delivery{Push: p, Stamps: n.stamps, WantAcks: true, Pushed: pushed},
			Call: k.id, ReplyTo: s.cfg.ID, Expires: expires,
		}
		if err := s.send(waitCtx, n.node, d); err != nil {
			k.fail(n.node, err)
		}
	}
	k.seal()
	s.observe(Pushed, pushed, s.cfg.Now())
	s.count.pushes.Add(1)
	if err := k.wait(waitCtx); err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("wait for acknowledgements: %w", ctx.Err()) // the caller has gone, or this ws-api goes
	}
	o := k.outcome()
	if len(asked) > 0 && len(o.failed) == len(asked) && o.clients == 0 {
		return nil, o.failure()
	}
	resp = &pb.PushAndWaitResponse{
		MessageId:   p.ID,
		Missing:     o.missing(),
		FailedNodes: uint32(len(o.failed) + len(o.silent)),
	}
	for _, a := range o.acks {
		resp.Acks = append(resp.Acks, &pb.Ack{Client: a.Client, Payload: payloadToProto(&a.Payload)})
	}
	return resp, nil
}

// payloadToProto shares the payload's bytes, except for the text of JSON.
func payloadToProto(p *message.Payload) *pb.Payload {
	out := &pb.Payload{Json: string(p.JSON), Msgpack: p.Msgpack, Attachments: p.Attachments}
	if out.Json == "" && len(out.Msgpack) == 0 {
		out.Json = "[]"
	}
	return out
}
