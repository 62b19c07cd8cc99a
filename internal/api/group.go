package api

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"holdfast/internal/message"
)

// groups are those who read events from streams. An event goes to each group that
// wants it, and in it to one consumer, on this ws-api or another one (see peers).
type groups struct {
	s *Server

	mu        sync.RWMutex
	byKey     map[string]*group
	consumers int
	closed    bool
	closing   chan struct{} // closed with closed
}

// group is a queue that some consumers share.
//
//	offer ─▶ lineup ─▶ a consumer with credit ─▶ ack ─▶ reply carried out ─▶ done
//	           ▲                                  │
//	           └── stream broken, deadline over ◀─┘
//
// A consumer is a stream here or, when those have no credit, another ws-api that has
// streams of the group. What such a ws-api gives to this one's streams are guests: they
// stand in a lineup of their own, and what is not acknowledged here goes back.
//
// Full (items or bytes, those that consumers hold included): the oldest event that
// no consumer holds is dropped; when consumers hold all, the new one is. Guests beyond
// the same bounds go back.
type group struct {
	of      *groups
	key     string // of all ws-apis
	private bool   // of one stream

	mu        sync.Mutex
	wants     filter
	chosen    time.Time // when the consumer came whose choice that is
	queue     *lineup
	guests    *lineup
	guestTurn bool // the next one is a guest, if there is one
	consumers []*consumer
	next      int                  // whose turn it is
	peers     map[string]*consumer // other ws-apis
	held      list.List            // of *entry that consumers here have, the earliest deadline first
	lent      list.List            // of *entry that other ws-apis have, likewise
	left      time.Time            // when the last consumer left; zero while there is one
	closed    bool
}

// filter says which events a group wants.
type filter struct {
	events []string
	types  [4]bool // by message.EventType
}

func (f *filter) match(up *message.Up) bool {
	if int(up.Type) >= len(f.types) || !f.types[up.Type] {
		return false
	}
	if up.Type != message.EventMessage || len(f.events) == 0 {
		return true
	}
	for _, pattern := range f.events {
		if glob(pattern, up.Name) {
			return true
		}
	}
	return false
}

func newGroups(s *Server) *groups {
	return &groups{s: s, byKey: make(map[string]*group), closing: make(chan struct{})}
}

// offer gives an event to every group that wants it, and returns their number.
func (gs *groups) offer(e *event) (taken int) {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	for _, g := range gs.byKey {
		if g.add(e) {
			taken++
		}
	}
	return taken
}

// none tells whether there is no group to offer anything to.
func (gs *groups) none() bool {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	return len(gs.byKey) == 0
}

var (
	errGroupsClosed  = errors.New("ws-api is shutting down")
	errTooManyGroups = errors.New("too many groups or consumers are subscribed")
)

// keyOf is what all ws-apis know a group by; the group of one stream has a key of its
// own.
func (gs *groups) keyOf(name string) string {
	if name == "" {
		return "stream:" + gs.s.cfg.NewID()
	}
	return "group:" + name
}

// join adds a consumer to the group of that name. Other ws-apis know of it from the
// version on that is returned.
func (gs *groups) join(name string, wants filter, inFlight int) (*consumer, uint64, error) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.closed {
		return nil, 0, errGroupsClosed
	}
	if gs.consumers >= gs.s.limits.Consumers {
		return nil, 0, errTooManyGroups
	}
	g := gs.make(gs.keyOf(name), name == "")
	if g == nil {
		return nil, 0, errTooManyGroups
	}
	gs.consumers++
	c := &consumer{group: g, max: inFlight, holding: make(map[string]*entry), wake: make(chan struct{}, 1)}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wants, g.left = wants, time.Time{}
	// Newer than any choice that is known, whatever the clocks of other ws-apis say.
	if now := gs.s.cfg.Now(); now.After(g.chosen) {
		g.chosen = now
	} else {
		g.chosen = g.chosen.Add(time.Nanosecond)
	}
	g.consumers = append(g.consumers, c)
	g.pump()
	return c, gs.s.peers.changed(), nil
}

// make returns the group of that key, a new one if need be, or nil when there are too
// many. gs.mu is held.
func (gs *groups) make(key string, private bool) *group {
	g := gs.byKey[key]
	if g == nil && len(gs.byKey) < gs.s.limits.Groups {
		g = &group{
			of: gs, key: key, private: private, queue: newLineup(), guests: newLineup(), peers: make(map[string]*consumer),
		}
		gs.byKey[key] = g
	}
	return g
}

