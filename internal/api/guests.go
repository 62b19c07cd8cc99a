package api

import (
	"time"

	"google.golang.org/protobuf/proto"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
)

// describe tells of the groups what other ws-apis need to know: which consumers there
// are here, and which groups still gather events although nobody reads them.
func (gs *groups) describe() []message.Group {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	var out []message.Group
	for _, g := range gs.byKey {
		if d, ok := g.describe(); ok {
			out = append(out, d)
		}
	}
	return out
}

func (g *group) describe() (d message.Group, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d = message.Group{Key: g.key, Private: g.private, Events: g.wants.events, Chosen: g.chosen, Left: g.left}
	for t, wanted := range g.wants.types {
		if wanted {
			d.Types = append(d.Types, message.EventType(t))
		}
	}
	for _, c := range g.consumers {
		d.Credit += c.max
	}
	return d, d.Credit > 0 || !g.left.IsZero() && !g.private
}

// peerTells takes what a ws-api tells of its groups, which is one of that many others.
func (gs *groups) peerTells(m *message.Member, others int) {
	gs.mu.Lock()
	told := make(map[string]*message.Group, len(m.Groups))
	groups := make(map[string]*group)
	now, refused := gs.s.cfg.Now(), 0
	for i := range m.Groups {
		d := &m.Groups[i]
		if d.Credit == 0 && (d.Private || now.Sub(d.Left) >= gs.s.limits.GroupLinger) {
			continue
		}
		told[d.Key] = d
		if g := gs.make(d.Key, d.Private); g != nil {
			groups[d.Key] = g
		} else {
			refused++
		}
	}
	for key, g := range gs.byKey {
		groups[key] = g
	}
	gs.mu.Unlock()
	if refused > 0 {
		gs.s.peerErrors.warn(gs.s.log, "", "there are too many groups of subscribers; those of another ws-api miss events", "api", m.ID, "groups", refused)
	}
	for key, g := range groups {
		if d := told[key]; d != nil {
			g.peerTells(m.ID, d, others)
		} else {
			gs.lose(g, m.ID)
		}
	}
}

// peerTells gives the group another ws-api as a consumer, or changes what it may have.
// That is a part of the credit there, for all others give to the same consumers.
func (g *group) peerTells(id string, d *message.Group, others int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d.Chosen.After(g.chosen) {
		g.chosen, g.wants = d.Chosen, filterOf(d)
	}
	c := g.peers[id]
	if c == nil {
		c = &consumer{group: g, peer: id, holding: make(map[string]*entry)}
		g.peers[id] = c
	}
	c.max, c.rests = (d.Credit+others)/(others+1), time.Time{}
	if d.Credit == 0 && g.left.IsZero() && len(g.consumers) == 0 && len(g.peers) == 1 {
		g.left = d.Left // a group that is new here
	}
	g.check()
	g.pump()
}

func filterOf(d *message.Group) filter {
	f := filter{events: d.Events}
	for _, t := range d.Types {
		if int(t) < len(f.types) {
			f.types[t] = true
		}
	}
	return f
}

// peerLeft takes out a ws-api that has gone.
func (gs *groups) peerLeft(id string) {
	gs.mu.RLock()
	all := make([]*group, 0, len(gs.byKey))
	for _, g := range gs.byKey {
		all = append(all, g)
	}
	gs.mu.RUnlock()
	for _, g := range all {
		g.forgetGuests(id)
		gs.lose(g, id)
	}
}

// forgetGuests drops what waits here from a ws-api that has gone: it comes again from the
// one that has the session now.
func (g *group) forgetGuests(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for el := g.guests.normal.arrivals.Front(); el != nil; {
		en := el.Value.(*entry)
		if el = el.Next(); en.origin == id && !en.taken {
			g.guests.drop(en)
		}
	}
}

