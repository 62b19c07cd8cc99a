package gateway

import (
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
		at := -1
		for i, head := range o.heads {
			if head == key {
				at = i
			}
		}
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
