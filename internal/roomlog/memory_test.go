package roomlog

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"holdfast/internal/message"
)

// push returns a message of a size, as message.Push.Size counts.
func push(id string, size int) *message.Push {
	return &message.Push{ID: id, Payload: message.Payload{JSON: make([]byte, size-256)}}
}

func mustAppend(t testing.TB, m *Memory, key message.Key, p *message.Push) message.Appended {
	t.Helper()
	at, err := m.Append(t.Context(), key, p)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// verify recounts what the store keeps counts of.
func verify(t *testing.T, m *Memory) {
	t.Helper()
	var bytes int64
	records := 0
	bodies := make(map[*body]int)
	for key, l := range m.logs {
		bytes += logOverhead + int64(len(key))
		kept := l.records[l.head:]
		if len(kept) == 0 {
			t.Fatalf("%s has a log without records", key)
		}
		var size int64
		for _, r := range kept {
			if r.log != l {
				t.Fatalf("%s holds a record of %s", key, r.log.key)
			}
			bodies[r.body]++
			size += r.body.size
		}
		if size != l.bytes || (len(kept) > 1 && (size > m.opts.Bytes || len(kept) > m.opts.Count)) {
			t.Fatalf("%s: %d bytes in %d records, counted %d", key, size, len(kept), l.bytes)
		}
		if l.trimmed >= l.first {
			t.Fatalf("%s: trimmed %d, first %d", key, l.trimmed, l.first)
		}
		records += len(kept)
		bytes += recordOverhead * int64(len(kept))
	}
	for b, refs := range bodies {
		if b.refs != refs {
			t.Fatalf("%d references, counted %d", refs, b.refs)
		}
		bytes += b.size
	}
	chain := 0
	for r, before := m.oldest, (*record)(nil); r != nil; r, before = r.newer, r {
		chain++
		if r.older != before || (before != nil && before.at > r.at) || (r.newer == nil) != (r == m.newest) {
			t.Fatal("the list of all records is broken")
		}
	}
	s := m.Stats()
	if s.Bytes != bytes || s.Records != records || chain != records {
		t.Fatalf("%d bytes, %d records, %d in the list; counted %+v", bytes, records, chain, s)
	}
	if bytes > m.opts.TotalBytes && records > 1 {
		t.Fatalf("%d bytes, more than %d", bytes, m.opts.TotalBytes)
	}
	if s.Appended != uint64(s.Records)+s.Trimmed+s.Evicted+s.Expired {
		t.Fatalf("records are missing: %+v", s)
	}
}

// history is what a test knows of a key's log: all that was ever appended.
type history struct {
	seqs []uint64
	ids  []string
	at   []time.Duration
}

// TestMemoryAgainstHistory appends, asks and moves the clock at random. What a range
// returns must be an end of the history, and the whole of what is after the position
// when it says so, but for messages past the window.
func TestMemoryAgainstHistory(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		c := newClock()
		m := NewMemory(Options{Count: 5, Bytes: 4000, Window: time.Minute, TotalBytes: 12000, Now: c.now})
		start, high := c.at, time.Duration(0)
		known := make(map[message.Key]*history)
		for step := range 1500 {
			key := message.RoomKey("/", fmt.Sprint(rnd.IntN(5)))
			h := known[key]
			if h == nil {
				h = &history{}
				known[key] = h
			}
			if rnd.IntN(8) == 0 {
				c.advance(time.Duration(rnd.IntN(40)-10) * time.Second)
			}
			high = max(high, c.at.Sub(start)) // as the store will see it in this step
			switch rnd.IntN(7) {
			case 0:
				checkHead(t, m, key, h)
			case 1, 2:
				checkRange(t, m, key, h, rnd, high)
			default:
				id := fmt.Sprint(step)
				at := mustAppend(t, m, key, push(id, 256+rnd.IntN(900)))
				if n := len(h.seqs); n > 0 && (at.Seq <= h.seqs[n-1] || (at.Prev != 0 && at.Prev != h.seqs[n-1])) {
					t.Fatalf("%+v after %d", at, h.seqs[n-1])
				}
				h.seqs, h.ids, h.at = append(h.seqs, at.Seq), append(h.ids, id), append(h.at, high)
			}
			verify(t, m)
		}
	}
}

func checkHead(t *testing.T, m *Memory, key message.Key, h *history) {
	t.Helper()
	heads, err := m.Heads(t.Context(), []message.Key{key})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(h.seqs); n > 0 && heads[0].Seq < h.seqs[n-1] {
		t.Fatalf("head %d, but %d was appended", heads[0].Seq, h.seqs[n-1])
	}
}

func checkRange(t *testing.T, m *Memory, key message.Key, h *history, rnd *rand.Rand, now time.Duration) {
	t.Helper()
	if len(h.seqs) == 0 {
		return
	}
	from := rnd.IntN(len(h.seqs))
	got, complete, err := m.Range(t.Context(), key, message.Position{Epoch: m.epoch, Seq: h.seqs[from]}, 0)
	if err != nil {
		t.Fatal(err)
	}
	skipped := len(h.seqs) - len(got)
	if skipped < from+1 {
		t.Fatalf("%d records after position %d of %d", len(got), from, len(h.seqs))
	}
	for i, r := range got {
		if r.Seq != h.seqs[skipped+i] || r.Push.ID != h.ids[skipped+i] {
			t.Fatalf("record %d is %d (%s), want %d (%s)", i, r.Seq, r.Push.ID, h.seqs[skipped+i], h.ids[skipped+i])
		}
	}
	for missing := from + 1; complete && missing < skipped; missing++ {
		if now-h.at[missing] <= m.opts.Window {
			t.Fatalf("complete, but %s is missing after only %v", h.ids[missing], now-h.at[missing])
		}
	}
}

