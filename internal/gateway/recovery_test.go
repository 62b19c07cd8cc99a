package gateway

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/hub"
	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/testnet"
	"holdfast/socketio"
)

func recovering(c *Config) { c.Recovery = true }

// back returns on a new session and gives what came before the CONNECT answer, and
// the answer.
func (w *world) back(pid, offset, more string) (*testnet.Client, []string, who) {
	w.t.Helper()
	c := w.dial()
	auth := fmt.Sprintf(`{"pid":%q,"offset":%q%s}`, pid, offset, more)
	if offset == "" {
		auth = fmt.Sprintf(`{"pid":%q%s}`, pid, more)
	}
	if err := c.Text("40" + auth); err != nil {
		w.t.Fatal(err)
	}
	var missed []string
	for {
		p, err := c.Packet()
		switch {
		case err != nil:
			w.t.Fatalf("coming back: %v after %v", err, missed)
		case p.Type == socketio.Connect:
			return c, missed, w.accepted(p, nil)
		case p.Type != socketio.Event:
			w.t.Fatalf("coming back: %v %s", p.Type, p.Data)
		}
		var args []any
		fromJSON(w.t, p.Data, &args)
		missed = append(missed, fmt.Sprintf("%v %v", args[:2]...))
	}
}

// take reads an event and returns the offset in it.
func take(t *testing.T, c *testnet.Client, want string) string {
	t.Helper()
	p, err := c.Packet()
	if err != nil {
		t.Fatalf("waiting for %s: %v", want, err)
	}
	var args []any
	fromJSON(t, p.Data, &args)
	if got := fmt.Sprintf("%v %v", args[:2]...); got != want {
		t.Fatalf("got %s, want %s", p.Data, want)
	}
	return offsetOf(t, p)
}

// TestRecovery comes back in many ways.
func TestRecovery(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		t.Run("gets what it missed, once and in order", func(t *testing.T) {
			w := newWorld(t, kind, recovering)
			c, id := w.join(`"guid":"doc"`)
			w.push("e", 0, room)
			offset := take(t, c, "e 0")
			c.Kill()
			w.push("e", 1, room)
			w.push("e", 2, room, message.AllKey("/"))
			w.append("e", 3, room) // the bus loses it
			c, missed, now := w.back(id.PID, offset, "")
			if want := []string{"e 1", "e 2", "e 3"}; !reflect.DeepEqual(missed, want) {
				t.Errorf("missed %v, want %v", missed, want)
			}
			if now != id {
				t.Errorf("came back as %v, was %v", now, id)
			}
			w.push("e", 4, room)
			take(t, c, "e 4")
		})
		t.Run("without an offset from its CONNECT on", func(t *testing.T) {
			w := newWorld(t, kind, recovering)
			c, id := w.join(`"guid":"doc"`)
			c.Kill()
			w.push("e", 0, room)
			_, missed, now := w.back(id.PID, "", "")
			if want := []string{"e 0"}; !reflect.DeepEqual(missed, want) || now != id {
				t.Errorf("missed %v as %v", missed, now)
			}
		})
		t.Run("a room that it has joined since its last event", func(t *testing.T) {
			w := newWorld(t, kind, recovering)
			c, id := w.join(`"guid":"doc"`)
			w.push("e", 0, room)
			offset := take(t, c, "e 0")
			other := message.RoomKey("/", "other")
			w.call(&message.Down{Join: &message.Membership{To: message.ClientKey("/", id.SID), Rooms: []string{"other"}}})
			w.push("o", 1, other) // may never have arrived, for all that the offset says
			w.call(&message.Down{Join: &message.Membership{To: message.ClientKey("/", id.SID), Rooms: []string{"third"}}})
			c.Kill()
			_, missed, _ := w.back(id.PID, offset, "")
			if want := []string{"o 1"}; !reflect.DeepEqual(missed, want) {
				t.Errorf("missed %v, want %v", missed, want)
			}
		})
		t.Run("while the old connection lives", func(t *testing.T) {
			w := newWorld(t, kind, recovering)
			c, id := w.join(`"guid":"doc"`)
			w.push("e", 0, room)
			offset := take(t, c, "e 0")
			c2, _, now := w.back(id.PID, offset, "")
			if now != id {
				t.Errorf("came back as %v, was %v", now, id)
			}
			var closed *testnet.Closed
			if _, err := c.Packet(); !errors.As(err, &closed) {
				t.Errorf("the old connection ended with %v", err)
			}
			w.push("e", 1, room, message.ClientKey("/", id.SID))
			take(t, c2, "e 1")
			if clients, _, _ := w.reg.Left(); clients != 1 {
				t.Errorf("%d clients in the registry", clients)
			}
		})
		t.Run("somebody else's private ID", func(t *testing.T) {
			w := newWorld(t, kind, recovering)
			c, id := w.join(`"guid":"doc","uid":"a"`)
			_, _, now := w.back(id.PID, "", `,"uid":"b"`)
			if now.SID == id.SID || now.PID == id.PID {
				t.Errorf("came back as %v, which is another's", now)
			}
			w.push("e", 0, message.UserKey("/", "a"))
			take(t, c, "e 0")
		})
		t.Run("after a goodbye", func(t *testing.T) {
			w := newWorld(t, kind, recovering)
			c, id := w.join(`"guid":"doc"`)
			if err := c.Text("41"); err != nil {
				t.Fatal(err)
			}
			w.until("the client has left", func() bool { return w.gw.Stats.Clients.Load() == 0 })
			w.until("the save is dropped", func() bool { _, _, saved := w.reg.Left(); return saved == 0 })
			if _, _, now := w.back(id.PID, "", ""); now.SID == id.SID {
				t.Error("it was recovered")
			}
		})
		t.Run("more than can be sent at once", func(t *testing.T) {
			w := newWorld(t, kind, func(c *Config) { c.Recovery, c.Session.OutputItems = true, 10 })
			c, id := w.join(`"guid":"doc"`)
			c.Kill()
			for n := range 6 {
				w.append("e", n, room)
			}
			_, missed, now := w.back(id.PID, "", "")
			if len(missed) > 0 || now.SID == id.SID {
				t.Errorf("recovered %v", missed)
			}
		})
	})
}

