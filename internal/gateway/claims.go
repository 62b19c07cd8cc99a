package gateway

import (
	"context"
	"net/http"
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

// of returns who is coming back as id, nil for nobody.
func (x *claims) of(id string) *client {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.by[id]
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
// other session has that client any more, here or on the node that it was saved by:
// its old connection may not know yet that it is dead, and its leave must be written
// before its return.
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
	if node := cl.entry.back.saved.Client.Node; sh.g.cfg.Peers != nil && node != "" && node != sh.g.cfg.Node {
		left.Add(1)
		sh.g.wg.Go(func() {
			sh.g.evictElsewhere(node, id)
			one()
		})
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

// evictCall asks a node to end the session of a client that has come back on another.
type evictCall struct{ Client string }

// evictAnswer names the node that the client's session has moved to, "" for none.
type evictAnswer struct{ Node string }

// evictElsewhere has the node that had a client end its session there, and follows the
// session where it has moved. A node that does not answer has nobody.
func (g *Gateway) evictElsewhere(node, id string) {
	ctx, cancel := context.WithTimeout(g.ctx, tellTime)
	defer cancel()
	for node != "" && node != g.cfg.Node {
		var answer evictAnswer
		if _, err := g.ask(ctx, node, pathEvict, &evictCall{Client: id}, &answer); err != nil {
			g.cfg.Logger.Debug("a client's former node cannot be asked about it", "client", id, "node", node, "err", err)
			return
		}
		node = answer.Node
	}
}

// serveEvict ends the session of a client that has come back on another node, and
// answers when its leave is written.
func (g *Gateway) serveEvict(w http.ResponseWriter, r *http.Request) {
	var q evictCall
	if !g.question(w, r, &q) {
		return
	}
	before := g.claims.of(q.Client)
	var answer evictAnswer
	for _, sh := range g.shards {
		moved, _ := runOn(sh, func() (node string) {
			sh.evict(sh.clients[q.Client])
			if before != nil && g.shardOf(before.conn.session.ID()) == sh {
				sh.evict(before)
			}
			if d := sh.away.byClient[q.Client]; d != nil {
				node = d.node
			}
			return node
		})
		if moved != "" {
			answer.Node = moved
		}
	}
	if err := g.registrar.flush(r.Context()); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	g.answer(w, &answer)
}
