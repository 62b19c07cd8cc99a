// Package hub is a shard's index: which members are behind a key. It belongs to
// one goroutine and takes no lock.
//
//	Index ── key ──▶ Room ── members ──▶ [m₀ m₁ m₂ …]     what a fan-out walks
//	                  ▲                    ▲
//	                  └──── Seat ──────────┘               what a member holds: one for each of its rooms
//
// A seat knows its slot, so that a member leaves in O(1): the last member moves
// into the gap. A fan-out over a big room is cut into slices, and members come
// and go between them; while one is under way ([Room.Hold]) a leaver leaves an
// empty slot behind instead, and newcomers go beyond the end that the fan-out
// noted at its start, so that nobody is visited twice or passed over.
package hub

import (
	"iter"
	"maps"

	"holdfast/internal/message"
)

// Member is what a room holds: a pointer to a client, which keeps its own seats.
type Member[M comparable] interface {
	comparable
	// Seats returns the place where the member's seats are kept.
	Seats() *[]Seat[M]
}

// Seat is a member's place in one room.
type Seat[M comparable] struct {
	Room *Room[M]
	// Seq is the member's position in the room's log: the sequence of the last
	// message that was put on its way to it.
	Seq  uint64
	slot uint32
}

// Room is the members behind one key, in the order in which they came as far as
// leavers have not changed it. Most rooms are those of a user with one client, so a room
// that never had two members at once has no list of them.
type Room[M comparable] struct {
	Key message.Key
	// Log is the caller's state of the room's log; the hub does not look at it.
	Log   Log
	sole  M         // the member of a room without a crowd, in slot 0
	crowd *crowd[M] // nil: there never were two members
}

// crowd is a room's list of members.
type crowd[M comparable] struct {
	slots []M
	holes int
}

// Log is where a shard stands in a room's log.
type Log struct {
	message.Position
	// Live is false until the log's head was read after the room's membership was
	// written: records that come before have to wait.
	Live bool
	// Repairing is true while a gap is being fetched.
	Repairing bool
	// holds is the number of fan-outs over the room that are under way. It has nothing
	// to do with the log, and stands where it takes no room of its own.
	holds int32
}

// Index finds rooms by key.
type Index[M Member[M]] struct {
	rooms map[message.Key]*Room[M]
	seats int
}

// New returns an empty index.
func New[M Member[M]]() *Index[M] {
	return &Index[M]{rooms: make(map[message.Key]*Room[M])}
}

// Room returns the room behind key, nil when nobody is in it.
func (x *Index[M]) Room(key message.Key) *Room[M] { return x.rooms[key] }

// All goes through the rooms that have members, in no order. Rooms may come and go
// meanwhile: of those it may see some or not.
func (x *Index[M]) All() iter.Seq[*Room[M]] { return maps.Values(x.rooms) }

// Rooms returns the number of rooms that have members.
func (x *Index[M]) Rooms() int { return len(x.rooms) }

// Seats returns the number of seats taken, over all rooms.
func (x *Index[M]) Seats() int { return x.seats }

// Join gives m a seat behind key at the room's present position and returns the
// room, with first set when m is its only member. A member that is in already
// keeps its seat.
func (x *Index[M]) Join(m M, key message.Key) (room *Room[M], first bool) {
	room = x.rooms[key]
	if room == nil {
		room = &Room[M]{Key: key}
		x.rooms[key] = room
		first = true
	} else if SeatOf(m, room) != nil {
		return room, false
	}
	seats := m.Seats()
	*seats = append(*seats, Seat[M]{Room: room, Seq: room.Log.Seq, slot: room.take(m)})
	x.seats++
	return room, first
}

// Leave takes m's seat behind key away. It returns the room and whether that was
// its last member, after which the index has forgotten the room; nil when m was
// not in it.
func (x *Index[M]) Leave(m M, key message.Key) (room *Room[M], last bool) {
	room = x.rooms[key]
	if room == nil {
		return nil, false
	}
	seats := m.Seats()
	for i := range *seats {
		if (*seats)[i].Room == room {
			return room, x.unseat(m, i)
		}
	}
	return nil, false
}

// LeaveAll takes all seats of m away and calls left for each room, with last as
// in [Index.Leave].
func (x *Index[M]) LeaveAll(m M, left func(room *Room[M], last bool)) {
	seats := m.Seats()
	for n := len(*seats); n > 0; n = len(*seats) {
		room := (*seats)[n-1].Room
		last := x.unseat(m, n-1)
		if left != nil {
			left(room, last)
		}
	}
	*seats = nil
}

func (x *Index[M]) unseat(m M, i int) (last bool) {
	seats := m.Seats()
	seat := (*seats)[i]
	*seats = append((*seats)[:i], (*seats)[i+1:]...)
	x.seats--
	vacate(seat.Room, seat.slot)
	if seat.Room.Len() > 0 {
		return false
	}
	delete(x.rooms, seat.Room.Key)
	return true
}

// SeatOf returns m's seat in room, nil when it has none. The pointer is valid
// until m joins or leaves a room. It looks through m's seats: a member is in few
// rooms, and a map for each member would cost more than it saves.
func SeatOf[M Member[M]](m M, room *Room[M]) *Seat[M] {
	seats := *m.Seats()
	for i := range seats {
		if seats[i].Room == room {
			return &seats[i]
		}
	}
	return nil
}

// Len returns the number of members.
func (r *Room[M]) Len() int {
	if r.crowd != nil {
		return len(r.crowd.slots) - r.crowd.holes
	}
	return r.End()
}

// End returns the slot after the last: what a fan-out that begins now walks to.
func (r *Room[M]) End() int {
	var none M
	switch {
	case r.crowd != nil:
		return len(r.crowd.slots)
	case r.sole != none:
		return 1
	}
	return 0
}

// take gives m the slot after the last.
func (r *Room[M]) take(m M) (slot uint32) {
	var none M
	switch {
	case r.crowd != nil:
		r.crowd.slots = append(r.crowd.slots, m)
	case r.sole == none: // the index has no room that everybody has left: this one is new
		r.sole = m
	default:
		r.crowd = &crowd[M]{slots: []M{r.sole, m}}
		r.sole = none
	}
	return uint32(r.End() - 1)
}
