package gateway

import (
	"context"
	"slices"
	"time"

	"holdfast/internal/hub"
	"holdfast/internal/message"
)

// What comes for the clients of a session while it moves, and just after. A push that
// is in a log is found there by the new node. All else is for whoever gets it:
//
//	             before the freeze │ frozen        │ confirmed, a moment │ later
//	at the old   its client        │ kept, then    │ passed on           │ to its own key only:
//	             has it            │ passed on     │                     │ passed on
//	at the new                     │ kept until it has arrived           │ its client has it
//
// Who pushes may know the old node, the new one, or both. So a record may come to the
// new one twice, and each client takes it the first time; what it has had at the old one
// before the freeze goes over with it.

// staleTime is for how long after a move somebody may take the room's nodes for what
// they were before, in milliseconds. Lists are kept for 10, and inboxes are read at once,
// but on a machine that is busy that may take its time.
const staleTime = 2000

// maxFirst is how many are remembered of those that came to moved clients, and maxLately
// of those that came to anybody.
const (
	maxFirst  = 4096
	maxLately = 1024
)

// errand is a record for a client of a session that moves, with who waits for what comes
// of it.
type errand struct {
	down *message.Down
	ack  func(a *message.AckReply)        // called for each, before done; only where the record wants them
	done func(clients uint32, why string) // called once
}

// maxErrands bounds what is kept for the clients of one session that moves, in records.
const maxErrands = 1024

// lately is what has come in the last moments and is in no log, oldest first. Whoever
// moves takes along what was for them.
type lately struct {
	came []arrivedLately
}

type arrivedLately struct {
	id   string
	keys []message.Key
	at   int64
}

// note remembers what came for some keys. The oldest is forgotten when there is no room:
// a client that moves then may get it twice.
func (l *lately) note(id string, now int64, keys ...message.Key) {
	if id == "" {
		return
	}
	old := 0
	for old < len(l.came) && (now-l.came[old].at >= staleTime || len(l.came)-old >= maxLately) {
		old++
	}
	if l.came = append(l.came[old:], arrivedLately{id, keys, now}); old > 0 && len(l.came) == 1 {
		l.came = append([]arrivedLately(nil), l.came...) // lets go of what was kept for a crowd
	}
}

// of returns what was for a client, as it is handed over.
func (l *lately) of(h *handedClient, now int64) (ids []string) {
	for i := range l.came {
		c := &l.came[i]
		if now-c.at >= staleTime {
			continue
		}
		for _, key := range c.keys {
			if key == message.ClientKey(h.Info.Namespace, h.Info.ID) || h.behind(key) {
				ids = append(ids, c.id)
				break
			}
		}
	}
	return ids
}

// firsts is a memory of what has come to clients that have moved here.
type firsts struct {
	seen  map[string]struct{}
	order []string
	at    int // of the oldest, once it is full
}

// first tells whether something comes to a client for the first time, as far as it
// could come twice.
func (sh *shard) first(cl *client, id string) bool {
	if p := cl.conn.passage; id == "" || p == nil || p.from == "" {
		return true
	}
	f, key := &sh.away.firsts, cl.id+" "+id
	if _, had := f.seen[key]; had {
		return false
	}
	if f.seen == nil {
		f.seen = make(map[string]struct{})
	}
	f.seen[key] = struct{}{}
	if len(f.order) < maxFirst {
		f.order = append(f.order, key)
		return true
	}
	delete(f.seen, f.order[f.at])
	f.order[f.at] = key
	f.at = (f.at + 1) % maxFirst
	return true
}

// firstFor returns those to whom a call comes for the first time, in the same slice.
func (sh *shard) firstFor(clients []*client, call string) []*client {
	out := clients[:0]
	for _, cl := range clients {
		if sh.first(cl, call) {
			out = append(out, cl)
		}
	}
	return out
}

// keepUnlogged keeps a push that is in no log, and so is not among what an arriving
// client's logs tell that it has missed. One that asks for an acknowledgement counts the
// client when it has arrived.
func (sh *shard) keepUnlogged(cl *client, s *send) {
	if cl.entry == nil || cl.conn.passage == nil || cl.conn.passage.hand == nil || len(cl.conn.passage.later) >= maxErrands {
		return
	}
	one := send{push: s.push, ask: s.ask, filter: s.filter}
	if one.ask != nil {
		one.ask.asking++
	}
	cl.conn.passage.later = append(cl.conn.passage.later, func() {
		if one.ask != nil {
			defer sh.asked(one.ask)
		}
		switch p := one.push; {
		case !cl.accepted || cl.sock.Gone(), len(p.Targets) > 1 && cl.hadBefore(p.ID, true), !one.filter.passes(cl):
		case one.ask != nil:
			sh.sendAsking(cl, &one)
		case sh.first(cl, p.ID):
			if out := one.encoded(sh, cl, 0, false); out != nil {
				sh.sendOut(cl, out, sh.offset(cl))
			}
		}
	})
}

// passOn brings a record to the node that has the client now, or keeps it until that
// is known.
func (sh *shard) passOn(d *departure, e *errand) {
	switch f := d.frozen; {
	case f == nil:
		sh.g.wg.Go(func() {
			ctx, cancel := context.WithTimeout(sh.g.ctx, e.limit())
			defer cancel()
			var answer callAnswer
			if _, err := sh.g.ask(ctx, d.node, pathCall, e.down, &answer); err != nil {
				answer.Err = "the client's node cannot be reached"
			}
			for i := range answer.Acks {
				e.ack(&answer.Acks[i])
			}
			e.done(answer.Clients, answer.Err)
		})
	case len(f.errands) >= maxErrands:
		e.done(0, message.ErrFull.Error())
	default:
		f.errands = append(f.errands, e)
	}
}