// leave takes a consumer out; what it held is given to others.
func (gs *groups) leave(c *consumer) {
	g := c.group
	gs.mu.Lock()
	gs.consumers--
	if g.private {
		delete(gs.byKey, g.key)
	}
	gs.mu.Unlock()
	g.remove(c)
	if g.private {
		g.giveUp()
	}
	gs.s.peers.changed()
}

// run gives events again whose deadline is over, and gives up groups that nobody
// came back to, until ctx ends.
func (gs *groups) run(ctx context.Context) {
	tick := time.NewTicker(max(time.Millisecond, min(time.Second, gs.s.limits.AckDeadline/4, gs.s.limits.GroupLinger/4)))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			gs.sweep(gs.s.cfg.Now())
		case <-ctx.Done():
			return
		}
	}
}

func (gs *groups) sweep(now time.Time) {
	gs.mu.RLock()
	all := make([]*group, 0, len(gs.byKey))
	for _, g := range gs.byKey {
		all = append(all, g)
	}
	gs.mu.RUnlock()
	for _, g := range all {
		if g.expire(now) {
			gs.retire(g, now)
		}
	}
}

// retire gives a group up, unless a consumer has come meanwhile.
func (gs *groups) retire(g *group, now time.Time) {
	gs.mu.Lock()
	g.mu.Lock()
	again := !g.over(now)
	g.mu.Unlock()
	if !again {
		delete(gs.byKey, g.key)
	}
	gs.mu.Unlock()
	if !again {
		g.giveUp()
		gs.s.peers.changed()
	}
}

// close ends all streams and lets no new one in.
func (gs *groups) close() {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if !gs.closed {
		gs.closed = true
		close(gs.closing)
	}
}

func (gs *groups) sizes() (groups, consumers, waiting, bytes int) {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	for _, g := range gs.byKey {
		g.mu.Lock()
		waiting += g.queue.len() + g.guests.len()
		bytes += g.queue.size() + g.guests.size()
		g.mu.Unlock()
	}
	return len(gs.byKey), gs.consumers, waiting, bytes
}

// add queues an event if the group wants it. The group holds the event then.
func (g *group) add(e *event) bool {
	limits := &g.of.s.limits
	var dropped []*event
	defer func() { // when the lock is given up
		for _, old := range dropped {
			g.of.s.count.groupDropped.Add(1)
			old.release()
		}
	}()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || !g.wants.match(e.up) {
		return false
	}
	for !g.queue.normal.room(e.size(), limits.GroupItems, limits.GroupBytes) {
		old := g.queue.dropOldest(false)
		if old == nil {
			g.of.s.count.groupDropped.Add(1)
			return false
		}
		dropped = append(dropped, old.ev)
	}
	e.hold()
	g.queue.push(e, false)
	g.pump()
	return true
}

// pump gives events to consumers as long as there are both. g.mu is held.
func (g *group) pump() {
	for {
		c := g.free(nil)
		en := g.waiting(c != nil)
		if en == nil {
			return
		}
		if c == nil {
			if c = g.freePeer(en.before); c == nil {
				g.queue.putBack(en) // which is where it was: the first
				return
			}
		} else if en.before == c && en.origin == "" {
			// Whoever did not answer the first time is not asked again if somebody else can be.
			if other := g.free(c); other != nil {
				c = other
			} else if other := g.freePeer(c); other != nil {
				c = other
			}
		}
		g.assign(en, c)
	}
}

// waiting takes the next event: guests, which go to consumers here only, and others in
// turn.
func (g *group) waiting(here bool) *entry {
	if !here {
		return g.queue.take(false)
	}
	first, second := g.queue, g.guests
	if g.guestTurn {
		first, second = second, first
	}
	g.guestTurn = !g.guestTurn
	if en := first.take(false); en != nil {
		return en
	}
	return second.take(false)
}

// free returns a consumer here that can take an event, each in its turn.
func (g *group) free(except *consumer) *consumer {
	for i := range g.consumers {
		at := (g.next + i) % len(g.consumers)
		if c := g.consumers[at]; c != except && len(c.holding) < c.max {
			g.next = at + 1
			return c
		}
	}
	return nil
}

