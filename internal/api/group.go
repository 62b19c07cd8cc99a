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
// wants it, and in it to one consumer.
type groups struct {
	s *Server

	mu        sync.RWMutex
	byName    map[string]*group
	private   map[*group]bool
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
// Full (items or bytes, those that consumers hold included): the oldest event that
// no consumer holds is dropped; when consumers hold all, the new one is.
type group struct {
	of   *groups
	name string // "": of one stream

	mu        sync.Mutex
	wants     filter
	queue     *lineup
	consumers []*consumer
	next      int       // whose turn it is
	held      list.List // of *entry, the earliest deadline first
	left      time.Time // when the last consumer left; zero while there is one
	closed    bool
}

// consumer is one stream. Its fields are guarded by its group's mu.
type consumer struct {
	group   *group
	max     int
	holding map[string]*entry // by event ID
	out     []delivery        // assigned and not yet sent; at most max
	wake    chan struct{}     // has room for one
}

// delivery is an event to send to a consumer.
type delivery struct {
	ev      *event
	attempt uint32
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
	return &groups{
		s: s, byName: make(map[string]*group), private: make(map[*group]bool),
		closing: make(chan struct{}),
	}
}

// offer gives an event to every group that wants it, and returns their number.
func (gs *groups) offer(e *event) (taken int) {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	for _, g := range gs.byName {
		if g.add(e) {
			taken++
		}
	}
	for g := range gs.private {
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
	return len(gs.byName) == 0 && len(gs.private) == 0
}

var (
	errGroupsClosed  = errors.New("ws-api is shutting down")
	errTooManyGroups = errors.New("too many groups or consumers are subscribed")
)

// join adds a consumer to the group of that name.
func (gs *groups) join(name string, wants filter, inFlight int) (*consumer, error) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.closed {
		return nil, errGroupsClosed
	}
	g := gs.byName[name]
	if gs.consumers >= gs.s.limits.Consumers ||
		(g == nil && len(gs.byName)+len(gs.private) >= gs.s.limits.Groups) {
		return nil, errTooManyGroups
	}
	if g == nil {
		g = &group{of: gs, name: name, queue: newLineup()}
		if name == "" {
			gs.private[g] = true
		} else {
			gs.byName[name] = g
		}
	}
	gs.consumers++
	c := &consumer{group: g, max: inFlight, holding: make(map[string]*entry), wake: make(chan struct{}, 1)}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wants, g.left = wants, time.Time{}
	g.consumers = append(g.consumers, c)
	g.pump()
	return c, nil
}

// leave takes a consumer out; what it held is given to others.
func (gs *groups) leave(c *consumer) {
	g := c.group
	gs.mu.Lock()
	gs.consumers--
	if g.name == "" {
		delete(gs.private, g)
	}
	gs.mu.Unlock()
	g.remove(c)
	if g.name == "" {
		g.giveUp()
	}
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
	all := make([]*group, 0, len(gs.byName)+len(gs.private))
	for _, g := range gs.byName {
		all = append(all, g)
	}
	for g := range gs.private {
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
	again := g.left.IsZero() || now.Sub(g.left) < gs.s.limits.GroupLinger
	g.mu.Unlock()
	if !again {
		delete(gs.byName, g.name)
	}
	gs.mu.Unlock()
	if !again {
		g.giveUp()
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
	add := func(g *group) {
		g.mu.Lock()
		defer g.mu.Unlock()
		waiting += g.queue.len()
		bytes += g.queue.size()
	}
	for _, g := range gs.byName {
		add(g)
	}
	for g := range gs.private {
		add(g)
	}
	return len(gs.byName) + len(gs.private), gs.consumers, waiting, bytes
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
		if c == nil {
			return
		}
		en := g.queue.take(false)
		if en == nil {
			return
		}
		// Whoever did not answer the first time is not asked again if somebody else can be.
		if en.before == c {
			if other := g.free(c); other != nil {
				c = other
			}
		}
		g.assign(en, c)
	}
}

// free returns a consumer that can take an event, each in its turn.
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

func (g *group) assign(en *entry, c *consumer) {
	en.holder = c
	en.attempt++
	if en.attempt > 1 {
		g.of.s.count.groupAgain.Add(1)
	}
	en.deadline = g.of.s.cfg.Now().Add(g.of.s.limits.AckDeadline)
	en.held = g.held.PushBack(en)
	c.holding[en.ev.up.ID] = en
	c.out = append(c.out, delivery{en.ev, en.attempt})
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be sent to the consumer now.
func (c *consumer) take() []delivery {
	c.group.mu.Lock()
	defer c.group.mu.Unlock()
	out := c.out
	c.out = nil
	return out
}

// ack takes note that the consumer has dealt with an event, which is done with when
// done is called. nil: the consumer does not hold it (any more).
func (c *consumer) ack(id string) *entry {
	g := c.group
	g.mu.Lock()
	defer g.mu.Unlock()
	en := c.holding[id]
	if en == nil || en.held == nil {
		return nil
	}
	g.held.Remove(en.held) // no deadline any more
	en.held = nil
	return en
}

// done ends what ack began: the session's next event may come.
func (c *consumer) done(en *entry) {
	g := c.group
	g.mu.Lock()
	delete(c.holding, en.ev.up.ID)
	g.queue.done(en)
	g.pump()
	g.mu.Unlock()
	g.of.s.count.groupAcks.Add(1)
	en.ev.release()
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
	for el := g.held.Front(); el != nil; {
		en := el.Value.(*entry)
		el = el.Next()
		if en.holder == c {
			g.takeBack(en)
		}
	}
	if len(g.consumers) == 0 {
		g.left = g.of.s.cfg.Now()
	}
	g.pump()
}

// takeBack takes an unacknowledged event from its consumer. g.mu is held.
func (g *group) takeBack(en *entry) {
	c := en.holder
	g.held.Remove(en.held)
	en.held, en.holder, en.before = nil, nil, c
	delete(c.holding, en.ev.up.ID)
	for i := range c.out { // it was not even sent
		if c.out[i].ev == en.ev {
			c.out = append(c.out[:i], c.out[i+1:]...)
			break
		}
	}
	g.queue.putBack(en)
}

// expire gives events again whose deadline is over, and tells whether the group
// has been without consumers for too long.
func (g *group) expire(now time.Time) (over bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for el := g.held.Front(); el != nil; el = g.held.Front() {
		en := el.Value.(*entry)
		if now.Before(en.deadline) {
			break
		}
		g.takeBack(en)
	}
	g.pump()
	return !g.left.IsZero() && now.Sub(g.left) >= g.of.s.limits.GroupLinger
}

// giveUp drops all that the group has. Nobody adds to it afterwards.
func (g *group) giveUp() {
	g.mu.Lock()
	g.closed = true
	var dropped []*event
	for en := g.queue.dropOldest(false); en != nil; en = g.queue.dropOldest(false) {
		dropped = append(dropped, en.ev)
	}
	g.mu.Unlock()
	g.of.s.count.groupDropped.Add(uint64(len(dropped)))
	for _, e := range dropped {
		e.release()
	}
}