func TestMemoryBoundInBytes(t *testing.T) {
	m := NewMemory(Options{Bytes: 3000})
	var at []message.Appended
	for i := range 5 {
		at = append(at, mustAppend(t, m, doc, push(fmt.Sprint(i), 1000)))
	}
	f := &fixture{T: t, store: m}
	f.want(doc, at[0].Position, false, "2", "3", "4")
	f.want(doc, at[1].Position, true, "2", "3", "4")
	huge := mustAppend(t, m, doc, push("huge", 5000))
	f.want(doc, at[4].Position, true, "huge") // accepted, so it is there
	next := mustAppend(t, m, doc, push("next", 300))
	f.want(doc, at[4].Position, false, "next")
	f.want(doc, huge.Position, true, "next")
	if next.Prev != huge.Seq {
		t.Errorf("got %+v", next)
	}
	verify(t, m)
}

func TestMemoryEvictsTheOldestFirst(t *testing.T) {
	c := newClock()
	m := NewMemory(Options{TotalBytes: 5 * (1000 + recordOverhead + logOverhead + 10), Window: time.Minute, Now: c.now})
	key := func(i int) message.Key { return message.RoomKey("/", fmt.Sprint(i)) }
	heads, _ := m.Heads(t.Context(), []message.Key{key(0), "r:/,later"})
	for i := range 10 {
		c.advance(time.Millisecond)
		mustAppend(t, m, key(i), push(fmt.Sprint(i), 1000))
	}
	f := &fixture{T: t, store: m, advance: c.advance}
	f.want(key(0), heads[0], false)      // evicted as a whole, and yet it is told
	f.want("r:/,later", heads[1], false) // it may have been, for all that is known
	later := f.head("r:/,later")         // who comes now cannot have missed it
	f.want("r:/,later", later, true)
	if s := m.Stats(); s.Evicted != 5 || s.Records != 5 {
		t.Errorf("got %+v", s)
	}
	verify(t, m)
	again := f.append(key(0), "again")
	f.want(key(0), heads[0], false, "again")
	f.want(key(0), again.Position, true)
	c.advance(2 * time.Minute)
	f.want(key(1), heads[0], true) // past the window nobody asks any more
}

func TestMemorySharesBodies(t *testing.T) {
	m := NewMemory(Options{})
	p := push("p", 10000)
	for i := range 100 {
		mustAppend(t, m, message.RoomKey("/", fmt.Sprint(i)), p)
	}
	if s := m.Stats(); s.Bytes > 10000+100*(recordOverhead+logOverhead+10) {
		t.Errorf("counted %d bytes", s.Bytes)
	}
	got, _, _ := m.Range(t.Context(), "r:/,7", message.Position{Epoch: m.epoch}, 0)
	if len(got) != 1 || got[0].Push != p {
		t.Errorf("got %+v", got)
	}
	verify(t, m)
}

func TestMemorySweep(t *testing.T) {
	c := newClock()
	m := NewMemory(Options{Window: time.Minute, Now: c.now})
	for i := range 1000 {
		mustAppend(t, m, message.RoomKey("/", fmt.Sprint(i)), push("p", 300))
	}
	c.advance(time.Hour)
	(&fixture{T: t, store: m}).head("r:/,somebody else's")
	if s := m.Stats(); s.Records != 1000-sweepBatch {
		t.Errorf("one call left %d", s.Records)
	}
	m.Sweep()
	if s := m.Stats(); s.Records != 0 || s.Keys != 0 || s.Bytes != 0 {
		t.Errorf("something is left: %+v", s)
	}
	verify(t, m)
}

func TestMemoryVersion(t *testing.T) {
	m := NewMemory(Options{Version: func(key message.Key) uint64 { return uint64(len(key)) }})
	for key, want := range map[message.Key]uint64{"r:/,doc": 7, "a:/,": 4, "u:/,ann": 0, "c:/,1": 0} {
		if at := mustAppend(t, m, key, push("p", 300)); at.Version != want {
			t.Errorf("%s: version %d, want %d", key, at.Version, want)
		}
	}
}

func TestMemoryEpochs(t *testing.T) {
	a, b := NewMemory(Options{}), NewMemory(Options{})
	if a.epoch == b.epoch || a.epoch == 0 || a.epoch>>48 != 0 {
		t.Errorf("epochs %d and %d", a.epoch, b.epoch)
	}
}

func TestMemoryConcurrent(t *testing.T) {
	m := NewMemory(Options{Count: 20, TotalBytes: 50_000})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var last uint64
			for i := range 500 {
				at := mustAppend(t, m, doc, push(fmt.Sprint(g, i), 300))
				if at.Seq <= last {
					t.Errorf("%d after %d", at.Seq, last)
				}
				last = at.Seq
				mustAppend(t, m, message.RoomKey("/", fmt.Sprint(i%50)), push("p", 300))
				_, _, _ = m.Range(t.Context(), doc, at.Position, 10)
				_, _ = m.Heads(t.Context(), []message.Key{doc, "r:/,none"})
				m.Stats()
			}
		})
	}
	wg.Wait()
	verify(t, m)
}

func BenchmarkAppend(b *testing.B) {
	for _, keys := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprint("keys=", keys), func(b *testing.B) {
			m := NewMemory(Options{Count: 100, TotalBytes: 64 << 20})
			names := make([]message.Key, keys)
			for i := range names {
				names[i] = message.RoomKey("/", fmt.Sprint(i))
			}
			p := push("p", 500)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				mustAppend(b, m, names[i%keys], p)
			}
			runtime.KeepAlive(m)
		})
	}
}
