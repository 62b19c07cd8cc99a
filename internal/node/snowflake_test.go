package node

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/message"
)

var someDay = time.Date(2026, 3, 4, 5, 6, 7, 890e6, time.UTC)

func mustNew(t *testing.T, worker uint16, now func() time.Time) *Snowflake {
	t.Helper()
	s, err := New(worker, now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSnowflakeParts(t *testing.T) {
	s := mustNew(t, 777, func() time.Time { return someDay })
	for want := range uint64(3) {
		id, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if Worker(id) != 777 || !Time(id).Equal(someDay) || id&maxSequence != want {
			t.Errorf("ID %d: worker %d, time %v, sequence %d", id, Worker(id), Time(id), id&maxSequence)
		}
	}
	if _, err := New(MaxWorker+1, nil); !errors.Is(err, ErrWorker) {
		t.Errorf("worker %d: %v", MaxWorker+1, err)
	}
}

func TestSnowflakeWaitsForTheNextMillisecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, 1, time.Now)
		<-time.After(time.Hour)
		begin := time.Now()
		last := uint64(0)
		for i := range 3 * (maxSequence + 1) {
			id, err := s.Next()
			if err != nil {
				t.Fatal(err)
			}
			if id <= last {
				t.Fatalf("ID %d is not above the one before", i)
			}
			last = id
		}
		if took := time.Since(begin); took < time.Millisecond || took > 3*time.Millisecond {
			t.Errorf("three milliseconds' worth of IDs took %v", took)
		}
	})
}

func TestSnowflakeClockBackwards(t *testing.T) {
	for _, c := range []struct {
		name string
		back time.Duration
		want error
	}{
		{"a little: waited out", MaxBackwards, nil},
		{"too far: refused", MaxBackwards + time.Millisecond, ErrClockBackwards},
		{"a day: refused", 24 * time.Hour, ErrClockBackwards},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				<-time.After(48 * time.Hour)
				var back time.Duration
				s := mustNew(t, 1, func() time.Time { return time.Now().Add(-back) })
				first, err := s.Next()
				if err != nil {
					t.Fatal(err)
				}
				back = c.back
				begin := time.Now()
				second, err := s.Next()
				if !errors.Is(err, c.want) {
					t.Fatalf("got %v, want %v", err, c.want)
				}
				if err == nil && second <= first {
					t.Errorf("%d is not above %d", second, first)
				}
				if err != nil && time.Since(begin) > 0 {
					t.Errorf("it took %v to refuse", time.Since(begin))
				}
				back = 0 // and it works again as soon as the clock is right
				<-time.After(time.Millisecond)
				if third, err := s.Next(); err != nil || third <= first {
					t.Errorf("afterwards: %d, %v", third, err)
				}
			})
		})
	}
}

func TestSnowflakeClockStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, 1, func() time.Time { return someDay })
		for range maxSequence + 1 {
			if _, err := s.Next(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Next(); !errors.Is(err, ErrClockBackwards) {
			t.Errorf("got %v", err)
		}
	})
}

func TestSnowflakeClockRange(t *testing.T) {
	for _, now := range []time.Time{{}, time.Unix(0, 0), time.UnixMilli(epochMilli + maxTime + 1)} {
		s := mustNew(t, 1, func() time.Time { return now })
		if _, err := s.Next(); !errors.Is(err, ErrClockRange) {
			t.Errorf("at %v: %v", now, err)
		}
	}
}

func TestSnowflakeConcurrent(t *testing.T) {
	s := mustNew(t, 5, nil)
	const workers, each = 8, 2000
	ids := make([][]uint64, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range each {
				id, err := s.Next()
				if err != nil {
					t.Error(err)
					return
				}
				ids[w] = append(ids[w], id)
			}
		})
	}
	wg.Wait()
	all := slices.Concat(ids...)
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != workers*each {
		t.Errorf("%d different IDs, want %d", n, workers*each)
	}
}

func TestSnowflakeText(t *testing.T) {
	for _, c := range []struct {
		id   uint64
		text string
	}{
		{0, "-----------"},
		{1, "----------0"},
		{63, "----------z"},
		{64, "---------0-"},
		{1<<63 - 1, "6zzzzzzzzzz"},
	} {
		if got := FormatSnowflake(c.id); got != c.text {
			t.Errorf("format %d: %q, want %q", c.id, got, c.text)
		}
		if got, err := ParseSnowflake(c.text); err != nil || got != c.id {
			t.Errorf("parse %q: %d, %v", c.text, got, err)
		}
	}
	for _, text := range []string{"", "-", "------------", "7----------", "z----------", "-----+-----", "-----\x80-----"} {
		if id, err := ParseSnowflake(text); !errors.Is(err, ErrNotSnowflake) {
			t.Errorf("parse %q: %d, %v", text, id, err)
		}
	}
}

