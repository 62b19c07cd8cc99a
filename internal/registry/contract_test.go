package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"holdfast/internal/message"
)

// store is what every registry must do, wherever it keeps its data.
type store interface {
	Apply(ctx context.Context, changes []message.Change) error
	Save(ctx context.Context, s *message.Saved, ttl time.Duration) error
	Load(ctx context.Context, pid string) (*message.Saved, []message.Saved, error)
	Take(ctx context.Context, pid, node string) (before message.Claim, number uint64, err error)
	Forget(ctx context.Context, pid string) error
	Nodes(ctx context.Context, key message.Key) ([]string, uint64, error)
	Client(ctx context.Context, id string) (message.ClientInfo, error)
	List(ctx context.Context, key message.Key, cursor string, limit int) ([]message.ClientInfo, string, error)
	ListNode(ctx context.Context, node, cursor string, limit int) ([]message.ClientInfo, string, error)
	Count(ctx context.Context, key message.Key) (clients, users uint64, err error)
}

var _ store = (*Memory)(nil)

// clock is a wall clock that tests move.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)} }

func (c *clock) now() time.Time { return c.at }

// fixture is a registry under test, with calls that must not fail.
type fixture struct {
	*testing.T
	store
	advance func(time.Duration) // makes time pass for the store
}

// testStore is the contract. open returns an empty registry and what makes time pass
// for it.
func testStore(t *testing.T, open func(t *testing.T) (store, func(time.Duration))) {
	for _, c := range []struct {
		name string
		test func(f *fixture)
	}{
		{"a client from connect to disconnect", testLife},
		{"connect states the whole", testConnectAgain},
		{"mend states what a node holds", testMend},
		{"late news of a former node change nothing", testFormerNode},
		{"nodes and versions of a room", testVersions},
		{"nodes of users and clients", testNodesOfClients},
		{"pages are stable", testPages},
		{"keys do not mix", testKeysApart},
		{"nobody there", testNobody},
		{"save and load", testSaved},
		{"generations", testGenerations},
		{"claims", testClaims},
		{"expiry and forgetting", testSavedExpiry},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, advance := open(t)
			c.test(&fixture{t, s, advance})
		})
	}
}

func (f *fixture) apply(changes ...message.Change) {
	f.Helper()
	for range 2 { // each change is idempotent, and so is a batch
		if err := f.Apply(f.Context(), changes); err != nil {
			f.Fatal(err)
		}
	}
}

func (f *fixture) nodes(key message.Key) ([]string, uint64) {
	f.Helper()
	nodes, version, err := f.Nodes(f.Context(), key)
	if err != nil {
		f.Fatal(err)
	}
	return nodes, version
}

func (f *fixture) wantCount(key message.Key, clients, users uint64) {
	f.Helper()
	c, u, err := f.Count(f.Context(), key)
	if err != nil || c != clients || u != users {
		f.Errorf("count %s: %d clients and %d users, %v; want %d and %d", key, c, u, err, clients, users)
	}
}

func (f *fixture) wantList(key message.Key, ids ...string) {
	f.Helper()
	list, next, err := f.List(f.Context(), key, "", 1000)
	if err != nil || next != "" {
		f.Errorf("list %s: next %q, %v", key, next, err)
	}
	if got := idsOf(list); !slices.Equal(got, ids) {
		f.Errorf("list %s: %v, want %v", key, got, ids)
	}
}

func idsOf(list []message.ClientInfo) []string {
	var ids []string
	for _, c := range list {
		ids = append(ids, c.ID)
	}
	return ids
}

func someClient(id, uid, node string) *message.Client {
	return &message.Client{ID: id, Namespace: "/", UID: uid, Node: node, ConnectedAt: newClock().at}
}

func connected(c *message.Client, rooms ...string) message.Change {
	return message.Change{Kind: message.ChangeConnect, Client: c, Rooms: rooms}
}

func joined(c *message.Client, rooms ...string) message.Change {
	return message.Change{Kind: message.ChangeJoin, Client: c, Rooms: rooms}
}

func left(c *message.Client, rooms ...string) message.Change {
	return message.Change{Kind: message.ChangeLeave, Client: c, Rooms: rooms}
}

func gone(c *message.Client) message.Change {
	return message.Change{Kind: message.ChangeDisconnect, Client: c}
}

func enters(node string, key message.Key) message.Change {
	return message.Change{Kind: message.ChangeEnter, Node: node, Key: key}
}