// TestManyComeBackAtOnce shows one private ID on many sessions at the same time: in the
// end one has it, or all but the one that is left were told that they begin anew, and
// the registry knows it.
func TestManyComeBackAtOnce(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, recovering)
		c, id := w.join(`"guid":"doc"`)
		all := []*testnet.Client{c}
		for range 8 {
			all = append(all, w.dial())
		}
		var winners atomic.Int32
		var wg sync.WaitGroup
		for _, c := range all {
			wg.Go(func() {
				defer c.Kill()
				if c != all[0] && c.Text(fmt.Sprintf(`40{"pid":%q}`, id.PID)) != nil {
					return
				}
				for {
					p, err := c.Packet()
					switch {
					case err != nil, p.Type == socketio.Connect && !strings.Contains(string(p.Data), id.SID):
						return
					case p.Type == socketio.Event:
						winners.Add(1)
						return
					}
				}
			})
		}
		w.until("one is left", func() bool { return w.gw.Stats.Sessions.Load() == 1 })
		w.until("it is in", func() bool {
			_, in := w.reg.Client(id.SID)
			n := 0
			w.onShards(func(sh *shard) { n += len(sh.clients) })
			return in && n == 1
		})
		w.push("e", 1, message.ClientKey("/", id.SID))
		wg.Wait()
		if n := winners.Load(); n != 1 {
			t.Errorf("%d are the client", n)
		}
	})
}

// TestCatchUpInABusyRoom comes back while its room is never silent.
func TestCatchUpInABusyRoom(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, recovering)
		c, id := w.join(`"guid":"doc"`)
		c.Kill()
		w.until("the session is over", func() bool { return w.gw.Stats.Sessions.Load() == 0 })
		stop, stopped := make(chan struct{}), make(chan int)
		go func() {
			n := 0
			tick := time.NewTicker(200 * time.Microsecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					stopped <- n
					return
				case <-tick.C:
					w.push("e", n, room)
					n++
				}
			}
		}()
		c, missed, now := w.back(id.PID, "", "")
		if now != id {
			t.Errorf("came back as %v, was %v", now, id)
		}
		close(stop)
		sent := <-stopped
		for n := range sent {
			want := fmt.Sprintf("e %d", n)
			if n < len(missed) {
				if missed[n] != want {
					t.Fatalf("missed %s, want %s", missed[n], want)
				}
				continue
			}
			take(t, c, want)
		}
	})
}

