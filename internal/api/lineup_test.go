package api

import (
	"math/rand/v2"
	"testing"
	"time"

	"holdfast/internal/message"
)

func testEvent(session, name string) *event {
	s := &Server{cfg: Config{Now: time.Now}}
	return s.newEvent(&message.Up{ID: session + name, Session: session, Name: name, Type: message.EventMessage, Client: &message.Client{}}, func() {})
}

func TestLineupOneOfASessionAtATime(t *testing.T) {
	l := newLineup()
	for _, e := range []struct {
		session, name string
		low           bool
	}{
		{"a", "1", false},
		{"a", "2", false},
		{"b", "1", false},
		{"c", "bye", true},
		{"d", "bye", true},
		{"d", "2", false}, // another namespace of a session that is not all gone
	} {
		l.push(testEvent(e.session, e.name), e.low)
	}
	take := func(lowFirst bool) *entry {
		en := l.take(lowFirst)
		if en == nil {
			return &entry{ev: testEvent("", "none")}
		}
		return en
	}
	var got string
	a1, b1, d1, c1, none := take(false), take(false), take(false), take(false), take(false)
	for _, en := range []*entry{a1, b1, d1, c1, none} {
		got += en.ev.up.ID + " "
	}
	if want := "a1 b1 dbye cbye none "; got != want {
		t.Fatalf("taken: %swant: %s", got, want)
	}
	l.putBack(a1)
	if en := take(false); en != a1 {
		t.Errorf("what was put back comes first, not %s", en.ev.up.ID)
	}
	l.done(a1)
	if en := take(true); en.ev.up.ID != "a2" {
		t.Errorf("then the session's next one, not %s", en.ev.up.ID)
	}
	if l.len() != 5 {
		t.Errorf("%d entries", l.len())
	}
	if en := l.dropOldest(false); en == nil || en.ev.up.ID != "d2" {
		t.Errorf("the oldest that nobody has is d2, not %v", en)
	}
	if en := l.dropOldest(false); en != nil {
		t.Errorf("dropped %s, which is taken", en.ev.up.ID)
	}
}

// Whatever happens, a session's events come in order and one at a time, and the
// tallies fit.
func TestLineupProperties(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := newLineup()
		var taken []*entry
		busy, last, next, count := map[string]bool{}, map[string]int{}, map[string]int{}, 0
		number := map[*event]int{}
		for range 300 {
			switch r.IntN(6) {
			case 0, 1, 2:
				session := string(rune('a' + r.IntN(5)))
				ev := testEvent(session, "x")
				next[session]++
				number[ev] = next[session]
				l.push(ev, r.IntN(3) == 0)
				count++
			case 3:
				en := l.take(r.IntN(2) == 0)
				if en == nil {
					continue
				}
				s := en.ev.session()
				if busy[s] || number[en.ev] <= last[s] {
					t.Fatalf("seed %d: %s: took %d after %d, busy %v", seed, s, number[en.ev], last[s], busy[s])
				}
				busy[s] = true
				taken = append(taken, en)
			case 4:
				if len(taken) == 0 {
					continue
				}
				i := r.IntN(len(taken))
				en := taken[i]
				taken = append(taken[:i], taken[i+1:]...)
				busy[en.ev.session()] = false
				if r.IntN(3) == 0 {
					l.putBack(en)
					continue
				}
				last[en.ev.session()] = number[en.ev]
				l.done(en)
				count--
			case 5:
				if r.IntN(4) == 0 && l.dropOldest(r.IntN(2) == 0) != nil {
					count--
				}
			}
			if l.len() != count {
				t.Fatalf("seed %d: %d entries, want %d", seed, l.len(), count)
			}
		}
		for len(taken) > 0 || l.len() > 0 {
			for _, en := range taken {
				l.done(en)
			}
			taken = taken[:0]
			for en := l.take(false); en != nil; en = l.take(false) {
				taken = append(taken, en)
			}
		}
		if l.size() != 0 || len(l.lines) != 0 || l.ready.Len() != 0 || l.low.Len() != 0 {
			t.Fatalf("seed %d: an empty lineup holds %d bytes, %d lines", seed, l.size(), len(l.lines))
		}
	}
}
