package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"holdfast/engineio"
	"holdfast/internal/hub"
	"holdfast/internal/message"
	"holdfast/internal/session"
	"holdfast/wsframe"
)

// arrival is a WebSocket that tries to take over a session of another node.
type arrival struct {
	call  sessionCall // says which session, and whose attempt it is
	owner string
	step  step
	held  []heldFrame // what the client has sent since its 5, while nothing more is read
	conn  *conn       // from when the session is here
}

type heldFrame struct {
	op      wsframe.Opcode
	payload []byte
}

// step is how far an arrival has got.
type step uint8

const (
	probing step = iota // the client has not said 2probe
	asking              // the owner has not answered that
	probed              // the client has its 3probe
	taking              // it has said 5
	lost                // and is gone meanwhile
)

// upgradeElsewhere brings the socket on which a client of another node tries the
// WebSocket.
func (h *request) upgradeElsewhere() {
	owner := h.owner()
	if owner == "" {
		h.fail(engineio.UnknownSession, "")
		return
	}
	id, err := h.g.cfg.IDs.Secret()
	if err != nil {
		h.busy("no session can be taken over at the moment")
		return
	}
	a := &arrival{owner: owner, call: sessionCall{SID: h.q.sid, ID: id, Node: h.g.cfg.Node}}
	ctx, cancel := context.WithTimeout(h.r.Context(), probeTime)
	defer cancel()
	status, err := h.g.ask(ctx, owner, pathProbe, &a.call, nil)
	if err != nil && status != http.StatusConflict {
		h.fail(engineio.UnknownSession, "")
		return
	}
	free := status == http.StatusOK
	done := false
	defer func() {
		if free && !done {
			h.g.tell(owner, pathLeave, &a.call)
		}
	}()
	if h.r.Method != http.MethodGet {
		h.fail(engineio.BadHandshakeMethod, "")
		return
	}
	key, ok := h.handshakeKey()
	if !ok {
		return
	}
	s := &socket{sh: h.g.shardOf(h.q.sid), probe: true, arrival: a}
	nc, first, err := h.hijack(key, s)
	if err != nil {
		return
	}
	if !free {
		h.g.turnAway(nc)
		return
	}
	sh := s.sh
	done = sh.inbox.post(func() {
		sh.probes[s] = sh.now + sh.g.cfg.UpgradeTimeout.Milliseconds()
		if err := sh.attach(s, nc, first); err != nil {
			delete(sh.probes, s)
			sh.lostArrival(s)
			_ = nc.Close()
		}
	})
	if !done {
		_ = nc.Close()
	}
}

// arrivalFrame takes one message from such a socket.
func (s *socket) arrivalFrame(op wsframe.Opcode, payload []byte) error {
	a, sh := s.arrival, s.sh
	switch {
	case a.step == taking:
		a.held = append(a.held, heldFrame{op, append([]byte(nil), payload...)})
		return nil
	case op == wsframe.Text && a.step == probing && string(payload) == "2probe":
		a.step = asking
		sh.g.wg.Go(func() {
			ctx, cancel := context.WithTimeout(sh.g.ctx, probeTime)
			defer cancel()
			_, err := sh.g.ask(ctx, a.owner, pathPing, &a.call, nil)
			sh.inbox.post(func() { s.pinged(err) })
		})
		return nil
	case op == wsframe.Text && a.step == probed && string(payload) == "5":
		a.step = taking
		delete(sh.probes, s)
		s.nc.PauseReading()
		sh.g.wg.Go(func() { sh.g.take(s) })
		return nil
	}
	s.fail(wsframe.PolicyViolation, "not an upgrade")
	return errStop
}

// pinged goes on when the owner has taken the client's 2probe.
func (s *socket) pinged(err error) {
	switch {
	case s.closed:
	case err != nil:
		s.fail(wsframe.PolicyViolation, "the session cannot be taken over")
	default:
		s.arrival.step = probed
		s.write(whole(wsframe.AppendFrame(nil, wsframe.Text, false, []byte("3probe"))))
	}
}

// lostArrival says that the socket of an arrival is gone. One that has its session
// already goes through to the end, where that is looked at.
func (sh *shard) lostArrival(s *socket) {
	a := s.arrival
	if a.step == taking {
		a.step = lost
		return
	}
	if a.step < taking {
		sh.g.wg.Go(func() { sh.g.tell(a.owner, pathLeave, &a.call) })
	}
}

