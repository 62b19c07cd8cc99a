package gateway

import (
	"fmt"
	"sync/atomic"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/session"
)

// nodeCall is one call of a ws-api on its way through the node's shards. Each
// shard reports once how many of its clients are concerned, and once that it is
// done; the node answers when all have. A shard that has stopped, or has no room,
// has no clients and is done at once.
type nodeCall struct {
	g        *Gateway
	id, to   string
	counting atomic.Int32 // shards that have not counted yet
	running  atomic.Int32 // shards that are not done yet
	clients  atomic.Uint32
	failed   atomic.Pointer[string] // why a shard could not do it
	sink     func(message.Reply)    // gets the answers of a call that another node makes; nil: the bus
}

func (g *Gateway) newCall(d *message.Down) *nodeCall {
	c := &nodeCall{g: g, id: d.Call, to: d.ReplyTo}
	c.counting.Store(int32(len(g.shards)))
	c.running.Store(int32(len(g.shards)))
	return c
}

func (c *nodeCall) reply(r message.Reply) {
	if c.sink != nil {
		c.sink(r)
		return
	}
	if c.id == "" {
		return
	}
	r.Call, r.Node = c.id, c.g.cfg.Node
	if err := c.g.cfg.Bus.Reply(c.to, &r); err != nil {
		c.g.cfg.Logger.Debug("an answer to a call was lost", "call", c.id, "to", c.to, "err", err)
	}
}

// count adds a shard's clients; the sum goes out when every shard has counted.
func (c *nodeCall) count(n int, tell bool) {
	c.clients.Add(uint32(n))
	// Read when all have added theirs: the last one here may not have been the last there.
	if c.counting.Add(-1) == 0 && tell {
		c.reply(message.Reply{Clients: c.clients.Load()})
	}
}

// done says that a shard is through; the last one ends the call.
func (c *nodeCall) done() {
	if c.running.Add(-1) != 0 {
		return
	}
	r := message.Reply{Clients: c.clients.Load(), Done: true}
	if why := c.failed.Load(); why != nil {
		r.Err = *why
	}
	c.reply(r)
}

// fail notes why a shard could not do it, for the last answer.
func (c *nodeCall) fail(why string) { c.failed.Store(&why) }

// each has run called on every shard, each of which then counts and is done.
func (c *nodeCall) each(size int, run func(*shard)) {
	for _, sh := range c.g.shards {
		if err := sh.inbox.call(size, func() { run(sh) }); err != nil {
			c.g.Stats.Overflows.Add(1)
			c.fail(err.Error())
			c.count(0, false)
			c.done()
		}
	}
}

// receive takes one record of the node's inbox. It never blocks.
func (g *Gateway) receive(d *message.Down) error {
	if d.Call != "" && !d.Expires.IsZero() && time.Now().After(d.Expires) {
		return nil // nobody waits for the answer any more
	}
	switch {
	case d.Push != nil && d.Push.WantAcks:
		call := g.newCall(d)
		at := g.arrived(d.Push)
		call.each(d.Push.Size(), func(sh *shard) { sh.deliverAsking(d, call, at) })
	case d.Push != nil:
		return g.receivePush(d.Push)
	case d.Heads != nil:
		g.receiveHeads(d.Heads)
	case d.Ack != nil:
		at := g.nanos()
		g.forClient(d.Ack.Client, func(sh *shard, cl *client) {
			sh.sendAck(cl, d.Ack)
			sh.ackWritten(d.Ack, at)
		}, func(sh *shard, away *departure) {
			sh.passOn(away, &errand{down: d, done: func(uint32, string) {}})
		})
	case d.Verdict != nil:
		call := &nodeCall{g: g, id: d.Call, to: d.ReplyTo}
		g.shardOf(d.Verdict.Client).passVerdict(d.Verdict, call, len(g.shards))
	case d.Join != nil, d.Leave != nil, d.Disconnect != nil:
		call := g.newCall(d)
		call.each(0, func(sh *shard) { sh.control(d, call) })
	}
	return nil
}

func (g *Gateway) receivePush(d *message.Delivery) (full error) {
	at := g.arrived(d)
	for _, sh := range g.shards {
		if err := sh.inbox.deliver(d, at); err != nil {
			g.Stats.Overflows.Add(1)
			full = err
		}
	}
	return full
}

// forClient runs do on the shard that has a client: where its ID says, else
// wherever it is. gone is run instead where its session has moved to another node.
func (g *Gateway) forClient(id string, do func(*shard, *client), gone func(*shard, *departure)) {
	try := func(sh *shard) (found bool) {
		if cl := sh.clients[id]; cl != nil {
			do(sh, cl)
			return true
		}
		if d := sh.away.byClient[id]; d != nil {
			gone(sh, d)
			return true
		}
		return false
	}
	first := g.shardOf(id)
	first.inbox.post(func() {
		if try(first) {
			return
		}
		for _, sh := range g.shards {
			if sh != first {
				sh.inbox.post(func() { try(sh) })
			}
		}
	})
}

// members returns the accepted clients behind a key, in a slice of the caller's.
func (sh *shard) members(key message.Key) []*client {
	room := sh.room(key)
	if room == nil {
		return nil
	}
	out := make([]*client, 0, room.Len())
	for slot := range room.End() {
		if cl := room.At(slot); cl != nil && cl.accepted {
			out = append(out, cl)
		}
	}
	return out
}

