package bus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"holdfast/internal/message"
	"holdfast/internal/redis/redistest"
)

// redisServer is a Redis of a test's own.
type redisServer struct {
	addr string
	proc *os.Process
}

// startRedis runs redis-server on a free port until the test ends.
func startRedis(t testing.TB) *redisServer {
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
		_ = cmd.Process.Kill() // also one that is stopped
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			go func() {
				for lines.Scan() { // so that it never blocks on its output
				}
			}()
			return &redisServer{addr, cmd.Process}
		}
	}
	t.Fatalf("redis-server did not start: %v", lines.Err())
	return nil
}

func (s *redisServer) client(t testing.TB) rueidis.Client {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.addr}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// fast are options that need no patience.
func fast(prefix string) RedisOptions {
	return RedisOptions{Prefix: prefix, Beat: 30 * time.Millisecond, DeadAfter: 600 * time.Millisecond, Timeout: 2 * time.Second}
}

func openRedis(t *testing.T, client rueidis.Client, opts RedisOptions) *Redis {
	t.Helper()
	b := NewRedis(client, opts)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = b.Close(ctx) // some tests leave it with work that cannot be done
	})
	return b
}

// kill ends a bus as a crash would: nothing is flushed or given back.
func (b *Redis) kill() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.stop()
	b.work.Wait()
}

// inReality runs a test of the contract where the bus does I/O.
func inReality(t *testing.T, test func(*testing.T)) { test(t) }

func TestRedis(t *testing.T) { testOver(t, startRedis(t).client(t)) }

// A script that touches two hash tags fails here, and so does a command with keys of
// two slots.
func TestRedisCluster(t *testing.T) {
	testOver(t, redistest.Client(t, redistest.Addrs(redistest.Cluster(t))...))
}

// testOver runs the contract over a Redis.
func testOver(t *testing.T, client rueidis.Client) {
	n := 0
	open := func(t *testing.T, items int) transport {
		n++
		opts := fast(fmt.Sprint("contract", n))
		opts.UpItems, opts.StreamItems = items, items
		return openRedis(t, client, opts)
	}
	testTransport(t, inReality, open)
	testBounded(t, inReality, open)
	testShared(t, partitions, func(t *testing.T, name string) shared { return openRedis(t, client, fast(name)) })
}

// The inbox of a node that has died goes by itself.
func TestRedisInboxExpires(t *testing.T) {
	client := startRedis(t).client(t)
	opts := fast("ws")
	opts.InboxTTL = 300 * time.Millisecond
	b, api := openRedis(t, client, opts), openRedis(t, client, opts)
	b.AttachNode("n", func(*message.Down) error { return nil })
	if err := api.Send(t.Context(), "n", someDown("")); err != nil {
		t.Fatal(err)
	}
	b.kill()
	eventually(t, "the inbox of a dead node goes", func() bool {
		return errors.Is(api.Send(t.Context(), "n", someDown("")), message.ErrGone)
	})
}

