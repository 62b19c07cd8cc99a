package registry

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/message"
)

// model is a registry as simple as can be: what the sets are is worked out from the
// clients at each question.
type model struct {
	clients map[string]*modelClient
	nodes   map[message.Key]map[string]bool
}

type modelClient struct {
	message.Client
	rooms map[string]bool
}

func (m *model) apply(ch message.Change) {
	if ch.Kind == message.ChangeEnter {
		if m.nodes[ch.Key] == nil {
			m.nodes[ch.Key] = make(map[string]bool)
		}
		m.nodes[ch.Key][ch.Node] = true
		return
	}
	if ch.Kind == message.ChangeExit {
		delete(m.nodes[ch.Key], ch.Node)
		return
	}
	c := m.clients[ch.Client.ID]
	if ch.Kind == message.ChangeConnect {
		c = &modelClient{Client: *ch.Client, rooms: make(map[string]bool)}
		m.clients[c.ID] = c
	}
	if c == nil || c.Node != ch.Client.Node {
		return
	}
	for _, r := range ch.Rooms {
		if ch.Kind == message.ChangeLeave {
			delete(c.rooms, r)
		} else {
			c.rooms[r] = true
		}
	}
	if ch.Kind == message.ChangeDisconnect {
		delete(m.clients, c.ID)
	}
}

// behind returns the clients behind a key, ordered by ID.
func (m *model) behind(key message.Key) []*modelClient {
	var out []*modelClient
	for _, c := range m.clients {
		if c.Namespace != key.Namespace() {
			continue
		}
		switch key.Kind() {
		case message.KindRoom:
			if !c.rooms[key.Name()] {
				continue
			}
		case message.KindUser:
			if c.UID != key.Name() {
				continue
			}
		case message.KindClient:
			if c.ID != key.Name() {
				continue
			}
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b *modelClient) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// world is the small set of names that random changes are about.
type world struct{ clients, uids, nodes, rooms int }

// change draws a change from a source of numbers.
func (w world) change(draw func(n int) int) message.Change {
	name := func(prefix string, n int) string { return fmt.Sprint(prefix, draw(n)) }
	namespace := [...]string{"/", "/chat"}[draw(2)]
	kind := message.ChangeKind(1 + draw(6))
	if kind == message.ChangeEnter || kind == message.ChangeExit {
		key := message.RoomKey(namespace, name("r", w.rooms))
		if draw(4) == 0 {
			key = message.AllKey(namespace)
		}
		return message.Change{Kind: kind, Node: name("n", w.nodes), Key: key}
	}
	id := draw(w.clients)
	c := &message.Client{ID: fmt.Sprintf("%011d", id), Namespace: namespace, Node: name("n", w.nodes)}
	if uid := draw(w.uids + 1); uid > 0 {
		c.UID = fmt.Sprint("u", uid)
	}
	var rooms []string
	for range draw(4) {
		rooms = append(rooms, name("r", w.rooms))
	}
	return message.Change{Kind: kind, Client: c, Rooms: rooms}
}

func (w world) keys() []message.Key {
	var keys []message.Key
	for _, namespace := range []string{"/", "/chat"} {
		keys = append(keys, message.AllKey(namespace))
		for i := range w.rooms {
			keys = append(keys, message.RoomKey(namespace, fmt.Sprint("r", i)))
		}
		for i := range w.uids {
			keys = append(keys, message.UserKey(namespace, fmt.Sprint("u", i+1)))
		}
		for i := range min(w.clients, 5) {
			keys = append(keys, message.ClientKey(namespace, fmt.Sprintf("%011d", i)))
		}
	}
	return keys
}

// compare checks all that a registry tells against the model.
func compare(t *testing.T, m store, want *model, w world) {
	t.Helper()
	ctx := context.Background()
	for _, key := range w.keys() {
		behind := want.behind(key)
		users, nodes, ids := map[string]bool{}, map[string]bool{}, []string{}
		for _, c := range behind {
			ids = append(ids, c.ID)
			nodes[c.Node] = true
			if c.UID != "" {
				users[c.UID] = true
			}
		}
		if key.Kind() == message.KindRoom || key.Kind() == message.KindAll {
			nodes = want.nodes[key]
		}
		clients, us, _ := m.Count(ctx, key)
		if clients != uint64(len(behind)) || us != uint64(len(users)) {
			t.Fatalf("count %s: %d, %d; want %d, %d", key, clients, us, len(behind), len(users))
		}
		if got, _, _ := m.Nodes(ctx, key); !slices.Equal(got, slices.Sorted(maps.Keys(nodes))) {
			t.Fatalf("nodes %s: %v, want %v", key, got, nodes)
		}
		var got []string
		for cursor, first := "", true; first || cursor != ""; first = false {
			var page []message.ClientInfo
			page, cursor, _ = m.List(ctx, key, cursor, 37)
			got = append(got, idsOf(page)...)
		}
		if !slices.Equal(got, ids) {
			t.Fatalf("list %s: %v, want %v", key, got, ids)
		}
	}
	for id, c := range want.clients {
		info, err := m.Client(ctx, id)
		if err != nil || info.Client != c.Client || !slices.Equal(info.Rooms, slices.Sorted(maps.Keys(c.rooms))) {
			t.Fatalf("client %s: %+v, %v; want %+v", id, info, err, c)
		}
	}
	if m, ok := m.(*Memory); ok && m.Stats().Clients != len(want.clients) {
		t.Fatalf("%d clients, want %d", m.Stats().Clients, len(want.clients))
	}
}

func newModel() *model {
	return &model{clients: make(map[string]*modelClient), nodes: make(map[message.Key]map[string]bool)}
}

// empty takes everybody out, after which nothing may be left.
func empty(t *testing.T, m *Memory, want *model) {
	t.Helper()
	var changes []message.Change
	for _, c := range want.clients {
		changes = append(changes, gone(&c.Client))
	}
	for key, nodes := range want.nodes {
		for n := range nodes {
			changes = append(changes, exits(n, key))
		}
	}
	if err := m.Apply(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	if s := m.Stats(); s != (Stats{}) || len(m.nodes) != 0 {
		t.Fatalf("something is left: %+v, %d nodes", s, len(m.nodes))
	}
}

func TestMemoryAgainstModel(t *testing.T) {
	for _, w := range []world{
		{clients: 8, uids: 3, nodes: 2, rooms: 3},
		{clients: 200, uids: 5, nodes: 3, rooms: 2},    // beyond plain tallies
		{clients: 3000, uids: 900, nodes: 4, rooms: 2}, // beyond one chunk
	} {
		t.Run(fmt.Sprint(w.clients), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, uint64(w.clients)))
			m, want := NewMemory(Options{}), newModel()
			for round := range 30 {
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
				if err := m.Apply(t.Context(), changes); err != nil {
					t.Fatal(err)
				}
				if w.clients < 1000 || round%6 == 5 {
					compare(t, m, want, w)
				}
			}
			empty(t, m, want)
		})
	}
}

