package hub

// Hold begins a fan-out over the room: until the matching [Room.Release] nobody's
// slot changes.
func (r *Room[M]) Hold() { r.holds++ }

// At returns the member in a slot below the End that the fan-out noted, the zero
// M (nil) when it has left since.
func (r *Room[M]) At(slot int) M { return r.slots[slot] }

// Release ends a fan-out. The last one to end closes the gaps that leavers left.
func Release[M Member[M]](r *Room[M]) {
	r.holds--
	if r.holds > 0 || r.holes == 0 {
		return
	}
	var none M
	to := 0
	for from, m := range r.slots {
		if m == none {
			continue
		}
		if from != to {
			r.slots[to] = m
			SeatOf(m, r).slot = uint32(to)
		}
		to++
	}
	clear(r.slots[to:])
	r.slots = r.slots[:to]
	r.holes = 0
	r.shrink()
}

// vacate empties a slot: at once by moving the last member there, or with a hole
// while a fan-out is under way.
func vacate[M Member[M]](r *Room[M], slot uint32) {
	var none M
	if r.holds > 0 {
		r.slots[slot] = none
		r.holes++
		return
	}
	end := len(r.slots) - 1
	moved := r.slots[end]
	r.slots[end] = none
	r.slots = r.slots[:end]
	if int(slot) != end {
		r.slots[slot] = moved
		SeatOf(moved, r).slot = slot
	}
	r.shrink()
}

// shrink gives memory back after a crowd has left a room that lives on.
func (r *Room[M]) shrink() {
	const small = 64
	if cap(r.slots) > small && len(r.slots)*4 < cap(r.slots) {
		r.slots = append(make([]M, 0, len(r.slots)*2), r.slots...)
	}
}
