package gateway

import (
	"slices"

	"holdfast/internal/hub"
	"holdfast/internal/message"
)

// A client that joins rooms is told so, or ws-api is for it, and counts on the rooms from
// then on, also if its connection is lost in that moment. So the save that has the new
// rooms is a part of the join: the registrar writes it before it says that the join is
// done. Where a room was not live, its position is known only to the registrar, which has
// just read the log's head:
//
//	shard:      join ──▶ op{changes, heads, learn → *p, save with a place that is late: *p}
//	registrar:  changes written ──▶ heads read, *p filled in ──▶ save written ──▶ done
//	shard:      done ──▶ the seat stands at *p
//
// Saves that are made in between, the last one of a connection that is lost among them,
// stand behind the op in the registrar's queue and take the same *p. Whoever writes *p
// and whoever reads it are ordered by the registrar's queue and the shard's inbox.

// join puts an accepted client into rooms and calls done when the registry has it.
func (sh *shard) join(cl *client, rooms []string, done func(in bool)) {
	if !cl.accepted {
		done(false)
		return
	}
	if keys := sh.strangeTo(cl, rooms); len(keys) > 0 {
		sh.joinBehind(cl, rooms, keys, done)
		return
	}
	sh.enter(cl, rooms, nil, done)
}

// hasSeats tells whether a client may be in those rooms as well.
func (sh *shard) hasSeats(cl *client, rooms []string) bool {
	in := len(cl.appendRooms(nil))
	if in+len(rooms) <= sh.g.cfg.MaxRooms {
		return true // as good as always
	}
	for _, room := range unique(rooms) {
		if r := sh.hub.Room(message.RoomKey(cl.sock.Namespace, room)); r == nil || hub.SeatOf(cl, r) == nil {
			in++
		}
	}
	return in <= sh.g.cfg.MaxRooms
}

// enter is join for a client that gets nothing of some of the rooms that is not beyond
// a position.
func (sh *shard) enter(cl *client, rooms []string, beyond map[message.Key]message.Position, done func(in bool)) {
	var fresh []string
	var keys []message.Key
	had := len(cl.appendRooms(nil))
	for _, room := range unique(rooms) {
		key := message.RoomKey(cl.sock.Namespace, room)
		if r := sh.hub.Room(key); r != nil && hub.SeatOf(cl, r) != nil {
			continue
		}
		if had+len(fresh) >= sh.g.cfg.MaxRooms {
			sh.g.cfg.Logger.Warn("a client is in too many rooms to join another", "client", cl.id, "room", room)
			break
		}
		fresh, keys = append(fresh, room), append(keys, key)
	}
	if len(fresh) == 0 {
		sh.g.registrar.submit(op{done: func([]message.Position) {
			if !sh.inbox.post(func() { done(true) }) {
				done(true)
			}
		}}, nil, nil)
		return
	}
	enter, entered := sh.seat(cl, keys)
	sh.standBeyond(cl, beyond)
	o := op{
		changes: []message.Change{sh.change(message.ChangeJoin, cl, fresh)},
		heads:   enter,
	}
	sh.expect(cl, keys, &o)
	if cl.recover != nil && !cl.sock.Gone() {
		sh.save(cl, &o)
	}
	o.done = func(heads []message.Position) {
		joined := sh.inbox.post(func() {
			sh.goLive(entered, heads[:min(len(heads), len(entered))])
			sh.standIn(cl, &o)
			done(true)
		})
		if !joined {
			done(true)
		}
	}
	sh.g.registrar.submit(o, enter, nil)
}

// leave takes a client out of rooms.
func (sh *shard) leave(cl *client, rooms []string) {
	var exit []message.Key
	var gone []string
	sh.joins.drop(cl, rooms)
	for _, room := range rooms {
		key := message.RoomKey(cl.sock.Namespace, room)
		r, last := sh.hub.Leave(cl, key)
		if r == nil {
			continue
		}
		gone = append(gone, room)
		if cl.recover != nil {
			delete(cl.recover.late, key)
		}
		if last {
			exit = append(exit, key)
			sh.abandon(r)
		}
	}
	if len(gone) == 0 {
		return
	}
	sh.g.registrar.submit(op{
		changes: []message.Change{sh.change(message.ChangeLeave, cl, gone)},
	}, nil, exit)
	sh.saveAgain(cl)
}