// freePeer returns the ws-api with the most credit left; except only if there is no other.
func (g *group) freePeer(except *consumer) (best *consumer) {
	now := g.of.s.cfg.Now()
	room := func(c *consumer) int {
		if now.Before(c.rests) {
			return 0
		}
		return c.max - len(c.holding)
	}
	for _, c := range g.peers {
		if room(c) > 0 && (best == nil || best == except || c != except && room(c) > room(best)) {
			best = c
		}
	}
	return best
}

func (g *group) assign(en *entry, c *consumer) {
	en.holder = c
	en.attempt++
	if en.attempt > 1 && en.origin == "" {
		g.of.s.count.groupAgain.Add(1)
	}
	c.holding[en.ev.up.ID] = en
	now, wait := g.of.s.cfg.Now(), g.of.s.limits.AckDeadline
	if c.peer != "" {
		en.deadline = now.Add(guestWait + wait + peerGrace)
		en.held, en.among = g.lent.PushBack(en), &g.lent
		g.of.s.count.groupGiven.Add(1)
		g.of.s.peers.send(c.peer, &message.Peer{
			Kind: message.PeerGive, Group: g.key, ID: en.ev.up.ID, Event: en.ev.up, Attempt: en.attempt,
			Trace: en.ev.trace, Dequeued: en.ev.dequeued, Routed: en.ev.routed,
		})
		return
	}
	en.deadline = now.Add(wait)
	en.held, en.among = g.held.PushBack(en), &g.held
	c.out = append(c.out, delivery{en.ev, en.attempt})
	wakeUp(c.wake)
}

func (g *group) lineupOf(en *entry) *lineup {
	if en.origin != "" {
		return g.guests
	}
	return g.queue
}

// remove takes a consumer out and puts back what it has not acknowledged.
func (g *group) remove(c *consumer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, other := range g.consumers {
		if other == c {
			g.consumers = append(g.consumers[:i:i], g.consumers[i+1:]...)
			break
		}
	}
	if c.peer != "" && g.peers[c.peer] == c {
		delete(g.peers, c.peer)
	}
	for _, held := range []*list.List{&g.held, &g.lent} {
		for el := held.Front(); el != nil; {
			en := el.Value.(*entry)
			el = el.Next()
			if en.holder == c {
				g.takeBack(en)
			}
		}
	}
	if len(g.consumers) == 0 {
		g.sendHome(time.Time{})
	}
	g.check()
	g.pump()
}

// check notes since when nobody is there. g.mu is held.
func (g *group) check() {
	nobody := len(g.consumers) == 0
	for _, c := range g.peers {
		nobody = nobody && c.max == 0
	}
	switch {
	case !nobody:
		g.left = time.Time{}
	case g.left.IsZero():
		g.left = g.of.s.cfg.Now()
	}
}

// over tells whether the group has been without consumers for too long. g.mu is held.
func (g *group) over(now time.Time) bool {
	return !g.left.IsZero() && (g.private || now.Sub(g.left) >= g.of.s.limits.GroupLinger)
}

// takeBack takes an unacknowledged event from its consumer. g.mu is held.
func (g *group) takeBack(en *entry) {
	c := en.holder
	en.among.Remove(en.held)
	en.held, en.holder, en.before = nil, nil, c
	c.drop(en)
	had := true
	for i := range c.out {
		if c.out[i].ev == en.ev { // it was not even sent
			c.out = append(c.out[:i], c.out[i+1:]...)
			en.attempt--
			had = false
			break
		}
	}
	if en.origin != "" {
		g.goHome(en, had)
		return
	}
	g.queue.putBack(en)
}

// expire gives events again whose deadline is over, and tells whether the group
// has been without consumers for too long.
func (g *group) expire(now time.Time) (over bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, held := range []*list.List{&g.held, &g.lent} {
		for el := held.Front(); el != nil; el = held.Front() {
			en := el.Value.(*entry)
			if now.Before(en.deadline) {
				break
			}
			g.takeBack(en)
		}
	}
	g.sendHome(now)
	g.pump()
	return g.over(now)
}

// giveUp drops all that the group has. Nobody adds to it afterwards.
func (g *group) giveUp() {
	g.mu.Lock()
	g.closed = true
	var dropped []*event
	for en := g.queue.dropOldest(false); en != nil; en = g.queue.dropOldest(false) {
		dropped = append(dropped, en.ev)
	}
	g.sendHome(time.Time{})
	g.mu.Unlock()
	g.of.s.count.groupDropped.Add(uint64(len(dropped)))
	for _, e := range dropped {
		e.release()
	}
}
