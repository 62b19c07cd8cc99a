package gateway

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/testnet"
	"holdfast/socketio"
)

// calls are the records that a node answers, for clients behind to.
func callsTo(w *world, to message.Key) map[string]*message.Down {
	p := w.newPush("ask", 0, to)
	return map[string]*message.Down{
		"join":       {Join: &message.Membership{To: to, Rooms: []string{"more"}}},
		"leave":      {Leave: &message.Membership{To: to, Rooms: []string{"doc"}}},
		"disconnect": {Disconnect: &message.Disconnect{To: to, AllowReconnect: true}},
		"kick":       {Disconnect: &message.Disconnect{To: to}},
		"ask": {
			Push:    &message.Delivery{Push: p, Stamps: []message.Stamp{{Key: to}}, WantAcks: true},
			Expires: time.Now().Add(100 * time.Millisecond),
		},
		"verdict": {Verdict: &message.Verdict{Client: "nobody"}},
	}
}

func (w *world) once(name string, c *testnet.Call) (done message.Reply) {
	w.t.Helper()
	n := 0
	for _, r := range c.Replies() {
		if r.Done {
			done = r
			n++
		}
	}
	if n != 1 {
		w.t.Errorf("%s was answered %d times: %+v", name, n, c.Replies())
	}
	return done
}

// TestCallsAnswerOnce makes every call in every situation: each ends, and once.
func TestCallsAnswerOnce(t *testing.T) {
	situations := []struct {
		name    string
		to      message.Key
		before  func(*world) // the calls
		after   func(*world)
		clients uint32
	}{
		{name: "nobody is there", to: message.RoomKey("/", "empty")},
		{name: "clients on both shards", to: room, clients: 8},
		{
			name: "the registry is away for a while", to: room, clients: 8,
			before: func(w *world) { w.reg.Gate.Break(errors.New("away")) },
			after:  func(w *world) { w.reg.Gate.Open() },
		},
		{
			name: "the node stops in the middle", to: room, clients: 8,
			before: func(w *world) { w.reg.Gate.Shut() },
			after: func(w *world) {
				ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
				defer cancel()
				if err := w.gw.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
					w.t.Errorf("close: %v", err)
				}
				w.stopped, w.closed = true, true
				w.http.CloseIdleConnections()
				w.srv.Close()
			},
		},
	}
	for _, s := range situations {
		t.Run(s.name, func(t *testing.T) {
			onEngines(t, func(t *testing.T, kind netpoll.Kind) {
				for name := range callsTo(&world{ids: &testnet.IDs{}}, s.to) {
					t.Run(name, func(t *testing.T) { callOnce(t, kind, name, s.to, s.before, s.after, s.clients) })
				}
			})
		})
	}
}

func callOnce(t *testing.T, kind netpoll.Kind, name string, to message.Key, before, after func(*world), clients uint32) {
	w := newWorld(t, kind, nil)
	for range 8 {
		w.join(`"guid":"doc"`)
	}
	if before != nil {
		before(w)
	}
	call, err := w.bus.Call("n1", callsTo(w, to)[name])
	if err != nil {
		t.Fatal(err)
	}
	w.onShards(func(*shard) {})
	if after != nil {
		after(w)
	}
	w.answered(call)
	if done := w.once(name, call); name != "verdict" && done.Clients != clients {
		t.Errorf("%d clients, want %d", done.Clients, clients)
	}
	if w.closed {
		// The registry has not heard of the end: that is what its lease is for.
		w.reg.Gate.Open()
		gone := &testnet.Registry{}
		*w = world{t: w.t, reg: gone, gw: w.gw, log: w.log, bus: w.bus, stopped: true, closed: true}
	}
}

// TestAcks asks clients on both shards, of which one answers, one leaves and the rest
// let the time pass.
func TestAcks(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, nil)
		answers, _ := w.join(`"guid":"doc"`)
		leaves, _ := w.join(`"guid":"doc"`)
		w.join(`"guid":"doc"`)
		w.push("before", 0, room)
		p := w.newPush("ask", 1, room)
		call, err := w.bus.Call("n1", &message.Down{
			Push:    &message.Delivery{Push: p, Stamps: []message.Stamp{{Key: room}}, WantAcks: true},
			Expires: time.Now().Add(500 * time.Millisecond),
		})
		if err != nil {
			t.Fatal(err)
		}
		w.push("after", 2, room)
		event(t, answers, `["before",0]`)
		ask, err := answers.Packet()
		if err != nil || !ask.HasID || string(ask.Data) != `["ask",1]` {
			t.Fatalf("asked with %+v, %v", ask, err)
		}
		event(t, answers, `["after",2]`)
		ack := socketio.Packet{Type: socketio.Ack, Namespace: "/", HasID: true, ID: ask.ID, Data: []byte(`["yes"]`)}
		for range 2 { // the second one is nobody's
			if err := answers.Text("4" + string(socketio.Append(nil, ack))); err != nil {
				t.Fatal(err)
			}
		}
		event(t, leaves, `["before",0]`)
		if p, err := leaves.Packet(); err != nil || !p.HasID { // on a shard that may be later
			t.Fatalf("asked with %+v, %v", p, err)
		}
		leaves.Kill()
		acks := 0
		for _, r := range w.answered(call) {
			if r.Ack != nil {
				acks++
				if string(r.Ack.Payload.JSON) != `["yes"]` {
					t.Errorf("acknowledged with %s", r.Ack.Payload.JSON)
				}
			}
		}
		if done := w.once("ask", call); done.Clients != 3 || acks != 1 {
			t.Errorf("%d asked, %d acknowledged", done.Clients, acks)
		}
	})
}

