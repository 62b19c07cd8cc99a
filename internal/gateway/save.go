package gateway

import (
	"time"

	"holdfast/internal/hub"
	"holdfast/internal/message"
	"holdfast/internal/session"
)

// savedFor is how long a save is kept while its client is connected. It is
// written again with the recovery window when the client goes.
const savedFor = 48 * time.Hour

// saveAgain saves the client's places as they are now, as a new generation.
func (sh *shard) saveAgain(cl *client) {
	if cl.recover == nil || cl.sock.Gone() {
		return
	}
	var o op
	sh.save(cl, &o)
	sh.g.registrar.submit(o, nil, nil)
}

// save makes an op save the client's places as they are now. It is a new generation where
// the client may have an offset of this one; what nobody counts from is replaced, so that
// the few generations that are kept reach as far back as they can.
func (sh *shard) save(cl *client, o *op) {
	r := cl.recover
	if r.gen == 0 || r.used {
		r.gen++
		r.used = false
	}
	r.places = r.places[:0]
	for i := range cl.seats {
		seat := &cl.seats[i]
		r.places = append(r.places, savedPlace{seat.Room, message.Position{Epoch: seat.Room.Log.Epoch, Seq: seat.Seq}})
	}
	r.had = cl.recent.all()
	sh.writeSave(cl, o, savedFor)
}

// saveSame goes on with the generation that the client has shown an offset of, if that is
// the newest and has the same rooms; false when it needs another. A client that comes and
// goes without an event in between does not use generations up by it.
func (sh *shard) saveSame(cl *client, back *comeback) bool {
	r, saved := cl.recover, back.saved
	if !back.received.newest || len(saved.Places) != len(cl.seats) {
		return false
	}
	places := make([]savedPlace, 0, len(saved.Places))
	for _, p := range saved.Places {
		room := sh.hub.Room(p.Key)
		if room == nil || hub.SeatOf(cl, room) == nil || room.Log.Epoch != p.Epoch {
			return false
		}
		places = append(places, savedPlace{room, p.Position})
	}
	r.places, r.had = places, saved.Had
	var o op
	sh.writeSave(cl, &o, savedFor)
	sh.g.registrar.submit(o, nil, nil)
	return true
}

// writeSave makes an op write what was saved of the client last, for ttl.
func (sh *shard) writeSave(cl *client, o *op, ttl time.Duration) {
	r := cl.recover
	o.save, o.ttl = r.saved(sh.describe(cl)), ttl
	for i := range r.places {
		if pos := r.late[r.places[i].room.Key]; pos != nil && r.places[i].Seq == 0 {
			o.late = append(o.late, latePlace{i, pos})
		}
	}
}

func (r *recover) saved(of message.Client) *message.Saved {
	s := &message.Saved{PID: r.pid, Client: of, Tag: r.tag, Gen: r.gen, Had: r.had, SavedAt: time.Now()}
	for _, p := range r.places {
		s.Places = append(s.Places, message.Place{Key: p.room.Key, Position: p.Position})
	}
	return s
}

// lastSave says what becomes of the save when its client goes: it is kept for the
// window, or dropped when the client has said goodbye.
func (sh *shard) lastSave(cl *client, why session.Reason) func(*op) {
	r := cl.recover
	if r == nil || cl.entry != nil && cl.entry.back != nil && cl.entry.back.saved != nil {
		return func(*op) {}
	}
	if why == session.ClientDisconnect {
		return func(o *op) { o.forget = r.pid }
	}
	return func(o *op) { sh.writeSave(cl, o, sh.g.cfg.Window) }
}

// forget drops the client's save: it cannot recover from here on.
func (sh *shard) forget(cl *client) {
	if cl.recover != nil {
		sh.g.registrar.submit(op{forget: cl.recover.pid}, nil, nil)
		cl.recover = nil
	}
}
