package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"holdfast/internal/redis/redistest"
)

// startRedis runs redis-server on a free port until the test ends.
func startRedis(t *testing.T) rueidis.Client {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("redis-server is missing: install Debian's package redis-server, or Redis 6.2 or newer")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if !strings.Contains(lines.Text(), "Ready to accept connections") {
			continue
		}
		c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	t.Fatal("redis-server did not start")
	return nil
}

// about is what the holders of these tests tell of themselves.
var about = About{Addr: "[::1]:8002", Version: "v1 dirty", Load: 7, Clients: 8, CPU: 250, Since: time.UnixMilli(1234)}

func TestRedisWorkers(t *testing.T) { testRedisWorkers(t, startRedis(t)) }

// A script that touches two hash tags fails here.
func TestRedisWorkersOnCluster(t *testing.T) {
	client := redistest.Client(t, redistest.Addrs(redistest.Cluster(t))...)
	testRedisWorkers(t, client)
	testRedisInboxes(t, client)
}

func testRedisWorkers(t *testing.T, client rueidis.Client) {
	open := func(prefix string) *RedisWorkers {
		w := NewRedisWorkers(client, prefix)
		w.settle = 0
		return w
	}
	acquire := func(w *RedisWorkers, identity string) Lease {
		t.Helper()
		l, err := w.Acquire(t.Context(), identity)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	renew := func(w *RedisWorkers, l Lease, want error) (lost bool) {
		t.Helper()
		got, err := w.Renew(t.Context(), l, time.Now(), about)
		if !errors.Is(err, want) {
			t.Errorf("renew %+v: %v, want %v", l, err, want)
		}
		return got.Lost
	}
	flush := func() {
		for _, server := range client.Nodes() {
			if err := server.Do(t.Context(), server.B().Flushall().Build()).Error(); err != nil {
				t.Fatal(err)
			}
		}
	}

	t.Run("numbers and generations", func(t *testing.T) {
		w, other := open("a"), open("a")
		a, b := acquire(w, "a"), acquire(other, "b")
		if a.Worker != 0 || b.Worker != 1 || b.Generation <= a.Generation {
			t.Errorf("got %+v, %+v", a, b)
		}
		again := acquire(other, "a")
		if again.Worker != a.Worker || again.Generation <= a.Generation {
			t.Errorf("the same identity: %+v after %+v", again, a)
		}
		renew(w, a, ErrFenced)
		renew(w, again, nil)
		if err := w.Release(t.Context(), a, time.Now()); err != nil { // replaced, so nothing happens
			t.Fatal(err)
		}
		renew(w, again, nil)
		if err := w.Release(t.Context(), again, time.Now()); err != nil {
			t.Fatal(err)
		}
		if c := acquire(w, "c"); c.Worker != 2 {
			t.Errorf("the next number, not the one just freed: %+v", c)
		}
		renew(w, again, nil) // free still, so it is its again
	})
	t.Run("all are taken", func(t *testing.T) {
		w := open("b")
		var last Lease
		for i := range MaxWorker + 1 {
			last = acquire(w, fmt.Sprint("n", i))
		}
		if _, err := w.Acquire(t.Context(), "one too many"); !errors.Is(err, ErrNoWorkers) {
			t.Errorf("got %v", err)
		}
		if err := w.Release(t.Context(), last, time.Now()); err != nil {
			t.Fatal(err)
		}
		if l := acquire(w, "one more"); l.Worker != MaxWorker {
			t.Errorf("got %+v", l)
		}
		renew(w, last, ErrFenced) // another has its number
	})
	t.Run("a registry that was lost", func(t *testing.T) {
		w := open("c")
		old := acquire(w, "old")
		flush()
		w.settle = time.Minute
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if l, err := w.Acquire(ctx, "new"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a new identity got %+v, %v", l, err)
		}
		if !renew(w, old, nil) || renew(w, old, nil) {
			t.Error("the first renewal tells that the registry was lost, and no other")
		}
		w.settle = 50 * time.Millisecond
		if l := acquire(w, "new"); l.Worker == old.Worker {
			t.Errorf("got %+v, which belongs to %+v", l, old)
		}
		if l := acquire(w, "old"); l.Worker != old.Worker || l.Generation <= old.Generation {
			t.Errorf("got %+v after %+v", l, old)
		}
	})
	t.Run("a registry that has gone back in time", func(t *testing.T) {
		w := open("back")
		a := acquire(w, "a")
		for range 3 {
			if renew(w, a, nil) {
				t.Error("nothing was lost")
			}
		}
		// A replica that had not heard of the last two beats has taken over.
		stale := fmt.Sprintf("%d %d 1 %s", a.Worker, a.Generation, about.text())
		if err := client.Do(t.Context(), client.B().Hset().Key(w.keys[0]).FieldValue().FieldValue("a", stale).Build()).Error(); err != nil {
			t.Fatal(err)
		}
		if !renew(w, a, nil) || renew(w, a, nil) {
			t.Error("the first renewal tells that beats were lost, and no other")
		}
	})
	t.Run("a dead node is buried once", func(t *testing.T) {
		w := open("d")
		a, b := acquire(w, "a"), acquire(w, "b")
		see := func() map[string]Sighting {
			t.Helper()
			list, err := w.Observe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			m := make(map[string]Sighting)
			for _, s := range list {
				s.Silent = 0
				m[s.Identity] = s
			}
			return m
		}
		before := see()
		renew(w, a, nil)
		if after := see(); after["a"].Beat != before["a"].Beat+1 || after["b"] != before["b"] || after["a"].Identity != "a" || after["a"].Generation != a.Generation {
			t.Errorf("got %+v after %+v", after, before)
		} else if want := (About{Addr: "[::1]:8002", Version: "v1_dirty", Load: 7, Clients: 8, CPU: 250, Since: time.UnixMilli(1234)}); after["a"].About != want || after["b"].About != (About{}) {
			t.Errorf("they tell of themselves %+v and %+v", after["a"].About, after["b"].About)
		}
		for _, c := range []struct {
			s    Sighting
			want bool
		}{{before["a"], false}, {before["b"], true}, {before["b"], false}} {
			if ok, err := w.Bury(t.Context(), c.s); ok != c.want || err != nil {
				t.Errorf("bury %+v: %v, %v", c.s, ok, err)
			}
		}
		if s := see(); len(s) != 1 {
			t.Errorf("left: %+v", s)
		}
		if l := acquire(w, "b"); l.Generation <= b.Generation {
			t.Errorf("got %+v", l)
		}
	})
	t.Run("a loss is told until somebody has heard it", func(t *testing.T) {
		for _, loss := range []struct {
			name string
			make func(*RedisWorkers, Sighting)
		}{
			{"condemned", func(w *RedisWorkers, s Sighting) {
				if _, ok, err := w.Condemn(t.Context(), s); !ok || err != nil {
					t.Fatal(ok, err)
				}
			}},
			{"buried", func(w *RedisWorkers, s Sighting) {
				if ok, err := w.Bury(t.Context(), s); !ok || err != nil {
					t.Fatal(ok, err)
				}
			}},
		} {
			w := open("heard " + loss.name)
			a := acquire(w, "a")
			renew(w, a, nil)
			list, err := w.Observe(t.Context())
			if err != nil || len(list) != 1 {
				t.Fatalf("saw %+v, %v", list, err)
			}
			loss.make(w, list[0])
			// The holder had given this one up when it arrived.
			w.mu.Lock()
			before := w.renewals[a]
			w.mu.Unlock()
			renew(w, a, nil)
			w.mu.Lock()
			w.renewals[a] = before
			w.mu.Unlock()
			if !renew(w, a, nil) || renew(w, a, nil) {
				t.Errorf("%s: the first renewal that is heard tells of it, and no other", loss.name)
			}
		}
	})
	t.Run("a node that is not dead is told what it has lost", func(t *testing.T) {
		w := open("e")
		a := acquire(w, "a")
		renew(w, a, nil)
		see := func() Sighting {
			t.Helper()
			list, err := w.Observe(t.Context())
			if err != nil || len(list) != 1 {
				t.Fatalf("saw %+v, %v", list, err)
			}
			return list[0]
		}
		dead := see()
		condemned, ok, err := w.Condemn(t.Context(), dead)
		if err != nil || !ok {
			t.Fatalf("condemn: %v, %v", ok, err)
		}
		// Another one is late, and one that finds it dead still may help.
		if _, ok, err := w.Condemn(t.Context(), dead); ok || err != nil {
			t.Errorf("condemned by a beat of before: %v, %v", ok, err)
		}
		if again, ok, err := w.Condemn(t.Context(), see()); !ok || err != nil || again.Beat != condemned.Beat {
			t.Errorf("condemned again: %+v, %v, %v", again, ok, err)
		}
		// It goes on in the middle of its burial, and what it writes now may be cleared away.
		if !renew(w, a, nil) || renew(w, a, nil) {
			t.Error("the first renewal tells that the node was condemned, and no other")
		}
		if ok, err := w.Bury(t.Context(), condemned); ok || err != nil {
			t.Errorf("bury: %v, %v", ok, err)
		}
		if !renew(w, a, nil) || renew(w, a, nil) {
			t.Error("the first renewal after the burial tells of it, and no other")
		}
		if _, ok, err := w.Condemn(t.Context(), dead); ok || err != nil {
			t.Errorf("a node that lives is condemned: %v, %v", ok, err)
		}
	})
}

// Who is dead, step by step.
func TestRedisWorkersObserve(t *testing.T) {
	w := NewRedisWorkers(nil, "ws")
	start := time.Now()
	for i, step := range []struct {
		second int
		beat   string
		dead   bool
	}{
		{0, "5", false},
		{2, "5", false},
		{4, "5", false},
		{6, "5", false},
		{8, "5", true},
		{10, "6", false},
		{12, "6", false},
		{60, "6", false}, // Redis was away: its time begins anew
		{62, "6", false},
		{64, "6", false},
		{66, "6", false},
		{68, "6", true},
	} {
		got := w.observe(map[string]string{"a": "3 77 " + step.beat, "broken": "x"}, start.Add(time.Duration(step.second)*time.Second))
		if len(got) != 1 || got[0].Dead != step.dead || got[0].Worker != 3 || got[0].Generation != 77 {
			t.Errorf("step %d: %+v", i, got)
		}
	}
}