// control carries out a join, a leave or a disconnect for this shard's clients.
func (sh *shard) control(d *message.Down, call *nodeCall) {
	if sh.afterArrival(controlKey(d), func() { sh.control(d, call) }) {
		return
	}
	sh.controlAway(d, call)
	switch {
	case d.Join != nil:
		clients := sh.firstFor(sh.members(d.Join.To), d.Call)
		call.count(len(clients), false)
		// Atomic, for when the shard has stopped the registrar counts in its place.
		var open atomic.Int32
		open.Store(int32(len(clients)) + 1)
		one := func(in bool) {
			if !in {
				call.clients.Add(^uint32(0))
			}
			if open.Add(-1) == 0 {
				call.done()
			}
		}
		for _, cl := range clients {
			if !sh.hasSeats(cl, d.Join.Rooms) {
				call.fail(fmt.Sprintf("client %s would be %v", cl.id, message.ErrTooManyRooms))
				one(false)
				continue
			}
			sh.join(cl, d.Join.Rooms, one)
		}
		one(true)
	case d.Leave != nil:
		clients := sh.firstFor(sh.members(d.Leave.To), d.Call)
		call.count(len(clients), false)
		for _, cl := range clients {
			sh.leave(cl, d.Leave.Rooms)
		}
		// Answered after the registry has it, as the caller may look there next.
		sh.g.registrar.submit(op{done: func([]message.Position) { call.done() }}, nil, nil)
	case d.Disconnect != nil:
		clients := sh.firstFor(sh.members(d.Disconnect.To), d.Call)
		call.count(len(clients), false)
		for _, cl := range clients {
			sh.disconnect(cl, d.Disconnect)
		}
		sh.g.registrar.submit(op{done: func([]message.Position) { call.done() }}, nil, nil)
	}
}

func (sh *shard) disconnect(cl *client, d *message.Disconnect) {
	if cl.sock.Gone() {
		return
	}
	c := cl.conn
	why := session.ServerDisconnect
	if d.AllowReconnect {
		why = session.ForcedServer
	}
	if d.Reason != "" {
		why.Text = d.Reason
	}
	if d.AllowReconnect {
		c.session.End(why, sh.now, &sh.acts)
	} else {
		sh.forget(cl) // who is sent away has nothing to come back to
		c.session.Kick(cl.sock, why, sh.now, &sh.acts)
	}
	sh.settle(c)
}

// ackCall is a push that waits for the acknowledgements of this shard's clients.
type ackCall struct {
	node    *nodeCall
	id      uint64
	asking  int // ways by which the push is still to come to clients
	clients int // that were asked, those that have moved among them
	waiting map[*client]struct{}
	expires time.Time
}

// deliverAsking sends a push with an ack ID. It is outside the logs, and takes its
// turn in each of its rooms behind what was pushed there before.
func (sh *shard) deliverAsking(d *message.Down, node *nodeCall, at int64) {
	var places []place
	for i := range d.Push.Stamps {
		if sh.afterArrival(d.Push.Stamps[i].Key, func() { sh.deliverAsking(d, node, at) }) {
			return
		}
		if room := sh.room(d.Push.Stamps[i].Key); room != nil {
			places = append(places, place{room: room})
		}
	}
	away := sh.askAway(d, node)
	if len(places) == 0 {
		node.count(away, true)
		node.done()
		return
	}
	if len(sh.calls) >= sh.g.cfg.MaxPendingAcks {
		node.fail("too many pushes wait for acknowledgements")
		node.count(away, true)
		node.done()
		return
	}
	sh.nextAck++
	call := &ackCall{
		node: node, id: sh.nextAck, waiting: make(map[*client]struct{}), clients: away, expires: d.Expires, asking: 1,
	}
	sh.calls[call.id] = call
	p := d.Push.Push
	sh.jobs.add(send{push: p, at: at, places: places, filter: newFilter(p), ask: call})
}

// sendAsking sends the push to one client.
func (sh *shard) sendAsking(cl *client, s *send) {
	if !sh.first(cl, s.push.ID) {
		return
	}
	out := s.encoded(sh, cl, s.ask.id, true)
	if out == nil {
		return
	}
	s.ask.waiting[cl] = struct{}{}
	s.ask.clients++
	if !sh.sendOut(cl, out, "") {
		delete(s.ask.waiting, cl) // it will not answer, and counts as one that has not
	}
}

// asked says that a push has got to the end of one way to its clients. The last one
// tells ws-api how many were asked.
func (sh *shard) asked(call *ackCall) {
	if call.asking--; call.asking > 0 {
		return
	}
	call.node.count(call.clients, true)
	sh.endCall(call, false)
}

// endCall ends a call for which nobody is waited any more; with overdue set, also one
// whose clients have not answered.
func (sh *shard) endCall(call *ackCall, overdue bool) {
	if call.asking > 0 || len(call.waiting) > 0 && !overdue {
		return
	}
	delete(sh.calls, call.id)
	call.node.done()
}

func (sh *shard) expireCalls() {
	if len(sh.calls) == 0 {
		return
	}
	now := time.Now()
	for _, call := range sh.calls {
		for cl := range call.waiting {
			if cl.sock.Gone() && !cl.away {
				delete(call.waiting, cl)
			}
		}
		sh.endCall(call, !call.expires.IsZero() && now.After(call.expires))
	}
}

// endCalls ends all calls, for the shard stops.
func (sh *shard) endCalls() {
	for _, call := range sh.calls {
		if call.asking > 0 {
			call.asking = 1
			sh.asked(call)
		}
	}
	for _, call := range sh.calls {
		sh.endCall(call, true)
	}
}