// take fetches the session from its owner, off the shard.
func (g *Gateway) take(s *socket) {
	a := s.arrival
	ctx, cancel := context.WithTimeout(g.ctx, g.cfg.VerdictTimeout+takeTime)
	defer cancel()
	hand := &handover{}
	_, err := g.ask(ctx, a.owner, pathTake, &a.call, hand)
	if err == nil && hand.Session.ID != a.call.SID {
		err = errors.New("that is another session")
	}
	posted := s.sh.inbox.post(func() {
		if err == nil {
			a.conn, err = s.sh.adopt(hand, s, nil)
		}
		if err != nil {
			g.cfg.Logger.Info("a session cannot be taken over", "session", message.PublicID(a.call.SID), "owner", a.owner, "err", err)
			s.sh.giveBack(s)
		}
	})
	if !posted {
		g.tell(a.owner, pathLeave, &a.call)
	}
}

// giveBack leaves the session to its owner.
func (sh *shard) giveBack(s *socket) {
	a := s.arrival
	a.step = lost
	s.close(wsframe.TryAgainLater, "the session cannot be taken over")
	sh.g.wg.Go(func() { sh.g.tell(a.owner, pathLeave, &a.call) })
}

// adopt makes a session of a handover and has its memberships written: one that comes
// with the socket s from another node, or one that home had frozen.
func (sh *shard) adopt(hand *handover, s *socket, home *departure) (*conn, error) {
	public := message.PublicID(hand.Session.ID)
	e := sh.g.endpoint(hand.Path)
	if e == nil || e.Path != hand.Path {
		return nil, fmt.Errorf("there is no endpoint %s here", hand.Path)
	}
	if sh.sessions[public] != nil {
		return nil, errors.New("a session of this ID is here already")
	}
	c := &conn{remote: hand.Remote, order: hand.Order, from: hand.origin(sh.g), passage: &passage{hand: make(map[*client]struct{})}}
	if err := c.session.Restore(&e.session, &hand.Session, sh.now); err != nil {
		return nil, err
	}
	clients := c.session.Clients()
	if len(clients) != len(hand.Clients) {
		return nil, errors.New("its clients are not those of its session")
	}
	c.timer.Value = c
	sh.sessions[public] = c
	sh.away.arriving++
	sh.g.Stats.Sessions.Add(1)
	sh.g.admission.adopt(c.remote)
	var exits []message.Key
	if s != nil {
		c.session.Probe([]byte("5"), sh.now)
		c.passage.probing, c.passage.from = s, s.arrival.owner
		s.conn = c
	} else {
		c.session.ProbeLost()
		exits = home.frozen.exits
	}
	for i, sc := range clients {
		cl := sh.adoptClient(c, sc, &hand.Clients[i])
		c.passage.hand[cl] = struct{}{}
		sh.takeCalls(c, cl, hand.Clients[i].Acks, home, i)
	}
	waits := len(clients)
	written := func() {
		if waits--; waits == 0 {
			sh.adopted(c, s)
		}
	}
	for i, sc := range clients {
		var exit []message.Key
		if i == len(clients)-1 { // after all have entered, so that no room is left in between
			exit = exits
		}
		sh.takeSeats(sc.Owner.(*client), &hand.Clients[i], exit, written)
	}
	if len(clients) == 0 {
		sh.inbox.post(func() { sh.adopted(c, s) })
	}
	sh.settle(c)
	return c, nil
}

// adoptClient makes one client of a session that is adopted.
func (sh *shard) adoptClient(c *conn, sc *session.Client, h *handedClient) *client {
	was := &h.Info
	back := &comeback{stood: slices.Clone(h.Seats)}
	cl := &client{sock: sc, conn: c, id: was.ID, uid: was.UID, since: was.ConnectedAt.UnixNano(), known: true, asked: h.Asked, entry: &entry{back: back}}
	cl.traits = traits{authType: was.AuthType, clientVersion: was.ClientVersion, locale: was.Locale, profile: was.Profile}.keep()
	sc.Owner = cl
	for _, id := range h.Recent {
		cl.hadBefore(id, true)
	}
	for _, id := range h.Lately {
		sh.first(cl, id)
	}
	sh.clients[cl.id] = cl
	return cl
}

