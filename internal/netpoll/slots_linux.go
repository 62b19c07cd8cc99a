package netpoll

import (
	"iter"

	"golang.org/x/sys/unix"
)

// interest is what a connection wants to hear of.
type interest uint8

const (
	reads interest = 1 << iota
	writes
)

// events is the interest in epoll's terms, level-triggered. Errors and hang-ups
// are reported whether wanted or not. For a connection that wants nothing, a
// paused one, they come edge-triggered: once instead of in every turn. Nothing
// can be missed by that, for the next interest asks the kernel anew.
func (i interest) events() uint32 {
	if i == 0 {
		return unix.EPOLLET
	}
	var ev uint32
	if i&reads != 0 {
		ev |= unix.EPOLLIN | unix.EPOLLRDHUP
	}
	if i&writes != 0 {
		ev |= unix.EPOLLOUT
	}
	return ev
}

// slot is the engine's view of a connection, in 16 bytes.
type slot struct {
	conn *epollConn // nil: free
	// gen counts the connections that the slot has had. An event carries it, so
	// one that epoll_wait returned for a connection that a handler closed
	// meanwhile is not taken for its successor's, in slot or descriptor.
	gen   uint32
	want  interest // what the handler wants
	have  interest // what the kernel was told
	busy  bool     // inside dispatch, which updates the kernel at its end
	ended bool     // out of epoll, waiting for the handler's Close
}

// slotTable numbers the connections of an engine. It grows by pages, so that a
// slot never moves and growth copies nothing.
type slotTable struct {
	pages []*[slotsInPage]slot
	free  []uint32
	next  uint32 // the first slot that was never used
	len   int
}

const slotsInPage = 512

// at returns a slot whose number came from take.
func (t *slotTable) at(n uint32) *slot { return &t.pages[n/slotsInPage][n%slotsInPage] }

// find returns the slot if it still holds the connection of that generation.
func (t *slotTable) find(n, gen uint32) *slot {
	if n >= t.next {
		return nil
	}
	if s := t.at(n); s.conn != nil && s.gen == gen {
		return s
	}
	return nil
}

// take gives c a slot.
func (t *slotTable) take(c *epollConn) *slot {
	if last := len(t.free) - 1; last >= 0 {
		c.slot, t.free = t.free[last], t.free[:last]
	} else {
		c.slot = t.next
		t.next++
		if int(c.slot/slotsInPage) == len(t.pages) {
			t.pages = append(t.pages, new([slotsInPage]slot))
		}
	}
	t.len++
	s := t.at(c.slot)
	s.conn = c
	return s
}

// release frees a slot.
func (t *slotTable) release(n uint32) {
	s := t.at(n)
	*s = slot{gen: s.gen + 1}
	t.free = append(t.free, n)
	t.len--
}

// all yields every connection; the loop may close the one that it got.
func (t *slotTable) all() iter.Seq[*epollConn] {
	return func(yield func(*epollConn) bool) {
		for n := range t.next {
			if c := t.at(n).conn; c != nil && !yield(c) {
				return
			}
		}
	}
}
