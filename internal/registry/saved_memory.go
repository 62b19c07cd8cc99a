package registry

import (
	"container/heap"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"holdfast/internal/message"
)

// OlderGenerations is how many generations before the newest a session keeps.
const OlderGenerations = 4

// sweepBatch bounds how many expired sessions one call forgets on behalf of others.
const sweepBatch = 16

// generation is one save of a session.
type generation struct {
	gen    uint32
	tag    string
	at     time.Time
	places []message.Place
	had    []string
}

// savedSession is what one private ID leads to. The client is kept once for all
// generations, and its texts are the index's where it is known there.
type savedSession struct {
	pid         string
	client      *message.Client
	generations []generation  // newest first, never empty
	expires     time.Duration // by Memory.clock
	claim       uint64        // number of the last attempt to come back
	at          int           // index in the heap
}

// sessions holds what was saved, in a heap by expiry: the calls that come anyway
// forget what is past it, oldest first.
type sessions struct {
	mu    sync.Mutex
	byPID map[string]*savedSession
	queue expiryQueue
}

// Save stores what a client needs to come back, under its PID and for ttl. A save
// with a newer Gen becomes the first generation, and up to [OlderGenerations]
// before it stay; one with the same Tag and Gen as the first replaces it; one with
// the same Tag and a lower Gen came late, and only prolongs the life of what is
// there. s is copied.
func (m *Memory) Save(_ context.Context, s *message.Saved, ttl time.Duration) error {
	places := make([]message.Place, len(s.Places))
	copy(places, s.Places)
	known := m.share(&s.Client, places)
	now := m.clock()
	m.saved.sweep(now)
	m.saved.put(s, known, places, now+ttl)
	return nil
}

// share returns the client as the index has it, if it is the same, and replaces the
// keys in places by the index's: saved sessions are many, and most of their bytes
// would be copies of names.
func (m *Memory) share(as *message.Client, places []message.Place) *message.Client {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for i := range places {
		p := &places[i]
		if r := m.rooms[p.Key]; r != nil {
			p.Key = r.key
		} else if u := m.users[p.Key]; u != nil {
			p.Key = u.key
		}
	}
	if c := m.clients[message.PublicID(as.ID)]; c != nil && *c.Client == *as {
		return c.Client
	}
	own := *as
	return &own
}

// Load returns what was saved last under a private ID, and the generations before
// it, newest first, which differ in Tag, Gen, Places, Had and SavedAt. It fails with
// [message.ErrNotFound] when nothing was saved or its time is over.
func (m *Memory) Load(_ context.Context, pid string) (*message.Saved, []message.Saved, error) {
	now := m.clock()
	m.saved.sweep(now)
	newest, older, ok := m.saved.get(pid, now)
	if !ok {
		return nil, nil, fmt.Errorf("saved session: %w", message.ErrNotFound)
	}
	return newest, older, nil
}

// Take notes that a client is coming back, as [Redis.Take] does. It does not note where,
// for who keeps this in memory is one node.
func (m *Memory) Take(_ context.Context, pid, _ string) (before message.Claim, number uint64, err error) {
	return m.saved.take(pid, m.clock())
}

// Forget drops what was saved under a private ID, for a client that left for good.
func (m *Memory) Forget(_ context.Context, pid string) error {
	m.saved.forget(pid)
	return nil
}

// Sweep forgets all saved sessions whose time is over. Whoever owns the registry
// calls it now and then, so that an idle one gives its memory back.
func (m *Memory) Sweep() {
	for m.saved.sweep(m.clock()) {
	}
}

func (q *sessions) put(s *message.Saved, c *message.Client, places []message.Place, expires time.Duration) {
	g := generation{gen: s.Gen, tag: s.Tag, at: s.SavedAt, places: places, had: slices.Clone(s.Had)}
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.byPID[s.PID]
	if e == nil {
		e = &savedSession{pid: s.PID, client: c, generations: []generation{g}, expires: expires}
		q.byPID[s.PID] = e
		heap.Push(&q.queue, e)
		return
	}
	if expires > e.expires || e.generations[0].tag != g.tag || e.generations[0].gen <= g.gen {
		e.expires = expires
		heap.Fix(&q.queue, e.at)
	}
	switch newest := &e.generations[0]; {
	case newest.tag == g.tag && newest.gen > g.gen:
		return
	case newest.tag == g.tag && newest.gen == g.gen:
		*newest = g
	default:
		kept := min(len(e.generations), OlderGenerations)
		e.generations = append([]generation{g}, e.generations[:kept]...)
	}
	e.client = c
}

func (q *sessions) get(pid string, now time.Duration) (newest *message.Saved, older []message.Saved, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.byPID[pid]
	if e == nil || now >= e.expires {
		return nil, nil, false
	}
	for i := range e.generations {
		older = append(older, e.saved(&e.generations[i]))
	}
	return &older[0], older[1:], true
}

func (q *sessions) take(pid string, now time.Duration) (before message.Claim, number uint64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.byPID[pid]
	if e == nil || now >= e.expires {
		return before, 0, fmt.Errorf("saved session: %w", message.ErrNotFound)
	}
	before.Number = e.claim
	e.claim++
	return before, e.claim, nil
}

// saved gives a generation the form of the vocabulary. The places are a copy.
func (e *savedSession) saved(g *generation) message.Saved {
	places := make([]message.Place, len(g.places))
	copy(places, g.places)
	return message.Saved{
		PID: e.pid, Client: *e.client, Tag: g.tag, Gen: g.gen, Places: places, SavedAt: g.at,
		Had: slices.Clone(g.had), Claim: message.Claim{Number: e.claim},
	}
}

func (q *sessions) forget(pid string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.byPID[pid]; e != nil {
		heap.Remove(&q.queue, e.at)
		delete(q.byPID, pid)
	}
}

// sweep forgets some sessions whose time is over, and tells whether there may
// be more.
func (q *sessions) sweep(now time.Duration) (more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for range sweepBatch {
		if len(q.queue) == 0 || now < q.queue[0].expires {
			return false
		}
		e := heap.Pop(&q.queue).(*savedSession)
		delete(q.byPID, e.pid)
	}
	return true
}

func (q *sessions) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.byPID)
}

// expiryQueue is a heap.Interface, the session that expires first at the top.
type expiryQueue []*savedSession

func (h expiryQueue) Len() int           { return len(h) }
func (h expiryQueue) Less(i, j int) bool { return h[i].expires < h[j].expires }

func (h expiryQueue) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface.
func (h *expiryQueue) Push(x any) {
	e := x.(*savedSession)
	e.at = len(*h)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *expiryQueue) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
