package api

import (
	"container/list"
	"time"
)

// lineup is a queue in which the events of one session stand in a line of their
// own, and of each line only the first one may be taken:
//
//	push ─▶ line of its session ─▶ take (the line is busy) ─▶ done (the next may be taken)
//	                                                      └─▶ putBack (the same may be taken)
//
// Lines are served in turn. Those that hold nothing but low entries stand apart.
// A lineup has no lock; it is used under its owner's.
type lineup struct {
	lines  map[string]*line
	ready  list.List // of *line: not busy
	low    list.List // of *line: not busy, low entries only
	normal tally
	lows   tally
}

// tally counts entries of one kind, in the order of their arrival.
type tally struct {
	arrivals list.List // of *entry
	bytes    int
}

type line struct {
	session string
	queue   []*entry
	normal  int // entries that are not low
	busy    bool
	in      *list.List
	at      *list.Element // in in; nil while busy
}

// entry is one event in a lineup.
type entry struct {
	ev      *event
	low     bool
	taken   bool
	line    *line
	arrival *list.Element

	// Of groups: who has it, who had it before, since when it counts as lost.
	attempt  uint32
	holder   *consumer
	before   *consumer
	deadline time.Time
	held     *list.Element
	among    *list.List // which held is in
	origin   string     // the ws-api that gave it; "": this one
}

func newLineup() *lineup { return &lineup{lines: make(map[string]*line)} }

func (l *lineup) tallyOf(e *entry) *tally {
	if e.low {
		return &l.lows
	}
	return &l.normal
}

// len returns the number of entries, taken ones included.
func (l *lineup) len() int { return l.normal.arrivals.Len() + l.lows.arrivals.Len() }

// size returns the bytes of all entries.
func (l *lineup) size() int { return l.normal.bytes + l.lows.bytes }

// room tells whether one more of that many bytes fits. An empty queue takes
// anything, since what is larger than the bound would find no room ever.
func (t *tally) room(bytes, maxItems, maxBytes int) bool {
	n := t.arrivals.Len()
	return n == 0 || (n < maxItems && t.bytes+bytes <= maxBytes)
}

func (l *lineup) push(ev *event, low bool) *entry {
	e := &entry{ev: ev, low: low}
	t := l.tallyOf(e)
	e.arrival = t.arrivals.PushBack(e)
	t.bytes += ev.size()

	ln := l.lines[ev.session()]
	if ln == nil {
		ln = &line{session: ev.session()}
		l.lines[ln.session] = ln
	}
	e.line = ln
	ln.queue = append(ln.queue, e)
	if !low {
		ln.normal++
	}
	if !ln.busy {
		l.place(ln, false)
	}
	return e
}

// place puts a line that is not busy where it belongs, or leaves it there.
func (l *lineup) place(ln *line, front bool) {
	want := &l.ready
	if ln.normal == 0 {
		want = &l.low
	}
	if ln.at != nil {
		if ln.in == want {
			return
		}
		ln.in.Remove(ln.at)
	}
	ln.in = want
	if front {
		ln.at = want.PushFront(ln)
	} else {
		ln.at = want.PushBack(ln)
	}
}

// take returns the first entry of the line whose turn it is, nil when there is
// none. lowFirst serves the low lines before the others.
func (l *lineup) take(lowFirst bool) *entry {
	first, second := &l.ready, &l.low
	if lowFirst {
		first, second = second, first
	}
	el := first.Front()
	if el == nil {
		el = second.Front()
	}
	if el == nil {
		return nil
	}
	ln := el.Value.(*line)
	ln.in.Remove(ln.at)
	ln.at, ln.in, ln.busy = nil, nil, true
	e := ln.queue[0]
	e.taken = true
	return e
}

// done removes an entry that was taken.
func (l *lineup) done(e *entry) {
	ln := e.line
	ln.busy = false
	l.remove(e, 0)
	if len(ln.queue) > 0 {
		l.place(ln, false)
	}
}

// putBack makes an entry that was taken the next one to take.
func (l *lineup) putBack(e *entry) {
	e.taken = false
	e.line.busy = false
	l.place(e.line, true)
}

// drop removes an entry that nobody has taken.
func (l *lineup) drop(e *entry) {
	ln := e.line
	for i, other := range ln.queue {
		if other == e {
			l.remove(e, i)
			break
		}
	}
	if len(ln.queue) > 0 && !ln.busy {
		l.place(ln, false)
	}
}

// remove takes an entry out of its line, in which it is the i-th.
func (l *lineup) remove(e *entry, i int) {
	ln := e.line
	copy(ln.queue[i:], ln.queue[i+1:])
	ln.queue[len(ln.queue)-1] = nil
	ln.queue = ln.queue[:len(ln.queue)-1]
	if !e.low {
		ln.normal--
	}
	t := l.tallyOf(e)
	t.arrivals.Remove(e.arrival)
	t.bytes -= e.ev.size()
	if len(ln.queue) > 0 {
		return
	}
	if ln.at != nil {
		ln.in.Remove(ln.at)
		ln.at, ln.in = nil, nil
	}
	delete(l.lines, ln.session)
}

// dropOldest removes the oldest entry of one kind that nobody has taken, and
// returns it; nil when all are taken.
func (l *lineup) dropOldest(low bool) *entry {
	t := &l.normal
	if low {
		t = &l.lows
	}
	for el := t.arrivals.Front(); el != nil; el = el.Next() {
		e := el.Value.(*entry)
		if e.taken {
			continue
		}
		l.drop(e)
		return e
	}
	return nil
}
