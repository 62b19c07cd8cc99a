package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/engineio"
	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/testnet"
	"holdfast/socketio"
)

// upgradeAt takes a polling client to a WebSocket on a node, and returns what its last
// poll brought.
func (x *cluster) upgradeAt(w *world, p *testnet.Poller) (*testnet.Client, string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, rest, err := p.Via(w.base).Upgrade(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Kill)
	return c, texts(rest)
}

// both runs a test of a move in each direction.
func (x *cluster) both(t *testing.T, test func(t *testing.T, from, to *world)) {
	t.Helper()
	t.Run("A to B", func(t *testing.T) { test(t, x.a, x.b) })
	t.Run("B to A", func(t *testing.T) { test(t, x.b, x.a) })
}

// TestMove upgrades a client on another node, and looks at all that is known of it
// there, at the tombstone, and at what goes over the link afterwards.
func TestMove(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		for _, v := range []engineio.Version{3, 4} {
			newCluster(t, kind, nil).both(t, func(t *testing.T, from, to *world) {
				x := &cluster{a: from, b: to}
				p, err := testnet.OpenPollerOf(v, from.http, from.base, nil)
				if err != nil {
					t.Fatal(err)
				}
				if v == 4 {
					err = p.Post(`40{"guid":"doc","uid":"u"}`)
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := from.poll(p); !strings.HasPrefix(got, "40") {
					t.Fatalf("CONNECT was answered with %s", got)
				}
				id := from.up(message.EventConnect).Client.ID
				if v == 3 {
					from.call(&message.Down{Join: &message.Membership{To: message.ClientKey("/", id), Rooms: []string{"doc"}}})
				}
				from.push("e", 0, room)
				c, rest := x.upgradeAt(to, p)
				if !strings.Contains(rest, `["e",0]`) {
					event(t, c, `["e",0]`)
				}
				to.until("it has moved", func() bool {
					return from.gw.Stats.Sessions.Load() == 0 && to.gw.Stats.Clients.Load() == 1
				})
				if info, _ := to.reg.Client(id); info == nil || info.Node != to.gw.cfg.Node || info.Transport != "websocket" {
					t.Errorf("the registry has %+v", info)
				}
				if nodes := to.reg.Nodes(room); len(nodes) != 1 || nodes[0] != to.gw.cfg.Node {
					t.Errorf("the room is on %v", nodes)
				}
				sent := from.gw.Stats.LinkBytesOut.Load() + to.gw.Stats.LinkBytesOut.Load()
				for i := 1; i < 5; i++ {
					from.push("e", i, []message.Key{room, message.ClientKey("/", id)}[i%2])
					event(t, c, fmt.Sprintf(`["e",%d]`, i))
				}
				if err := c.Text(`427["say"]`); err != nil {
					t.Fatal(err)
				}
				up := from.up(message.EventMessage)
				if up.Client.Node != to.gw.cfg.Node || up.Client.Transport != "websocket" || up.Client.ID != id {
					t.Errorf("the event says %+v", up.Client)
				}
				if err := to.bus.Send(up.Client.Node, &message.Down{Ack: &message.Ack{Client: id, AckID: 7, Payload: message.Payload{JSON: []byte(`["ok"]`)}}}); err != nil {
					t.Fatal(err)
				}
				if got, err := c.Packet(); err != nil || got.Type != socketio.Ack || got.ID != 7 {
					t.Errorf("the ack: %+v, %v", got, err)
				}
				if now := from.gw.Stats.LinkBytesOut.Load() + to.gw.Stats.LinkBytesOut.Load(); now != sent {
					t.Errorf("%d bytes went over the link after the move", now-sent)
				}
				x.lateRequests(p)
				c.Kill()
				to.until("the tombstone is gone", func() bool { return from.tombstones() == 0 })
				if up := from.up(message.EventDisconnect); up.Client.ID != id || up.Client.Node != to.gw.cfg.Node {
					t.Errorf("%+v has left", up.Client)
				}
				if err := p.Post("3"); !unknownSession(err) {
					t.Errorf("a post after the end: %v", err)
				}
			})
		}
	})
}

