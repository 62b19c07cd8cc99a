package gateway

import (
	"cmp"
	"context"
	"slices"
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
// bus lost, reordered or brought twice makes no difference to a client. A lost
// record shows by the next one; a lost last one by the heads (heads.go).

// repairDelay is how long an early record may wait for the one before it to come
// by itself, in milliseconds; repairAgain is how long a log that could not be read
// is left alone.
const (
	repairDelay = 10
	repairAgain = 500
)

// maxEarly bounds the records that a room holds while it waits; past it the newest
// are left to the repair.
const maxEarly = 1024

// repairPage is how many records are fetched from a log at once, maxFetches how
// many logs a shard reads at the same time.
const (
	repairPage = 256
	maxFetches = 64
)

// repair is a room whose gap is to be fetched.
type repair struct {
	room  *hub.Room[*client]
	at    int64
	known uint64 // when the room has got this far by itself, nothing is to be done; 0: unknown
}

// turn is what a record is for its room.
type turn uint8

const (
	old   turn = iota // was delivered
	next              // is the next one; the room's position has moved on to it
	early             // its predecessor is missing
)

// turnOf judges a record by the room's position, which it advances for the next one.
//
// A record of another epoch says that the store lost its data and began anew. Its
// sequences go on above the old ones as a rule, so one below them may as well be a
// late record of the epoch before: it is left to the heads, which know.
func turnOf(log *hub.Log, stamp *message.Stamp) turn {
	if stamp.Epoch != log.Epoch && stamp.Seq > log.Seq {
		log.Epoch = stamp.Epoch
	}
	switch {
	case stamp.Seq <= log.Seq:
		return old
	case stamp.Prev > log.Seq:
		return early
	}
	log.Seq = stamp.Seq
	return next
}

// deliver takes one record from the node's inbox, which came there at a time.
func (sh *shard) deliver(d *message.Delivery, at int64) {
	var places []place
	whole := true
	sh.deliverAway(d)
	for i := range d.Stamps {
		stamp := &d.Stamps[i]
		room := sh.room(stamp.Key)
		if room == nil {
			continue
		}
		if sh.inOrder(room, stamp, d) {
			places = append(places, place{room: room, seq: stamp.Seq})
		} else {
			whole = false
		}
	}
	if len(places) > 0 {
		sh.jobs.add(send{push: d.Push, at: at, places: places, filter: newFilter(d.Push), whole: whole})
	}
	for _, p := range places {
		sh.drainEarly(p.room)
	}
}

// room returns what is behind a key on this shard, nil when nobody is. A client's own
// key gets its room here when the first record for it comes, for most clients are never
// addressed alone. Its position is zero then: whatever the log of a client's ID has came
// after the client.
func (sh *shard) room(key message.Key) *hub.Room[*client] {
	room := sh.hub.Room(key)
	if room != nil || key.Kind() != message.KindClient {
		return room
	}
	cl := sh.clients[key.Name()]
	if cl == nil || cl.sock.Namespace != key.Namespace() {
		return nil
	}
	return sh.ownRoom(cl)
}

func (sh *shard) ownRoom(cl *client) *hub.Room[*client] {
	room, first := sh.hub.Join(cl, message.ClientKey(cl.sock.Namespace, cl.id))
	if first {
		room.Log.Live = true
	}
	return room
}

// inOrder tells whether a record is the room's next one, and takes note of it.
// Records outside the log, with sequence 0, are always in order, once the room is live.
func (sh *shard) inOrder(room *hub.Room[*client], stamp *message.Stamp, d *message.Delivery) bool {
	switch {
	case !room.Log.Live:
		sh.hold(room, stamp, d)
		return false
	case stamp.Seq == 0:
		return true
	}
	sh.active[room] = sh.now
	switch turnOf(&room.Log, stamp) {
	case next:
		return true
	case early:
		sh.hold(room, stamp, d)
		sh.repairSoon(room, 0)
	}
	return false
}

// hold keeps a record that came before its predecessor, or before the room is live.
// What there is no room for is found again by the room's head.
func (sh *shard) hold(room *hub.Room[*client], stamp *message.Stamp, d *message.Delivery) {
	if len(sh.early[room]) >= maxEarly {
		return
	}
	one := *d
	one.Stamps = []message.Stamp{*stamp}
	sh.early[room] = append(sh.early[room], &one)
}

// drainEarly delivers the held records that have become the next ones.
func (sh *shard) drainEarly(room *hub.Room[*client]) {
	held := sh.early[room]
	if len(held) == 0 {
		return
	}
	slices.SortStableFunc(held, func(a, b *message.Delivery) int {
		return cmp.Compare(a.Stamps[0].Seq, b.Stamps[0].Seq)
	})
	kept := held[:0]
	for _, d := range held {
		if d.Stamps[0].Seq == 0 { // it has only waited until the room is live
			sh.fanOut(d.Push, []place{{room: room}})
			continue
		}
		switch turnOf(&room.Log, &d.Stamps[0]) {
		case next:
			sh.fanOut(d.Push, []place{{room: room, seq: d.Stamps[0].Seq}})
		case early:
			kept = append(kept, d)
		}
	}
	clear(held[len(kept):])
	if len(kept) == 0 {
		delete(sh.early, room)
		return
	}
	sh.early[room] = kept
}

// live says that the room's membership is known outside and its position is pos.
func (sh *shard) live(room *hub.Room[*client], pos message.Position) {
	if sh.hub.Room(room.Key) != room || room.Log.Live {
		return // everybody has left it since; a room of that name now is another
	}
	room.Log.Live = true
	room.Log.Position = pos
	if len(sh.early[room]) == 0 {
		return
	}
	sh.active[room] = sh.now // more may have come than could be held
	sh.drainEarly(room)
	if len(sh.early[room]) > 0 {
		sh.repairSoon(room, 0)
	}
}

// abandon forgets what is kept for a room that has lost its last member.
func (sh *shard) abandon(room *hub.Room[*client]) {
	delete(sh.early, room)
	delete(sh.active, room)
}

// repairSoon has a room's gap fetched unless the room gets up to known, when that is
// not 0, by itself.
func (sh *shard) repairSoon(room *hub.Room[*client], known uint64) {
	sh.repairIn(room, known, repairDelay)
}

func (sh *shard) repairIn(room *hub.Room[*client], known uint64, delay int64) {
	if room.Log.Repairing || !room.Log.Live {
		return
	}
	room.Log.Repairing = true
	at := sh.now + delay
	if len(sh.repairs) == 0 || at < sh.repairAt {
		sh.repairAt = at
	}
	sh.repairs = append(sh.repairs, repair{room: room, at: at, known: known})
}

// repairAll has the rooms fetched whose records a full inbox has refused.
func (sh *shard) repairAll(late behind) {
	for key := range late.keys {
		if room := sh.room(key); room != nil {
			sh.active[room] = sh.now
			if room.Log.Seq != 0 { // else the heads know where it begins
				sh.repairSoon(room, 0)
			}
		}
	}
	sh.headsAt = sh.now
	if !late.all {
		return
	}
	// Which of them are behind is for the heads to say.
	for _, cl := range sh.clients {
		if !sh.g.cfg.Recovery {
			sh.ownRoom(cl)
		}
		for i := range cl.seats {
			sh.active[cl.seats[i].Room] = sh.now
		}
	}
}

// runRepairs fetches for the rooms whose time has come. It leaves the logs alone
// while the shard is not through with what it has.
func (sh *shard) runRepairs() {
	waiting := sh.repairs[:0]
	sh.repairAt = sh.now + repairAgain
	for i, r := range sh.repairs {
		if sh.fetching >= maxFetches || sh.jobs.items > sh.g.cfg.InboxRecords/2 {
			sh.repairAt = sh.now + repairDelay
			if len(waiting) == 0 {
				sh.repairs = sh.repairs[i:] // there may be very many
				return
			}
			waiting = append(waiting, sh.repairs[i:]...)
			break
		}
		switch {
		case sh.hub.Room(r.room.Key) != r.room:
		case r.at > sh.now:
			sh.repairAt = min(sh.repairAt, max(r.at, sh.now+repairDelay))
			waiting = append(waiting, r)
		case r.known != 0 && r.room.Log.Seq >= r.known:
			r.room.Log.Repairing = false
		default:
			sh.fetch(r.room, r.known)
		}
	}
	clear(sh.repairs[len(waiting):])
	if sh.repairs = waiting; len(waiting) == 0 {
		sh.repairs = nil
	}
}

// fetch reads what is missing from the log, off the shard. known is a head that the
// log is known to have had, or 0.
func (sh *shard) fetch(room *hub.Room[*client], known uint64) {
	after, held := room.Log.Position, uint64(0)
	for _, d := range sh.early[room] {
		held = max(held, d.Stamps[0].Seq)
	}
	sh.fetching++
	sh.g.Stats.Repairs.Add(1)
	sh.g.wg.Go(func() {
		ctx, cancel := context.WithTimeout(sh.g.ctx, 5*time.Second)
		defer cancel()
		records, complete, err := sh.g.cfg.Log.Range(ctx, room.Key, after, repairPage)
		sh.inbox.post(func() {
			sh.fetching--
			if sh.hub.Room(room.Key) != room {
				return
			}
			room.Log.Repairing = false
			if err != nil {
				sh.g.cfg.Logger.Debug("a gap cannot be fetched, trying again", "key", room.Key, "err", err)
				sh.active[room] = sh.now
				sh.repairIn(room, 0, repairAgain)
				return
			}
			sh.repaired(room, after, held, known, records, complete)
		})
	})
}

// repaired delivers what was fetched. held is the highest record that was held when
// the fetch began: what is missing below it was appended before, so what the log
// does not have now it has lost. Of records that came since, the predecessor may
// have been appended after the log was read.
// known is a head that was seen before the fetch: the room gets there too, for that
// of an empty log is no message but the store's clock.
func (sh *shard) repaired(
	room *hub.Room[*client], after message.Position, held, known uint64, records []message.Logged, complete bool,
) {
	if len(records) > 0 || !complete {
		sh.active[room] = sh.now // a log that has nothing is not asked again and again
	}
	if !complete && after.Seq != 0 {
		sh.g.Stats.Holes.Add(1)
		sh.g.cfg.Logger.Warn("messages are lost: the log no longer has them", "key", room.Key)
	}
	for _, r := range records {
		if r.Seq > room.Log.Seq && room.Log.Epoch == after.Epoch {
			room.Log.Seq = r.Seq
			sh.fanOut(r.Push, []place{{room: room, seq: r.Seq}})
		}
	}
	sh.drainEarly(room)
	if len(records) == repairPage {
		sh.repairIn(room, known, 0)
		return
	}
	if room.Log.Epoch == after.Epoch && known > room.Log.Seq {
		room.Log.Seq = known
		sh.drainEarly(room)
	}
	for left := sh.early[room]; len(left) > 0 && left[0].Stamps[0].Seq <= held; left = sh.early[room] {
		room.Log.Seq = left[0].Stamps[0].Prev
		sh.drainEarly(room)
	}
	if len(sh.early[room]) > 0 {
		sh.repairSoon(room, 0)
	}
}
