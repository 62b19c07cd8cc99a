package gateway

import (
	"context"
	"time"

	"holdfast/internal/hub"
	"holdfast/internal/message"
)

// A record that the bus lost shows by its successor. When it was the last one of its
// room nothing comes after it, so a shard compares the positions of rooms that have
// just been active with the heads of their logs, and has fetched what is behind.
// Rooms that are idle cost nothing: they are not in the table.

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
	var epochs []uint64
	for room, last := range sh.active {
		switch {
		case sh.now-last > activeFor:
			delete(sh.active, room)
		case room.Log.Live && !room.Log.Repairing:
			rooms, epochs = append(rooms, room), append(epochs, room.Log.Epoch)
		}
	}
	if len(rooms) == 0 {
		return
	}
	sh.asking = true
	sh.g.wg.Go(func() {
		heads, err := sh.g.heads(rooms)
		sh.inbox.post(func() {
			sh.asking = false
			if err != nil {
				sh.g.cfg.Logger.Warn("the heads of active rooms cannot be read, trying again", "rooms", len(rooms), "err", err)
			}
			for i, room := range rooms {
				switch {
				case sh.hub.Room(room.Key) != room:
				case i >= len(heads):
					sh.active[room] = sh.now // not known yet
				case room.Log.Epoch == epochs[i]: // else the head may be of the epoch before
					sh.compare(room, heads[i])
				}
			}
		})
	})
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
