package roomlog

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"holdfast/internal/message"
	"holdfast/internal/redis"
	"holdfast/internal/redis/redistest"
)

var _ store = (*Redis)(nil)

// openRedis returns a function that opens empty logs, each under a prefix of its own.
func openRedis(client rueidis.Client) func(t *testing.T) (store, func(time.Duration)) {
	n := 0
	return func(t *testing.T) (store, func(time.Duration)) {
		n++
		prefix := fmt.Sprintf("test%d", n)
		r := NewRedis(client, RedisOptions{Prefix: prefix, Count: 10, Window: time.Minute})
		var skew time.Duration
		r.skew = func() time.Duration { return skew }
		return r, func(d time.Duration) {
			skew += d
			redistest.Age(t, client, prefix+":", d)
		}
	}
}

func TestRedis(t *testing.T) {
	s := redistest.Start(t)
	testStore(t, openRedis(redistest.Client(t, s.Addr)))
}

func TestRedisCluster(t *testing.T) {
	servers := redistest.Cluster(t)
	testStore(t, openRedis(redistest.Client(t, redistest.Addrs(servers)...)))
}

func TestRedisKeepsAllOfAMessage(t *testing.T) {
	s := redistest.Start(t)
	r := NewRedis(redistest.Client(t, s.Addr), RedisOptions{})
	all := &message.Push{
		ID: "id", Targets: []message.Key{doc, "u:/,a&b=c"}, Event: "ev\x00\xff", CollapseKey: "k", Volatile: true,
		Payload: message.Payload{JSON: []byte(`["x"]`), Attachments: [][]byte{{}, bytes.Repeat([]byte{0, 255}, 70_000)}},
		Filter:  &message.Filter{ExceptClients: []string{"c1"}, AuthTypes: []string{"sdk"}, Locales: []string{"de"}, MinClientVersion: "1.2.3"},
		TraceID: "t", TraceParent: "00-1-2-3", Sender: "c1",
		Received: time.Date(2026, 1, 2, 3, 4, 5, 678_901_234, time.UTC),
	}
	msgpack := &message.Push{ID: "m", Targets: []message.Key{doc}, Payload: message.Payload{Msgpack: []byte{0x91, 0xc0}}}
	start, err := r.Heads(t.Context(), []message.Key{doc})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*message.Push{all, msgpack} {
		if _, err := r.Append(t.Context(), doc, p); err != nil {
			t.Fatal(err)
		}
	}
	got, complete, err := r.Range(t.Context(), doc, start[0], 0)
	if err != nil || !complete || len(got) != 2 {
		t.Fatal(got, complete, err)
	}
	for i, want := range []*message.Push{all, msgpack} {
		if !reflect.DeepEqual(got[i].Push, want) {
			t.Errorf("got  %+v\nwant %+v", got[i].Push, want)
		}
	}
}

func TestRedisVersionAndKeys(t *testing.T) {
	s := redistest.Start(t)
	r := NewRedis(redistest.Client(t, s.Addr), RedisOptions{})
	s.Run("SET", "ws:guid:version:{/,doc}", "1234567890123456")
	for key, want := range map[message.Key]uint64{doc: 1234567890123456, "a:/": 0, "a:/chat,": 0, "u:/,doc": 0, "c:/,doc": 0} {
		at, err := r.Append(t.Context(), key, &message.Push{ID: "1"})
		if err != nil || at.Version != want {
			t.Errorf("%s: version %d, %v; want %d", key, at.Version, err, want)
		}
	}
	got := strings.Fields(s.Run("--raw", "KEYS", "*"))
	for _, want := range []string{
		"ws:guid:log:{/,doc}", "ws:guid:head:{/,doc}", "ws:guid:log:{/chat,}", "ws:user:log:{/,doc}", "ws:client:log:{/,doc}", "ws:epoch", "ws:clock",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no key %s among %q", want, got)
		}
	}
}

