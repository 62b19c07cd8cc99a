package api

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/message"
)

// heads tells nodes what was sent to them. A record that the bus has lost shows by the
// next one of its room, but when none follows, nobody knows of it. So every node gets,
// at most headsEvery after a record, the place of the last record of each key that it
// was sent since it was told before: a node that is behind one reads its log.
//
//	record ──▶ note: key → stamp ──▶ every headsEvery: Heads number n with the stamps
//	                                 nothing new: n again, after 1, 2, 4, 8, 10, 10, … s
//
// The bus may lose these as well. They are numbered for each node, so that one who has
// missed a number knows that it has missed something and compares all that it has. What
// there is no room to note, and a node that is away, make a number be passed over, which
// comes to the same. The last number is repeated for as long as the node exists, for a
// node may be cut off when it is said first; it costs a record in ten seconds.
type heads struct {
	bus      Bus
	producer string
	wake     chan struct{} // one token: a list is full

	mu    sync.Mutex
	nodes map[string]*told
}

// told is what one node has been told and what not yet.
type told struct {
	number uint64
	fresh  map[message.Key]message.Stamp // sent since
	over   bool                          // and more, for which there was no room
	last   []message.Stamp               // of the record number, while it is repeated with them
	at     time.Time                     // when the next record is due
	pause  time.Duration                 // between the last one and that
	gone   time.Time                     // since when it is not attached; zero: it is
}

const (
	headsEvery = 500 * time.Millisecond
	// headsRest is the pause between repetitions in the long run. Nodes take a producer
	// that is silent for several of them for dead.
	headsRest = 10 * time.Second
	// headsRepeat is the longest pause after which the stamps are repeated, too.
	headsRepeat = 2 * time.Second
	// headsKeys is how many keys make a record be sent at once, headsMax how many wait
	// at most while the bus is slow.
	headsKeys = 512
	headsMax  = 4096
	// headsNodes bounds the nodes; headsForget is when one that is away is given up. Logs
	// do not reach that far back.
	headsNodes  = 4096
	headsForget = time.Hour
	// headsTimeout bounds how long the bus may take.
	headsTimeout = 2 * time.Second
)

func newHeads(bus Bus, producer string) *heads {
	return &heads{bus: bus, producer: producer, wake: make(chan struct{}, 1), nodes: make(map[string]*told)}
}

// note remembers that a record with these stamps was sent to node, or should have been.
// It is called after the send, so that on a bus which keeps the order the record comes
// first.
func (h *heads) note(node string, stamps []message.Stamp) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var t *told
	for i := range stamps {
		s := &stamps[i]
		if s.Seq == 0 {
			continue // in no log, so nobody could repair it
		}
		if t == nil {
			t = h.node(node)
		}
		known, again := t.fresh[s.Key]
		switch {
		case again && known.Epoch == s.Epoch && known.Seq > s.Seq:
		case !again && len(t.fresh) >= headsMax:
			t.over = true
		default:
			t.fresh[s.Key] = *s
		}
	}
	if t != nil && len(t.fresh) >= headsKeys {
		t.at = time.Time{}
		wakeUp(h.wake)
	}
}

// node returns what a node was told, which is due soon; mu is held.
func (h *heads) node(name string) *told {
	t := h.nodes[name]
	if t == nil {
		if len(h.nodes) >= headsNodes {
			h.makeRoom()
		}
		t = &told{at: time.Now().Add(headsEvery)}
		h.nodes[name] = t
	}
	if t.fresh == nil {
		t.fresh = make(map[message.Key]message.Stamp)
		if soon := time.Now().Add(headsEvery); t.at.After(soon) {
			t.at = soon
		}
	}
	return t
}

// makeRoom forgets a node, one that is away if there is any; mu is held. When it is
// addressed again its numbers begin anew, which makes it compare everything.
func (h *heads) makeRoom() {
	victim := ""
	for name, t := range h.nodes {
		if victim = name; !t.gone.IsZero() {
			break
		}
	}
	delete(h.nodes, victim)
}

// run tells nodes until ctx ends, and then once more what is left.
func (h *heads) run(ctx context.Context) {
	tick := time.NewTicker(headsEvery / 5)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			h.tell(ctx, false)
		case <-h.wake:
			h.tell(ctx, false)
		case <-ctx.Done():
			h.tell(context.WithoutCancel(ctx), true)
			return
		}
	}
}

// tell sends what is due; with rest set, all that is new.
func (h *heads) tell(ctx context.Context, rest bool) {
	ctx, cancel := context.WithTimeout(ctx, headsTimeout)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(16)
	for name, d := range h.due(time.Now(), rest) {
		g.Go(func() error {
			h.sent(name, h.bus.Send(ctx, name, &message.Down{Heads: d}))
			return nil
		})
	}
	_ = g.Wait() // no error is returned above: one that is not sent is like one that is lost
}

func (h *heads) due(now time.Time, rest bool) map[string]*message.Heads {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all map[string]*message.Heads
	for name, t := range h.nodes {
		if rest && len(t.fresh) == 0 || !rest && now.Before(t.at) {
			continue
		}
		t.next(now)
		if all == nil {
			all = make(map[string]*message.Heads)
		}
		all[name] = &message.Heads{Producer: h.producer, Number: t.number, Stamps: t.last}
	}
	return all
}

// next moves on to the record that is due.
func (t *told) next(now time.Time) {
	if len(t.fresh) > 0 {
		t.number++
		if t.over {
			t.number++
		}
		t.last = make([]message.Stamp, 0, len(t.fresh))
		for _, s := range t.fresh {
			t.last = append(t.last, s)
		}
		t.fresh, t.over, t.pause = nil, false, headsEvery
	} else {
		t.pause = min(2*t.pause, headsRest)
		if t.pause > headsRepeat {
			t.last = nil
		}
	}
	t.at = now.Add(t.pause)
}

// sent notes what came of a record. A node that is not there has missed it for certain.
func (h *heads) sent(name string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.nodes[name]
	switch {
	case t == nil:
	case !errors.Is(err, message.ErrGone):
		t.gone = time.Time{}
	case t.gone.IsZero():
		t.gone = time.Now()
		t.number++
	case time.Since(t.gone) > headsForget && len(t.fresh) == 0:
		delete(h.nodes, name)
	default:
		t.number++
	}
}
