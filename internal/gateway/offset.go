package gateway

import (
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/hub"
	"holdfast/internal/message"
)

// Connection state recovery. The CONNECT answer carries a private ID (pid), and
// every event without an ack ID ends with an offset, which the stock client keeps
// and shows when it comes back:
//
//	k3Xa.1.0-9x.2-4        tag . generation . place-delta . place-delta …
//
// The generation is that of a save (save.go), which has the client's places (keys and
// positions) in order; the offset says how far it has got since in those that
// changed. So it is exact after any crash, and a save is needed only when the
// rooms change or the offset grows long.

// maxOffset is how long an offset may get before the places are saved anew, in bytes.
const maxOffset = 200

// offset is the tail of the next event to a client, "" without recovery.
func (sh *shard) offset(cl *client) string {
	r := cl.recover
	if r == nil || r.pid == "" {
		return ""
	}
	b, ok := r.append(make([]byte, 0, 64), cl)
	if !ok || len(b) > maxOffset {
		sh.saveAgain(cl)
		b, _ = r.append(b[:0], cl)
	}
	r.used = true
	return string(b)
}

// append writes the offset; false when a place's log has begun anew, so that what was
// saved of it is no place to count from.
func (r *recover) append(b []byte, cl *client) (offset []byte, ok bool) {
	b = append(append(b, r.tag...), '.')
	ok = true
	b = strconv.AppendUint(b, uint64(r.gen), 36)
	for i := range r.places {
		p := &r.places[i]
		seat := hub.SeatOf(cl, p.room)
		if seat == nil || seat.Seq <= p.Seq && p.Epoch == p.room.Log.Epoch {
			continue
		}
		ok = ok && p.Epoch == p.room.Log.Epoch
		b = append(b, '.')
		b = strconv.AppendUint(b, uint64(i), 36)
		b = append(b, '-')
		b = strconv.AppendUint(b, seat.Seq-p.Seq, 36)
	}
	return b, ok
}

// countsFromFirst tells whether an offset, of whatever tag, counts from the first save of
// its session.
func countsFromFirst(offset string) bool {
	_, rest, found := strings.Cut(offset, ".")
	gen, _, _ := strings.Cut(rest, ".")
	return found && gen == "1"
}

// placesAt returns where the client stood by its offset: in the save that the
// offset counts from, moved on by it, and for rooms that came later by the last
// save. A client without an offset has had no event since its CONNECT.
func placesAt(saved *message.Saved, older []message.Saved, offset string) ([]message.Place, bool) {
	from, places, ok := reached(saved, older, offset)
	if !ok {
		return nil, false
	}
	// On to the last save: a room that came in between counts from the save that had
	// it first, for what was sent there later may not have arrived.
	for i := len(older) - 1; i >= -1; i-- {
		after := saved
		if i >= 0 {
			after = &older[i]
		}
		if after.Gen > from.Gen {
			places = follow(places, after.Places)
		}
	}
	return places, true
}

// reached returns the save that an offset counts from, and its places moved on by it.
func reached(saved *message.Saved, older []message.Saved, offset string) (from *message.Saved, places []message.Place, ok bool) {
	gen, deltas, ok := parseOffset(saved.Tag, offset)
	if !ok {
		gen, deltas = 1, nil
	}
	from = saved
	for i := range older {
		if older[i].Gen == gen {
			from = &older[i]
		}
	}
	if from.Gen != gen {
		return nil, nil, false
	}
	places = slices.Clone(from.Places)
	for i := range places {
		places[i].Seq += deltas[i]
	}
	return from, places, true
}

// follow returns the places of a later save with the positions of an earlier one
// where that has them.
func follow(earlier, later []message.Place) []message.Place {
	stood := make(map[message.Key]message.Position, len(earlier))
	for _, p := range earlier {
		stood[p.Key] = p.Position
	}
	later = slices.Clone(later)
	for i := range later {
		if pos, ok := stood[later[i].Key]; ok {
			later[i].Position = pos
		}
	}
	return later
}

// parseOffset reads an offset. One that bears another session's tag, or does not
// parse, counts as absent.
func parseOffset(tag, offset string) (gen uint32, deltas map[int]uint64, ok bool) {
	rest, found := strings.CutPrefix(offset, tag+".")
	if !found || tag == "" || len(offset) > 2*maxOffset {
		return 0, nil, false
	}
	parts := strings.Split(rest, ".")
	g, err := strconv.ParseUint(parts[0], 36, 32)
	if err != nil {
		return 0, nil, false
	}
	deltas = make(map[int]uint64, len(parts)-1)
	for _, part := range parts[1:] {
		place, delta, found := strings.Cut(part, "-")
		i, err1 := strconv.ParseUint(place, 36, 31)
		d, err2 := strconv.ParseUint(delta, 36, 63)
		if !found || err1 != nil || err2 != nil {
			return 0, nil, false
		}
		deltas[int(i)] = d
	}
	return uint32(g), deltas, true
}