func TestRedisKilledConsumerLosesNothing(t *testing.T) {
	client := startRedis(t).client(t)
	gateway, first := openRedis(t, client, fast("ws")), openRedis(t, client, fast("ws"))
	const n = 200
	for i := range n {
		if err := gateway.Publish(order(fmt.Sprint(i%7), i)); err != nil {
			t.Fatal(err)
		}
	}
	// The first has got all and settled the even ones when it dies.
	settledEven, taken := make(map[string]bool), make(chan string, n)
	done := make(chan error, 1)
	go func() {
		done <- first.ConsumeSettled(t.Context(), func(up *message.Up, settled func()) {
			if i := up.ID[len(up.ID)-1]; i%2 == 0 {
				settledEven[up.ID] = true
				settled()
				settled() // once more is no more
			}
			taken <- up.ID
		})
	}()
	for range n {
		<-taken
	}
	eventually(t, "the settled ones are removed", func() bool { return first.Stats().InFlight == n/2 })
	first.kill()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	second := openRedis(t, client, fast("ws"))
	var j journal
	var again, fresh atomic.Int64
	stop := consume(t, second, func(up *message.Up) {
		if up.Again {
			again.Add(1)
		} else {
			fresh.Add(1)
		}
		if up.Order != "new" {
			j.note(up)
		}
	})
	eventually(t, "the rest comes again", func() bool { return j.count() >= n/2 })
	if err := gateway.Publish(order("new", 0)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new one comes", func() bool { return fresh.Load() > 0 })
	stop()
	if again.Load() != n/2 || fresh.Load() != 1 {
		t.Errorf("%d are told to come again, %d not", again.Load(), fresh.Load())
	}
	for key, got := range j.got {
		if !slices.IsSortedFunc(got, byNumber) {
			t.Errorf("key %s: %v", key, got)
		}
		for _, id := range got {
			if settledEven[id] {
				t.Errorf("event %s was settled and came again", id)
			}
		}
	}
	if j.all != n/2 {
		t.Errorf("%d events, want %d", j.all, n/2)
	}
}

func TestRedisAppendsABatchOnce(t *testing.T) {
	client := startRedis(t).client(t)
	b := openRedis(t, client, fast("ws"))
	batch := []*message.Up{order("k", 0), order("k", 1), order("k", 2)}
	for range 2 { // as if the first answer had been lost
		if n, err := b.appendEvents(t.Context(), batch); n != 3 || err != nil {
			t.Fatal(n, err)
		}
		b.number = 0
	}
	n, err := client.Do(t.Context(), client.B().Xlen().Key(b.eventsKey(partitionOf("k"))).Build()).AsInt64()
	if n != 3 || err != nil {
		t.Errorf("%d events, %v", n, err)
	}
}

func TestRedisRestartAndOutage(t *testing.T) {
	server := startRedis(t)
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{server.addr}, DisableCache: true, ConnWriteTimeout: 300 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	opts := fast("ws")
	opts.UpItems, opts.Timeout, opts.DeadAfter = 100, 300*time.Millisecond, time.Minute
	b := NewRedis(client, opts)
	var j journal
	stop := consume(t, b, j.note)
	inbox := make(chan string, 100)
	detach := b.AttachNode("n", func(d *message.Down) error { inbox <- d.Call; return nil })
	if err := b.Publish(order("k", 0)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an event arrives", func() bool { return j.count() == 1 })

	if err := server.proc.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began, accepted := time.Now(), 1
	for i := 1; i < 200; i++ {
		switch err := b.Publish(order("k", i)); {
		case err == nil:
			accepted++
		case !errors.Is(err, message.ErrFull):
			t.Fatal(err)
		}
		_ = b.Reply("nobody", &message.Reply{})
	}
	if took := time.Since(began); took > 100*time.Millisecond || accepted > 101 {
		t.Errorf("publishing while Redis hangs: %d accepted in %v", accepted, took)
	}
	if err := b.Send(t.Context(), "n", someDown("lost")); err == nil || errors.Is(err, message.ErrGone) {
		t.Errorf("sending while Redis hangs: %v", err)
	}
	if err := server.proc.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all that was accepted arrives", func() bool { return j.count() >= accepted })
	eventually(t, "the inbox works again", func() bool { return b.Send(t.Context(), "n", someDown("back")) == nil })
	for call := range inbox {
		if call == "back" {
			break
		}
	}
	if got := j.got["k"]; len(got) != accepted || !slices.IsSortedFunc(got, byNumber) {
		t.Errorf("%d events of %d: %v", len(got), accepted, got)
	}
	// The data is gone, as when Redis starts again without having kept any.
	if err := client.Do(t.Context(), client.B().Flushall().Build()).Error(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an event arrives after a loss", func() bool {
		return b.Publish(order("k", 1000)) == nil && j.count() > accepted
	})
	stop()
	detach()
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRedisFlush waits for events to be in Redis, whoever consumes them.
func TestRedisFlush(t *testing.T) {
	server := startRedis(t)
	client := server.client(t)
	b := openRedis(t, client, fast("ws"))
	if err := b.Flush(t.Context()); err != nil {
		t.Errorf("of nothing: %v", err)
	}
	for i := range 100 {
		if err := b.Publish(order("k", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Do(t.Context(), client.B().Xlen().Key(b.eventsKey(partitionOf("k"))).Build()).AsInt64(); n != 100 || err != nil {
		t.Errorf("%d events are in Redis, %v", n, err)
	}
	if err := server.proc.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(order("k", 100)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := b.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while Redis is away: %v", err)
	}
	if err := server.proc.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}

func TestRedisLeavesNothingBehind(t *testing.T) {
	client := startRedis(t).client(t)
	b := NewRedis(client, fast("ws"))
	var j journal
	stop := consume(t, b, j.note)
	detach := b.AttachNode("n{}", func(*message.Down) error { return nil })
	_ = b.AttachAPI("a", func(*message.Reply) {}) // Close detaches it
	if err := b.Publish(order("k", 0)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the event arrives", func() bool { return j.count() == 1 })
	stop()
	detach()
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, client)
}

// What a consumer has on its way to Redis when it ends is carried out or taken back,
// at whichever moment it ends.
func TestRedisLeavesNoClaimBehind(t *testing.T) {
	client := startRedis(t).client(t)
	for i := range 40 {
		b := NewRedis(client, fast("ws"))
		stop := consume(t, b, func(*message.Up) {})
		if !wait(t.Context(), time.Duration(i)*50*time.Microsecond) {
			t.Fatal(t.Context().Err())
		}
		if i%2 == 0 {
			stop()
		}
		if err := b.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			stop()
		}
		nothingLeft(t, client)
	}
}

// nothingLeft fails when Redis has keys that a bus should have removed at its end.
func nothingLeft(t *testing.T, client rueidis.Client) {
	t.Helper()
	keys, err := client.Do(t.Context(), client.B().Keys().Pattern("*").Build()).AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	keys = slices.DeleteFunc(keys, func(k string) bool {
		// An empty stream has no content; a producer's number has its day.
		return strings.HasPrefix(k, "ws:{up}:events:") || strings.HasPrefix(k, "ws:{up}:producer:")
	})
	if len(keys) > 0 {
		t.Errorf("left: %v", keys)
	}
}

// Who lives and who is dead, step by step.
func TestClaimsObserve(t *testing.T) {
	var c claims
	c.init(t.Context())
	start := time.Now()
	const beat, dead = time.Second, 8 * time.Second
	for i, step := range []struct {
		at    time.Duration
		beats map[string]string
		live  []string
		dead  []string
	}{
		{0, map[string]string{"b": "1 1", "a": "1 1", "c": "1 0"}, []string{"a", "b"}, nil},
		{2 * beat, map[string]string{"a": "2 1", "b": "1 1", "c": "2 0"}, []string{"a", "b"}, nil},
		{4 * beat, map[string]string{"a": "3 1", "b": "1 1"}, []string{"a", "b"}, nil},
		{6 * beat, map[string]string{"a": "4 1", "b": "1 1"}, []string{"a", "b"}, nil},
		{8 * beat, map[string]string{"a": "5 1", "b": "1 1"}, []string{"a"}, []string{"b"}},
		{60 * beat, map[string]string{"a": "5 1", "b": "1 1"}, []string{"a", "b"}, nil}, // Redis was away: nobody could beat
		{62 * beat, map[string]string{"a": "5 1", "b": "2 1"}, []string{"a", "b"}, nil},
	} {
		live, died := c.observe(step.beats, start.Add(step.at), 3*beat, dead)
		if names := slices.Sorted(maps.Keys(died)); !slices.Equal(live, step.live) || !slices.Equal(names, step.dead) {
			t.Errorf("step %d: live %v, dead %v", i, live, names)
		}
	}
}

func BenchmarkRedisUpstream(b *testing.B) {
	client := startRedis(b).client(b)
	bus := NewRedis(client, RedisOptions{StreamItems: 1 << 20})
	benchmarkUpstream(b, bus)
	_ = bus.Close(context.Background())
}
