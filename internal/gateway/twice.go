package gateway

import (
	"context"
	"slices"

	"holdfast/internal/hub"
	"holdfast/internal/message"
)

// A push to several keys is one message to a client, by whichever of them it comes. While
// the client is here it remembers those that have come by some of them alone (idRing).
//
// Such a push may have come to a client by one of its keys while the record for another
// was lost, and then the connection was. When the client comes back, the other
// key's log has the push as one that it has missed, though it has had it. Two things
// tell: what had been sent before the save that its offset counts from (Saved.Had), and
// the logs of its keys between that save and where it stood.
//
// The same may happen with a room that it joins afterwards, and where it is not the log
// that brings the push but the room on this node, which may be behind what the client has
// had elsewhere. So a client that has come from elsewhere gets of such a room only what is
// beyond the log's head at that time.

// received is what a client that comes back has had of the pushes to several keys.
type received struct {
	ids  map[string]struct{}
	had  []string        // those of them that were sent before the save
	from []message.Place // at the save that its offset counts from
	to   []message.Place // the same places moved on by the offset
	seen []bool          // which of those logs have been read

	newest bool // that save is the newest
	shown  bool // by an offset that is the session's
}

func receivedBy(saved *message.Saved, older []message.Saved, offset string) (r received) {
	from, to, ok := reached(saved, older, offset)
	if !ok {
		return r
	}
	r.from, r.to, r.seen = from.Places, to, make([]bool, len(to))
	r.had, r.newest = from.Had, from.Gen == saved.Gen
	_, _, r.shown = parseOffset(saved.Tag, offset)
	r.ids = make(map[string]struct{}, len(from.Had))
	for _, id := range from.Had {
		r.ids[id] = struct{}{}
	}
	return r
}

func (r *received) has(id string) bool {
	_, had := r.ids[id]
	return had
}

// lookForTwice finds out which of the missed pushes to several keys the client has
// had; false when a log cannot be read. A log that no longer has all tells what it can.
func (g *Gateway) lookForTwice(ctx context.Context, back *comeback) bool {
	r := &back.received
	for _, m := range back.missed {
		if len(m.push.Targets) < 2 || r.has(m.push.ID) {
			continue
		}
		for i := range r.to {
			if r.seen[i] || r.to[i].Seq == r.from[i].Seq || !slices.Contains(m.push.Targets, r.to[i].Key) {
				continue
			}
			r.seen[i] = true
			if !g.readReceived(ctx, r, i) {
				return false
			}
		}
	}
	return true
}

// readReceived notes the pushes to several keys of the log of place i up to where the
// client stood.
func (g *Gateway) readReceived(ctx context.Context, r *received, i int) bool {
	for at := r.from[i]; ; {
		records, _, err := g.cfg.Log.Range(ctx, at.Key, at.Position, repairPage)
		if err != nil {
			return false
		}
		for _, x := range records {
			if x.Seq > r.to[i].Seq {
				return true
			}
			if at.Seq = x.Seq; len(x.Push.Targets) > 1 {
				r.ids[x.Push.ID] = struct{}{}
			}
		}
		if len(records) < repairPage {
			return true
		}
	}
}

// strangeTo returns the keys of rooms that a client joins and that are live here, where
// it may have had, elsewhere, what they have not.
func (sh *shard) strangeTo(cl *client, rooms []string) (keys []message.Key) {
	p := cl.conn.passage
	if (cl.recover == nil || !cl.recover.returned) && (p == nil || p.from == "") {
		return nil
	}
	for _, name := range rooms {
		key := message.RoomKey(cl.sock.Namespace, name)
		if room := sh.hub.Room(key); room != nil && room.Log.Live && hub.SeatOf(cl, room) == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// strangers is strangeTo for the keys with which a client comes back.
func (b *comeback) strangers(sh *shard, keys []message.Key) (strange []message.Key) {
	if b == nil {
		return nil
	}
	for _, key := range keys {
		stood := slices.ContainsFunc(b.places, func(p message.Place) bool { return p.Key == key })
		if room := sh.hub.Room(key); !stood && room != nil && room.Log.Live {
			strange = append(strange, key)
		}
	}
	return strange
}

func positionsOf(keys []message.Key, heads []message.Position) map[message.Key]message.Position {
	out := make(map[message.Key]message.Position, len(keys))
	for i, pos := range heads {
		out[keys[i]] = pos
	}
	return out
}

// standBeyond moves a client on to positions that its rooms on this node may not have
// reached yet.
func (sh *shard) standBeyond(cl *client, beyond map[message.Key]message.Position) {
	for key, pos := range beyond {
		room := sh.hub.Room(key)
		if room == nil || !room.Log.Live || room.Log.Epoch != pos.Epoch {
			continue
		}
		if seat := hub.SeatOf(cl, room); seat != nil {
			seat.Seq = max(seat.Seq, pos.Seq)
		}
	}
}

// maxRecent bounds the IDs that a client's ring has.
const maxRecent = 64

// idRing remembers the last few pushes to several keys that came by some of them alone,
// so that one that comes by another later (after a repair) is not delivered twice. It
// grows to what the client needs of it.
type idRing struct {
	ids []string
	at  int // of the oldest, once it is full
}

func (r *idRing) has(id string) bool {
	return slices.Contains(r.ids, id)
}

func (r *idRing) add(id string) {
	if len(r.ids) < maxRecent {
		r.ids = append(r.ids, id)
		return
	}
	r.ids[r.at] = id
	r.at = (r.at + 1) % len(r.ids)
}

// all returns a copy of what is remembered, oldest first; nil of a nil ring.
func (r *idRing) all() (ids []string) {
	if r == nil {
		return nil
	}
	return append(append(ids, r.ids[r.at:]...), r.ids[:r.at]...)
}

// hadBefore tells whether the client has had a push to several keys, and remembers with
// note set that it has now.
func (cl *client) hadBefore(id string, note bool) bool {
	if cl.recent != nil && cl.recent.has(id) {
		return true
	}
	if note {
		if cl.recent == nil {
			cl.recent = &idRing{}
		}
		cl.recent.add(id)
	}
	return false
}
