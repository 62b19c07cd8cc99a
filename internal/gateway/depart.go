package gateway

import (
	"context"
	"net/http"

	"holdfast/internal/hub"
	"holdfast/internal/message"
	"holdfast/internal/session"
)

// departures is what a shard knows of sessions that other nodes have, or want.
type departures struct {
	bySession map[string]*departure // by the public part of the session ID
	byClient  map[string]*departure // by the client's
	frozen    map[*departure]struct{}
	fresh     map[*departure]struct{} // confirmed a moment ago, see [staleTime]
	visited   map[*conn]struct{}      // sessions that another node tries to take over
	firsts    firsts
	lately    lately
	arriving  int   // sessions of which not all clients are through
	checkAt   int64 // when it is looked whether the other nodes live
}

// departure is a session that another node has taken over: a tombstone. Until that
// node has confirmed it, it has all that is needed to take the session back.
type departure struct {
	sid, node, id string
	clients       []string
	asked         []*client // whose acknowledgements are waited for here

	frozen *frozen // nil: confirmed
	since  int64   // when it was
	lookAt int64   // when the other node is asked whether the session lives
	hand   []handedClient
}

type frozen struct {
	hand     *handover
	old      []*client     // in the order of hand.Clients
	exits    []message.Key // of which this shard has lost its last member
	errands  []*errand     // what came for the clients meanwhile
	deadline int64
}

// How long a frozen session waits for the other node to confirm that it has it, how
// often it is looked whether nodes live, and how often whether a session does: its node
// says when it ends, but that may be lost. In milliseconds.
const (
	confirmTime = 10_000
	checkEvery  = 5_000
	lookEvery   = 60_000
)

// maxLook bounds the sessions about which a node is asked at once.
const maxLook = 1000

// departure returns the tombstone of a session, nil when there is none.
func (sh *shard) departure(sid string) *departure {
	if d := sh.away.bySession[message.PublicID(sid)]; d != nil && equalSecret(d.sid, sid) {
		return d
	}
	return nil
}

// visit begins a probe from another node.
func (sh *shard) visit(q *sessionCall) int {
	c := sh.find(q.SID)
	switch {
	case c == nil && sh.departure(q.SID) != nil:
		return http.StatusConflict
	case c == nil:
		return http.StatusNotFound
	case !c.mayBeProbed():
		return http.StatusConflict
	}
	c.setVisit(&visit{node: q.Node, id: q.ID, deadline: sh.now + sh.g.cfg.UpgradeTimeout.Milliseconds()})
	if sh.away.visited == nil {
		sh.away.visited = make(map[*conn]struct{})
	}
	sh.away.visited[c] = struct{}{}
	return http.StatusOK
}

// visitor returns the session that a call of its visitor is about, nil when it is not
// that one's any more.
func (sh *shard) visitor(q *sessionCall) *conn {
	if c := sh.find(q.SID); c != nil && c.visit() != nil && c.visit().id == q.ID {
		return c
	}
	return nil
}

// pingVisit takes the visitor's 2probe.
func (sh *shard) pingVisit(q *sessionCall) int {
	c := sh.visitor(q)
	if c == nil {
		return http.StatusConflict
	}
	if c.session.Probe([]byte("2probe"), sh.now) != session.ProbePong {
		sh.endVisit(c)
		return http.StatusConflict
	}
	sh.settle(c)
	return http.StatusOK
}

// endVisit has polling go on.
func (sh *shard) endVisit(c *conn) {
	delete(sh.away.visited, c)
	c.setVisit(nil)
	c.session.ProbeLost()
}

// leaveVisit is what the visitor says when its socket is gone or it cannot go on. 409
// says that it is too late for that: the session is the visitor's.
func (sh *shard) leaveVisit(q *sessionCall) int {
	if c := sh.visitor(q); c != nil {
		sh.endVisit(c)
	} else if d := sh.departure(q.SID); d != nil && d.id == q.ID {
		if d.frozen == nil {
			return http.StatusConflict
		}
		sh.takeBack(d)
	}
	return http.StatusOK
}

// atRest tells whether nothing is under way that only this shard could finish.
func (sh *shard) atRest(c *conn) bool {
	if c.paused {
		return false
	}
	for _, sc := range c.session.Clients() {
		cl, ok := sc.Owner.(*client)
		if !ok || !cl.accepted || cl.entry != nil {
			return false
		}
		if len(sh.joins[cl]) > 0 {
			return false
		}
		for i := range cl.seats {
			if !cl.seats[i].Room.Log.Live {
				return false
			}
		}
		if cl.recover != nil && len(cl.recover.late) > 0 {
			return false
		}
	}
	return true
}