// lateRequests are refused by both nodes, as after an upgrade on one.
func (x *cluster) lateRequests(p *testnet.Poller) {
	x.a.t.Helper()
	for _, w := range []*world{x.a, x.b} {
		_, err := p.Via(w.base).Poll(x.a.t.Context())
		var r *testnet.Refused
		if !errors.As(err, &r) || r.Status != http.StatusBadRequest || r.Body != `{"code":3,"message":"Bad request"}` {
			w.t.Errorf("a late poll: %v", err)
		}
		if err := p.Via(w.base).Post("3"); !refused(err, http.StatusBadRequest) {
			w.t.Errorf("a late post: %v", err)
		}
		if c, err := testnet.Probe(p.Via(w.base)); err == nil || refused(err, http.StatusBadRequest) {
			w.t.Errorf("a second WebSocket: %v, %v", c, err)
		}
	}
}

func unknownSession(err error) bool {
	var r *testnet.Refused
	return errors.As(err, &r) && r.Status == http.StatusBadRequest && r.Body == `{"code":1,"message":"Session ID unknown"}`
}

// tombstones counts them.
func (w *world) tombstones() (n int) {
	w.onShards(func(sh *shard) { n += len(sh.away.bySession) })
	return n
}

// TestMoveUnderLoad pushes to a client by each kind of key, and has it emit, while it
// moves: nothing is lost, nothing comes twice, each key keeps its order.
func TestMoveUnderLoad(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		for _, tt := range []struct{ recovery, lossy bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
			t.Run(fmt.Sprintf("%+v", tt), func(t *testing.T) {
				x := newCluster(t, kind, func(c *Config) {
					c.Recovery = tt.recovery
					c.Endpoints = []Endpoint{{Path: "/socket.io/", Namespaces: []string{"/", "/a", "/b"}, Polling: true, WebSocket: true, V3: true, V4: true}}
				})
				if tt.lossy {
					x.a.bus.SetLoss(testnet.Loss{Drop: 0.1, Repeat: 0.1, Delay: 0.2})
				}
				var wg sync.WaitGroup
				for i := range 8 {
					from, to := x.a, x.b
					if i%2 == 1 {
						from, to = x.b, x.a
					}
					// Of pushes to several keys a client remembers the last few, so that each comes
					// once; a bus that is late by more than that is for the tests of delivery.
					wg.Go(func() { moveUnderLoad(t, from, to, i, !tt.lossy) })
				}
				wg.Wait()
				if t.Failed() {
					return
				}
				next := map[string]int{}
				for range 8 * loadEvents {
					up := x.a.up(message.EventMessage)
					if got, want := string(up.Payload.JSON), fmt.Sprintf("[%d]", next[up.Name]); got != want {
						t.Errorf("event %s %s, want %s", up.Name, got, want)
					}
					next[up.Name]++
				}
				if out, in := x.a.gw.Stats.MovedOut.Load(), x.b.gw.Stats.MovedIn.Load(); out != 4 || in != 4 {
					t.Errorf("%d sessions left A, %d came to B", out, in)
				}
			})
		}
	})
}

const loadEvents = 60

// seen is what a client has had: by event name, the numbers in their order.
type seen struct {
	next map[string]int
	acks map[uint64]bool
}

func (s *seen) packet(t *testing.T, who string, p socketio.Packet) {
	t.Helper()
	switch p.Type {
	case socketio.Event:
		var args []any
		fromJSON(t, p.Data, &args)
		name, n := fmt.Sprint(args[0]), int(args[1].(float64))
		if n != s.next[name] {
			t.Errorf("%s: %s %d came, %d was due", who, name, n, s.next[name])
		}
		s.next[name] = n + 1
	case socketio.Ack:
		if s.acks[p.ID] {
			t.Errorf("%s: ack %d twice", who, p.ID)
		}
		s.acks[p.ID] = true
	default:
		t.Errorf("%s: %v %s", who, p.Type, p.Data)
	}
}

