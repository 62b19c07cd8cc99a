package api

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"holdfast/internal/message"
)

// intake takes events off the bus and does with each what its rule says. A session
// belongs to one of its lanes, so that its events stay in order, while the stores
// that some of them need are asked from many lanes at once.
type intake struct {
	s     *Server
	seed  maphash.Seed
	lanes [lanes]chan *event
	bytes *semaphore.Weighted
	held  atomic.Int64 // what is acquired of bytes
	done  sync.WaitGroup

	mu     sync.RWMutex // read-locked while an event enters
	closed bool
}

const lanes = 64

func newIntake(s *Server) *intake {
	in := &intake{s: s, seed: maphash.MakeSeed(), bytes: semaphore.NewWeighted(int64(s.limits.IntakeBytes))}
	for i := range in.lanes {
		in.lanes[i] = make(chan *event, s.limits.LaneItems)
	}
	return in
}

func (in *intake) start() {
	for _, lane := range in.lanes {
		in.done.Add(1)
		in.s.spawn(func() {
			defer in.done.Done()
			for e := range lane {
				in.s.handle(in.s.base, e)
				in.bytes.Release(in.weight(e))
				in.held.Add(-in.weight(e))
				e.release()
			}
		})
	}
}

// close lets the lanes do what they have, and waits for that.
func (in *intake) close() {
	in.mu.Lock() // once those that wait for room have got it
	in.closed = true
	in.mu.Unlock()
	for _, lane := range in.lanes {
		close(lane)
	}
	in.done.Wait()
}

// weight is what an event takes of the bound; one beyond it takes all.
func (in *intake) weight(e *event) int64 {
	return int64(min(e.size(), in.s.limits.IntakeBytes))
}

// take is called by the bus for each event. It waits while its lane is full. Once
// the intake is closed, an event is left as it is, unsettled.
func (in *intake) take(up *message.Up, settled func()) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	if in.closed {
		return
	}
	in.s.count.events.Add(1)
	if in.s.concernsNobody(up) {
		settled()
		return
	}
	e := in.s.newEvent(up, settled)
	in.s.observe(Dequeued, up.Enqueued, e.dequeued)
	in.s.begin("consume", message.SpanConsumer, up.TraceParent, up.Enqueued).end(e.dequeued, "")
	// Lanes never stop working while events come, so this ends.
	if err := in.bytes.Acquire(context.Background(), in.weight(e)); err != nil {
		e.release()
		return
	}
	in.held.Add(in.weight(e))
	in.lanes[maphash.String(in.seed, e.session())%lanes] <- e
}

func (in *intake) waiting() int {
	n := 0
	for _, lane := range in.lanes {
		n += len(lane)
	}
	return n
}

// concernsNobody tells whether nothing is to be done with an event: its node has
// answered it or it needs no answer, its rule only stores it, nobody is subscribed and
// nobody is to be told who is there. Such an event needs no turn in its lane.
func (s *Server) concernsNobody(up *message.Up) bool {
	if up.WantsAck && !up.Acked || up.WantVerdict || up.Client == nil {
		return false
	}
	if up.Type != message.EventMessage && s.presence != nil {
		return false
	}
	r := s.rules.match(up)
	if r.Backend != "" || r.Relay != RelayNone || r.Drop || r.Ack == AckBackend || !s.groups.none() {
		return false
	}
	s.rules.count(r)
	s.observe(Dequeued, up.Enqueued, s.cfg.Now())
	return true
}

// handle does with an event what its rule says.
func (s *Server) handle(ctx context.Context, e *event) {
	up := e.up
	if up.Client == nil {
		s.log.Error("an event without a client came from the bus", "event", up.ID)
		return
	}
	if _, ok := e.mine(); !ok {
		return
	}
	e.rule = s.rules.match(up)
	s.rules.count(e.rule)
	e.routed = s.cfg.Now()
	s.observe(Routed, e.dequeued, e.routed)
	st := s.begin("route", message.SpanInternal, up.TraceParent, e.dequeued)
	st.say("holdfast.route", e.rule.Event)
	e.trace = st.trace(e.trace)
	defer func() { st.end(s.cfg.Now(), "") }()
	switch up.Type {
	case message.EventConnect:
		if up.WantVerdict {
			s.askVerdict(ctx, e)
			return
		}
		if s.presence != nil {
			s.presence.move(up.Client, up.Rooms, true)
		}
	case message.EventDisconnect:
		if s.presence != nil {
			s.presence.move(up.Client, up.Rooms, false)
		}
	}
	if e.rule.Drop {
		s.count.eventsDropped.Add(1)
		if e.rule.Ack == AckDurable {
			e.ack(ctx, message.Payload{JSON: emptyArgs})
		}
		return
	}
	if !s.relayable(ctx, e) {
		return
	}
	if name := e.rule.Backend; name != "" && !s.backends[name].offer(e) {
		// Before the durable ack, so that nothing is acknowledged and then dropped.
		e.ackError(ctx, &failure{
			code:    codeResourceExhausted,
			message: fmt.Sprintf("too many events are waiting for backend %s", name),
		})
	}
	s.answerAndRelay(ctx, e)
	taken := s.groups.offer(e)
	if e.rule.Ack == AckBackend && e.rule.Backend == "" && taken == 0 {
		e.ackError(ctx, &failure{code: codeUnavailable, message: "no backend is subscribed to this event"})
	}
}