// freeze takes the session off the shard. The status says why it was not: 404 it is
// not there, 409 not for this visitor, 423 something is under way.
func (sh *shard) freeze(q *sessionCall) (*handover, int) {
	c := sh.visitor(q)
	switch {
	case c == nil:
		return nil, http.StatusConflict
	case c.session.State() != session.Open:
		return nil, http.StatusNotFound
	case !c.session.Upgrading():
		return nil, http.StatusConflict
	}
	c.visit().deadline = sh.now + sh.g.cfg.UpgradeTimeout.Milliseconds()
	if !sh.atRest(c) {
		return nil, http.StatusLocked
	}
	if c.poll != nil {
		sh.answerPoll(c) // the client has said that no poll is under way
	}
	for _, sc := range c.session.Clients() {
		sh.jobs.reach(sh, sc.Owner.(*client))
	}
	if c.session.State() != session.Open {
		return nil, http.StatusNotFound // that was more than it may be behind
	}
	snap, ok := c.session.Snapshot(sh.now)
	if !ok {
		return nil, http.StatusLocked
	}
	hand := &handover{
		Path: sh.g.pathOf(&c.session), Session: snap, Remote: c.remote, Order: c.order,
		Query: c.from.query, Headers: c.from.headers, Auth: c.from.auth,
	}
	d := &departure{sid: c.session.ID(), node: q.Node, id: q.ID, frozen: &frozen{hand: hand, deadline: sh.now + confirmTime}}
	sh.takeOff(c, d)
	return hand, http.StatusOK
}

// pathOf is the path of a session's endpoint.
func (g *Gateway) pathOf(s *session.Session) string {
	for _, e := range g.endpoints {
		if s.Settings() == &e.session {
			return e.Path
		}
	}
	return ""
}

// takeOff leaves nothing of the session on the shard but a departure. Its clients'
// memberships stay written until another node has them.
func (sh *shard) takeOff(c *conn, d *departure) {
	f := d.frozen
	for _, sc := range c.session.Clients() {
		cl := sc.Owner.(*client)
		h := sh.hand(cl)
		h.Lately = sh.away.lately.of(&h, sh.now)
		for id, call := range sh.calls {
			if _, asked := call.waiting[cl]; asked {
				h.Acks = append(h.Acks, id)
			}
		}
		if len(h.Acks) > 0 {
			d.asked = append(d.asked, cl)
		}
		sh.hub.LeaveAll(cl, func(room *hub.Room[*client], last bool) {
			if last {
				f.exits = append(f.exits, room.Key)
				sh.abandon(room)
			}
		})
		delete(sh.clients, cl.id)
		sh.g.Stats.count(&c.session, -1)
		cl.accepted, cl.away = false, true
		f.hand.Clients, f.old = append(f.hand.Clients, h), append(f.old, cl)
		d.clients = append(d.clients, cl.id)
	}
	c.session.Moved()
	c.setVisit(nil)
	delete(sh.away.visited, c)
	c.dropped = true
	sh.wheel.Cancel(&c.timer)
	delete(sh.sessions, message.PublicID(d.sid))
	sh.g.admission.leave(c.remote)
	sh.g.Stats.Sessions.Add(-1)
	sh.remember(d)
}

func (sh *shard) remember(d *departure) {
	x := &sh.away
	if x.bySession == nil {
		x.bySession, x.byClient = make(map[string]*departure), make(map[string]*departure)
		x.frozen = make(map[*departure]struct{})
	}
	x.bySession[message.PublicID(d.sid)] = d
	for _, id := range d.clients {
		x.byClient[id] = d
	}
	x.frozen[d] = struct{}{}
}

func (sh *shard) forgetDeparture(d *departure) {
	x := &sh.away
	delete(x.bySession, message.PublicID(d.sid))
	for _, id := range d.clients {
		if x.byClient[id] == d {
			delete(x.byClient, id)
		}
	}
	delete(x.frozen, d)
	delete(x.fresh, d)
}

// confirm is what the other node says when it has written that it has the session.
func (sh *shard) confirm(q *sessionCall) int {
	d := sh.departure(q.SID)
	if d == nil || d.id != q.ID {
		return http.StatusGone
	}
	f := d.frozen
	if f == nil {
		return http.StatusOK // said again
	}
	d.frozen, d.since, d.lookAt, d.hand = nil, sh.now, sh.now+lookEvery, f.hand.Clients
	delete(sh.away.frozen, d)
	if sh.away.fresh == nil {
		sh.away.fresh = make(map[*departure]struct{})
	}
	sh.away.fresh[d] = struct{}{}
	sh.g.Stats.MovedOut.Add(1)
	sh.g.registrar.submit(op{}, nil, f.exits)
	for _, e := range f.errands {
		sh.passOn(d, e)
	}
	return http.StatusOK
}

// takeBack has a frozen session go on here, by polling.
func (sh *shard) takeBack(d *departure) {
	sh.forgetDeparture(d)
	f := d.frozen
	if _, err := sh.adopt(f.hand, nil, d); err != nil {
		// It was here before, so this does not happen. Its clients are told to come back.
		sh.g.cfg.Logger.Error("a session cannot go on", "session", message.PublicID(d.sid), "err", err)
		sh.bury(d)
	}
	for _, e := range f.errands {
		sh.g.callFor(e)
	}
}