// takeCalls notes which pushes wait for the client's acknowledgement: here, or where it
// came from.
func (sh *shard) takeCalls(c *conn, cl *client, acks []uint64, home *departure, index int) {
	for _, id := range acks {
		if home != nil {
			if call := sh.calls[id]; call != nil {
				delete(call.waiting, home.frozen.old[index])
				call.waiting[cl] = struct{}{}
			}
			continue
		}
		if c.passage.acks == nil {
			c.passage.acks = make(map[askedAt]bool)
		}
		c.passage.acks[askedAt{cl, id}] = true
		sh.nextAck = max(sh.nextAck, id) // what the client is asked from now on has other IDs
	}
}

// takeSeats gives an adopted client its places and has them written; written is called
// on the shard then.
func (sh *shard) takeSeats(cl *client, h *handedClient, exits []message.Key, written func()) {
	back := cl.entry.back
	own := message.ClientKey(cl.sock.Namespace, cl.id)
	keys := make([]message.Key, 0, len(h.Seats)+1)
	known := false
	for _, p := range h.Seats {
		keys = append(keys, p.Key)
		known = known || p.Key == own
	}
	if !known {
		// Nothing has been sent to it alone that it had. What is on its way now is found in
		// the log.
		keys = append(keys, own)
		back.stood = append(back.stood, message.Place{Key: own})
	}
	enter, fresh := sh.seat(cl, keys)
	cl.shareNames()
	if r := h.Recover; r != nil {
		cl.recover = &recover{pid: r.PID, tag: r.Tag, uid: r.UID, gen: r.Gen, claim: r.Claim, used: true, returned: r.Returned, had: r.Had}
		for _, p := range r.Places {
			if room := sh.hub.Room(p.Key); room != nil {
				cl.recover.places = append(cl.recover.places, savedPlace{room, p.Position})
			}
		}
	}
	sh.g.registrar.submit(op{
		changes: []message.Change{sh.change(message.ChangeConnect, cl, h.Rooms)},
		heads:   enter,
		done: func(heads []message.Position) {
			sh.inbox.post(func() {
				sh.goLive(fresh, heads)
				written()
			})
		},
	}, enter, exits)
}

// adopted goes on when the memberships of all clients are written: the owner is told,
// unless the session has come back here.
func (sh *shard) adopted(c *conn, s *socket) {
	if c.dropped {
		if s != nil {
			sh.giveBack(s)
		}
		return
	}
	if s == nil {
		sh.followUp(c)
		return
	}
	a := s.arrival
	sh.g.wg.Go(func() {
		owned, err := sh.g.confirm(a)
		sh.inbox.post(func() {
			switch {
			case c.dropped:
				sh.tellGone(c, a.owner)
			case err != nil:
				sh.g.cfg.Logger.Info("a session cannot be taken over", "session", message.PublicID(a.call.SID), "owner", a.owner, "err", err)
				sh.disown(c, owned)
			default:
				sh.g.Stats.MovedIn.Add(1)
				sh.followUp(c)
			}
		})
	})
}