func FuzzApply(f *testing.F) {
	f.Add([]byte("connect, join, leave, disconnect, enter, exit"))
	f.Add(binary.LittleEndian.AppendUint64(nil, 1<<63|0x0102030405060708))
	f.Fuzz(func(t *testing.T, script []byte) {
		w := world{clients: 6, uids: 2, nodes: 2, rooms: 2}
		m, want := NewMemory(Options{}), newModel()
		for len(script) > 0 {
			ch := w.change(func(n int) int {
				if len(script) == 0 {
					return 0
				}
				v := int(script[0]) % n
				script = script[1:]
				return v
			})
			want.apply(ch)
			if err := m.Apply(t.Context(), []message.Change{ch}); err != nil {
				t.Fatal(err)
			}
		}
		compare(t, m, want, w)
		empty(t, m, want)
	})
}

func TestMembersAgainstSlice(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var m members
	var want []*client
	check := func() {
		t.Helper()
		if m.n != len(want) {
			t.Fatalf("%d members, want %d", m.n, len(want))
		}
		if got := m.page(nil, "", len(want)+1); !slices.Equal(got, want) {
			t.Fatal("members differ")
		}
		for i, c := range m.rest {
			if len(c) == 0 || len(c) > chunkSize {
				t.Fatalf("chunk %d has %d members", i, len(c))
			}
		}
		if len(m.rest) > 0 && len(m.first) == 0 {
			t.Fatal("the first chunk is empty")
		}
		if half := 1 + 4*len(want)/chunkSize; len(m.rest) > half {
			t.Fatalf("%d chunks for %d members", 1+len(m.rest), len(want))
		}
	}
	for _, phase := range []struct{ steps, grow int }{{3000, 9}, {4000, 2}, {2000, 6}, {5000, 0}} {
		for range phase.steps {
			c := &client{Client: &message.Client{ID: fmt.Sprintf("%05d", rnd.IntN(20000))}}
			at, found := slices.BinarySearchFunc(want, c, func(a, b *client) int { return strings.Compare(a.ID, b.ID) })
			switch {
			case rnd.IntN(10) < phase.grow && !found:
				m.add(c)
				want = slices.Insert(want, at, c)
			case len(want) > 0:
				victim := rnd.IntN(len(want))
				m.remove(want[victim])
				want = slices.Delete(want, victim, victim+1)
			}
		}
		check()
		m.remove(&client{Client: &message.Client{ID: "not there"}})
		check()
	}
	if m.n != 0 {
		t.Errorf("%d members are left", m.n)
	}
}

// TestMemoryConcurrent is for the race detector, and for what is left when all is over.
func TestMemoryConcurrent(t *testing.T) {
	m := NewMemory(Options{})
	w := world{clients: 50, uids: 5, nodes: 2, rooms: 3}
	keys := w.keys()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(9, uint64(g)))
			for range 300 {
				_ = m.Apply(t.Context(), []message.Change{w.change(rnd.IntN), w.change(rnd.IntN)})
				key := keys[rnd.IntN(len(keys))]
				_, _, _ = m.Count(t.Context(), key)
				_, _, _ = m.Nodes(t.Context(), key)
				_, _, _ = m.List(t.Context(), key, "", 10)
				s := someSaved("t", uint32(rnd.IntN(5)))
				s.PID = fmt.Sprint(rnd.IntN(5))
				_ = m.Save(t.Context(), s, time.Minute)
				_, _, _ = m.Load(t.Context(), s.PID)
				_ = m.Forget(t.Context(), fmt.Sprint(rnd.IntN(5)))
				m.Stats()
			}
		})
	}
	wg.Wait()
	consistent(t, m, w)
}

func TestApplyEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := NewMemory(Options{})
	if err := m.Apply(ctx, []message.Change{connected(someClient("1", "", "n"))}); err == nil || m.Stats().Clients != 0 {
		t.Errorf("got %v, %+v", err, m.Stats())
	}
}

func TestSecretsAreCutOff(t *testing.T) {
	m := NewMemory(Options{})
	c := someClient("00000000001SecretSecret", "", "n1")
	if err := m.Apply(t.Context(), []message.Change{connected(c, "a"), joined(c, "b")}); err != nil {
		t.Fatal(err)
	}
	list, _, _ := m.List(t.Context(), roomKey("b"), "", 10)
	if len(list) != 1 || list[0].ID != "00000000001" {
		t.Errorf("got %+v", list)
	}
}

func TestSweepForgetsAll(t *testing.T) {
	c := newClock()
	m := NewMemory(Options{Now: c.now})
	for i := range 100 {
		s := someSaved("t", 1)
		s.PID = fmt.Sprint(i)
		if err := m.Save(t.Context(), s, time.Duration(100-i)*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	c.at = c.at.Add(50 * time.Second)
	_ = m.Apply(t.Context(), nil)
	if n := m.Stats().Saved; n != 100-sweepBatch {
		t.Errorf("one call left %d", n)
	}
	m.Sweep()
	if n := m.Stats().Saved; n != 50 {
		t.Errorf("%d are left, want 50", n)
	}
}

// populate fills changes with connects, ten clients to a room and two to a user.
func populate(changes []message.Change) {
	for i := range changes {
		changes[i] = connected(&message.Client{
			ID: fmt.Sprintf("0Vr8%07d", i), Namespace: "/", UID: fmt.Sprintf("user-%08d", i/2), Node: "gw-a",
			Transport: "websocket", Protocol: "socket.io/5", RemoteAddr: fmt.Sprintf("10.0.%d.%d:%d", i>>8&255, i&255, 1024+i%60000),
		}, docOf(i))
	}
}

func docOf(i int) string { return fmt.Sprintf("doc-%07d", i/10) }

func heapBytes() float64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return float64(s.HeapAlloc)
}

// BenchmarkMemoryPerClient prints what a client costs: the record with its texts
// that the gateway shares, the index over it, and what recovery saves.
func BenchmarkMemoryPerClient(b *testing.B) {
	const n = 100_000
	changes, clients := make([]message.Change, n), make([]*message.Client, n)
	for b.Loop() {
		base := heapBytes()
		populate(changes)
		for i := range changes {
			clients[i] = changes[i].Client
		}
		m := NewMemory(Options{})
		_ = m.Apply(b.Context(), changes)
		clear(changes)
		indexed := heapBytes()
		for i, c := range clients {
			_ = m.Save(b.Context(), &message.Saved{
				PID: fmt.Sprintf("0Vr8%07dSecretSecret", i), Client: *c, Tag: "t", Gen: 1,
				Places: []message.Place{
					{Key: message.RoomKey("/", docOf(i))},
					{Key: message.UserKey("/", c.UID)},
					{Key: message.ClientKey("/", c.ID)},
					{Key: message.AllKey("/")},
				},
			}, time.Minute)
		}
		saved := heapBytes()
		clear(clients)
		b.ReportMetric((indexed-base)/n, "B/client")
		b.ReportMetric((saved-indexed)/n, "B/saved")
		runtime.KeepAlive(m)
	}
}

func BenchmarkApply(b *testing.B) {
	changes := make([]message.Change, 100_000)
	populate(changes)
	m := NewMemory(Options{})
	_ = m.Apply(b.Context(), changes)
	i := 0
	for b.Loop() {
		c := changes[i%len(changes)]
		_ = m.Apply(b.Context(), []message.Change{gone(c.Client), c})
		i++
	}
}

// BenchmarkNodes is the read of each push, with and without a writer beside it.
func BenchmarkNodes(b *testing.B) {
	changes := make([]message.Change, 100_000)
	populate(changes)
	for _, writing := range []bool{false, true} {
		b.Run(fmt.Sprintf("writer=%t", writing), func(b *testing.B) {
			m := NewMemory(Options{})
			_ = m.Apply(b.Context(), changes)
			stop, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for i := 0; writing; i++ {
					select {
					case <-stop:
						return
					default:
						c := changes[i%len(changes)]
						_ = m.Apply(context.Background(), []message.Change{gone(c.Client), c})
					}
				}
			}()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					_, _, _ = m.Nodes(context.Background(), message.RoomKey("/", changes[i%len(changes)].Rooms[0]))
				}
			})
			close(stop)
			<-done
		})
	}
}
