// Package timewheel keeps many deadlines for one goroutine: the sessions'
// heartbeats and timeouts of a shard. It has no goroutine and no clock: its
// owner tells it the time and asks it when to come back.
//
//	level 0   64 slots of 1 tick            ▒▒▒█▒▒▒…   the next 64 ticks
//	level 1   64 slots of 64 ticks          ▒█▒▒▒▒▒…
//	level 2   64 slots of 64² ticks         ▒▒▒▒█▒▒…
//	level 3   64 slots of 64³ ticks         ▒▒▒▒▒▒▒…   46 hours at a tick of 10 ms
//	far       one list                                 the rest
//
// It is hierarchical rather than hashed because deadlines here are far apart
// (an upgrade's 10 s, a heartbeat's 45 s, a window's minutes): one turn of a
// hashed wheel would have to touch timers that are not due, or be thousands of
// slots large. A timer moves down a level at most three times in its life; a
// word of bits for each level says which slots are in use, so empty ones cost
// nothing.
package timewheel

import (
	"math/bits"
	"time"
)

const (
	slotBits = 6
	slots    = 1 << slotBits
	levels   = 4
	farShift = slotBits * levels

	// Places of a timer besides the slots; 0 is nowhere.
	farPlace = 1 + slots*levels
	duePlace = farPlace + 1
	places   = duePlace + 1
)

// Timer is one deadline, for embedding in what it belongs to. The zero value is
// ready and not active. It must not be copied while it is active, and belongs
// to one wheel at a time.
type Timer[T any] struct {
	// Value is the caller's.
	Value T

	next, prev *Timer[T]
	deadline   int64
	place      uint16
}

// Active tells whether the timer is scheduled and has not fired.
func (t *Timer[T]) Active() bool { return t.place != 0 }

// Deadline returns when an active timer fires.
func (t *Timer[T]) Deadline() int64 { return t.deadline }

// Wheel holds the timers of one goroutine, which calls every method.
type Wheel[T any] struct {
	tick   int64  // ms
	origin int64  // ms; ticks count from here
	now    uint64 // ticks; every timer of a tick ≤ now has left the slots

	used  [levels]uint64 // a bit for each slot with timers
	heads [places]*Timer[T]
	due   *Timer[T] // the last of the list at duePlace
}

// New makes a wheel whose time starts at now, in milliseconds on the caller's
// monotonic scale. A timer fires in the first Advance at or after its deadline
// rounded up to a tick, so it is at most one tick late. Ticks are whole
// milliseconds, at least one.
func New[T any](now int64, tick time.Duration) *Wheel[T] {
	return &Wheel[T]{tick: max(1, tick.Milliseconds()), origin: now}
}

// Schedule makes t fire at deadline (ms), in place of what it was scheduled for
// before. A deadline that has passed fires at the next tick.
func (w *Wheel[T]) Schedule(t *Timer[T], deadline int64) {
	if t.place != 0 {
		w.unlink(t)
	}
	t.deadline = deadline
	w.place(t)
}

// Cancel makes t not fire. A timer that is not active is left as it is.
func (w *Wheel[T]) Cancel(t *Timer[T]) {
	if t.place != 0 {
		w.unlink(t)
	}
}

// Advance moves the wheel to now (ms) and calls fire for each timer that is due,
// which is no longer active then. fire may schedule and cancel any timer; one
// that it schedules fires in a later Advance, whatever its deadline. The order
// among timers fired by one call is unspecified. A clock that has not moved, or
// moved back, does nothing. The cost is that of the timers fired or moved down,
// and of one turn of the wheel at most, however far the clock jumped. fire must
// not call Advance.
func (w *Wheel[T]) Advance(now int64, fire func(*Timer[T])) {
	if now <= w.origin {
		return
	}
	// Unsigned, the difference of any two int64 in this order is right.
	target := (uint64(now) - uint64(w.origin)) / uint64(w.tick)
	if target <= w.now {
		return
	}
	w.collect(target)
	for t := w.heads[duePlace]; t != nil; t = w.heads[duePlace] {
		w.unlink(t)
		fire(t)
	}
}

