package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"holdfast/internal/message"
	"holdfast/internal/redis"
	"holdfast/internal/redis/redistest"
)

var _ store = (*Redis)(nil)

// openRedis returns a function that opens empty registries, each under a prefix of
// its own.
func openRedis(client rueidis.Client) func(t *testing.T) (store, func(time.Duration)) {
	n := 0
	return func(t *testing.T) (store, func(time.Duration)) {
		n++
		c := newClock()
		prefix := fmt.Sprintf("test%d", n)
		r := NewRedis(client, RedisOptions{Prefix: prefix, Now: c.now})
		return r, func(d time.Duration) {
			c.at = c.at.Add(d)
			redistest.Age(t, client, prefix+":", d)
		}
	}
}

func TestRedis(t *testing.T) {
	s := redistest.Start(t)
	testStore(t, openRedis(redistest.Client(t, s.Addr)))
}

// A script that touches two hash tags, or a key that it does not name, fails here.
func TestRedisCluster(t *testing.T) {
	servers := redistest.Cluster(t)
	client := redistest.Client(t, redistest.Addrs(servers)...)
	testStore(t, openRedis(client))
	t.Run("against a model", func(t *testing.T) {
		testRedisAgainstModel(t, NewRedis(client, RedisOptions{Prefix: "model"}), servers, world{clients: 8, uids: 3, nodes: 2, rooms: 3}, 20)
	})
}

func TestRedisAgainstModel(t *testing.T) {
	for _, w := range []world{
		{clients: 8, uids: 3, nodes: 2, rooms: 3},
		{clients: 150, uids: 5, nodes: 3, rooms: 2},
	} {
		t.Run(fmt.Sprint(w.clients), func(t *testing.T) {
			s := redistest.Start(t)
			r := NewRedis(redistest.Client(t, s.Addr), RedisOptions{})
			testRedisAgainstModel(t, r, []*redistest.Server{s}, w, 40)
		})
	}
}

