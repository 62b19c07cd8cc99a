package roomlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"holdfast/internal/message"
)

// store is what every log must do, wherever it keeps its data.
type store interface {
	Append(ctx context.Context, key message.Key, p *message.Push) (message.Appended, error)
	Heads(ctx context.Context, keys []message.Key) ([]message.Position, error)
	Range(ctx context.Context, key message.Key, after message.Position, limit int) ([]message.Logged, bool, error)
	Find(ctx context.Context, key message.Key, messageID string, since time.Time) (message.Appended, error)
}

var _ store = (*Memory)(nil)

// fixture is a log under test with a window of a minute and a bound of 10 messages
// for each key, and calls that must not fail.
type fixture struct {
	*testing.T
	store
	advance func(time.Duration) // moves the store's clock, backwards too
}

// testStore is the contract. open returns an empty store as fixture says.
func testStore(t *testing.T, open func(t *testing.T) (store, func(time.Duration))) {
	for _, c := range []struct {
		name string
		test func(f *fixture)
	}{
		{"append and range", testRange},
		{"a head covers what was, and nothing that comes", testHeads},
		{"trimmed by count", testTrimmed},
		{"a quiet log expires without looking lost", testQuiet},
		{"parts of a log expire", testPartExpires},
		{"the clock runs backwards", testBackwards},
		{"another epoch", testEpoch},
		{"keys do not mix", testKeys},
		{"a message is found by its ID", testFind},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, advance := open(t)
			c.test(&fixture{t, s, advance})
		})
	}
}

const doc = message.Key("r:/,doc")

func (f *fixture) append(key message.Key, id string) message.Appended {
	f.Helper()
	at, err := f.Append(f.Context(), key, &message.Push{ID: id, Targets: []message.Key{key}})
	if err != nil || at.Seq == 0 || at.Epoch == 0 {
		f.Fatalf("append %s: %+v, %v", id, at, err)
	}
	return at
}

// fill appends n messages named 0, 1, … and returns their positions.
func (f *fixture) fill(key message.Key, n int) (at []message.Appended) {
	for i := range n {
		at = append(at, f.append(key, fmt.Sprint(i)))
	}
	return at
}

func (f *fixture) head(key message.Key) message.Position {
	f.Helper()
	heads, err := f.Heads(f.Context(), []message.Key{key})
	if err != nil || len(heads) != 1 {
		f.Fatal(heads, err)
	}
	return heads[0]
}

// want checks what is after a position: the messages, whether that is all, and that
// each names the one before it.
func (f *fixture) want(key message.Key, after message.Position, complete bool, ids ...string) {
	f.Helper()
	got, whole, err := f.Range(f.Context(), key, after, 0)
	if err != nil || whole != complete {
		f.Errorf("complete is %t, %v; want %t", whole, err, complete)
	}
	var gotIDs []string
	for i, r := range got {
		gotIDs = append(gotIDs, r.Push.ID)
		if i > 0 && r.Prev != got[i-1].Seq {
			f.Errorf("record %d follows %d, names %d", r.Seq, got[i-1].Seq, r.Prev)
		}
	}
	if !slices.Equal(gotIDs, ids) {
		f.Errorf("got %v, want %v", gotIDs, ids)
	}
}

// now is the store's clock, which a key without a log is at.
func (f *fixture) now() time.Time {
	f.Helper()
	return time.UnixMicro(int64(f.head("r:/,never").Seq))
}

func testRange(f *fixture) {
	at := f.fill(doc, 5)
	if at[0].Prev != 0 {
		f.Errorf("the first message follows %d", at[0].Prev)
	}
	for i := 1; i < len(at); i++ {
		if at[i].Prev != at[i-1].Seq || at[i].Seq <= at[i-1].Seq || at[i].Epoch != at[0].Epoch {
			f.Errorf("%+v after %+v", at[i], at[i-1])
		}
	}
	f.want(doc, message.Position{Epoch: at[0].Epoch}, true, "0", "1", "2", "3", "4")
	f.want(doc, at[0].Position, true, "1", "2", "3", "4")
	f.want(doc, at[3].Position, true, "4")
	f.want(doc, at[4].Position, true)
	got, complete, err := f.Range(f.Context(), doc, at[0].Position, 2)
	if err != nil || !complete || len(got) != 2 || got[0].Seq != at[1].Seq || got[1].Push.ID != "2" || got[0].Prev != at[0].Seq {
		f.Errorf("with a limit: %+v, %t, %v", got, complete, err)
	}
}

func testHeads(f *fixture) {
	before := f.head(doc)
	first := f.append(doc, "a")
	if first.Seq <= before.Seq || first.Epoch != before.Epoch || before.Seq == 0 {
		f.Errorf("%+v after a head of %+v", first, before)
	}
	f.want(doc, before, true, "a")
	if head := f.head(doc); head != first.Position {
		f.Errorf("head %+v, want %+v", head, first.Position)
	}
	heads, err := f.Heads(f.Context(), []message.Key{"r:/,x", doc, "u:/,1", doc})
	if err != nil || len(heads) != 4 || heads[1] != first.Position || heads[3] != first.Position {
		f.Errorf("heads %+v, %v", heads, err)
	}
	if heads, err := f.Heads(f.Context(), nil); err != nil || len(heads) != 0 {
		f.Errorf("no heads: %+v, %v", heads, err)
	}
}