// confirm tells the owner that the session is this node's now, until it answers. On an
// error the session is not: owned says that the owner has it again, else it is dead.
func (g *Gateway) confirm(a *arrival) (owned bool, err error) {
	ctx, cancel := context.WithTimeout(g.ctx, confirmTime*time.Millisecond/2)
	defer cancel()
	for wait := 50 * time.Millisecond; wait < time.Second; wait *= 2 {
		var status int
		if status, err = g.ask(ctx, a.owner, pathTaken, &a.call, nil); err == nil || status == http.StatusGone {
			return status == http.StatusGone, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	// It may have heard it, and only its answer was lost.
	switch status, lost := g.ask(ctx, a.owner, pathLeave, &a.call, nil); {
	case status == http.StatusConflict:
		return false, nil
	default:
		return lost == nil, err
	}
}

// disown drops a session that was not got. When the owner has it again, nobody else
// hears of that; else backends hear from here that its clients are gone.
func (sh *shard) disown(c *conn, owned bool) {
	if owned {
		for _, sc := range c.session.Clients() {
			cl := sc.Owner.(*client)
			cl.asked, cl.recover = false, nil
		}
	}
	c.session.Lost(session.TransportClose, &sh.acts)
	sh.settle(c)
}

// followUp fetches what the clients' rooms have had since they stood still.
func (sh *shard) followUp(c *conn) {
	clients := c.session.Clients()
	if len(clients) == 0 {
		sh.goOn(c)
		return
	}
	for _, sc := range clients {
		cl := sc.Owner.(*client)
		back := cl.entry.back
		for i := range back.stood {
			p := &back.stood[i]
			if room := sh.hub.Room(p.Key); p.Seq == 0 && room != nil {
				p.Epoch = room.Log.Epoch
			}
		}
		back.places = slices.Clone(back.stood)
		sh.catchUp(cl)
		if c.dropped {
			return
		}
	}
}

// cameOver lets an adopted client have what its rooms get from here on.
func (sh *shard) cameOver(cl *client, back *comeback) {
	c := cl.conn
	cl.entry = nil
	cl.accepted = true
	sh.g.Stats.count(&c.session, 1)
	if !sh.g.cfg.Recovery {
		sh.leaveOwn(cl, back)
	}
	for i := range cl.seats {
		sh.active[cl.seats[i].Room] = sh.now // what was sent last may have gone to the node that it left
	}
	sh.settle(c)
	delete(c.passage.hand, cl)
	if len(c.passage.hand) == 0 {
		sh.goOn(c)
	}
}

// leaveOwn gives the room of a client's own key up if nothing has come there; see
// [shard.room].
func (sh *shard) leaveOwn(cl *client, back *comeback) {
	own := message.ClientKey(cl.sock.Namespace, cl.id)
	for _, p := range back.stood {
		room := sh.hub.Room(own)
		if p.Key != own || p.Seq != 0 || room == nil {
			continue
		}
		if seat := hub.SeatOf(cl, room); seat != nil && seat.Seq == 0 && len(sh.early[room]) == 0 {
			sh.hub.Leave(cl, own)
			sh.abandon(room)
		}
	}
}

// goOn has a session go on whose clients are all through: first with what has waited
// for it.
func (sh *shard) goOn(c *conn) {
	p := c.passage
	s := p.probing
	later := p.later
	p.hand, p.later, p.probing = nil, nil, nil
	sh.away.arriving--
	c.tidyPassage()
	var a *arrival
	if s != nil {
		a = s.arrival
		s.arrival, s.probe = nil, false
		if a.step != lost {
			c.sock = s // before what has waited, which may close it
			sh.g.Stats.Upgrades.Add(1)
		}
	}
	for _, run := range later {
		run()
	}
	if s == nil {
		sh.settle(c)
		return
	}
	if a.step == lost {
		c.session.Lost(session.TransportClose, &sh.acts)
		sh.settle(c)
		return
	}
	sh.settle(c)
	for _, f := range a.held {
		if s.closed {
			return
		}
		if err := s.frame(f.op, f.payload); err != nil {
			var bad *wsframe.Error
			if errors.As(err, &bad) {
				s.fault(bad)
			}
			return
		}
	}
	if !s.closed && !c.paused {
		s.nc.ResumeReading()
	}
}

// afterArrival keeps what is to be done for all behind a key until those have arrived
// who are about to. It is false when nobody is.
func (sh *shard) afterArrival(key message.Key, do func()) bool {
	if sh.away.arriving == 0 {
		return false
	}
	room := sh.room(key)
	if room == nil {
		return false
	}
	for slot := range room.End() {
		cl := room.At(slot)
		if cl == nil || cl.entry == nil || cl.conn.passage == nil || cl.conn.passage.hand == nil {
			continue
		}
		p := cl.conn.passage
		p.later = append(p.later, do)
		return true
	}
	return false
}

// passAck brings an acknowledgement to the node where the client was asked for it.
func (sh *shard) passAck(cl *client, a *session.Action) {
	p := cl.conn.passage
	if p == nil || !p.acks[askedAt{cl, a.AckID}] {
		return
	}
	delete(p.acks, askedAt{cl, a.AckID})
	q := &ackCallAway{SID: cl.conn.session.ID(), Client: cl.id, AckID: a.AckID, Payload: a.Payload}
	sh.g.wg.Go(func() { sh.g.tell(p.from, pathAck, q) })
}

// dropPassage is called when a session is over, whatever it was in the middle of.
func (sh *shard) dropPassage(c *conn) {
	delete(sh.away.visited, c)
	p := c.passage
	if p == nil {
		return
	}
	for _, run := range p.later {
		run()
	}
	p.later = nil
	if p.hand != nil {
		p.hand = nil
		sh.away.arriving--
	}
	if p.from != "" {
		sh.tellGone(c, p.from)
	}
}

// tellGone tells the node that keeps a tombstone of a session that it is over.
func (sh *shard) tellGone(c *conn, node string) {
	q := &sessionCall{SID: c.session.ID(), Node: sh.g.cfg.Node}
	sh.g.wg.Go(func() { sh.g.tell(node, pathGone, q) })
}