// limit is how long the other node may take.
func (e *errand) limit() time.Duration {
	if e.down.Push == nil || !e.down.Push.WantAcks || e.down.Expires.IsZero() {
		return callTime
	}
	return max(time.Until(e.down.Expires), 0) + time.Second // for it to say who has not answered
}

// toAway calls pass for each client behind a key that has left the shard: one that is
// addressed alone, and any whose new node those who push may not know yet.
func (sh *shard) toAway(key message.Key, pass func(away *departure, to message.Key)) {
	if len(sh.away.bySession) == 0 {
		return
	}
	if key.Kind() == message.KindClient {
		if away := sh.away.byClient[key.Name()]; away != nil {
			pass(away, key)
		}
		return
	}
	those := func(away *departure, clients []handedClient) {
		for i := range clients {
			if h := &clients[i]; h.behind(key) {
				pass(away, message.ClientKey(h.Info.Namespace, h.Info.ID))
			}
		}
	}
	for away := range sh.away.frozen {
		those(away, away.frozen.hand.Clients)
	}
	for away := range sh.away.fresh {
		those(away, away.hand)
	}
}

// stampsAway is toAway for all keys of a push, each client once.
func (sh *shard) stampsAway(stamps []message.Stamp, pass func(away *departure, to message.Key)) {
	if len(sh.away.bySession) == 0 {
		return
	}
	told := make(map[message.Key]bool)
	for i := range stamps {
		sh.toAway(stamps[i].Key, func(away *departure, to message.Key) {
			if !told[to] {
				told[to] = true
				pass(away, to)
			}
		})
	}
}

// deliverAway passes a push on that is in no log.
func (sh *shard) deliverAway(d *message.Delivery) {
	if len(d.Stamps) == 0 || d.Stamps[0].Seq != 0 {
		return
	}
	sh.cameLately(d)
	sh.stampsAway(d.Stamps, func(away *departure, to message.Key) {
		sh.passOn(away, &errand{down: &message.Down{Push: alone(d, to)}, done: func(uint32, string) {}})
	})
}

// cameLately notes a push that is in no log, for those who move soon.
func (sh *shard) cameLately(d *message.Delivery) {
	if sh.g.cfg.Peers == nil {
		return
	}
	keys := make([]message.Key, len(d.Stamps))
	for i := range d.Stamps {
		keys[i] = d.Stamps[i].Key
	}
	sh.away.lately.note(d.Push.ID, sh.now, keys...)
}

// askAway has the clients asked that have left the shard, and returns their number.
func (sh *shard) askAway(d *message.Down, node *nodeCall) (asked int) {
	sh.cameLately(d.Push)
	sh.stampsAway(d.Push.Stamps, func(away *departure, to message.Key) {
		asked++
		node.running.Add(1)
		sh.passOn(away, &errand{
			down: &message.Down{Push: alone(d.Push, to), Expires: d.Expires},
			ack:  func(a *message.AckReply) { node.reply(message.Reply{Ack: a}) },
			done: func(n uint32, why string) {
				if why == "" {
					node.clients.Add(n - 1) // a filter may have passed over it, or it was asked already
				}
				node.done()
			},
		})
	})
	return asked
}

// alone is a delivery to one client.
func alone(d *message.Delivery, to message.Key) *message.Delivery {
	one := *d
	one.Stamps = []message.Stamp{{Key: to}}
	return &one
}

// stillFor tells whether the one client of a delivery is on this shard and has left
// none of the rooms since for which it was passed on.
func (sh *shard) stillFor(d *message.Delivery) bool {
	if len(d.Stamps) != 1 || d.Push == nil {
		return false
	}
	to := d.Stamps[0].Key
	cl := sh.clients[to.Name()]
	if cl == nil {
		return false
	}
	for _, key := range d.Push.Targets {
		if key == to {
			return true
		}
		if room := sh.hub.Room(key); room != nil && hub.SeatOf(cl, room) != nil {
			return true
		}
	}
	return false
}

// controlAway carries a call out for clients that have left the shard.
func (sh *shard) controlAway(d *message.Down, call *nodeCall) {
	if sh.g.cfg.Peers != nil {
		sh.away.lately.note(d.Call, sh.now, controlKey(d))
	}
	sh.toAway(controlKey(d), func(away *departure, to message.Key) {
		call.running.Add(1)
		one := *d
		one.ReplyTo = ""
		switch {
		case d.Join != nil:
			one.Join = &message.Membership{To: to, Rooms: d.Join.Rooms}
		case d.Leave != nil:
			one.Leave = &message.Membership{To: to, Rooms: d.Leave.Rooms}
		default:
			x := *d.Disconnect
			x.To = to
			one.Disconnect = &x
		}
		sh.passOn(away, &errand{down: &one, done: func(n uint32, why string) {
			call.clients.Add(n)
			if why != "" {
				call.fail(why)
			}
			call.done()
		}})
	})
}

// controlKey is whom a join, a leave or a disconnect concerns.
func controlKey(d *message.Down) message.Key {
	switch {
	case d.Join != nil:
		return d.Join.To
	case d.Leave != nil:
		return d.Leave.To
	}
	return d.Disconnect.To
}

func (h *handedClient) behind(key message.Key) bool {
	if h.Info.Namespace != key.Namespace() {
		return false
	}
	switch key.Kind() {
	case message.KindRoom:
		return slices.Contains(h.Rooms, key.Name())
	case message.KindUser:
		return h.Info.UID == key.Name()
	case message.KindAll:
		return true
	}
	return false
}