// relayable tells whether the event may be sent on, and answers it if not.
func (s *Server) relayable(ctx context.Context, e *event) bool {
	n := len(e.up.Payload.Attachments)
	if e.rule.Relay == RelayNone || n <= s.limits.Attachments {
		return true
	}
	s.count.relayErrors.Add(1)
	f := &failure{code: codeInvalidArgument, message: fmt.Sprintf(
		"%d attachments are more than the %d that can be sent on", n, s.limits.Attachments)}
	s.relayErrors.warn(s.log, f.code, "an event was not relayed", "event", e.up.ID, "trace_id", e.up.TraceID, "name", e.up.Name, "error", f)
	e.ackError(ctx, f)
	return false
}

// answerAndRelay does what needs no backend.
func (s *Server) answerAndRelay(ctx context.Context, e *event) {
	if e.rule.Ack == AckDurable {
		e.ack(ctx, message.Payload{JSON: emptyArgs})
	}
	if e.rule.Relay != RelayNone {
		s.relay(ctx, e)
	}
}

// relay sends an event on to the rooms that its sender was in. The push has the
// event's ID: should the bus give the event again after a crash, the logs tell whether
// they have the message.
func (s *Server) relay(ctx context.Context, e *event) {
	up := e.up
	if len(up.Rooms) == 0 || reserved(up.Name) {
		return
	}
	p := &message.Push{
		ID:          up.ID,
		Event:       up.Name,
		Payload:     up.Payload,
		Volatile:    e.rule.Volatile,
		TraceID:     up.TraceID,
		TraceParent: e.trace,
		Sender:      up.Client.ID,
	}
	if e.rule.Relay == RelayOthers {
		p.Filter = &message.Filter{ExceptClients: []string{message.PublicID(up.Client.ID)}}
	}
	if e.rule.Collapse {
		// One for each sender: ann's cursor does not replace bob's.
		p.CollapseKey = up.Name + "\x00" + up.Client.ID
	}
	for _, room := range up.Rooms {
		p.Targets = append(p.Targets, message.RoomKey(up.Client.Namespace, room))
	}
	s.complete(p)
	st := s.follow(p)
	err := s.relaySurely(ctx, e, p)
	if errors.Is(err, errElsewhere) {
		st.end(s.cfg.Now(), "")
		return
	}
	st.end(s.cfg.Now(), problemOf(err))
	if err != nil {
		s.count.relayErrors.Add(1)
		s.relayErrors.warn(s.log, "", "an event was not relayed", "event", up.ID, "trace_id", up.TraceID, "name", up.Name, "error", err)
		return
	}
	s.count.relayed.Add(1)
}

// askVerdict queues a CONNECT that waits to be decided about.
func (s *Server) askVerdict(ctx context.Context, e *event) {
	name := s.rules.connectBackend()
	if name == "" {
		// The gateway's rules differ from ours: it asks though nobody is to be asked.
		s.admit(ctx, e, &message.Verdict{Client: e.up.Client.ID, JoinRooms: e.up.Rooms}, e.trace, nil)
		return
	}
	if !s.backends[name].offer(e) {
		s.refuse(ctx, e, &failure{
			code:    codeResourceExhausted,
			message: fmt.Sprintf("too many clients are waiting for backend %s, try again", name),
		})
	}
}

// Buried is told of clients whose node has died: it does what their DISCONNECTs
// would have done, which that node cannot send any more. It waits while the intake
// is full, and does nothing once Run's context has ended.
func (s *Server) Buried(clients []message.ClientInfo) {
	now := s.cfg.Now()
	for i := range clients {
		c := &clients[i]
		s.intake.take(&message.Up{
			ID: s.cfg.NewID(), Type: message.EventDisconnect, Client: &c.Client, Rooms: c.Rooms,
			Order: c.ID, Session: c.ID, Reason: "transport error", Payload: message.Payload{JSON: emptyArgs},
			Received: now, Enqueued: now,
		}, func() {})
	}
}

// Returned is told of one of them whose node has only stood still, and has the client
// as before: rooms hear that it is back.
func (s *Server) Returned(c message.ClientInfo) {
	if s.presence != nil {
		s.presence.move(&c.Client, c.Rooms, true)
	}
}
