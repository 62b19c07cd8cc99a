package gateway

import (
	"errors"
	"fmt"
	"slices"

	"holdfast/internal/hub"
	"holdfast/internal/message"
	"holdfast/internal/session"
	"holdfast/wsframe"
)

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
	c := &conn{remote: hand.Remote, order: hand.Order, from: hand.handshake(sh.g), passage: &passage{hand: make(map[*client]struct{})}}
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