func exits(node string, key message.Key) message.Change {
	return message.Change{Kind: message.ChangeExit, Node: node, Key: key}
}

func roomKey(name string) message.Key { return message.RoomKey("/", name) }

func testLife(f *fixture) {
	c := someClient("00000000001", "ann", "n1")
	c.Profile, c.Transport = `{"name":"Ann"}`, "websocket"
	f.apply(connected(c, "a"))
	f.apply(joined(c, "b", "c"))
	f.apply(left(c, "b", "never joined"))
	info, err := f.Client(f.Context(), c.ID)
	if err != nil {
		f.Fatal(err)
	}
	if !info.ConnectedAt.Equal(c.ConnectedAt) {
		f.Errorf("connected at %v", info.ConnectedAt)
	}
	info.ConnectedAt = c.ConnectedAt
	if info.Client != *c || !slices.Equal(info.Rooms, []string{"a", "c"}) {
		f.Errorf("got %+v", info)
	}
	seen := info.LastSeenAt
	f.advance(time.Minute)
	f.apply(joined(c, "d"))
	if info, _ := f.Client(f.Context(), c.ID); info.LastSeenAt.Sub(seen) < time.Minute {
		f.Errorf("last seen %v after %v", info.LastSeenAt, seen)
	}
	f.wantCount(roomKey("a"), 1, 1)
	f.wantCount(roomKey("b"), 0, 0)
	f.wantCount(message.AllKey("/"), 1, 1)
	f.wantList(message.UserKey("/", "ann"), c.ID)
	f.wantList(message.ClientKey("/", c.ID), c.ID)
	f.apply(gone(c))
	if _, err := f.Client(f.Context(), c.ID); !errors.Is(err, message.ErrNotFound) {
		f.Errorf("after it has gone: %v", err)
	}
	for _, key := range []message.Key{roomKey("a"), roomKey("c"), message.UserKey("/", "ann"), message.AllKey("/"), message.ClientKey("/", c.ID)} {
		f.wantCount(key, 0, 0)
		f.wantList(key)
	}
	f.apply(joined(c, "a"), left(c, "a"), gone(c)) // late
	f.wantCount(message.AllKey("/"), 0, 0)
}

func testConnectAgain(f *fixture) {
	c := someClient("00000000001", "", "n1")
	f.apply(connected(c, "a", "b"))
	f.wantCount(roomKey("a"), 1, 0)
	named := *c
	named.UID, named.Transport = "ann", "websocket"
	f.apply(connected(&named, "b", "c"))
	f.wantList(roomKey("a"))
	f.wantCount(roomKey("b"), 1, 1)
	f.wantCount(roomKey("c"), 1, 1)
	f.wantCount(message.AllKey("/"), 1, 1)
	moved := named
	moved.Node = "n2"
	f.apply(connected(&moved, "b"))
	f.wantList(roomKey("b"), c.ID)
	f.wantList(roomKey("c"))
	if nodes, _ := f.nodes(message.UserKey("/", "ann")); !slices.Equal(nodes, []string{"n2"}) {
		f.Errorf("nodes %v", nodes)
	}
	if info, err := f.Client(f.Context(), c.ID); err != nil || info.Node != "n2" || info.Transport != "websocket" {
		f.Errorf("got %+v, %v", info, err)
	}
}

func testMend(f *fixture) {
	c := someClient("00000000001", "ann", "n1")
	mends := func(c *message.Client, rooms ...string) message.Change {
		return message.Change{Kind: message.ChangeMend, Client: c, Rooms: rooms}
	}
	f.apply(mends(c, "a")) // the record was lost
	f.wantList(roomKey("a"), c.ID)
	info, err := f.Client(f.Context(), c.ID)
	if err != nil || !info.LastSeenAt.Equal(c.ConnectedAt) {
		f.Errorf("got %+v, %v", info, err)
	}
	f.apply(mends(c, "b")) // or wrong
	f.wantList(roomKey("a"))
	f.wantCount(roomKey("b"), 1, 1)

	// It has come back on another node, and the first one does not know that yet.
	f.advance(time.Minute)
	later := *c
	later.Node, later.ConnectedAt = "n2", c.ConnectedAt.Add(time.Minute)
	f.apply(connected(&later, "b"))
	f.apply(mends(c, "b", "c"))
	if info, err := f.Client(f.Context(), c.ID); err != nil || info.Node != "n2" || !slices.Equal(info.Rooms, []string{"b"}) {
		f.Errorf("the former node took it back: %+v, %v", info, err)
	}
	// Both find everything lost, in either order.
	f.apply(gone(&later), mends(c, "b"), mends(&later, "b"), mends(c, "b"))
	if info, err := f.Client(f.Context(), c.ID); err != nil || info.Node != "n2" {
		f.Errorf("got %+v, %v", info, err)
	}
	f.wantCount(roomKey("b"), 1, 1)
	f.apply(gone(&later))
	f.wantCount(message.AllKey("/"), 0, 0)
}

