package gateway

import (
	"context"
	"time"

	"holdfast/internal/hub"
	"holdfast/internal/message"
)

// A record that the bus lost shows by its successor. When it was the last one of its
// room nothing comes after it but what its producer tells (producers.go). One that no
// producer tells of, since that died between the log and the bus, shows by nothing. So
// a shard compares the positions of rooms that have just been active with the heads of
// their logs, and has fetched what is behind. Rooms that are idle cost nothing: they are
// not in the table.

// How often heads are compared, how long a room counts as active after a record or
// a repair, and how long the answer may take, in milliseconds.
const (
	headsEvery   = 1000
	activeFor    = 5000
	headsTimeout = 5000
)

// headsPage is how many heads are asked for at once.
const headsPage = 1024

// compareHeads asks for the heads of the active rooms, off the shard.
func (sh *shard) compareHeads() {
	if sh.now < sh.headsAt || sh.asking {
		return
	}
	sh.headsAt = sh.now + headsEvery
	var rooms []*hub.Room[*client]
	for room, last := range sh.active {
		switch {
		case !room.Log.Live: // later
		case sh.now-last > activeFor:
			delete(sh.active, room)
		case !room.Log.Repairing:
			rooms = append(rooms, room)
		}
	}
	if len(rooms) == 0 {
		return
	}
	sh.asking = true
	epochs := epochsOf(rooms)
	sh.g.wg.Go(func() {
		heads, err := sh.g.heads(rooms)
		sh.inbox.post(func() {
			sh.asking = false
			if err != nil {
				sh.g.cfg.Logger.Warn("the heads of active rooms cannot be read, trying again", "rooms", len(rooms), "err", err)
			}
			sh.compareAll(rooms[:len(heads)], epochs, heads)
			for _, room := range rooms[len(heads):] {
				if sh.hub.Room(room.Key) == room {
					sh.active[room] = sh.now // not known yet
				}
			}
		})
	})
}

func epochsOf(rooms []*hub.Room[*client]) []uint64 {
	epochs := make([]uint64, len(rooms))
	for i, room := range rooms {
		epochs[i] = room.Log.Epoch
	}
	return epochs
}

// compareAll compares rooms with the heads that were read when they were in epochs.
func (sh *shard) compareAll(rooms []*hub.Room[*client], epochs []uint64, heads []message.Position) {
	for i, room := range rooms {
		// In another epoch since, the head may be of the one before.
		if sh.hub.Room(room.Key) == room && room.Log.Epoch == epochs[i] {
			sh.compare(room, heads[i])
		}
	}
}

// heads reads the heads of rooms, of as many as it can.
func (g *Gateway) heads(rooms []*hub.Room[*client]) (heads []message.Position, err error) {
	ctx, cancel := context.WithTimeout(g.ctx, headsTimeout*time.Millisecond)
	defer cancel()
	keys := make([]message.Key, 0, min(len(rooms), headsPage))
	for len(heads) < len(rooms) {
		keys = keys[:0]
		for _, room := range rooms[len(heads):min(len(rooms), len(heads)+headsPage)] {
			keys = append(keys, room.Key)
		}
		page, err := g.cfg.Log.Heads(ctx, keys)
		if err != nil {
			return heads, err
		}
		heads = append(heads, page...)
	}
	return heads, nil
}

// compare has a room repaired that is behind its log's head.
func (sh *shard) compare(room *hub.Room[*client], head message.Position) {
	log := &room.Log
	if head.Epoch != log.Epoch && head.Seq <= log.Seq {
		// The store lost its data and its clock as well: all that the new log has is new.
		log.Seq = 0
		for slot := range room.End() {
			if cl := room.At(slot); cl != nil {
				hub.SeatOf(cl, room).Seq = 0
			}
		}
	}
	log.Epoch = head.Epoch
	if head.Seq > log.Seq {
		sh.repairSoon(room, head.Seq)
	}
}