func testTrimmed(f *fixture) {
	before := f.head(doc)
	at := f.fill(doc, 15)
	kept := []string{"5", "6", "7", "8", "9", "10", "11", "12", "13", "14"}
	f.want(doc, before, false, kept...)
	f.want(doc, at[3].Position, false, kept...)
	f.want(doc, at[4].Position, true, kept...) // all that came after it is there
	f.want(doc, at[13].Position, true, "14")
}

func testQuiet(f *fixture) {
	at := f.append(doc, "a")
	f.advance(time.Hour)
	f.want(doc, at.Position, true)
	again := f.append(doc, "b")
	if again.Epoch != at.Epoch || again.Seq <= at.Seq || again.Prev != 0 {
		f.Errorf("%+v after %+v", again, at)
	}
	f.want(doc, at.Position, true, "b")
}

func testPartExpires(f *fixture) {
	f.append(doc, "a")
	f.advance(40 * time.Second)
	b := f.append(doc, "b")
	f.advance(40 * time.Second)
	c := f.append(doc, "c")
	if c.Prev != b.Seq {
		f.Errorf("%+v after %+v", c, b)
	}
	f.want(doc, message.Position{Epoch: c.Epoch}, true, "b", "c")
}

func testBackwards(f *fixture) {
	last := f.append(doc, "a").Seq
	for _, by := range []time.Duration{-time.Hour, 2 * time.Hour, -3 * time.Hour, time.Minute} {
		f.advance(by)
		head := f.head(doc).Seq
		next := f.append(doc, "b").Seq
		if head < last || next <= head {
			f.Errorf("%v: head %d, next %d, after %d", by, head, next, last)
		}
		last = next
	}
	// A head of a log that has expired, and then the clock goes back.
	f.advance(10 * time.Hour)
	head := f.head("r:/,other")
	f.advance(-time.Hour)
	if next := f.append("r:/,other", "c"); next.Seq <= head.Seq {
		f.Errorf("%d is not above the head %d", next.Seq, head.Seq)
	}
}

func testEpoch(f *fixture) {
	at := f.append(doc, "a")
	for _, after := range []message.Position{{}, {Epoch: at.Epoch + 1, Seq: at.Seq}} {
		f.want(doc, after, false)
		f.want("r:/,nothing", after, false)
	}
}

func testKeys(f *fixture) {
	p := &message.Push{ID: "shared"}
	for _, key := range []message.Key{doc, "u:/,doc", "r:/chat,doc"} {
		if at, err := f.Append(f.Context(), key, p); err != nil || at.Prev != 0 {
			f.Errorf("%s: %+v, %v", key, at, err)
		}
	}
	f.append(doc, "more")
	for key, want := range map[message.Key][]string{
		doc: {"shared", "more"}, "u:/,doc": {"shared"}, "r:/chat,doc": {"shared"}, "r:/,do": nil,
	} {
		f.want(key, message.Position{Epoch: f.head(key).Epoch}, true, want...)
	}
}

func testFind(f *fixture) {
	began := f.now()
	find := func(id string, key message.Key, since time.Time, want *message.Appended, wantErr error) {
		f.Helper()
		got, err := f.Find(f.Context(), key, id, since)
		if !errors.Is(err, wantErr) || wantErr == nil && (got.Position != want.Position || got.Prev != want.Prev) {
			f.Errorf("%s is found at %+v, %v; want %+v, %v", id, got, err, want, wantErr)
		}
	}
	find("0", doc, began, nil, message.ErrNotFound) // a key without a log
	at := f.fill(doc, 8)
	find("0", doc, began, &at[0], nil)
	find("7", doc, began, &at[7], nil)
	find("x", doc, began, nil, message.ErrNotFound) // the log is whole
	find("0", "r:/,other", began, nil, message.ErrNotFound)
	f.advance(20 * time.Second)
	later := f.now()
	find("x", doc, later, nil, message.ErrNotFound)
	f.fill(doc, 5)
	last := f.append(doc, "last") // the first four are trimmed
	find("last", doc, later, &last, nil)
	find("x", doc, began, nil, message.ErrForgotten)
	find("x", doc, later, nil, message.ErrNotFound)
	f.advance(10 * time.Minute)
	find("x", "r:/,other", later, nil, message.ErrForgotten) // it would have expired
	find("x", doc, f.now(), nil, message.ErrNotFound)
}

func TestMemory(t *testing.T) {
	testStore(t, func(*testing.T) (store, func(time.Duration)) {
		c := newClock()
		m := NewMemory(Options{Count: 10, Window: time.Minute, Now: c.now})
		return m, c.advance
	})
}

// clock is a wall clock that tests move.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)} }

func (c *clock) now() time.Time { return c.at }

func (c *clock) advance(d time.Duration) { c.at = c.at.Add(d) }