func moveUnderLoad(t *testing.T, from, to *world, number int, several bool) {
	who := fmt.Sprint("client ", number)
	p, err := testnet.OpenPoller(from.http, from.base, nil)
	if err != nil {
		t.Error(err)
		return
	}
	uid, doc := fmt.Sprint("u", number), fmt.Sprint("doc", number)
	ids := map[string]string{}
	for _, ns := range []string{"", "/a,", "/b,"} {
		if err := p.Post(fmt.Sprintf(`40%s{"guid":%q,"uid":%q}`, ns, doc, uid)); err != nil {
			t.Error(err)
			return
		}
	}
	for len(ids) < 3 {
		packets, err := p.Poll(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		for _, x := range packets {
			if sp, err := socketio.Parse(x.Data, socketio.Limits{}); err == nil && sp.Type == socketio.Connect {
				var id answeredWith
				fromJSON(t, sp.Data, &id)
				ids[sp.Namespace] = id.SID
			}
		}
	}
	keys := map[string][]message.Key{
		"room": {message.RoomKey("/", doc)}, "user": {message.UserKey("/", uid)}, "client": {message.ClientKey("/", ids["/"])},
		"rooma": {message.RoomKey("/a", doc)}, "clientb": {message.ClientKey("/b", ids["/b"])},
	}
	if several {
		keys["both"] = []message.Key{message.RoomKey("/", doc), message.UserKey("/", uid)}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	half := make(chan struct{})
	for name, targets := range keys {
		wg.Go(func() {
			pace := time.NewTicker(time.Millisecond)
			defer pace.Stop()
			for n := range loadEvents {
				if n == loadEvents/3 && name == "room" {
					close(half)
				}
				from.push(name, n, targets...)
				<-pace.C
			}
		})
	}
	got := &seen{next: map[string]int{}, acks: map[uint64]bool{}}
	packet := func(b []byte) {
		sp, err := socketio.Parse(b, socketio.Limits{})
		if err != nil {
			t.Errorf("%s: %q: %v", who, b, err)
			return
		}
		got.packet(t, who, sp)
	}
	polled := func(packets []engineio.Packet, err error) {
		if err != nil {
			t.Errorf("%s: %v", who, err)
		}
		for _, x := range packets {
			if x.Type == engineio.Message {
				packet(x.Data)
			}
		}
	}
	via := p.Via(to.base)
	for n := 0; ; n++ {
		select {
		case <-half:
		default:
			polled([]*testnet.Poller{p, via}[n%2].Poll(t.Context()))
			continue
		}
		break
	}
	c, rest, err := via.Upgrade(t.Context())
	polled(rest, err)
	if err != nil {
		return
	}
	defer c.Kill()
	for n := range loadEvents {
		if err := c.Text(fmt.Sprintf(`42["up%d",%d]`, number, n)); err != nil {
			t.Errorf("%s: %v", who, err)
		}
	}
	// What was lost last shows when ws-api tells of it, or when all rooms are looked at.
	done := make(chan struct{})
	defer close(done)
	wg.Go(func() {
		often := time.NewTicker(200 * time.Millisecond)
		defer often.Stop()
		for {
			select {
			case <-often.C:
				to.gw.survey()
			case <-done:
				return
			}
		}
	})
	for len(got.next) < len(keys) || !got.whole() {
		sp, err := c.Packet()
		if err != nil {
			t.Errorf("%s: %v, has %v", who, err, got.next)
			return
		}
		got.packet(t, who, sp)
	}
}

func (s *seen) whole() bool {
	for _, n := range s.next {
		if n < loadEvents {
			return false
		}
	}
	return true
}

type answeredWith = who

// TestMoveWithCallbacks has acknowledgements of both directions come after the move that
// were asked for before it.
func TestMoveWithCallbacks(t *testing.T) {
	x := newCluster(t, netpoll.Auto, nil)
	p := x.a.joinByPolling(`"guid":"doc"`)
	if err := p.Post(`421["say"]`, `422["say"]`); err != nil {
		t.Fatal(err)
	}
	up := x.a.up(message.EventMessage)
	ask := func(event string) *testnet.Call {
		push := x.a.newPush(event, 0, room)
		call, err := x.a.bus.Call("A", &message.Down{
			Push:    &message.Delivery{Push: push, Stamps: []message.Stamp{{Key: room}}, WantAcks: true},
			Expires: time.Now().Add(patience),
		})
		if err != nil {
			t.Fatal(err)
		}
		return call
	}
	answered, left := ask("one"), ask("two")
	var got string
	for !strings.Contains(got, `["two",0]`) {
		got += x.a.poll(p)
	}
	c, _ := x.upgradeAt(x.b, p)
	x.b.until("it has moved", func() bool { return x.b.gw.Stats.MovedIn.Load() == 1 && x.b.gw.Stats.Clients.Load() == 1 })

	// The client's events are answered to the node that they came from.
	for id := uint64(1); id <= 2; id++ {
		if err := x.a.bus.Send("A", &message.Down{Ack: &message.Ack{Client: up.Client.ID, AckID: id, Payload: message.Payload{JSON: []byte(`["ok"]`)}}}); err != nil {
			t.Fatal(err)
		}
	}
	acks := map[uint64]bool{}
	for range 2 {
		got, err := c.Packet()
		if err != nil || got.Type != socketio.Ack || string(got.Data) != `["ok"]` {
			t.Fatalf("%+v, %v", got, err)
		}
		acks[got.ID] = true
	}
	if !acks[1] || !acks[2] {
		t.Errorf("acknowledged are %v", acks)
	}

	// It answers a push that it has had on the other node; what it has not been asked is
	// nobody's.
	if err := c.Texts(`4399["nobody asked"]`, `431["mine"]`, `431["again"]`); err != nil {
		t.Fatal(err)
	}
	replies := x.a.answered(answered)
	if n := len(replies); n < 2 || replies[n-2].Ack == nil || string(replies[n-2].Ack.Payload.JSON) != `["mine"]` || replies[n-2].Ack.Client != up.Client.ID {
		t.Errorf("answered %+v", replies)
	}

	// What it is asked from now on has other IDs.
	push := x.b.newPush("three", 0, room)
	call, err := x.b.bus.Call("B", &message.Down{Push: &message.Delivery{Push: push, Stamps: []message.Stamp{{Key: room}}, WantAcks: true}, Expires: time.Now().Add(patience)})
	if err != nil {
		t.Fatal(err)
	}
	asked, err := c.Packet()
	if err != nil || !asked.HasID || asked.ID <= 2 {
		t.Fatalf("asked %+v, %v", asked, err)
	}
	if err := c.Text(fmt.Sprintf(`43%d["three"]`, asked.ID)); err != nil {
		t.Fatal(err)
	}
	if replies := x.b.answered(call); replies[len(replies)-1].Clients != 1 {
		t.Errorf("answered %+v", replies)
	}

	// Who is gone is waited for no longer.
	c.Kill()
	if done := x.a.answered(left); done[len(done)-1].Clients != 1 {
		t.Errorf("the one that it never answered: %+v", done)
	}
}

// TestMovedCalls addresses a client at the node where it was.
func TestMovedCalls(t *testing.T) {
	x := newCluster(t, netpoll.Auto, nil)
	p := x.a.joinByPolling(`"guid":"doc"`)
	id := x.a.up(message.EventConnect).Client.ID
	to := message.ClientKey("/", id)
	c, _ := x.upgradeAt(x.b, p)
	x.b.until("it has moved", func() bool { return x.b.gw.Stats.MovedIn.Load() == 1 })
	counts := func(what string, d *message.Down, want uint32) {
		t.Helper()
		replies := x.a.call(d)
		if last := replies[len(replies)-1]; last.Clients != want || last.Err != "" || last.Node != "A" {
			t.Errorf("%s: %+v", what, last)
		}
	}
	counts("join", &message.Down{Join: &message.Membership{To: to, Rooms: []string{"more"}}}, 1)
	x.a.push("e", 1, message.RoomKey("/", "more"))
	event(t, c, `["e",1]`)
	counts("leave", &message.Down{Leave: &message.Membership{To: to, Rooms: []string{"more"}}}, 1)
	if nodes := x.a.reg.Nodes(message.RoomKey("/", "more")); len(nodes) != 0 {
		t.Errorf("the room is on %v", nodes)
	}
	counts("a room that was here a moment ago", &message.Down{Leave: &message.Membership{To: room, Rooms: []string{"other"}}}, 1)
	counts("disconnect", &message.Down{Disconnect: &message.Disconnect{To: to}}, 1)
	if got, err := c.Packet(); err != nil || got.Type != socketio.Disconnect {
		t.Errorf("got %+v, %v", got, err)
	}
	// The session lives on without the client.
	counts("nobody", &message.Down{Disconnect: &message.Disconnect{To: to}}, 0)
	x.link.Cut("B")
	replies := x.a.call(&message.Down{Leave: &message.Membership{To: to, Rooms: []string{"doc"}}})
	if last := replies[len(replies)-1]; last.Err == "" {
		t.Errorf("its node cannot be reached: %+v", last)
	}
	x.a.until("the dead node's tombstones are gone", func() bool { return x.a.tombstones() == 0 })
}

// TestMovePushes has what no log keeps come to the old node, the new one and both,
// while a session moves and just after: the client has each once.
func TestMovePushes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		moved bool // it comes after the move
		to    string
	}{
		{"on the way, old", false, "A"},
		{"on the way, new", false, "B"},
		{"on the way, both", false, "AB"},
		{"just after, old", true, "A"},
		{"just after, both", true, "AB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := newCluster(t, netpoll.Auto, nil)
			p := x.a.joinByPolling(`"guid":"doc"`)
			id := x.a.up(message.EventConnect).Client.ID
			frozen := func() (n int) {
				x.a.onShards(func(sh *shard) { n += len(sh.away.frozen) })
				return n
			}
			if !tt.moved {
				x.a.reg.Gate.Shut() // the new node cannot write that it has the session
			}
			c, _ := x.upgradeAt(x.b, p)
			if tt.moved {
				x.b.until("it has moved", func() bool { return x.b.gw.Stats.MovedIn.Load() == 1 })
			} else {
				x.a.until("it is on its way", func() bool {
					arriving := 0
					x.b.onShards(func(sh *shard) { arriving += sh.away.arriving })
					return frozen() == 1 && arriving == 1
				})
			}
			send := func(d *message.Down) (calls []*testnet.Call) {
				for _, node := range tt.to {
					one := *d // the bus gives each a name of its own
					call, err := x.a.bus.Call(string(node), &one)
					if err != nil {
						t.Fatal(err)
					}
					calls = append(calls, call)
				}
				return calls
			}
			volatile := x.a.newPush("e", 1, room)
			ask := x.a.newPush("ask", 2, room)
			stamps := []message.Stamp{{Key: room}}
			for _, node := range tt.to {
				if err := x.a.bus.Send(string(node), &message.Down{Push: &message.Delivery{Push: volatile, Stamps: stamps}}); err != nil {
					t.Fatal(err)
				}
			}
			calls := send(&message.Down{Push: &message.Delivery{Push: ask, Stamps: stamps, WantAcks: true}, Expires: time.Now().Add(patience)})
			joins := send(&message.Down{Join: &message.Membership{To: room, Rooms: []string{"more"}}})
			x.a.reg.Gate.Open()
			for range 2 {
				got, err := c.Packet()
				switch {
				case err != nil:
					t.Fatal(err)
				case strings.HasPrefix(string(got.Data), `["ask",2`):
					if err := c.Text(fmt.Sprintf(`43%d["yes"]`, got.ID)); err != nil {
						t.Fatal(err)
					}
				case !strings.HasPrefix(string(got.Data), `["e",1`):
					t.Fatalf("got %s", got.Data)
				}
			}
			var asked, answered, joined uint32
			for i := range calls {
				for _, r := range x.a.answered(calls[i]) {
					if r.Ack != nil {
						answered++
					}
					if r.Done {
						asked += r.Clients
					}
				}
				replies := x.a.answered(joins[i])
				joined += replies[len(replies)-1].Clients
			}
			if asked != 1 || answered != 1 {
				t.Errorf("%d clients were asked, %d have answered", asked, answered)
			}
			if len(calls) == 1 && joined != 1 {
				t.Errorf("%d clients have joined", joined)
			}
			x.a.push("last", 3, message.ClientKey("/", id))
			event(t, c, `["last",3]`) // and nothing in between
		})
	}
}

// TestMoveWaits upgrades while something is under way that only the owner can finish:
// the session goes when that is done, with the answer, and the events in their order.
func TestMoveWaits(t *testing.T) {
	x := newCluster(t, netpoll.Auto, func(c *Config) { c.AskBackend = true })
	p := x.a.open()
	if err := p.Post("40{}"); err != nil {
		t.Fatal(err)
	}
	id := x.a.up(message.EventConnect).Client.ID
	c, _ := x.upgradeAt(x.b, p)
	if err := c.Text(`40/nowhere`); err != nil {
		t.Fatal(err)
	}
	x.a.call(&message.Down{Verdict: &message.Verdict{Client: id, UID: "u", JoinRooms: []string{"doc"}}})
	got, err := c.Packet()
	if err != nil || got.Type != socketio.Connect || got.Namespace != "/" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if got, err = c.Packet(); err != nil || got.Type != socketio.ConnectError || got.Namespace != "/nowhere" {
		t.Fatalf("got %+v, %v", got, err)
	}
	x.a.push("e", 1, message.UserKey("/", "u"))
	event(t, c, `["e",1]`)
	if info, _ := x.a.reg.Client(id); info == nil || info.Node != "B" {
		t.Errorf("the registry has %+v", info)
	}
}