func testRedisAgainstModel(t *testing.T, r *Redis, servers []*redistest.Server, w world, rounds int) {
	rnd := rand.New(rand.NewPCG(1, uint64(w.clients)))
	want := newModel()
	for round := range rounds {
		var changes []message.Change
		for range 40 + w.clients/3 {
			ch := w.change(rnd.IntN)
			if ch.Kind == message.ChangeDisconnect && round%10 < 6 && rnd.IntN(8) > 0 {
				continue // grow for a while, then shrink
			}
			changes = append(changes, ch)
		}
		for _, ch := range changes {
			want.apply(ch)
		}
		if err := r.Apply(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
		compare(t, r, want, w)
	}
	// Every node dies. What is left has an end of its own.
	buried := make(map[string]bool)
	for n := range w.nodes {
		clients, err := r.Bury(t.Context(), fmt.Sprint("n", n))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range clients {
			if buried[c.ID] || want.clients[c.ID] == nil || !slices.Equal(c.Rooms, slices.Sorted(maps.Keys(want.clients[c.ID].rooms))) {
				t.Errorf("buried %+v", c)
			}
			buried[c.ID] = true
		}
	}
	if len(buried) != len(want.clients) {
		t.Errorf("%d clients were buried of %d", len(buried), len(want.clients))
	}
	compare(t, r, newModel(), w)
	noOrphans(t, servers, r.opts.Prefix)
}

// noOrphans checks that every key that is left expires.
func noOrphans(t *testing.T, servers []*redistest.Server, prefix string) {
	t.Helper()
	const endless = `local left = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  if redis.call('TTL', key) == -1 then left[#left + 1] = key end
end
return left`
	for _, s := range servers {
		if left := s.Run("--raw", "EVAL", endless, "0", prefix+":*"); left != "" {
			t.Errorf("left without an end: %q", left)
		}
	}
}

func mustApply(t *testing.T, r *Redis, changes ...message.Change) {
	t.Helper()
	if err := r.Apply(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
}

// The names are what other programs may rely on.
func TestRedisKeys(t *testing.T) {
	s := redistest.Start(t)
	r := NewRedis(redistest.Client(t, s.Addr), RedisOptions{})
	c := someClient("/chat#00000000001", "a{b}%", "gw-a")
	c.Namespace = "/chat"
	mustApply(t, r, enters("gw-a", message.RoomKey("/chat", "doc-7")), enters("gw-a", message.AllKey("/chat")), connected(c, "doc-7"))
	if err := r.Save(t.Context(), someSaved("t", 1), time.Minute); err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(strings.FieldsSeq(s.Run("--raw", "KEYS", "*")))
	want := []string{
		"ws:client:{/chat#00000000001}",
		"ws:guid:clients:{/chat,doc-7}", "ws:guid:clients:{/chat,}",
		"ws:guid:nodes:{/chat,doc-7}", "ws:guid:nodes:{/chat,}",
		"ws:guid:users:{/chat,doc-7}", "ws:guid:users:{/chat,}",
		"ws:guid:version:{/chat,doc-7}", "ws:guid:version:{/chat,}",
		"ws:node:clients:{gw-a}", "ws:node:keys:{gw-a}",
		"ws:saved:{pid}",
		"ws:user:clients:{/chat,a%7Bb%7D%25}",
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if m := s.Run("--raw", "ZRANGE", "ws:user:clients:{/chat,a%7Bb%7D%25}", "0", "-1"); m != "/chat#00000000001@gw-a" {
		t.Errorf("the user's client is %q", m)
	}
}

// A client that connects and joins one room costs at most six commands, alone or in
// a batch.
func TestRedisCommandsOfAConnect(t *testing.T) {
	s := redistest.Start(t)
	var commands atomic.Int64
	client := redis.Observe(redistest.Client(t, s.Addr), func(string, time.Duration, bool) { commands.Add(1) })
	r := NewRedis(client, RedisOptions{})
	mustApply(t, r, enters("n1", message.AllKey("/")), connected(someClient("00000000000", "first", "n1"), "room")) // scripts are known now
	for _, clients := range []int{1, 200} {
		var changes []message.Change
		for i := range clients {
			id := fmt.Sprintf("%d-%09d", clients%10, i)
			changes = append(changes, connected(someClient(id, "u"+id, "n1"), "doc-"+id))
		}
		before := commands.Load()
		mustApply(t, r, changes...)
		each := float64(commands.Load()-before) / float64(clients)
		if each > 6 {
			t.Errorf("%.2f commands for each of %d clients", each, clients)
		}
		t.Logf("%.2f commands for each of %d clients", each, clients)
	}
}

func TestRedisBury(t *testing.T) {
	s := redistest.Start(t)
	r := NewRedis(redistest.Client(t, s.Addr), RedisOptions{})
	const n = 700 // several pages
	var changes []message.Change
	for i := range n {
		changes = append(changes, connected(someClient(fmt.Sprintf("%011d", i), fmt.Sprint("u", i%9), "dead"), "a", fmt.Sprint("r", i)),
			enters("dead", roomKey(fmt.Sprint("r", i))))
	}
	other := someClient("other000001", "ann", "alive")
	moved := someClient(fmt.Sprintf("%011d", 5), "u5", "alive")
	changes = append(changes, enters("dead", roomKey("a")), enters("alive", roomKey("a")), connected(other, "a"), connected(moved, "a"))
	mustApply(t, r, changes...)
	_, version, _ := r.Nodes(t.Context(), roomKey("a"))

	var mu sync.Mutex
	seen := make(map[string]int)
	var wg sync.WaitGroup
	for range 3 { // every ws-api sees the death
		wg.Go(func() {
			buried, err := r.Bury(t.Context(), "dead")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, c := range buried {
				seen[c.ID]++
			}
		})
	}
	wg.Wait()
	if len(seen) != n-1 || seen[moved.ID] != 0 {
		t.Errorf("%d clients were buried, want %d", len(seen), n-1)
	}
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s was returned %d times", id, times)
		}
	}
	list, _, err := r.List(t.Context(), roomKey("a"), "", 100)
	if err != nil || !slices.Equal(idsOf(list), []string{moved.ID, other.ID}) {
		t.Errorf("left are %v, %v", idsOf(list), err)
	}
	nodes, after, _ := r.Nodes(t.Context(), roomKey("a"))
	if !slices.Equal(nodes, []string{"alive"}) || after <= version {
		t.Errorf("nodes %v, version %d after %d", nodes, after, version)
	}
	if c, u, _ := r.Count(t.Context(), roomKey("a")); c != 2 || u != 2 {
		t.Errorf("%d clients, %d users", c, u)
	}
	mustApply(t, r, gone(other), gone(moved), exits("alive", roomKey("a")))
	noOrphans(t, []*redistest.Server{s}, "ws")
}

// Two nodes and a burial change the same clients at the same time. When they are
// done, the sets say what the clients' records say.
func TestRedisConcurrentNodes(t *testing.T) {
	s := redistest.Start(t)
	client := redistest.Client(t, s.Addr)
	w := world{clients: 4, uids: 1, nodes: 2, rooms: 3}
	var wg sync.WaitGroup
	r := NewRedis(client, RedisOptions{})
	for n := range w.nodes {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(5, uint64(n)))
			for range 300 {
				ch := w.change(rnd.IntN)
				if ch.Client == nil {
					continue
				}
				// The same user and namespace: a client's ID is not given to another.
				ch.Client.Node, ch.Client.Namespace, ch.Client.UID = fmt.Sprint("n", n), "/", "u1"
				if err := r.Apply(t.Context(), []message.Change{ch}); err != nil && !errors.Is(err, errContested) {
					t.Error(err)
				}
				if rnd.IntN(50) == 0 {
					if _, err := r.Bury(t.Context(), fmt.Sprint("n", 1-n)); err != nil && !errors.Is(err, errContested) {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	consistent(t, r, w)
}

// consistent checks what is behind keys against what is told of each client.
func consistent(t *testing.T, r store, w world) {
	t.Helper()
	want := newModel()
	for i := range w.clients {
		info, err := r.Client(t.Context(), fmt.Sprintf("%011d", i))
		if errors.Is(err, message.ErrNotFound) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		c := &modelClient{Client: info.Client, rooms: make(map[string]bool)}
		for _, room := range info.Rooms {
			c.rooms[room] = true
		}
		want.clients[c.ID] = c
	}
	for _, key := range w.keys() {
		behind := want.behind(key)
		users := make(map[string]bool)
		var ids, nodes []string
		for _, c := range behind {
			ids = append(ids, c.ID)
			if c.UID != "" {
				users[c.UID] = true
			}
			if !slices.Contains(nodes, c.Node) {
				nodes = append(nodes, c.Node)
			}
		}
		clients, us, err := r.Count(t.Context(), key)
		if err != nil || clients != uint64(len(behind)) || us != uint64(len(users)) {
			t.Errorf("%s: %d clients and %d users, %v; their records say %d and %d", key, clients, us, err, len(behind), len(users))
		}
		if list, _, err := r.List(t.Context(), key, "", 1000); err != nil || !slices.Equal(idsOf(list), ids) {
			t.Errorf("%s: %v, %v; their records say %v", key, idsOf(list), err, ids)
		}
		if key.Kind() != message.KindUser {
			continue
		}
		slices.Sort(nodes)
		if got, _, err := r.Nodes(t.Context(), key); err != nil || !slices.Equal(got, nodes) {
			t.Errorf("%s: on %v, %v; the records say %v", key, got, err, nodes)
		}
	}
}

// Connections break in the middle of batches. Whoever sends each batch until it
// succeeds ends up with what the model has.
func TestRedisBrokenConnections(t *testing.T) {
	s := redistest.Start(t)
	r := NewRedis(redistest.Client(t, s.Addr), RedisOptions{})
	w := world{clients: 10, uids: 3, nodes: 1, rooms: 3}
	rnd := rand.New(rand.NewPCG(7, 7))
	want := newModel()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			s.Run("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		}
	})
	failures := 0
	for range 60 {
		var changes []message.Change
		for range 30 {
			ch := w.change(rnd.IntN)
			if ch.Client != nil {
				// A client's ID is not given to another user.
				ch.Client.Namespace, ch.Client.UID = "/", "u"+ch.Client.ID[10:]
			}
			changes = append(changes, ch)
			want.apply(ch)
		}
		for {
			err := r.Apply(t.Context(), changes)
			if err == nil {
				break
			}
			if failures++; failures > 10_000 {
				t.Fatal(err)
			}
		}
	}
	cancel()
	wg.Wait()
	compare(t, r, want, w)
	t.Logf("%d batches failed", failures)
}

func TestRedisAway(t *testing.T) {
	s := redistest.Start(t)
	r := NewRedis(redistest.Client(t, s.Addr), RedisOptions{Timeout: 200 * time.Millisecond})
	c := someClient("00000000001", "ann", "n1")
	mustApply(t, r, connected(c, "a"))
	resume := s.Stall()
	if err := r.Apply(t.Context(), []message.Change{joined(c, "b")}); err == nil {
		t.Error("it says to have written while Redis does not answer")
	}
	if _, err := r.Client(t.Context(), c.ID); err == nil || errors.Is(err, message.ErrNotFound) {
		t.Errorf("a client that cannot be read: %v", err)
	}
	resume()
	mustApply(t, r, joined(c, "b"))
	s.Kill()
	if err := r.Apply(t.Context(), []message.Change{joined(c, "c")}); err == nil {
		t.Error("it says to have written while there is no Redis")
	}
	s.Restart() // empty: the audit states everything anew
	var err error
	for range 100 {
		if err = r.Apply(t.Context(), []message.Change{enters("n1", roomKey("a")), connected(c, "a", "b")}); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if n, u, err := r.Count(t.Context(), roomKey("b")); n != 1 || u != 1 || err != nil {
		t.Errorf("%d clients, %d users, %v", n, u, err)
	}
}

// Several processes learn of one another's pushes.
func TestRedisReceipts(t *testing.T) {
	s := redistest.Start(t)
	r := NewRedis(redistest.Client(t, s.Addr), RedisOptions{})
	id := "an id {with} anything\n in it"
	lease := time.Hour
	began := time.Now()
	claim := func(attempt string, want message.Receipt) {
		t.Helper()
		got, err := r.Claim(t.Context(), id, "m-"+attempt, attempt, lease, time.Minute)
		if d := time.Since(began); got.Begun.Before(began.Add(-time.Second)) || got.Begun.After(began.Add(d)) {
			t.Errorf("begun at %v, now it is %v", got.Begun, began)
		}
		got.Begun = time.Time{}
		if err != nil || got != want {
			t.Errorf("attempt %s: %+v, %v; want %+v", attempt, got, err, want)
		}
	}
	note := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	claim("1", message.Receipt{MessageID: "m-1"})
	claim("2", message.Receipt{MessageID: "m-1", Busy: true})
	note(r.Fail(t.Context(), id, "2", time.Minute)) // which has no claim
	claim("3", message.Receipt{MessageID: "m-1", Busy: true})
	note(r.Fail(t.Context(), id, "1", time.Minute))
	claim("4", message.Receipt{MessageID: "m-1", Tried: true})
	lease = 0 // it is over
	claim("5", message.Receipt{MessageID: "m-1", Tried: true})
	lease = time.Hour
	note(r.Settle(t.Context(), id, "4", 7, time.Minute)) // which was too slow
	claim("6", message.Receipt{MessageID: "m-1", Busy: true})
	note(r.Settle(t.Context(), id, "5", 3, time.Minute))
	claim("7", message.Receipt{MessageID: "m-1", Done: true, Nodes: 3})
	note(r.Fail(t.Context(), id, "5", time.Minute))
	claim("8", message.Receipt{MessageID: "m-1", Done: true, Nodes: 3})

	keys := strings.TrimSpace(s.Run("--raw", "KEYS", "ws:receipt:*"))
	if ttl := s.Run("--raw", "PTTL", keys); strings.HasPrefix(ttl, "-") {
		t.Errorf("the receipt %q lives for %s", keys, ttl)
	}
	s.Run("DEL", keys)
	note(r.Settle(t.Context(), id, "5", 3, time.Minute)) // it has expired
	claim("9", message.Receipt{MessageID: "m-9"})
}

// TestRedisAnswers is the same for pushes that wait: who has asked is not overtaken.
func TestRedisAnswers(t *testing.T) {
	s := redistest.Start(t)
	r := NewRedis(redistest.Client(t, s.Addr), RedisOptions{})
	a := r.Answers()
	lease := time.Hour
	claim := func(id, attempt string, want message.Receipt) {
		t.Helper()
		got, err := a.Claim(t.Context(), id, "m-"+attempt, attempt, lease, time.Minute)
		got.Begun = time.Time{}
		if err != nil || got != want {
			t.Errorf("attempt %s: %+v, %v; want %+v", attempt, got, err, want)
		}
	}
	ask := func(id, attempt string, within time.Duration, want bool) {
		t.Helper()
		if held, err := a.Ask(t.Context(), id, attempt, within, time.Minute); held != want || err != nil {
			t.Errorf("attempt %s may ask: %v, %v", attempt, held, err)
		}
	}
	settle := func(id, attempt, answer string) {
		t.Helper()
		if err := a.Settle(t.Context(), id, attempt, []byte(answer), time.Minute); err != nil {
			t.Error(err)
		}
	}
	const x, y, z = "x {with} anything", "y", "z"
	if _, err := r.Claim(t.Context(), x, "m-0", "0", lease, time.Minute); err != nil { // a Push of the same dedup_id
		t.Error(err)
	}
	claim(x, "1", message.Receipt{MessageID: "m-1"})
	claim(x, "2", message.Receipt{MessageID: "m-1", Busy: true})
	lease = 0 // its time is over, and it has asked nobody
	claim(x, "3", message.Receipt{MessageID: "m-1", Tried: true})
	ask(x, "1", time.Hour, false)
	ask(x, "3", time.Hour, true)
	claim(x, "4", message.Receipt{MessageID: "m-1", Busy: true}) // whatever the lease
	settle(x, "1", "not asked")
	if err := a.Fail(t.Context(), x, "3", time.Minute); err != nil {
		t.Error(err)
	}
	claim(x, "5", message.Receipt{MessageID: "m-1", Tried: true})
	ask(x, "5", time.Hour, true)
	settle(x, "5", "by: all\x00 bytes \n\xff")
	claim(x, "6", message.Receipt{MessageID: "m-1", Done: true, Answer: "by: all\x00 bytes \n\xff"})

	claim(y, "1", message.Receipt{MessageID: "m-1"})
	ask(y, "1", 0, true) // and dies
	claim(y, "2", message.Receipt{MessageID: "m-1", Lost: true})
	claim(y, "3", message.Receipt{MessageID: "m-1", Lost: true})
	settle(y, "1", "late")
	claim(y, "4", message.Receipt{MessageID: "m-1", Done: true, Answer: "late"})

	claim(z, "1", message.Receipt{MessageID: "m-1"})
	ask(z, "1", time.Hour, true)
	settle(z, "1", "")
	claim(z, "2", message.Receipt{MessageID: "m-1", Lost: true})

	for _, key := range strings.Fields(s.Run("--raw", "KEYS", "ws:answers:{?}")) {
		if ttl := s.Run("--raw", "PTTL", key); strings.HasPrefix(ttl, "-") {
			t.Errorf("%q lives for %s", key, ttl)
		}
	}
}
