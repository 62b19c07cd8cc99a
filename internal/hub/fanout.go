package hub

// Hold begins a fan-out over the room: until the matching [Release] nobody's slot
// changes.
func (r *Room[M]) Hold() { r.Log.holds++ }

// At returns the member in a slot below the End that the fan-out noted, the zero
// M (nil) when it has left since.
func (r *Room[M]) At(slot int) M {
	if r.crowd != nil {
		return r.crowd.slots[slot]
	}
	return r.sole
}

// Slot returns where a fan-out over the seat's room finds the member now.
func (s *Seat[M]) Slot() int { return int(s.slot) }

// Release ends a fan-out. The last one to end closes the gaps that leavers left.
func Release[M Member[M]](r *Room[M]) {
	r.Log.holds--
	c := r.crowd
	if r.Log.holds > 0 || c == nil || c.holes == 0 {
		return
	}
	var none M
	to := 0
	for from, m := range c.slots {
		if m == none {
			continue
		}
		if from != to {
			c.slots[to] = m
			SeatOf(m, r).slot = uint32(to)
		}
		to++
	}
	clear(c.slots[to:])
	c.slots = c.slots[:to]
	c.holes = 0
	c.shrink()
}

// vacate empties a slot: at once by moving the last member there, or with a hole
// while a fan-out is under way.
func vacate[M Member[M]](r *Room[M], slot uint32) {
	var none M
	c := r.crowd
	if c == nil {
		r.sole = none
		return
	}
	if r.Log.holds > 0 {
		c.slots[slot] = none
		c.holes++
		return
	}
	end := len(c.slots) - 1
	moved := c.slots[end]
	c.slots[end] = none
	c.slots = c.slots[:end]
	if int(slot) != end {
		c.slots[slot] = moved
		SeatOf(moved, r).slot = slot
	}
	c.shrink()
}

// shrink gives memory back after a crowd has left a room that lives on.
func (c *crowd[M]) shrink() {
	const small = 64
	if cap(c.slots) > small && len(c.slots)*4 < cap(c.slots) {
		c.slots = append(make([]M, 0, len(c.slots)*2), c.slots...)
	}
}
