package gateway

import (
	"context"
	"net/http"
	"slices"
	"sync"

	"holdfast/internal/message"
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
// other session has that client any more, here or on another node: its old connection
// may not know yet that it is dead, and its leave must be written before its return.
// Where somebody else comes back as that client later, cl is ended instead.
func (sh *shard) claim(cl *client, id string, then func()) {
	before := sh.g.claims.take(id, cl)
	cl.entry.claim = id
	saved := cl.entry.back.saved
	sh.g.wg.Go(func() {
		gen, won := sh.g.takeOver(sh, cl, before, saved)
		sh.inbox.post(func() {
			switch {
			case cl.sock.Gone():
			case !won:
				sh.evict(cl)
			default:
				// What the former connection has saved meanwhile is not saved over.
				cl.recover.gen = max(cl.recover.gen, gen)
				then()
			}
		})
	})
}

// claimTries bounds how often a claim is made anew because an earlier attempt on this
// node has come to the registry after it.
const claimTries = 4

// takeOver makes cl the one that a client comes back as, among all nodes:
//
//	node b: claims, number 1 ─▶ ends what others have below 1 ─▶ is 1 the last? ─▶ comes in
//	node c:      claims, number 2 ─▶ ends what others have below 2, b's as well ─▶ …
//
// Both know of each other: the later one learns of the earlier one by claiming, and that
// one of the later by looking again, or by being ended. One that does not know its number
// yet is left alone, for it will look again. gen is the newest save's, when all others have
// written theirs.
func (g *Gateway) takeOver(sh *shard, cl, before *client, saved *message.Saved) (gen uint32, won bool) {
	ctx, cancel := context.WithTimeout(g.ctx, takeTime)
	defer cancel()
	id := saved.Client.ID
	for range claimTries {
		if g.claims.of(id) != cl {
			return 0, false
		}
		was, number, err := g.cfg.Registry.Take(ctx, saved.PID, g.cfg.Node)
		if err != nil {
			g.cfg.Logger.Info("a client cannot come back", "client", id, "err", err)
			return 0, false
		}
		if _, ok := runOn(sh, func() bool { return cl.note(number) }); !ok {
			return 0, false
		}
		g.endOthers(ctx, id, number, before, saved.Client.Node, was.Node)
		now, _, err := g.cfg.Registry.Load(ctx, saved.PID)
		switch {
		case err != nil:
			g.cfg.Logger.Info("a client cannot come back", "client", id, "err", err)
			return 0, false
		case now.Claim.Number == number:
			g.forgetMoved(id)
			return now.Gen, true
		case now.Claim.Node != "" && now.Claim.Node != g.cfg.Node:
			return 0, false
		}
	}
	return 0, false
}

// forgetMoved forgets the tombstones of a client whose session elsewhere has been ended:
// what comes for the client is for the one that it is here.
func (g *Gateway) forgetMoved(id string) {
	for _, sh := range g.shards {
		_, _ = runOn(sh, func() bool {
			d := sh.away.byClient[id]
			if d != nil && d.frozen == nil {
				sh.endDeparture(d)
			}
			return d != nil
		})
	}
}

// note remembers the number of a client's claim.
func (cl *client) note(number uint64) bool {
	if cl.recover != nil {
		cl.recover.claim = number
	}
	return true
}

// endOthers ends the sessions that have a client, here, on the nodes that are known to
// have had it and where it has moved from there, and returns when that is written.
func (g *Gateway) endOthers(ctx context.Context, id string, number uint64, before *client, nodes ...string) {
	var all sync.WaitGroup
	if moved := g.endHere(id, number, before, true); moved != "" {
		nodes = append(nodes, moved)
	}
	if g.cfg.Peers != nil {
		slices.Sort(nodes)
		for _, node := range slices.Compact(nodes) {
			all.Go(func() { g.evictElsewhere(ctx, node, id, number) })
		}
	}
	_ = g.outside(ctx) // a node that stops writes it all the same
	all.Wait()
}

// endHere ends the sessions that have a client here, unless they have it by a later claim,
// and returns the node that one has moved to, "" for none. before is somebody who comes in
// as that client: always ends him also when he does not know his number.
func (g *Gateway) endHere(id string, number uint64, before *client, always bool) (moved string) {
	for _, sh := range g.shards {
		node, _ := runOn(sh, func() (node string) {
			if d := sh.away.byClient[id]; d != nil && d.frozen == nil {
				node = d.node
			} else if d != nil {
				sh.takeBack(d) // and it ends here
			}
			if cl := sh.clients[id]; cl != nil && !cl.later(number) {
				sh.evict(cl)
			}
			if before != nil && g.shardOf(before.conn.session.ID()) == sh && (always || before.earlier(number)) {
				sh.evict(before)
			}
			return node
		})
		if node != "" {
			moved = node
		}
	}
	return moved
}

// later tells whether a client has come back by a claim of this number or a later one. A
// number of 0 is later than all: who asks does not know of claims.
func (cl *client) later(number uint64) bool {
	return number != 0 && cl.recover != nil && cl.recover.claim >= number
}

// earlier tells whether a client that comes in is known to do so by an earlier claim.
func (cl *client) earlier(number uint64) bool {
	return number == 0 || cl.recover != nil && cl.recover.claim != 0 && cl.recover.claim < number
}

// evict ends the session of a client (nil: none) that has come back on another.
func (sh *shard) evict(cl *client) {
	if cl == nil || cl.sock.Gone() {
		return
	}
	cl.conn.session.End(session.TransportClose, sh.now, &sh.acts)
	sh.settle(cl.conn)
}

// evictCall asks a node to end the session of a client that has come back on another, by
// a claim of this number.
type evictCall struct {
	Client string
	Claim  uint64 `json:",omitempty"`
}

// evictAnswer names the node that the client's session has moved to, "" for none.
type evictAnswer struct{ Node string }

// maxFollowed bounds the nodes over which a session's moves are followed.
const maxFollowed = 8

// evictElsewhere has the node that had a client end its session there, and follows the
// session where it has moved. A node that does not answer has nobody.
func (g *Gateway) evictElsewhere(ctx context.Context, node, id string, number uint64) {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	for range maxFollowed {
		if node == "" || node == g.cfg.Node {
			return
		}
		var answer evictAnswer
		if _, err := g.ask(ctx, node, pathEvict, &evictCall{Client: id, Claim: number}, &answer); err != nil {
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
	answer := evictAnswer{Node: g.endHere(q.Client, q.Claim, g.claims.of(q.Client), false)}
	if err := g.outside(r.Context()); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	g.answer(w, &answer)
}
