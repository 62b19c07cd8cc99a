package gateway

import (
	"context"
	"time"

	"holdfast/internal/hub"
	"holdfast/internal/message"
)

// The way of a record through a shard:
//
//	deliver ──▶ is it the next one of its room?
//	              yes ──▶ job ──▶ slices ──▶ sockets
//	              older ─▶ nothing: it was delivered
//	              newer ─▶ early; after repairDelay the gap is fetched from the log
//
// The log is the truth and the bus only the fast path, so that a record that the
// bus lost, reordered or brought twice makes no difference to a client.

// repairDelay is how long an early record may wait for the one before it to come
// by itself, in milliseconds.
const repairDelay = 10

// maxEarly bounds the records that a room holds while it waits; past it the newest
// are left to the repair.
const maxEarly = 1024

// repairPage is how many records are fetched from a log at once.
const repairPage = 256

// repair is a room whose gap is to be fetched.
type repair struct {
	room *hub.Room[*client]
	at   int64
}

// deliver takes one record from the node's inbox.
func (sh *shard) deliver(d *message.Delivery) {
	var places []place
	for i := range d.Stamps {
		stamp := &d.Stamps[i]
		room := sh.hub.Room(stamp.Key)
		if room == nil {
			continue
		}
		if sh.inOrder(room, stamp, d) {
			places = append(places, place{room: room, seq: stamp.Seq})
		}
	}
	sh.fanOut(d.Push, places)
	for _, p := range places {
		sh.drainEarly(p.room)
	}
}

// inOrder tells whether a record is the room's next one, and takes note of it.
// Records outside the log, with sequence 0, are always in order.
func (sh *shard) inOrder(room *hub.Room[*client], stamp *message.Stamp, d *message.Delivery) bool {
	log := &room.Log
	switch {
	case stamp.Seq == 0:
		return log.Live
	case !log.Live:
		sh.hold(room, stamp, d)
		return false
	case stamp.Epoch != log.Epoch:
		// The store lost its data and began anew: there is nothing to repair from.
		log.Epoch, log.Seq = stamp.Epoch, stamp.Seq
		return true
	case stamp.Seq <= log.Seq:
		return false
	case stamp.Prev > log.Seq:
		sh.hold(room, stamp, d)
		sh.repairSoon(room)
		return false
	}
	log.Seq = stamp.Seq
	return true
}

// hold keeps a record that came before its predecessor, or before the room is live.
func (sh *shard) hold(room *hub.Room[*client], stamp *message.Stamp, d *message.Delivery) {
	if len(sh.early[room]) >= maxEarly {
		sh.repairSoon(room)
		return
	}
	one := *d
	one.Stamps = []message.Stamp{*stamp}
	sh.early[room] = append(sh.early[room], &one)
}

// drainEarly delivers the held records that have become the next ones.
func (sh *shard) drainEarly(room *hub.Room[*client]) {
	for again := true; again && len(sh.early[room]) > 0; {
		again = false
		early := sh.early[room]
		delete(sh.early, room)
		for _, d := range early {
			stamp := &d.Stamps[0]
			switch {
			case stamp.Seq <= room.Log.Seq && stamp.Epoch == room.Log.Epoch:
			case stamp.Prev <= room.Log.Seq || stamp.Epoch != room.Log.Epoch:
				room.Log.Epoch, room.Log.Seq = stamp.Epoch, stamp.Seq
				sh.fanOut(d.Push, []place{{room: room, seq: stamp.Seq}})
				again = true
			default:
				sh.early[room] = append(sh.early[room], d)
			}
		}
	}
}

// live says that the room's membership is known outside and its position is pos.
func (sh *shard) live(key message.Key, pos message.Position) {
	room := sh.hub.Room(key)
	if room == nil || room.Log.Live {
		return
	}
	room.Log.Live = true
	room.Log.Position = pos
	sh.drainEarly(room)
	if len(sh.early[room]) > 0 {
		sh.repairSoon(room)
	}
}

func (sh *shard) repairSoon(room *hub.Room[*client]) {
	if room.Log.Repairing {
		return
	}
	room.Log.Repairing = true
	sh.repairs = append(sh.repairs, repair{room: room, at: sh.now + repairDelay})
}

// repairAll has the rooms fetched whose records a full inbox has refused.
func (sh *shard) repairAll(behind map[message.Key]struct{}) {
	for key := range behind {
		if room := sh.hub.Room(key); room != nil {
			sh.repairSoon(room)
		}
	}
}

func (sh *shard) runRepairs() {
	due := 0
	for _, r := range sh.repairs {
		if r.at > sh.now {
			break
		}
		due++
		sh.fetch(r.room)
	}
	sh.repairs = append(sh.repairs[:0], sh.repairs[due:]...)
	if len(sh.repairs) == 0 {
		sh.repairs = nil
	}
}

// fetch reads what is missing from the log, off the shard.
func (sh *shard) fetch(room *hub.Room[*client]) {
	key, after := room.Key, room.Log.Position
	sh.g.Stats.Repairs.Add(1)
	sh.g.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		records, complete, err := sh.g.cfg.Log.Range(ctx, key, after, repairPage)
		sh.inbox.post(func() { sh.repaired(key, records, complete, err) })
	})
}

func (sh *shard) repaired(key message.Key, records []message.Logged, complete bool, err error) {
	room := sh.hub.Room(key)
	if room == nil {
		return
	}
	room.Log.Repairing = false
	if err != nil {
		sh.g.cfg.Logger.Warn("a gap cannot be fetched, trying again", "key", key, "err", err)
		sh.repairSoon(room)
		return
	}
	if !complete {
		sh.g.cfg.Logger.Warn("messages are lost: the log no longer has them", "key", key)
	}
	for _, r := range records {
		if r.Seq > room.Log.Seq {
			room.Log.Seq = r.Seq
			sh.fanOut(r.Push, []place{{room: room, seq: r.Seq}})
		}
	}
	sh.drainEarly(room)
	switch {
	case len(records) == repairPage:
		sh.repairSoon(room)
	case len(sh.early[room]) > 0:
		// Nothing in the log fills the gap: what is held is all that there is.
		first := sh.early[room][0].Stamps[0]
		for _, d := range sh.early[room] {
			if s := d.Stamps[0]; s.Seq < first.Seq {
				first = s
			}
		}
		room.Log.Seq = first.Prev
		sh.drainEarly(room)
	}
}