// TestLostWhileCatchingUp loses the connection in the middle of coming back.
func TestLostWhileCatchingUp(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, recovering)
		c, id := w.join(`"guid":"doc"`)
		keeps, _ := w.join(`"guid":"doc"`) // so that the room's position is the shards'
		c.Kill()
		w.until("the session is over", func() bool { return w.gw.Stats.Sessions.Load() == 1 })
		w.push("e", 0, room)
		take(t, keeps, "e 0")
		w.reg.Gate.Shut() // the admission waits
		c = w.dial()
		if err := c.Text(fmt.Sprintf(`40{"pid":%q}`, id.PID)); err != nil {
			t.Fatal(err)
		}
		c.Kill()
		w.until("the session is over", func() bool { return w.gw.Stats.Sessions.Load() == 1 })
		w.reg.Gate.Open()
		_, missed, now := w.back(id.PID, "", "")
		if want := []string{"e 0"}; !reflect.DeepEqual(missed, want) || now != id {
			t.Errorf("missed %v as %v", missed, now)
		}
	})
}

func place1(key string, seq uint64) message.Place {
	return message.Place{Key: message.Key(key), Position: message.Position{Epoch: 1, Seq: seq}}
}

// TestPlacesAt reads offsets against generations.
func TestPlacesAt(t *testing.T) {
	saved := func(gen uint32, places ...message.Place) message.Saved {
		return message.Saved{Tag: "tag", Gen: gen, Places: places}
	}
	gens := []message.Saved{ // newest first
		saved(4, place1("a", 400), place1("c", 40), place1("b", 900)),
		saved(3, place1("a", 300), place1("c", 30)),
		saved(2, place1("a", 200), place1("b", 20)),
		saved(1, place1("a", 100)),
	}
	tests := []struct {
		name, offset string
		want         []message.Place // nil: it cannot recover
	}{
		{"newest, nothing since", "tag.4", gens[0].Places},
		{"newest, moved on", "tag.4.1-a.2-1", []message.Place{place1("a", 400), place1("c", 50), place1("b", 901)}},
		{"a room that came later", "tag.3.0-1", []message.Place{place1("a", 301), place1("c", 30), place1("b", 900)}},
		{"a room that was left and came again", "tag.2.0-1.1-1", []message.Place{place1("a", 201), place1("c", 30), place1("b", 900)}},
		{"absent", "", []message.Place{place1("a", 100), place1("c", 30), place1("b", 900)}},
		{"another session's", "gat.3.0-1", []message.Place{place1("a", 100), place1("c", 30), place1("b", 900)}},
		{"garbage", "tag.x!", []message.Place{place1("a", 100), place1("c", 30), place1("b", 900)}},
		{"unknown generation", "tag.9", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := placesAt(&gens[0], gens[1:], tt.offset)
			if ok != (tt.want != nil) || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v %v, want %v", got, ok, tt.want)
			}
		})
	}
	if got := gens[0].Places[0].Seq; got != 400 {
		t.Errorf("a save was changed: %d", got)
	}
}

// TestMergeMissed keeps each room's order whatever the IDs say.
func TestMergeMissed(t *testing.T) {
	m := func(key, id string) missed { return missed{key: message.Key(key), push: &message.Push{ID: id}} }
	all := []missed{m("a", "1"), m("a", "5"), m("a", "3"), m("b", "2"), m("b", "4"), m("a", "6"), m("b", "9"), m("b", "7")}
	got := ""
	for _, x := range mergeMissed(all) {
		got += string(x.key) + x.push.ID + " "
	}
	if want := "a1 b2 b4 a5 a3 a6 b9 b7 "; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// FuzzOffset reads offsets that clients make up.
func FuzzOffset(f *testing.F) {
	for _, s := range []string{"tag.1", "tag.1.0-1", "tag.zz.9-zzzzzzzzzzzz", "tag.1.999999-1", "tag..", "tag.1.0-1.0-2", "other"} {
		f.Add(s)
	}
	newest := message.Saved{Tag: "tag", Gen: 1, Places: []message.Place{place1("a", 1)}}
	f.Fuzz(func(t *testing.T, offset string) {
		places, ok := placesAt(&newest, nil, offset)
		if ok && (len(places) != 1 || places[0].Key != "a") {
			t.Errorf("%q gives %v", offset, places)
		}
	})
}

// TestJoinedAndGone loses the connection between a join and the moment in which the
// registry has it: who was told that the client has joined finds it in the room when it
// is back.
func TestJoinedAndGone(t *testing.T) {
	other := message.RoomKey("/", "other")
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		for _, live := range []bool{false, true} {
			w := newWorld(t, kind, recovering)
			if live {
				w.join(`"guid":"other"`)
			}
			c, id := w.join(`"guid":"doc"`)
			before := w.gw.Stats.Sessions.Load()
			w.reg.Gate.Shut()
			call, err := w.bus.Call("n1", &message.Down{Join: &message.Membership{
				To: message.ClientKey("/", id.SID), Rooms: []string{"other"},
			}})
			if err != nil {
				t.Fatal(err)
			}
			w.until("the join is under way", func() (in bool) {
				w.onShards(func(sh *shard) {
					cl, r := sh.clients[id.SID], sh.hub.Room(other)
					in = in || cl != nil && r != nil && hub.SeatOf(cl, r) != nil
				})
				return in
			})
			c.Kill()
			w.until("the session is over", func() bool { return w.gw.Stats.Sessions.Load() < before })
			w.reg.Gate.Open()
			if replies := w.answered(call); replies[0].Clients != 1 {
				t.Fatalf("the join was answered with %+v", replies)
			}
			w.push("o", 1, other)
			_, missed, now := w.back(id.PID, "", "")
			if want := []string{"o 1"}; !reflect.DeepEqual(missed, want) || now != id {
				t.Errorf("live before: %v: missed %v as %v, want %v", live, missed, now, want)
			}
		}
	})
}

