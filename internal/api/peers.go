package api

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
)

// peers are the other ws-apis, as far as groups of subscribers need them. Each ws-api
// consumes the events of some sessions, and a group has its subscribers anywhere:
//
//	the session's ws-api          one that has subscribers of the group
//	group ── give ──────────────▶ group ──▶ subscriber
//	      ◀─ took, with its reply ────────── acknowledgement
//	      ◀─ back ───────────────            none, and it has gone or been too slow
//
// The group of the session's ws-api lines up the events, knows what is given to whom,
// and carries out replies, so that all is as with a subscriber of its own: what comes
// back, or has been given for too long, or was given to a ws-api that has died, is given
// again. Nothing is passed on twice.
//
// Who has subscribers of what each one tells through [Members], and says "look" to the
// others when that changes. "seen" lets Subscribe wait until all others know of it.
//
// What waits to be sent is bounded by what subscribers may have unacknowledged.
type peers struct {
	s       *Server
	members Members
	bus     PeerBus

	nudge   chan struct{}      // holds at most one: beat now
	wake    chan struct{}      // holds at most one: the outbox is no longer empty
	began   chan struct{}      // closed after the first beat
	beating context.CancelFunc // ends the beats
	ended   chan struct{}      // closed when there are no more of them
	replies sync.WaitGroup

	mu      sync.Mutex
	version uint64            // of what this one tells
	told    uint64            // the version that the others can read
	live    map[string]uint64 // the others, with the version that is applied here
	seen    map[string]uint64 // by each of them: our version that it has applied
	change  chan struct{}     // closed when told, live or seen change; nil: nobody waits
	outbox  []outgoing
	closed  bool // nothing more is taken from others
}

type outgoing struct {
	to   string
	word *message.Peer
}

const (
	peerBeat = time.Second
	// joinWait bounds how long a new subscriber waits for all ws-apis to know of it. One
	// that does not say so has died, as a rule, or cannot reach Redis.
	joinWait = 3 * time.Second
	// An event waits for a subscriber of another ws-api no longer than guestWait there, and
	// peerGrace later than that ws-api should it comes back in any case.
	guestWait = 10 * time.Second
	peerGrace = 5 * time.Second
	// restTime is for how long a ws-api that had no room is given nothing.
	restTime = time.Second
)

// newPeers returns nil where there is nobody else.
func newPeers(s *Server) *peers {
	bus, ok := s.cfg.Bus.(PeerBus)
	if s.cfg.Members == nil || !ok {
		return nil
	}
	return &peers{
		s: s, members: s.cfg.Members, bus: bus,
		nudge: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		began: make(chan struct{}), ended: make(chan struct{}),
		version: 1, live: make(map[string]uint64), seen: make(map[string]uint64),
	}
}

// wakeUp puts a token into a channel that holds at most one.
func wakeUp(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// start lets this ws-api be known to the others, until stop.
func (p *peers) start() {
	var ctx context.Context
	ctx, p.beating = context.WithCancel(p.s.base)
	p.s.spawn(func() { p.run(ctx) })
	p.s.spawn(func() { p.deliver(p.s.base) })
}

// run beats until ctx ends.
func (p *peers) run(ctx context.Context) {
	defer close(p.ended)
	every := time.NewTicker(peerBeat)
	defer every.Stop()
	for first := true; ctx.Err() == nil; {
		if err := p.beat(ctx); err != nil {
			p.s.peerErrors.warn(p.s.log, "", "the other ws-apis cannot be told of this one's subscribers", "error", err)
		} else if first {
			close(p.began)
			first = false
		}
		select {
		case <-every.C:
		case <-p.nudge:
		case <-ctx.Done():
		}
	}
}

// beat tells the others of this ws-api and takes note of what they tell.
func (p *peers) beat(ctx context.Context) error {
	p.mu.Lock()
	version := p.version
	p.mu.Unlock()
	// Read after the version: what changes from here on has a later one.
	self := message.Member{ID: p.s.cfg.ID, Version: version, Groups: p.s.groups.describe(), About: p.s.cfg.About()}
	all, err := p.members.Beat(ctx, self)
	if err != nil {
		return err
	}
	p.mu.Lock()
	news := version > p.told
	p.told = max(p.told, version)
	live := make(map[string]uint64, len(all))
	var changed []message.Member
	for _, m := range all {
		at, known := p.live[m.ID]
		if !known || at != m.Version {
			changed = append(changed, m)
		}
		live[m.ID] = m.Version
	}
	var left []string
	for id := range p.live {
		if _, there := live[id]; !there {
			left = append(left, id)
			delete(p.seen, id)
		}
	}
	fewer := len(live) != len(p.live)
	p.live = live
	p.notify()
	p.mu.Unlock()

	for _, id := range left {
		p.s.groups.peerLeft(id)
	}
	if fewer { // each one's share of the credit changes
		changed = all
	}
	for _, m := range changed {
		p.s.groups.peerTells(&m, len(all))
		p.send(m.ID, &message.Peer{Kind: message.PeerSeen, Version: m.Version})
	}
	if news {
		for _, m := range all {
			p.send(m.ID, &message.Peer{Kind: message.PeerLook})
		}
	}
	return nil
}

// changed is told that this ws-api has something else to tell. It returns the version.
func (p *peers) changed() uint64 {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	p.version++
	version := p.version
	p.mu.Unlock()
	wakeUp(p.nudge)
	return version
}

func (p *peers) len() int {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.live)
}