// unique returns the list without repetitions, in its order.
func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// learnt is where the registrar puts the position that it reads for one of an op's heads.
type learnt struct {
	head int // index in op.heads
	to   *message.Position
}

// latePlace is a place of an op's save whose position was not known to the shard.
type latePlace struct {
	place int // index in save.Places
	at    *message.Position
}

// learn carries the heads that were read over into the op's save. The caller is the
// registrar.
func (o *op) learn(heads []message.Position) {
	for _, l := range o.learnt {
		if l.head < len(heads) {
			*l.to = heads[l.head]
		}
	}
	for _, l := range o.late {
		o.save.Places[l.place].Position = *l.at
	}
}

// expect has an op learn the positions of those keys whose rooms are not live yet, for a
// client that has just been seated there.
func (sh *shard) expect(cl *client, keys []message.Key, o *op) {
	for _, key := range keys {
		room := sh.hub.Room(key)
		if room == nil || room.Log.Live {
			continue
		}
		at := slices.Index(o.heads, key)
		if at < 0 { // another client's join makes it live, and is under way
			o.heads = append(o.heads, key)
			at = len(o.heads) - 1
		}
		pos := new(message.Position)
		o.learnt = append(o.learnt, learnt{head: at, to: pos})
		if cl.recover != nil {
			if cl.recover.late == nil {
				cl.recover.late = make(map[message.Key]*message.Position)
			}
			cl.recover.late[key] = pos
		}
	}
}

// standIn gives the client the positions that an op has learnt: it gets what comes after
// them, and its offsets count from there as its save does.
func (sh *shard) standIn(cl *client, o *op) {
	for _, l := range o.learnt {
		key := o.heads[l.head]
		room := sh.hub.Room(key)
		if room == nil || l.to.Seq == 0 {
			continue
		}
		if seat := hub.SeatOf(cl, room); seat != nil && seat.Seq == 0 {
			seat.Seq = max(room.Log.Seq, l.to.Seq)
		}
		r := cl.recover
		if r == nil || r.late[key] != l.to {
			continue // it has left the room since, and perhaps come again
		}
		delete(r.late, key)
		for i := range r.places {
			if p := &r.places[i]; p.room == room && p.Seq == 0 {
				p.Position = *l.to
			}
		}
	}
}

// joins is the joins that wait for their logs' heads, by client. They are bounded by the
// calls that wait for them.
type joins map[*client][]*joining

type joining struct{ rooms []string }

// joinBehind joins when it is known how far the logs of some of the rooms are.
func (sh *shard) joinBehind(cl *client, rooms []string, keys []message.Key, done func(in bool)) {
	j := &joining{rooms}
	sh.joins[cl] = append(sh.joins[cl], j)
	sh.g.registrar.submit(op{heads: keys, done: func(heads []message.Position) {
		posted := sh.inbox.post(func() {
			if !sh.joins.end(cl, j) || !cl.accepted || cl.sock.Gone() {
				done(false)
				return
			}
			sh.enter(cl, j.rooms, positionsOf(keys, heads), done)
		})
		if !posted {
			done(false)
		}
	}}, nil, nil)
}

// drop takes rooms out of joins that wait, for the client is to leave them.
func (x joins) drop(cl *client, rooms []string) {
	for _, j := range x[cl] {
		j.rooms = slices.DeleteFunc(slices.Clone(j.rooms), func(room string) bool { return slices.Contains(rooms, room) })
	}
}

// end forgets a join; false when nothing of it is left to be done.
func (x joins) end(cl *client, j *joining) bool {
	if x[cl] = slices.DeleteFunc(x[cl], func(other *joining) bool { return other == j }); len(x[cl]) == 0 {
		delete(x, cl)
	}
	return len(j.rooms) > 0
}