// up waits for the next event of a type.
func (w *world) up(of message.EventType) *message.Up {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		up, err := w.bus.Up(ctx)
		if err != nil {
			w.t.Fatalf("no event of type %v: %v", of, err)
		}
		if up.Type == of {
			return up
		}
	}
}

// TestVerdicts lets a backend decide, in time and too late.
func TestVerdicts(t *testing.T) {
	tests := []struct {
		name    string
		verdict message.Verdict
		before  func(*world, *testnet.Client)
		answer  string // of the client, "" for none
		err     string // of the call
	}{
		{name: "accepted", verdict: message.Verdict{UID: "u", JoinRooms: []string{"doc", "doc", "x"}}, answer: `{"sid":`},
		{
			name: "rejected", answer: `{"message":"no","data":{"a":1}}`,
			verdict: message.Verdict{Reject: &message.Reject{Message: "no", Data: []byte(`{"a":1}`)}},
		},
		{
			name: "too many rooms", verdict: message.Verdict{JoinRooms: strings.Split(strings.Repeat("r,", 9), ",")},
			answer: `{"sid":`,
		},
		{
			name: "more rooms than are allowed", verdict: message.Verdict{JoinRooms: []string{"1", "2", "3", "4", "5"}},
			answer: `{"message":"too many rooms"`, err: "too many rooms",
		},
		{name: "too late", before: expired, answer: `{"message":"the backend did not answer in time`, err: "the client is gone"},
		{name: "the client has gone", before: gone, err: "the client is gone"},
	}
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				w := newWorld(t, kind, func(c *Config) {
					c.AskBackend, c.MaxRooms = true, 4
					if tt.name == "too late" {
						c.VerdictTimeout = time.Millisecond
					}
				})
				c := w.dial()
				if err := c.Text(`40{"guid":"doc"}`); err != nil {
					t.Fatal(err)
				}
				up := w.up(message.EventConnect)
				if tt.before != nil {
					tt.before(w, c)
				}
				verdict := tt.verdict
				verdict.Client = up.Client.ID
				call, err := w.bus.Call("n1", &message.Down{Verdict: &verdict})
				if err != nil {
					t.Fatal(err)
				}
				w.answered(call)
				if done := w.once("verdict", call); done.Err != tt.err {
					t.Errorf("answered with %+v", done)
				}
				if tt.answer == "" {
					return
				}
				if p, err := c.Packet(); err != nil || !strings.HasPrefix(string(p.Data), tt.answer) {
					t.Errorf("the client got %s, %v", p.Data, err)
				}
				// The same again finds nobody who waits.
				if again := w.call(&message.Down{Verdict: &verdict}); again[0].Err == "" {
					t.Errorf("the same verdict again: %+v", again)
				}
			})
		}
	})
}

func expired(w *world, _ *testnet.Client) {
	w.until("the verdict is overdue", func() bool {
		waiting := 0
		w.onShards(func(sh *shard) { waiting += len(sh.verdicts) })
		return waiting == 0
	})
}

func gone(w *world, c *testnet.Client) {
	c.Kill()
	w.until("the session is over", func() bool { return w.gw.Stats.Sessions.Load() == 0 })
}

// TestExpiredCall is not carried out.
func TestExpiredCall(t *testing.T) {
	w := newWorld(t, netpoll.Auto, nil)
	c, _ := w.join(`"guid":"doc"`)
	call, err := w.bus.Call("n1", &message.Down{
		Disconnect: &message.Disconnect{To: room}, Expires: time.Now().Add(-time.Second),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.push("e", 1, room)
	event(t, c, `["e",1]`)
	if got := call.Replies(); len(got) != 0 {
		t.Errorf("answered: %+v", got)
	}
}

// TestTooManyPendingAcks refuses a push that wants acknowledgements.
func TestTooManyPendingAcks(t *testing.T) {
	w := newWorld(t, netpoll.Auto, func(c *Config) { c.Shards, c.MaxPendingAcks = 1, 1 })
	c, _ := w.join(`"guid":"doc"`)
	ask := func() *testnet.Call {
		call, err := w.bus.Call("n1", &message.Down{Push: &message.Delivery{
			Push: w.newPush("ask", 1, room), Stamps: []message.Stamp{{Key: room}}, WantAcks: true,
		}})
		if err != nil {
			t.Fatal(err)
		}
		return call
	}
	first := ask()
	second := ask()
	if done := w.answered(second); done[len(done)-1].Err == "" {
		t.Errorf("the second got %+v", done)
	}
	c.Kill() // a client that has gone is not waited for, also without an end in time
	w.answered(first)
	w.once("the first", first)
}

// TestCallCountsAll has shards count side by side: what is told is the sum of all,
// whoever is the last.
func TestCallCountsAll(t *testing.T) {
	const shards, rounds = 2, 200_000
	told := make(chan uint32, 1)
	calls := make([]*nodeCall, rounds)
	for i := range calls {
		calls[i] = &nodeCall{sink: func(r message.Reply) { told <- r.Clients }}
		calls[i].counting.Store(shards)
	}
	var at [shards]atomic.Int64 // how far each is: they keep pace
	var counting sync.WaitGroup
	for me := range shards {
		counting.Go(func() {
			for i, c := range calls {
				at[me].Store(int64(i))
				for spins := 0; at[1-me].Load() < int64(i); spins++ {
					if spins > 100 {
						runtime.Gosched()
					}
				}
				c.count(1, true)
			}
		})
	}
	for i := range rounds {
		if n := <-told; n != shards {
			t.Errorf("call %d: %d were told of, of %d", i, n, shards)
		}
	}
	counting.Wait()
}
