package gateway

import (
	"sync/atomic"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/session"
)

// nodeCall is one call of a ws-api on its way through the node's shards. Each
// shard reports once how many of its clients are concerned, and once that it is
// done; the node answers when all have.
type nodeCall struct {
	g        *Gateway
	id, to   string
	counting atomic.Int32 // shards that have not counted yet
	running  atomic.Int32 // shards that are not done yet
	clients  atomic.Uint32
}

func (g *Gateway) newCall(d *message.Down) *nodeCall {
	c := &nodeCall{g: g, id: d.Call, to: d.ReplyTo}
	c.counting.Store(int32(len(g.shards)))
	c.running.Store(int32(len(g.shards)))
	return c
}

func (c *nodeCall) reply(r message.Reply) {
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
	sum := c.clients.Add(uint32(n))
	if c.counting.Add(-1) == 0 && tell {
		c.reply(message.Reply{Clients: sum})
	}
}

// done says that a shard is through; the last one ends the call.
func (c *nodeCall) done() {
	if c.running.Add(-1) == 0 {
		c.reply(message.Reply{Clients: c.clients.Load(), Done: true})
	}
}

// fail answers a call that never reached a shard.
func (c *nodeCall) fail(why string) { c.reply(message.Reply{Done: true, Err: why}) }

// receive takes one record of the node's inbox. It never blocks.
func (g *Gateway) receive(d *message.Down) error {
	if d.Call != "" && !d.Expires.IsZero() && time.Now().After(d.Expires) {
		return nil
	}
	switch {
	case d.Push != nil:
		return g.receivePush(d)
	case d.Ack != nil:
		g.forClient(d.Ack.Client, func(sh *shard, cl *client) { sh.sendAck(cl, d.Ack) }, nil)
	case d.Verdict != nil:
		call := g.newCall(d)
		sh := g.shardOf(d.Verdict.Client)
		sh.inbox.post(func() { sh.verdict(d.Verdict, call) })
	case d.Join != nil, d.Leave != nil, d.Disconnect != nil:
		call := g.newCall(d)
		for _, sh := range g.shards {
			if !sh.inbox.post(func() { sh.control(d, call) }) {
				call.count(0, false)
				call.done()
			}
		}
	}
	return nil
}

func (g *Gateway) receivePush(d *message.Down) error {
	var call *nodeCall
	if d.Push.WantAcks {
		call = g.newCall(d)
		for _, sh := range g.shards {
			sh.inbox.post(func() { sh.deliverAsking(d, call) })
		}
		return nil
	}
	var full error
	for _, sh := range g.shards {
		if err := sh.inbox.deliver(d.Push); err != nil {
			g.Stats.Overflows.Add(1)
			full = err
		}
	}
	return full
}

// forClient runs do on the shard that has a client: where its ID says, else
// wherever it is. missing runs when no shard has it.
func (g *Gateway) forClient(id string, do func(*shard, *client), missing func()) {
	first := g.shardOf(id)
	first.inbox.post(func() {
		if cl := first.clients[id]; cl != nil {
			do(first, cl)
			return
		}
		left := new(atomic.Int32)
		left.Store(int32(len(g.shards) - 1))
		if len(g.shards) == 1 && missing != nil {
			missing()
		}
		for _, sh := range g.shards {
			if sh == first {
				continue
			}
			sh.inbox.post(func() {
				if cl := sh.clients[id]; cl != nil {
					do(sh, cl)
				} else if left.Add(-1) == 0 && missing != nil {
					missing()
				}
			})
		}
	})
}

// members returns the accepted clients behind a key, in a slice of the caller's.
func (sh *shard) members(key message.Key) []*client {
	room := sh.hub.Room(key)
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
	switch {
	case d.Join != nil:
		clients := sh.members(d.Join.To)
		call.count(len(clients), false)
		open := len(clients) + 1
		one := func() {
			if open--; open == 0 {
				call.done()
			}
		}
		for _, cl := range clients {
			sh.join(cl, d.Join.Rooms, one)
		}
		one()
	case d.Leave != nil:
		clients := sh.members(d.Leave.To)
		call.count(len(clients), false)
		for _, cl := range clients {
			sh.leave(cl, d.Leave.Rooms)
		}
		// Answered after the registry has it, as the caller may look there next.
		sh.g.registrar.submit(op{done: func([]message.Position) { call.done() }}, nil, nil)
	case d.Disconnect != nil:
		clients := sh.members(d.Disconnect.To)
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
	waiting map[*client]struct{}
	expires time.Time
}

func (c *ackCall) reply(a *message.AckReply) { c.node.reply(message.Reply{Ack: a}) }
func (c *ackCall) done()                     { c.node.done() }

// deliverAsking sends a push with an ack ID. It is outside the logs, and small
// audiences are what it is for, so it is not cut into slices.
func (sh *shard) deliverAsking(d *message.Down, node *nodeCall) {
	call := &ackCall{node: node, waiting: make(map[*client]struct{}), expires: d.Expires}
	if len(sh.calls) >= sh.g.cfg.MaxPendingAcks {
		node.count(0, true)
		node.done()
		return
	}
	for sh.jobs.pending() {
		sh.jobs.run(sh) // what was pushed to these rooms before goes first
	}
	sh.nextAck++
	id := sh.nextAck
	s := send{push: d.Push.Push, filter: newFilter(d.Push.Push)}
	for i := range d.Push.Stamps {
		for _, cl := range sh.members(d.Push.Stamps[i].Key) {
			if _, twice := call.waiting[cl]; twice || !s.filter.passes(cl) {
				continue
			}
			if out := s.encoded(sh, cl, id, true); out != nil {
				call.waiting[cl] = struct{}{}
				sh.sendOut(cl, out, "")
			}
		}
	}
	node.count(len(call.waiting), true)
	if len(call.waiting) == 0 {
		node.done()
		return
	}
	sh.calls[id] = call
}

func (sh *shard) expireCalls() {
	if len(sh.calls) == 0 {
		return
	}
	now := time.Now()
	for id, call := range sh.calls {
		for cl := range call.waiting {
			if cl.sock.Gone() {
				delete(call.waiting, cl)
			}
		}
		if len(call.waiting) == 0 || !call.expires.IsZero() && now.After(call.expires) {
			delete(sh.calls, id)
			call.done()
		}
	}
}