func TestRedisBoundInBytes(t *testing.T) {
	s := redistest.Start(t)
	client := redistest.Client(t, s.Addr)
	r := NewRedis(client, RedisOptions{Bytes: 10_000})
	f := &fixture{T: t, store: r}
	before := f.head(doc)
	body := []byte(`["` + strings.Repeat("x", 2000-256-4) + `"]`)
	for i := range 20 {
		if _, err := r.Append(t.Context(), doc, &message.Push{ID: fmt.Sprint(i), Payload: message.Payload{JSON: body}}); err != nil {
			t.Fatal(err)
		}
	}
	f.want(doc, before, false, "15", "16", "17", "18", "19")
	big := []byte(`["` + strings.Repeat("x", 50_000) + `"]`)
	if _, err := r.Append(t.Context(), doc, &message.Push{ID: "big", Payload: message.Payload{JSON: big}}); err != nil {
		t.Fatal(err)
	}
	f.want(doc, before, false, "big") // larger than all of the bound, and kept
	f.append(doc, "small")
	f.want(doc, before, false, "small")
	if head := s.Run("--raw", "GET", "ws:guid:head:{/,doc}"); len(strings.Fields(head)) != 3 || strings.Fields(head)[1] != "256" {
		t.Errorf("the head is %q", head)
	}
}

// Several processes append to the same room: each record names the one before it.
func TestRedisConcurrentAppends(t *testing.T) {
	s := redistest.Start(t)
	const writers, each = 4, 100
	f := &fixture{T: t, store: NewRedis(redistest.Client(t, s.Addr), RedisOptions{})}
	before := f.head(doc)
	var wg sync.WaitGroup
	for w := range writers {
		r := NewRedis(redistest.Client(t, s.Addr), RedisOptions{})
		wg.Go(func() {
			var last message.Appended
			for i := range each {
				at, err := r.Append(t.Context(), doc, &message.Push{ID: fmt.Sprint(w, ".", i)})
				if err != nil || at.Seq <= last.Seq || at.Prev < last.Seq || at.Prev >= at.Seq {
					t.Errorf("%+v after %+v, %v", at, last, err)
				}
				last = at
			}
		})
	}
	wg.Wait()
	got, complete, err := f.Range(t.Context(), doc, before, 0)
	if err != nil || !complete || len(got) != writers*each {
		t.Fatal(len(got), complete, err)
	}
	for i := 1; i < len(got); i++ {
		if got[i].Prev != got[i-1].Seq {
			t.Fatalf("record %d names %d, not %d", got[i].Seq, got[i].Prev, got[i-1].Seq)
		}
	}
}

// Loss changes the epoch, whoever notices it first; a restart that keeps the data
// does not.
func TestRedisRestartAndLoss(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	r := NewRedis(redistest.Client(t, s.Addr), RedisOptions{})
	f := &fixture{T: t, store: r}
	before := f.head(doc)
	last := f.append(doc, "a")
	s.Kill()
	if _, err := r.Append(t.Context(), doc, &message.Push{ID: "lost"}); err == nil {
		t.Error("appended without a server")
	}
	s.Restart()
	again := f.appendUntilItWorks(doc, "b")
	if again.Epoch != last.Epoch || again.Prev != last.Seq {
		t.Errorf("%+v after %+v", again, last)
	}
	f.want(doc, before, true, "a", "b")

	for name, notice := range map[string]func() uint64{
		"append": func() uint64 { return f.append(doc, "c").Epoch },
		"heads":  func() uint64 { return f.head(doc).Epoch },
		"range": func() uint64 {
			f.want(doc, again.Position, false)
			return f.head(doc).Epoch
		},
	} {
		s.Run("FLUSHALL") // of a server that is this test's alone
		epoch := notice()
		if epoch == again.Epoch || epoch == 0 {
			t.Errorf("%s: epoch %d after the loss of %d", name, epoch, again.Epoch)
		}
		f.want(doc, again.Position, false)
		if at := f.append(doc, "d"); at.Seq <= again.Seq {
			t.Errorf("%s: sequence %d is not above %d", name, at.Seq, again.Seq)
		}
	}
}