// Next says in how long the next Advance is worth its while, for the caller's
// own wait; ok is false when no timer is active. It may be early, by the time
// at which a slot of a higher level is to be spread, and is never later than the
// tick of the earliest deadline.
func (w *Wheel[T]) Next(now int64) (in time.Duration, ok bool) {
	if w.heads[duePlace] != nil {
		return 0, true
	}
	tick, ok := w.nextTick()
	if !ok {
		return 0, false
	}
	ms := w.origin + int64(tick)*w.tick - now
	return time.Duration(max(0, ms)) * time.Millisecond, true
}

// nextTick finds the first tick at which a slot is to be emptied. A lower level
// always comes before a higher one: what is in a higher level lies beyond the
// block that the lower one covers.
func (w *Wheel[T]) nextTick() (uint64, bool) {
	for level := range levels {
		if w.used[level] != 0 {
			shift := level * slotBits
			slot := uint64(bits.TrailingZeros64(w.used[level]))
			return w.now>>(shift+slotBits)<<(shift+slotBits) | slot<<shift, true
		}
	}
	if w.heads[farPlace] != nil {
		return (w.now>>farShift + 1) << farShift, true
	}
	return 0, false
}

// collect moves the wheel to target: timers that are due go to the due list,
// others of the slots that were passed are placed anew.
func (w *Wheel[T]) collect(target uint64) {
	var passed *Timer[T] // a chain by next
	for level := range levels {
		shift := level * slotBits
		from, to := w.now>>shift, target>>shift
		if from == to {
			break
		}
		// Timers stand only in slots after now's own up to the end of the level.
		last := uint64(slots - 1)
		if from>>slotBits == to>>slotBits {
			last = to & (slots - 1)
		}
		mask := ^uint64(0) >> (slots - 1 - last)
		for hit := w.used[level] & mask; hit != 0; hit &= hit - 1 {
			place := 1 + level*slots + bits.TrailingZeros64(hit)
			passed = w.empty(place, target, passed)
		}
		w.used[level] &^= mask
	}
	if w.now>>farShift != target>>farShift {
		passed = w.empty(farPlace, target, passed)
	}
	w.now = target
	for t := passed; t != nil; {
		next := t.next
		w.place(t)
		t = next
	}
}

// empty takes all timers from a place: those due at target go to the due list,
// the others in front of the chain passed, which it returns.
func (w *Wheel[T]) empty(place int, target uint64, passed *Timer[T]) *Timer[T] {
	t := w.heads[place]
	w.heads[place] = nil
	for t != nil {
		next := t.next
		if w.tickOf(t) <= target {
			w.append(t)
		} else {
			t.next, passed = passed, t
		}
		t = next
	}
	return passed
}

// append puts t at the end of the due list, which keeps the slots' order.
func (w *Wheel[T]) append(t *Timer[T]) {
	t.next, t.prev, t.place = nil, w.due, duePlace
	if w.due == nil {
		w.heads[duePlace] = t
	} else {
		w.due.next = t
	}
	w.due = t
}

// tickOf is the first tick that is not before t's deadline.
func (w *Wheel[T]) tickOf(t *Timer[T]) uint64 {
	if t.deadline <= w.origin {
		return 0
	}
	ms := uint64(t.deadline) - uint64(w.origin)
	tick := ms / uint64(w.tick)
	if ms%uint64(w.tick) != 0 {
		tick++
	}
	return tick
}

// place puts a timer that stands nowhere where its deadline belongs. The level
// is that of the highest bit in which its tick and now differ, so a slot never
// holds timers of two turns.
func (w *Wheel[T]) place(t *Timer[T]) {
	tick := max(w.tickOf(t), w.now+1)
	place := farPlace
	if level := (bits.Len64(tick^w.now) - 1) / slotBits; level < levels {
		slot := tick >> (level * slotBits) & (slots - 1)
		w.used[level] |= 1 << slot
		place = 1 + level*slots + int(slot)
	}
	head := w.heads[place]
	t.next, t.prev, t.place = head, nil, uint16(place)
	if head != nil {
		head.prev = t
	}
	w.heads[place] = t
}

// unlink takes an active timer out of its list.
func (w *Wheel[T]) unlink(t *Timer[T]) {
	place := int(t.place)
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		w.heads[place] = t.next
	}
	switch {
	case t.next != nil:
		t.next.prev = t.prev
	case place == duePlace:
		w.due = t.prev
	}
	if place < farPlace && w.heads[place] == nil {
		w.used[(place-1)/slots] &^= 1 << ((place - 1) % slots)
	}
	t.next, t.prev, t.place = nil, nil, 0
}