func testFormerNode(f *fixture) {
	before := someClient("00000000001", "ann", "n1")
	after := *before
	after.Node = "n2"
	f.apply(connected(before, "a"))
	f.apply(connected(&after, "a"))
	f.apply(joined(before, "b"), left(before, "a"), gone(before))
	info, err := f.Client(f.Context(), before.ID)
	if err != nil || info.Node != "n2" || !slices.Equal(info.Rooms, []string{"a"}) {
		f.Errorf("got %+v, %v", info, err)
	}
	f.apply(gone(&after))
	f.wantCount(roomKey("a"), 0, 0)
}

func testVersions(f *fixture) {
	for _, key := range []message.Key{roomKey("a"), message.AllKey("/")} {
		nodes, last := f.nodes(key)
		if len(nodes) != 0 {
			f.Errorf("%s: nodes %v", key, nodes)
		}
		step := func(ch message.Change, want ...string) {
			f.Helper()
			f.apply(ch)
			nodes, version := f.nodes(key)
			if !slices.Equal(nodes, want) || (len(want) > 0 && version <= last) {
				f.Errorf("%s: nodes %v, version %d after %d; want %v", key, nodes, version, last, want)
			}
			last = max(last, version)
		}
		step(enters("n2", key), "n2")
		step(enters("n1", key), "n1", "n2")
		step(exits("n2", key), "n1")
		step(exits("n1", key))
		step(enters("n1", key), "n1") // above all before, though the room was empty
		same, version := f.nodes(key)
		f.apply(enters("n1", key), exits("n9", key), connected(someClient("00000000001", "", "n1"), "a"))
		if nodes, v := f.nodes(key); v != version || !slices.Equal(nodes, same) {
			f.Errorf("%s: version %d after %d without a change of nodes", key, v, version)
		}
	}
}

func testNodesOfClients(f *fixture) {
	a, b := someClient("00000000001", "ann", "n2"), someClient("00000000002", "ann", "n1")
	c := someClient("00000000003", "ann", "n1")
	f.apply(connected(a), connected(b), connected(c))
	ann := message.UserKey("/", "ann")
	f.apply(enters("n9", ann), exits("n1", ann)) // mean nothing there
	want := func(key message.Key, nodes ...string) {
		f.Helper()
		if got, _ := f.nodes(key); !slices.Equal(got, nodes) {
			f.Errorf("%s: %v, want %v", key, got, nodes)
		}
	}
	want(ann, "n1", "n2")
	want(message.ClientKey("/", b.ID), "n1")
	want(message.ClientKey("/", b.ID+"SecretSecret"), "n1")
	want(message.ClientKey("/other", b.ID))
	f.apply(gone(b))
	want(ann, "n1", "n2")
	f.apply(gone(c))
	want(ann, "n2")
	f.apply(gone(a))
	want(ann)
}

func testPages(f *fixture) {
	var clients []*message.Client
	var changes []message.Change
	for i := range 50 {
		c := someClient(fmt.Sprintf("%011d", 2*i), fmt.Sprint(i%7), "n1")
		clients = append(clients, c)
		changes = append(changes, connected(c, "a"))
	}
	f.apply(changes...)
	list := map[string]func(cursor string) ([]message.ClientInfo, string, error){
		"room": func(c string) ([]message.ClientInfo, string, error) { return f.List(f.Context(), roomKey("a"), c, 7) },
		"namespace": func(c string) ([]message.ClientInfo, string, error) {
			return f.List(f.Context(), message.AllKey("/"), c, 7)
		},
		"node": func(c string) ([]message.ClientInfo, string, error) { return f.ListNode(f.Context(), "n1", c, 7) },
	}
	for name, page := range list {
		var seen []string
		cursor := ""
		for pages := 1; ; pages++ {
			got, next, err := page(cursor)
			if err != nil || len(got) > 7 {
				f.Fatal(name, len(got), err)
			}
			seen = append(seen, idsOf(got)...)
			if next == "" {
				break
			}
			cursor = next
			// The client at the cursor goes, one before it comes, one behind it comes.
			f.apply(gone(clients[7*pages-1]),
				connected(someClient("00000000-"+name[:2], "", "n1"), "a"),
				connected(someClient("zzzzzzzzz"+name[:2], "", "n1"), "a"))
		}
		if !slices.IsSorted(seen) || len(slices.Compact(slices.Clone(seen))) != len(seen) {
			f.Errorf("%s: not in order, or twice: %v", name, seen)
		}
		if want := "zzzzzzzzz" + name[:2]; !slices.Contains(seen, want) {
			f.Errorf("%s: %s came behind the cursor and is missing", name, want)
		}
		for i, c := range clients {
			if (i+1)%7 != 0 && !slices.Contains(seen, c.ID) {
				f.Errorf("%s: %s is missing", name, c.ID)
			}
		}
		f.apply(changes...)
	}
	f.wantCount(roomKey("a"), 56, 7)
}