// One server of a Cluster loses its data. The logs that were there do not look as if
// they had expired, and the others are as they were.
func TestRedisClusterLoss(t *testing.T) {
	servers := redistest.Cluster(t)
	f := &fixture{T: t, store: NewRedis(redistest.Client(t, redistest.Addrs(servers)...), RedisOptions{})}
	for lost, server := range servers {
		var keys []message.Key
		for i := range 30 {
			keys = append(keys, message.RoomKey("/", fmt.Sprint(lost, "-", i)))
		}
		before, err := f.Heads(t.Context(), keys)
		if err != nil {
			t.Fatal(err)
		}
		for i, key := range keys[:20] { // and ten are quiet
			if at := f.append(key, "a"); at.Epoch != before[i].Epoch {
				t.Errorf("%s: epoch %d, and %d before", key, at.Epoch, before[i].Epoch)
			}
		}
		server.Run("FLUSHALL")
		gone := 0
		for i, key := range keys {
			switch at := redis.SlotOf(redis.Tag("/", key.Name())) * len(servers) / 16384; {
			case at == lost:
				gone++
				f.want(key, before[i], false)
			case i < 20:
				f.want(key, before[i], true, "a")
			default:
				f.want(key, before[i], true)
			}
		}
		after, err := f.Heads(t.Context(), keys)
		if err != nil || gone == 0 {
			t.Fatalf("%d logs are gone, %v", gone, err)
		}
		for i, key := range keys {
			if at := redis.SlotOf(redis.Tag("/", key.Name())) * len(servers) / 16384; (after[i].Epoch != before[i].Epoch) != (at == lost) {
				t.Errorf("%s of server %d: epoch %d after %d, when %d has lost its data", key, at, after[i].Epoch, before[i].Epoch, lost)
			}
		}
	}
}

// appendUntilItWorks appends while connections come back.
func (f *fixture) appendUntilItWorks(key message.Key, id string) message.Appended {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), 10*time.Second)
	defer cancel()
	for {
		at, err := f.Append(ctx, key, &message.Push{ID: id})
		if err == nil {
			return at
		}
		if ctx.Err() != nil {
			f.Fatal(err)
		}
	}
}

// A server that stands still for some seconds loses nothing, and a context bounds
// how long a caller waits for it.
func TestRedisStall(t *testing.T) {
	s := redistest.Start(t)
	r := NewRedis(redistest.Client(t, s.Addr), RedisOptions{})
	f := &fixture{T: t, store: r}
	before := f.head(doc)
	resume := s.Stall()
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Append(short, doc, &message.Push{ID: "unknown"}); err == nil {
		t.Error("appended by a server that stands still")
	}
	done := make(chan error, 1)
	go func() {
		_, err := r.Append(t.Context(), doc, &message.Push{ID: "late"})
		done <- err
	}()
	timer := time.AfterFunc(3*time.Second, resume)
	defer timer.Stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got, complete, err := r.Range(t.Context(), doc, before, 0)
	if err != nil || !complete || len(got) == 0 || got[len(got)-1].Push.ID != "late" {
		t.Errorf("%+v, %t, %v", got, complete, err)
	}
}

func BenchmarkRedisAppend(b *testing.B) {
	s := redistest.Start(b)
	r := NewRedis(redistest.Client(b, s.Addr), RedisOptions{})
	p := &message.Push{ID: "0190a5b6-0000-7000-8000-000000000000", Targets: []message.Key{doc}, Event: "message", Payload: message.Payload{JSON: []byte(`["` + strings.Repeat("x", 1000) + `"]`)}}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := r.Append(b.Context(), doc, p); err != nil {
				b.Fatal(err)
			}
		}
	})
}