func FuzzParseSnowflake(f *testing.F) {
	for _, s := range []string{"", "-----------", "6zzzzzzzzzz", "7----------", "0Vr8oKk-F--"} {
		f.Add(s, uint64(len(s)))
	}
	f.Fuzz(func(t *testing.T, s string, other uint64) {
		id, err := ParseSnowflake(s)
		if err != nil {
			return
		}
		if FormatSnowflake(id) != s {
			t.Fatalf("%q is read as %d, which is written %q", s, id, FormatSnowflake(id))
		}
		other >>= 1
		if order := strings.Compare(s, FormatSnowflake(other)); (order < 0) != (id < other) {
			t.Fatalf("the texts of %d and %d sort otherwise", id, other)
		}
	})
}

func TestSessionID(t *testing.T) {
	s := mustNew(t, 3, func() time.Time { return someDay })
	random := bytes.Repeat([]byte{0x00, 0x10, 0x83}, 3) // the first digits 0, 1, 2, 3
	id, err := s.NewSessionID(bytes.NewReader(random))
	if err != nil {
		t.Fatal(err)
	}
	if len(id) != message.SessionIDLen || id[message.SnowflakeLen:] != "-012-012-012" {
		t.Errorf("got %q", id)
	}
	flake, err := ParseSnowflake(message.PublicID(id))
	if err != nil || Worker(flake) != 3 {
		t.Errorf("public ID %q: %v", message.PublicID(id), err)
	}
	if _, err := s.NewSessionID(bytes.NewReader(nil)); err == nil {
		t.Error("an ID without randomness")
	}
	if secret, err := NewSecret(new(Entropy)); err != nil || len(secret) != message.SecretLen {
		t.Errorf("secret %q, %v", secret, err)
	}
}

func TestIDs(t *testing.T) {
	ids := NewIDs(mustNew(t, 9, nil))
	for name, c := range map[string]struct {
		next   func() (string, error)
		length int
	}{
		"session": {ids.SessionID, message.SessionIDLen},
		"client":  {ids.ClientID, message.SnowflakeLen},
		"secret":  {ids.Secret, message.SecretLen},
		"message": {func() (string, error) {
			id, err := ids.AppendMessageID(nil)
			return string(id), err
		}, 36},
	} {
		a, err := c.next()
		b, err2 := c.next()
		if err != nil || err2 != nil || len(a) != c.length || a == b {
			t.Errorf("%s: %q, %q, %v, %v", name, a, b, err, err2)
		}
	}
	stopped := NewIDs(mustNew(t, 9, func() time.Time { return time.Time{} }))
	if _, err := stopped.ClientID(); !errors.Is(err, ErrClockRange) {
		t.Errorf("got %v", err)
	}
}

// counter is a source in which each byte can be told from its neighbours.
type counter struct{ next byte }

func (c *counter) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = c.next
		c.next++
	}
	return len(p), nil
}

func TestEntropyGivesEachByteOnce(t *testing.T) {
	e := NewEntropy(new(counter))
	var got []byte
	for n := range 60 {
		p := make([]byte, n)
		if read, err := e.Read(p); read != n || err != nil {
			t.Fatal(read, err)
		}
		got = append(got, p...)
	}
	for i, b := range got {
		if b != byte(i) {
			t.Fatalf("byte %d is %d", i, b)
		}
	}
	if used := e.buf[:entropyBuffer-e.left]; !bytes.Equal(used, make([]byte, len(used))) {
		t.Error("used bytes are still in the buffer")
	}
	if _, err := NewEntropy(bytes.NewReader(nil)).Read(make([]byte, 1)); err == nil {
		t.Error("a source that fails is not noticed")
	}
}

func TestMemoryWorkers(t *testing.T) {
	m := NewMemoryWorkers()
	acquire := func(identity string) Lease {
		t.Helper()
		l, err := m.Acquire(t.Context(), identity)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	a, b := acquire("a"), acquire("b")
	if a.Worker != 0 || b.Worker != 1 {
		t.Errorf("got %+v, %+v", a, b)
	}
	again := acquire("a")
	if again.Worker != a.Worker || again.Generation <= a.Generation {
		t.Errorf("the same identity: %+v after %+v", again, a)
	}
	if err := m.Release(t.Context(), a, time.Time{}); err != nil { // replaced, so nothing happens
		t.Fatal(err)
	}
	if c := acquire("c"); c.Worker != 2 {
		t.Errorf("got %+v", c)
	}
	if err := m.Release(t.Context(), again, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if d := acquire("d"); d.Worker != 0 || d.Generation <= again.Generation {
		t.Errorf("got %+v", d)
	}
	for i := 3; i <= MaxWorker; i++ {
		acquire(strings.Repeat("x", i))
	}
	if _, err := m.Acquire(t.Context(), "one too many"); !errors.Is(err, ErrNoWorkers) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkNewSessionID(b *testing.B) {
	s, err := New(1, nil)
	if err != nil {
		b.Fatal(err)
	}
	var entropy Entropy
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.NewSessionID(&entropy); err != nil {
			b.Fatal(err)
		}
	}
}