// TestGenerationsLast has a client come and go, and join rooms, without an event: what it
// shows is as good as before.
func TestGenerationsLast(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		for _, shown := range []bool{false, true} {
			w := newWorld(t, kind, recovering)
			c, id := w.join(`"guid":"doc"`)
			offset, n := "", 0
			if shown {
				w.push("e", 0, room)
				offset = take(t, c, "e 0")
			}
			for i := range 8 {
				w.call(&message.Down{Join: &message.Membership{
					To: message.ClientKey("/", id.SID), Rooms: []string{fmt.Sprint("r", i)},
				}})
			}
			for range 8 {
				c.Kill()
				var now who
				var missed []string
				if c, missed, now = w.back(id.PID, offset, ""); now != id || missed != nil {
					t.Fatalf("with an event before: %v: came back as %v with %v, was %v", shown, now, missed, id)
				}
			}
			c.Kill()
			for i := range 8 {
				w.push("e", i+1, message.RoomKey("/", fmt.Sprint("r", i)))
				n++
			}
			if _, missed, now := w.back(id.PID, offset, ""); now != id || len(missed) != n {
				t.Errorf("with an event before: %v: missed %v as %v", shown, missed, now)
			}
		}
	})
}

// someLink is a link that nobody uses.
type someLink struct{ Peers }

// TestLoadWaitsForAFirstSave has a client come back to another node before the one that it
// was on has saved it for the first time.
func TestLoadWaitsForAFirstSave(t *testing.T) {
	for _, tt := range []struct {
		name   string
		link   Peers
		offset string
		saved  bool // a moment later
		waits  bool
	}{
		{"it comes", someLink{}, "k3Xa.1.0-9x", true, true},
		{"it does not come", someLink{}, "k3Xa.1.0-9x", false, true},
		{"an offset without places", someLink{}, "k3Xa.1", true, true},
		{"of a later save", someLink{}, "k3Xa.2.0-9x", false, false},
		{"no offset", someLink{}, "", false, false},
		{"no other node", nil, "k3Xa.1.0-9x", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg := &testnet.Registry{}
				g, err := New(Config{
					Node: "n", Registry: reg, Log: &testnet.Log{}, Bus: testnet.NewBus(1, 1), Auth: testnet.Auth{}, IDs: &testnet.IDs{},
					Peers: tt.link, StoresNeverWait: true, Shards: 1, Engine: netpoll.Goroutines,
				})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				loaded := make(chan error)
				go func() {
					_, _, err := g.load(t.Context(), "pid", tt.offset)
					loaded <- err
				}()
				synctest.Wait()
				if tt.saved {
					if err := reg.Save(t.Context(), &message.Saved{PID: "pid", Tag: "k3Xa", Gen: 1}, time.Minute); err != nil {
						t.Fatal(err)
					}
				}
				if err := <-loaded; (err == nil) != tt.saved || err != nil && !errors.Is(err, message.ErrNotFound) {
					t.Errorf("it was loaded with %v", err)
				}
				if took := time.Since(began); (took > 0) != tt.waits || took > 2*loadPatience {
					t.Errorf("that took %v", took)
				}
				if err := g.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
