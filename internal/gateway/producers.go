package gateway

import (
	"iter"
	"sync"

	"holdfast/internal/hub"
	"holdfast/internal/message"
)

// Each ws-api (a producer) tells each node, some time after it has sent it records, what
// the last one of each key was (message.Heads). A room that is behind that has lost a
// record on the way, and is repaired from its log. So the loss is noticed although
// nothing follows it, and as long as nothing is lost the log is not asked.
//
// What tells of losses can be lost, too. It is numbered, and when a number is missing,
// or a producer falls silent, nobody knows which rooms are behind: then all rooms are
// surveyed, that is compared with the heads of their logs, page by page. That is also
// how a node that was cut off from the bus finds what it missed.

// producerSilence is after how long without a word a producer is taken for dead, in
// milliseconds. It says something every ten seconds.
const producerSilence = 35_000

// maxProducers bounds those that are remembered.
const maxProducers = 1024

// producers are the ws-apis that a node hears of. Safe for concurrent use.
type producers struct {
	mu sync.Mutex
	by map[string]*producer
}

type producer struct {
	number uint64 // the highest
	heard  int64  // when it said something last
}

// hear notes a number and tells whether one before it is missing. A producer that is
// new here, and has numbers already, began before this node or was forgotten by it.
func (x *producers) hear(name string, number uint64, now int64) (missing bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.by[name]
	if p == nil {
		if x.by == nil {
			x.by = make(map[string]*producer)
		}
		for other := range x.by {
			if len(x.by) < maxProducers {
				break
			}
			delete(x.by, other)
		}
		p = &producer{}
		x.by[name] = p
	}
	p.heard = now
	missing = number > p.number+1
	p.number = max(p.number, number)
	return missing
}

// silent forgets the producers that are silent, and tells whether there were any.
func (x *producers) silent(now int64) (any bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for name, p := range x.by {
		if now-p.heard > producerSilence {
			delete(x.by, name)
			any = true
		}
	}
	return any
}

// receiveHeads takes what a producer tells.
func (g *Gateway) receiveHeads(h *message.Heads) {
	if g.producers.hear(h.Producer, h.Number, g.now()) {
		g.survey()
	}
	if len(h.Stamps) == 0 {
		return
	}
	for _, sh := range g.shards {
		sh.inbox.told(h.Stamps, func() { sh.told(h.Stamps) })
	}
}

// survey has every shard compare all its rooms.
func (g *Gateway) survey() {
	g.Stats.Surveys.Add(1)
	for _, sh := range g.shards {
		sh.inbox.post(func() { sh.survey.wanted = true })
	}
}

// told has rooms repaired that are behind what was sent to them.
func (sh *shard) told(stamps []message.Stamp) {
	for i := range stamps {
		s := &stamps[i]
		room := sh.room(s.Key)
		switch {
		case room == nil:
		case !room.Log.Live, room.Log.Repairing, room.Log.Epoch != s.Epoch:
			sh.active[room] = sh.now // to be compared with its log when that makes sense
		case s.Seq > room.Log.Seq:
			sh.repairSoon(room, s.Seq)
		}
	}
}

// survey is the comparison of all rooms of a shard. There is one at a time, and between
// two of them three times the time that one takes, so that a bus which loses something
// all the time costs a part of the store's power and not all of it.
type survey struct {
	wanted bool
	next   func() (*hub.Room[*client], bool) // the rooms that are left; nil: none is under way
	stop   func()
	page   []*hub.Room[*client] // is being compared, or is to be compared again
	asking bool
	began  int64
	at     int64 // when to go on, or when the next one may begin
}

// surveyRest is the shortest pause between two surveys, in milliseconds.
const surveyRest = 200

// runSurvey takes the next step of a survey, if one is to be taken now.
func (sh *shard) runSurvey() {
	v := &sh.survey
	idle := v.next == nil && len(v.page) == 0
	if v.asking || sh.now < v.at || idle && !v.wanted {
		return
	}
	if idle {
		v.wanted, v.began = false, sh.now
		v.next, v.stop = iter.Pull(sh.surveyed())
	}
	for looked := 0; v.next != nil && len(v.page) < headsPage && looked < 4*headsPage; looked++ {
		room, more := v.next()
		if !more {
			v.stop()
			v.next = nil
			break
		}
		if room.Log.Live && !room.Log.Repairing {
			v.page = append(v.page, room)
		}
	}
	if len(v.page) == 0 {
		sh.surveyDone()
		return
	}
	v.asking = true
	rooms, epochs := v.page, epochsOf(v.page)
	sh.g.wg.Go(func() {
		heads, err := sh.g.heads(rooms)
		sh.inbox.post(func() {
			v.asking = false
			if err != nil {
				sh.g.cfg.Logger.Warn("the heads of rooms cannot be read, trying again", "rooms", len(rooms), "err", err)
				v.at = sh.now + repairAgain
				return
			}
			v.page = nil
			sh.compareAll(rooms, epochs, heads)
			sh.surveyDone()
			sh.runSurvey()
		})
	})
}

// surveyDone notes the end of a survey when all its rooms have been looked at.
func (sh *shard) surveyDone() {
	if v := &sh.survey; v.next == nil && len(v.page) == 0 {
		v.at = sh.now + max(surveyRest, 3*(sh.now-v.began))
	}
}

// surveyed goes through the shard's rooms while they come and go: a room that comes
// meanwhile has read its log's head itself. Clients that have no room of their own yet
// get one, for the first record for it may be what was lost.
func (sh *shard) surveyed() iter.Seq[*hub.Room[*client]] {
	own := !sh.g.cfg.Recovery
	return func(yield func(*hub.Room[*client]) bool) {
		if own {
			for _, cl := range sh.clients {
				if !yield(sh.ownRoom(cl)) {
					return
				}
			}
		}
		for room := range sh.hub.All() {
			if own && room.Key.Kind() == message.KindClient {
				continue
			}
			if !yield(room) {
				return
			}
		}
	}
}