// bury writes that the clients of a frozen session are gone.
func (sh *shard) bury(d *departure) {
	o := op{}
	for i := range d.frozen.hand.Clients {
		info := d.frozen.hand.Clients[i].Info
		o.changes = append(o.changes, message.Change{Kind: message.ChangeDisconnect, Client: &info})
	}
	sh.g.registrar.submit(o, nil, d.frozen.exits)
}

// endDepartures ends what waits for other nodes, for the shard stops.
func (sh *shard) endDepartures() {
	for d := range sh.away.frozen {
		sh.bury(d)
		for _, e := range d.frozen.errands {
			e.done(0, "the node stops")
		}
	}
	sh.away.bySession, sh.away.byClient, sh.away.frozen, sh.away.fresh = nil, nil, nil, nil
}

// sweepDepartures looks after what other nodes have not come back to.
func (sh *shard) sweepDepartures() {
	for c := range sh.away.visited {
		if v := c.visit(); v == nil || sh.now >= v.deadline {
			sh.endVisit(c)
		}
	}
	for d := range sh.away.fresh {
		if sh.now-d.since >= staleTime {
			d.hand = nil
			delete(sh.away.fresh, d)
		}
	}
	for d := range sh.away.frozen {
		if sh.now >= d.frozen.deadline {
			sh.takeBack(d)
		}
	}
	if sh.now < sh.away.checkAt || len(sh.away.bySession) == 0 {
		return
	}
	sh.away.checkAt = sh.now + checkEvery
	nodes := make(map[string][]string)
	for _, d := range sh.away.bySession {
		due := nodes[d.node]
		if d.frozen == nil && sh.now >= d.lookAt && len(due) < maxLook {
			d.lookAt = sh.now + lookEvery
			due = append(due, d.sid)
		}
		nodes[d.node] = due
	}
	sh.g.wg.Go(func() { sh.g.checkNodes(sh, nodes) })
}

// checkNodes forgets the tombstones of sessions whose nodes have died, and of those
// sessions of each node that it does not have any more.
func (g *Gateway) checkNodes(sh *shard, nodes map[string][]string) {
	ctx, cancel := context.WithTimeout(g.ctx, tellTime)
	defer cancel()
	for node, due := range nodes {
		if g.cfg.Peers.Alive(ctx, node) || ctx.Err() != nil {
			if len(due) > 0 {
				g.wg.Go(func() { g.lookFor(sh, node, due) })
			}
			continue
		}
		sh.inbox.post(func() {
			for _, d := range sh.away.bySession {
				switch {
				case d.node != node:
				case d.frozen != nil:
					sh.takeBack(d)
				default:
					sh.endDeparture(d)
				}
			}
		})
	}
}

// lookCall asks a node which of some sessions that it took over it has still; the answer
// names those that it has not.
type lookCall struct{ SIDs []string }

// lookFor asks a node about sessions that it took over. Without an answer they are asked
// about the next time.
func (g *Gateway) lookFor(sh *shard, node string, sids []string) {
	ctx, cancel := context.WithTimeout(g.ctx, callTime)
	defer cancel()
	var over lookCall
	if _, err := g.ask(ctx, node, pathLook, &lookCall{sids}, &over); err != nil {
		g.cfg.Logger.Debug("a node cannot be asked about the sessions that it took over", "node", node, "err", err)
		return
	}
	sh.inbox.post(func() {
		for _, sid := range over.SIDs {
			if d := sh.departure(sid); d != nil && d.frozen == nil && d.node == node {
				sh.endDeparture(d)
			}
		}
	})
}

// serveLook answers which of some sessions are not here.
func (g *Gateway) serveLook(w http.ResponseWriter, r *http.Request) {
	var q, over lookCall
	if !g.question(w, r, &q) {
		return
	}
	for _, sh := range g.shards {
		gone, ok := runOn(sh, func() (gone []string) {
			for _, sid := range q.SIDs {
				if g.shardOf(sid) == sh && sh.find(sid) == nil {
					gone = append(gone, sid)
				}
			}
			return gone
		})
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		over.SIDs = append(over.SIDs, gone...)
	}
	g.answer(w, &over)
}

// endDeparture forgets a tombstone, for the session is over.
func (sh *shard) endDeparture(d *departure) {
	sh.forgetDeparture(d)
	for _, cl := range d.asked {
		for _, call := range sh.calls {
			if _, waits := call.waiting[cl]; waits {
				delete(call.waiting, cl)
				sh.endCall(call, false)
			}
		}
	}
}

// departed is what the other node says when the session has ended.
func (sh *shard) departed(q *sessionCall) int {
	if d := sh.departure(q.SID); d != nil && d.frozen == nil && d.node == q.Node {
		sh.endDeparture(d)
	}
	return http.StatusOK
}

// ackedAway takes an acknowledgement that a client has given on the other node.
func (sh *shard) ackedAway(q *ackCallAway) int {
	d, call := sh.departure(q.SID), sh.calls[q.AckID]
	if d == nil || call == nil {
		return http.StatusGone
	}
	for _, cl := range d.asked {
		if _, waits := call.waiting[cl]; waits && cl.id == q.Client {
			sh.acknowledge(call, cl, q.Payload)
			return http.StatusOK
		}
	}
	return http.StatusGone
}
