package gateway

import (
	"sync"
	"sync/atomic"

	"holdfast/internal/session"
)

// claims says which session each client that comes back is coming back on. Two may
// show the same private ID at once (a client that has given a slow attempt up and
// tries again), and one ID must not be two clients: the later one wins.
type claims struct {
	mu sync.Mutex
	by map[string]*client // by client ID; for as long as it is coming in
}

// take makes cl the one who comes back as id and returns who was that before.
func (x *claims) take(id string, cl *client) (before *client) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.by == nil {
		x.by = make(map[string]*client)
	}
	before = x.by[id]
	x.by[id] = cl
	return before
}

// drop gives a claim up; false when somebody else has taken it over.
func (x *claims) drop(id string, cl *client) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.by[id] != cl {
		return false
	}
	delete(x.by, id)
	return true
}

// unclaim gives a client's claim up, if it has one; false when it has lost it.
func (sh *shard) unclaim(cl *client) bool {
	if cl.entry == nil || cl.entry.claim == "" {
		return true
	}
	id := cl.entry.claim
	cl.entry.claim = ""
	return sh.g.claims.drop(id, cl)
}

// claim has cl come back as the client id and calls then, on this shard, when no
// other session has that client any more: its old connection may not know yet that
// it is dead, and its leave must be written before its return.
func (sh *shard) claim(cl *client, id string, then func()) {
	before := sh.g.claims.take(id, cl)
	cl.entry.claim = id
	var left atomic.Int32
	left.Store(int32(len(sh.g.shards)))
	one := func() {
		if left.Add(-1) == 0 {
			sh.inbox.post(then)
		}
	}
	for _, other := range sh.g.shards {
		posted := other.inbox.post(func() {
			other.evict(other.clients[id])
			if before != nil && sh.g.shardOf(before.conn.session.ID()) == other {
				other.evict(before)
			}
			one()
		})
		if !posted {
			one()
		}
	}
}

// evict ends the session of a client (nil: none) that has come back on another.
func (sh *shard) evict(cl *client) {
	if cl == nil || cl.sock.Gone() {
		return
	}
	cl.conn.session.End(session.TransportClose, sh.now, &sh.acts)
	sh.settle(cl.conn)
}