// lose takes a ws-api that has no consumers of a group out of it. The group of a stream
// ends with that.
func (gs *groups) lose(g *group, id string) {
	g.mu.Lock()
	c := g.peers[id]
	g.mu.Unlock()
	if c == nil {
		return
	}
	g.remove(c)
	if g.private {
		gs.retire(g, gs.s.cfg.Now())
		return
	}
	g.mu.Lock()
	lingers := !g.left.IsZero()
	g.mu.Unlock()
	if lingers { // whoever comes now has to know that it gathers events
		gs.s.peers.changed()
	}
}

// host takes an event from another ws-api for the consumers here; false: there are none,
// or there is no room.
func (gs *groups) host(word *message.Peer) bool {
	gs.mu.RLock()
	g := gs.byKey[word.Group]
	gs.mu.RUnlock()
	if g == nil || word.Event == nil || word.Event.Client == nil {
		return false
	}
	e := gs.s.newEvent(word.Event, func() {})
	e.dequeued, e.routed, e.trace = word.Dequeued, word.Routed, word.Trace
	e.answered.Store(true) // by the ws-api that it is from
	return g.host(e, word)
}

func (g *group) host(e *event, word *message.Peer) bool {
	limits := &g.of.s.limits
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || len(g.consumers) == 0 || !g.guests.normal.room(e.size(), limits.GroupItems, limits.GroupBytes) {
		return false
	}
	en := g.guests.push(e, false)
	en.origin, en.attempt = word.From, max(word.Attempt, 1)-1
	en.deadline = g.of.s.cfg.Now().Add(guestWait)
	g.pump()
	return true
}

// goHome lets go of a guest that a consumer had, or was to have. g.mu is held.
func (g *group) goHome(en *entry, had bool) {
	g.guests.done(en)
	g.of.s.peers.send(en.origin, &message.Peer{Kind: message.PeerBack, Group: g.key, ID: en.ev.up.ID, Had: had})
}

// sendHome lets those guests go that have waited for too long by now, or all that wait
// when now is zero. g.mu is held.
func (g *group) sendHome(now time.Time) {
	for el := g.guests.normal.arrivals.Front(); el != nil; {
		en := el.Value.(*entry)
		el = el.Next()
		if en.taken {
			continue
		}
		if !now.IsZero() && now.Before(en.deadline) {
			return // and so do those after it
		}
		g.guests.drop(en)
		g.of.s.peers.send(en.origin, &message.Peer{Kind: message.PeerBack, Group: g.key, ID: en.ev.up.ID})
	}
}

// returned takes back what another ws-api could not give, or nobody there acknowledged.
func (gs *groups) returned(word *message.Peer) {
	gs.mu.RLock()
	g := gs.byKey[word.Group]
	gs.mu.RUnlock()
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.peers[word.From]
	if c == nil {
		return
	}
	en := c.holding[word.ID]
	if en == nil || en.held == nil {
		return
	}
	if !word.Had {
		en.attempt--
		c.rests = gs.s.cfg.Now().Add(restTime)
	}
	g.takeBack(en)
	g.pump()
}

// acknowledged notes that a consumer of another ws-api has dealt with an event. nil: that
// ws-api does not hold it (any more).
func (gs *groups) acknowledged(word *message.Peer) (*consumer, *entry) {
	gs.mu.RLock()
	g := gs.byKey[word.Group]
	gs.mu.RUnlock()
	if g == nil {
		return nil, nil
	}
	g.mu.Lock()
	c := g.peers[word.From]
	g.mu.Unlock()
	if c == nil {
		return nil, nil
	}
	return c, c.ack(word.ID)
}

// passOn tells the ws-api that a guest is from that a consumer has acknowledged it. That
// one carries the reply out.
func (s *Server) passOn(en *entry, reply *pb.EventReply) {
	word := &message.Peer{Kind: message.PeerTook, Group: en.holder.group.key, ID: en.ev.up.ID}
	if reply != nil {
		text, err := proto.Marshal(reply)
		if err != nil {
			s.log.Error("a reply cannot be passed on", "event", en.ev.up.ID, "error", err)
		}
		word.Reply = append([]byte{}, text...) // not nil though the reply is empty
	}
	s.peers.send(en.origin, word)
}