func testKeysApart(f *fixture) {
	a, b := someClient("00000000001", "ann", "n1"), someClient("/chat#00000000002", "ann", "n1")
	b.Namespace = "/chat"
	tricky := someClient("00000000003", "u:/,ann", "n1")
	f.apply(connected(a, "x", "u:/,ann"), connected(b, "x", "a,b"), connected(tricky, "/chat,x"))
	f.wantList(message.RoomKey("/", "x"), a.ID)
	f.wantList(message.RoomKey("/chat", "x"), b.ID)
	f.wantList(message.RoomKey("/chat", "a,b"), b.ID)
	f.wantList(message.UserKey("/", "ann"), a.ID)
	f.wantList(message.UserKey("/chat", "ann"), b.ID)
	f.wantList(message.AllKey("/chat"), b.ID)
	f.wantCount(message.AllKey("/"), 2, 2)
	info, err := f.Client(f.Context(), b.ID+"SecretSecret")
	if err != nil || info.ID != b.ID || !slices.Equal(info.Rooms, []string{"a,b", "x"}) {
		f.Errorf("got %+v, %v", info, err)
	}
}

func testNobody(f *fixture) {
	for _, key := range []message.Key{"", "x", "r:/", roomKey("a"), message.AllKey("/"), message.UserKey("/", "u"), message.ClientKey("/", "c")} {
		f.wantCount(key, 0, 0)
		f.wantList(key)
		if nodes, version := f.nodes(key); len(nodes) > 0 || version != 0 {
			f.Errorf("%s: %v, %d", key, nodes, version)
		}
	}
	if list, next, err := f.ListNode(f.Context(), "n1", "", 10); len(list) > 0 || next != "" || err != nil {
		f.Errorf("got %v, %q, %v", list, next, err)
	}
	if _, _, err := f.Load(f.Context(), "pid"); !errors.Is(err, message.ErrNotFound) {
		f.Errorf("load: %v", err)
	}
	if err := f.Forget(f.Context(), "pid"); err != nil {
		f.Errorf("forget: %v", err)
	}
	if err := f.Apply(f.Context(), nil); err != nil {
		f.Errorf("apply nothing: %v", err)
	}
}

func someSaved(tag string, gen uint32) *message.Saved {
	return &message.Saved{
		PID: "pid", Client: *someClient("00000000001", "ann", "n1"), Tag: tag, Gen: gen,
		Places: []message.Place{
			{Key: roomKey("a"), Position: message.Position{Epoch: 7, Seq: 100 + uint64(gen)}},
			{Key: message.UserKey("/", "ann"), Position: message.Position{Epoch: 7, Seq: 200}},
		},
		Had:     []string{fmt.Sprint("message ", gen)},
		SavedAt: newClock().at.Add(time.Duration(gen) * time.Second),
	}
}

func (f *fixture) save(s *message.Saved, ttl time.Duration) {
	f.Helper()
	if err := f.Save(f.Context(), s, ttl); err != nil {
		f.Fatal(err)
	}
}

