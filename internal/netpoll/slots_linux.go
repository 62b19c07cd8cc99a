package netpoll

import (
	"iter"
	"time"

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
	ended bool     // out of epoll, waiting for the handler's Close
	share share    // of the engine's buffer that a read fills
}

// share says how much of the engine's buffer one read of a connection fills: a half for
// each step. What a handler does with a read is for the peer to decide: a few KB may be
// one piece of a large message, or thousands of small ones, and all others wait as long
// as that takes. So the share of a connection shrinks when its turns take long, and
// grows when they are short and the share is what bounds them.
type share uint8

const (
	firstShare share = 3 // of 64 KiB, 8 KiB
	leastShare share = 7
	longTurn         = 2 * time.Millisecond   // shrinks a share
	shortTurn        = 500 * time.Microsecond // lets it grow
)

// of returns how many of n bytes it is.
func (s share) of(n int) int { return max(n>>s, 1) }

// after returns the share of a connection whose turn, on a full share, took so long.
func (s share) after(turn time.Duration) share {
	switch {
	case turn > longTurn && s < leastShare:
		return s + 1
	case turn < shortTurn && s > 0:
		return s - 1
	}
	return s
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
	s.conn, s.share = c, firstShare
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