// await waits until all that live have seen a version, but not for ever.
func (p *peers) await(ctx context.Context, version uint64) {
	if p == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, joinWait)
	defer cancel()
	for {
		p.mu.Lock()
		all := p.told >= version
		for id := range p.live {
			all = all && p.seen[id] >= version
		}
		if p.change == nil {
			p.change = make(chan struct{})
		}
		change := p.change
		p.mu.Unlock()
		if all {
			return
		}
		select {
		case <-change:
		case <-ctx.Done():
			return
		case <-p.s.groups.closing:
			return
		}
	}
}

// notify lets those look again who wait for a change. p.mu is held.
func (p *peers) notify() {
	if p.change != nil {
		close(p.change)
		p.change = nil
	}
}

// send queues a word for another ws-api. It does not block.
func (p *peers) send(to string, word *message.Peer) {
	word.From = p.s.cfg.ID
	p.mu.Lock()
	p.outbox = append(p.outbox, outgoing{to, word})
	p.mu.Unlock()
	wakeUp(p.wake)
}

// deliver sends what is queued until ctx ends.
func (p *peers) deliver(ctx context.Context) {
	for {
		p.flush()
		select {
		case <-p.wake:
		case <-ctx.Done():
			return
		}
	}
}

func (p *peers) flush() {
	p.mu.Lock()
	out := p.outbox
	p.outbox = nil
	p.mu.Unlock()
	for _, o := range out {
		err := p.bus.Reply(o.to, &message.Reply{Peer: o.word})
		if err == nil {
			continue
		}
		p.s.count.peerLost.Add(1)
		p.s.peerErrors.warn(p.s.log, "", "another ws-api was not reached", "api", o.to, "kind", string(o.word.Kind), "error", err)
		if o.word.Kind == message.PeerGive {
			p.s.groups.returned(&message.Peer{From: o.to, Group: o.word.Group, ID: o.word.ID})
		}
		// What else is lost is made up for by the next beat or by a deadline.
	}
}

// stop says good-bye, which lets the others give to somebody else at once what was given
// here, and takes nothing more.
func (p *peers) stop(ctx context.Context) {
	p.beating()
	<-p.ended
	p.mu.Lock()
	p.closed = true
	live := make([]string, 0, len(p.live))
	for id := range p.live {
		live = append(live, id)
	}
	p.mu.Unlock()
	carriedOut := make(chan struct{})
	p.s.spawn(func() {
		p.replies.Wait()
		close(carriedOut)
	})
	timeout := time.NewTimer(p.s.limits.Drain)
	defer timeout.Stop()
	select {
	case <-carriedOut:
	case <-timeout.C:
	}
	ctx, cancel := context.WithTimeout(ctx, joinWait)
	defer cancel()
	if err := p.members.Leave(ctx, p.s.cfg.ID); err != nil {
		p.s.log.Warn("the other ws-apis find out by themselves that this one has gone", "error", err)
	}
	for _, id := range live {
		p.send(id, &message.Peer{Kind: message.PeerLook})
	}
	p.flush()
}

// receive takes a word of another ws-api. It does not block.
func (p *peers) receive(word *message.Peer) {
	switch word.Kind {
	case message.PeerLook:
		wakeUp(p.nudge)
	case message.PeerSeen:
		p.mu.Lock()
		p.seen[word.From] = max(p.seen[word.From], word.Version)
		p.notify()
		p.mu.Unlock()
	case message.PeerGive:
		if !p.s.groups.host(word) {
			p.send(word.From, &message.Peer{Kind: message.PeerBack, Group: word.Group, ID: word.ID})
		}
	case message.PeerBack:
		p.s.groups.returned(word)
	case message.PeerTook:
		p.took(word)
	}
}

// took ends what was given to another ws-api. As many replies are carried out at once as
// events are given, which is bounded.
func (p *peers) took(word *message.Peer) {
	c, en := p.s.groups.acknowledged(word)
	if en == nil {
		return // given again to somebody else meanwhile
	}
	if word.Reply == nil {
		c.done(en)
		return
	}
	var reply pb.EventReply
	if err := proto.Unmarshal(word.Reply, &reply); err != nil {
		p.s.log.Error("another ws-api passes on a reply that is none", "api", word.From, "event", word.ID, "error", err)
		c.done(en)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return // the bus gives the event to another ws-api
	}
	p.replies.Go(func() {
		(&eventService{p.s}).carryOut(p.s.base, en.ev, &reply)
		c.done(en)
	})
}