// wantSaved checks that the PID leads to these generations, newest first.
func (f *fixture) wantSaved(want ...*message.Saved) {
	f.Helper()
	newest, older, err := f.Load(f.Context(), "pid")
	if err != nil {
		f.Fatal(err)
	}
	got := append([]message.Saved{*newest}, older...)
	if len(got) != len(want) {
		f.Fatalf("%d generations, want %d", len(got), len(want))
	}
	for i, g := range got {
		w := want[i]
		if g.PID != w.PID || g.Tag != w.Tag || g.Gen != w.Gen || !slices.Equal(g.Places, w.Places) || !slices.Equal(g.Had, w.Had) || !g.SavedAt.Equal(w.SavedAt) {
			f.Errorf("generation %d: got %+v\nwant %+v", i, g, *w)
		}
		if c := want[0].Client; g.Client.ID != c.ID || g.Client.Transport != c.Transport {
			f.Errorf("generation %d: client %+v", i, g.Client)
		}
	}
}

func testSaved(f *fixture) {
	s := someSaved("t", 1)
	c := s.Client
	f.apply(connected(&c, "a"))
	f.save(s, time.Minute)
	want := *s
	want.Places, want.Had = slices.Clone(s.Places), slices.Clone(s.Had)
	s.Places[0].Seq, s.Client.Transport, s.Had[0] = 0, "changed", "changed" // it was copied
	f.wantSaved(&want)
	newest, _, _ := f.Load(f.Context(), "pid")
	newest.Places[0].Seq = 0 // and so is what is handed out
	f.wantSaved(&want)
}

func testGenerations(f *fixture) {
	var all []*message.Saved
	for gen := range uint32(8) {
		s := someSaved("t", gen)
		f.save(s, time.Minute)
		all = slices.Insert(all, 0, s)
	}
	f.wantSaved(all[:OlderGenerations+1]...)
	same := someSaved("t", 7)
	same.Places, same.Client.Transport = same.Places[:1], "websocket"
	f.save(same, time.Minute)
	all[0] = same
	f.wantSaved(all[:OlderGenerations+1]...)
	f.save(someSaved("t", 5), time.Minute) // late
	f.wantSaved(all[:OlderGenerations+1]...)
	nextLife := someSaved("u", 1)
	f.save(nextLife, time.Minute)
	f.wantSaved(slices.Insert(all, 0, nextLife)[:OlderGenerations+1]...)
}

func testClaims(f *fixture) {
	if _, _, err := f.Take(f.Context(), "pid", "n1"); !errors.Is(err, message.ErrNotFound) {
		f.Errorf("a claim of what is not saved: %v", err)
	}
	f.save(someSaved("t", 1), time.Minute)
	var last message.Claim
	for _, node := range []string{"n1", "node 2", "n1"} {
		before, number, err := f.Take(f.Context(), "pid", node)
		if err != nil || before != last || number <= last.Number {
			f.Errorf("claim %d by %s, %+v before, %v; want %+v", number, node, before, err, last)
		}
		f.save(someSaved("t", 2), time.Minute) // leaves it as it is
		saved, _, err := f.Load(f.Context(), "pid")
		if err != nil || saved.Claim.Number != number || saved.Claim.Node != "" && saved.Claim.Node != node {
			f.Errorf("loaded with %+v, %v", saved.Claim, err)
		}
		last = saved.Claim
	}
	f.advance(2 * time.Minute)
	if _, _, err := f.Take(f.Context(), "pid", "n1"); !errors.Is(err, message.ErrNotFound) {
		f.Errorf("a claim of what has expired: %v", err)
	}
}

func testSavedExpiry(f *fixture) {
	absent := func(why string) {
		f.Helper()
		if _, _, err := f.Load(f.Context(), "pid"); !errors.Is(err, message.ErrNotFound) {
			f.Errorf("%s: %v", why, err)
		}
	}
	first, second := someSaved("t", 1), someSaved("t", 2)
	f.save(first, time.Minute)
	f.advance(50 * time.Second)
	f.save(second, time.Minute)
	f.advance(50 * time.Second)
	f.wantSaved(second, first) // prolonged by the second
	f.advance(11 * time.Second)
	absent("past its time")
	f.save(first, time.Hour)
	f.save(second, time.Minute) // shortened by the second
	f.advance(61 * time.Second)
	absent("past its shortened time")
	f.save(first, time.Minute)
	f.wantSaved(first)
	if err := f.Forget(f.Context(), "pid"); err != nil {
		f.Fatal(err)
	}
	absent("forgotten")
}

func TestMemory(t *testing.T) {
	testStore(t, func(*testing.T) (store, func(time.Duration)) {
		c := newClock()
		return NewMemory(Options{Now: c.now}), func(d time.Duration) { c.at = c.at.Add(d) }
	})
}
