package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/testnet"
)

// TestMoveFails breaks each call of a move: before the new node has the session, polling
// goes on at the owner, and nothing is lost.
func TestMoveFails(t *testing.T) {
	broken := errors.New("broken")
	for _, path := range []string{pathProbe, pathPing, pathTake, pathTaken} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %v", path, after), func(t *testing.T) {
				x := newCluster(t, netpoll.Auto, nil)
				p := x.a.joinByPolling(`"guid":"doc"`)
				x.a.up(message.EventConnect)
				x.a.push("e", 0, room)
				x.link.SetHook(func(_, at string) error {
					if at == path {
						return broken
					}
					return nil
				})
				c, err := testnet.Probe(p.Via(x.b.base))
				switch path {
				case pathProbe:
					var r *testnet.Refused
					if !errors.As(err, &r) || r.Body != "Session ID unknown" {
						t.Errorf("the upgrade: %v", err)
					}
				case pathPing:
					if err == nil {
						t.Error("the probe was answered")
					}
				default:
					if err != nil {
						t.Fatal(err)
					}
					if err := c.Text("5"); err != nil {
						t.Fatal(err)
					}
					if m, err := c.Message(); err == nil {
						t.Errorf("the socket got %q", m.Data)
					}
				}
				x.a.until("the owner has it", func() bool {
					visits := 0
					x.a.onShards(func(sh *shard) { visits += len(sh.away.visited) })
					return visits == 0 && x.a.gw.Stats.Clients.Load() == 1 && x.b.gw.Stats.Sessions.Load() == 0
				})
				if after { // and may move yet
					x.link.SetHook(nil)
					c, rest := x.upgradeAt(x.b, p)
					if !strings.Contains(rest, `["e",0]`) {
						event(t, c, `["e",0]`)
					}
					x.a.push("e", 1, room)
					event(t, c, `["e",1]`)
					return
				}
				x.a.push("e", 1, room)
				var got string
				for !strings.Contains(got, `["e",1]`) {
					got = strings.TrimSpace(got + " " + x.a.poll(p))
				}
				if strings.Trim(strings.ReplaceAll(got, "6", ""), " ") != `42["e",0] 42["e",1]` {
					t.Errorf("polled %s", got)
				}
				if err := p.Post(`42["say"]`); err != nil {
					t.Error(err)
				}
				if up := x.a.up(message.EventMessage); up.Client.Transport != "polling" || up.Client.Node != "A" {
					t.Errorf("the event says %+v", up.Client)
				}
			})
		}
	}
}

// upgradeAtB has the client of a polling session of A say that it goes on at B.
func (x *cluster) upgradeAtB(p *testnet.Poller) *testnet.Client {
	x.b.t.Helper()
	c, err := testnet.Probe(p.Via(x.b.base))
	if err == nil {
		err = c.Text("5")
	}
	if err != nil {
		x.b.t.Fatal(err)
	}
	return c
}

// TestLostAnswers has the owner's answers get lost: what it has done counts.
func TestLostAnswers(t *testing.T) {
	for _, path := range []string{pathTake, pathTaken} {
		t.Run(path, func(t *testing.T) {
			x := newCluster(t, netpoll.Auto, nil)
			p := x.a.joinByPolling(`"guid":"doc"`)
			x.link.SetHook(func(_, at string) error {
				if at == path+"!" {
					return errors.New("lost")
				}
				return nil
			})
			c := x.upgradeAtB(p)
			defer c.Kill()
			if path == pathTaken {
				x.b.until("it has moved", func() bool { return x.b.gw.Stats.MovedIn.Load() == 1 })
				x.a.push("e", 1, room)
				event(t, c, `["e",1]`)
				return
			}
			if m, err := c.Message(); err == nil {
				t.Errorf("the socket got %q", m.Data)
			}
			x.a.until("the owner has it", func() bool { return x.a.tombstones() == 0 })
			x.a.push("e", 1, room)
			if got := x.a.poll(p); got != `42["e",1]` {
				t.Errorf("polled %s", got)
			}
		})
	}
}

// TestOwnerDiesInAMove has the owner die before and after the new node has the session.
func TestOwnerDiesInAMove(t *testing.T) {
	t.Run("before", func(t *testing.T) {
		x := newCluster(t, netpoll.Auto, nil)
		p := x.a.joinByPolling(`"guid":"doc"`)
		c, err := testnet.Probe(p.Via(x.b.base))
		if err != nil {
			t.Fatal(err)
		}
		x.link.Cut("A")
		began := time.Now()
		if err := c.Text("5"); err != nil {
			t.Fatal(err)
		}
		if m, err := c.Message(); err == nil {
			t.Errorf("the socket got %q", m.Data)
		}
		if _, err := p.Via(x.b.base).Poll(t.Context()); !unknownSession(err) {
			t.Errorf("the next poll: %v", err)
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("that took %v", d)
		}
	})
	t.Run("after", func(t *testing.T) {
		x := newCluster(t, netpoll.Auto, nil)
		p := x.a.joinByPolling(`"guid":"doc"`)
		c, _ := x.upgradeAt(x.b, p)
		x.b.until("it has moved", func() bool { return x.b.gw.Stats.MovedIn.Load() == 1 })
		x.link.Cut("A")
		x.b.push("e", 1, room)
		event(t, c, `["e",1]`)
		if err := c.Text(`42["say"]`); err != nil {
			t.Fatal(err)
		}
		if up := x.b.up(message.EventMessage); up.Client.Node != "B" {
			t.Errorf("the event says %+v", up.Client)
		}
	})
}

// TestSocketDiesInAMove has the client's socket go in each step of a move.
func TestSocketDiesInAMove(t *testing.T) {
	t.Run("after the probe", func(t *testing.T) {
		x := newCluster(t, netpoll.Auto, nil)
		p := x.a.joinByPolling(`"guid":"doc"`)
		c, err := testnet.Probe(p.Via(x.b.base))
		if err != nil {
			t.Fatal(err)
		}
		c.Kill()
		x.a.until("the attempt is over", func() bool {
			visits := 0
			x.a.onShards(func(sh *shard) { visits += len(sh.away.visited) })
			return visits == 0
		})
		x.a.push("e", 1, room)
		if got := x.a.poll(p); got != `42["e",1]` {
			t.Errorf("polled %s", got)
		}
	})
	t.Run("while the session is on its way", func(t *testing.T) {
		x := newCluster(t, netpoll.Auto, nil)
		p := x.a.joinByPolling(`"guid":"doc"`)
		reached, goOn := make(chan struct{}), make(chan struct{})
		x.link.SetHook(func(_, path string) error {
			if path == pathTaken {
				close(reached)
				<-goOn
			}
			return nil
		})
		c := x.upgradeAtB(p)
		<-reached
		c.Kill()
		close(goOn)
		if up := x.b.up(message.EventDisconnect); up.Reason != "transport close" || up.Client.Node != "B" {
			t.Errorf("it left for %s from %s", up.Reason, up.Client.Node)
		}
		x.a.until("nothing is left", func() bool {
			return x.a.tombstones() == 0 && x.a.gw.Stats.Sessions.Load()+x.b.gw.Stats.Sessions.Load() == 0
		})
	})
}

// TestCallsDuringAMove addresses a client, alone and by its room, while its session is
// frozen: each call reaches it, where it is then.
func TestCallsDuringAMove(t *testing.T) {
	for _, moves := range []bool{true, false} {
		t.Run(fmt.Sprintf("moves %v", moves), func(t *testing.T) {
			x := newCluster(t, netpoll.Auto, nil)
			p := x.a.joinByPolling(`"guid":"doc"`)
			id := x.a.up(message.EventConnect).Client.ID
			reached, goOn := make(chan struct{}, 100), make(chan struct{})
			x.link.SetHook(func(_, path string) error {
				if path != pathTaken {
					return nil
				}
				reached <- struct{}{}
				<-goOn
				if !moves {
					return errors.New("broken")
				}
				return nil
			})
			c := x.upgradeAtB(p)
			defer c.Kill()
			<-reached
			var calls []*testnet.Call
			for _, d := range []*message.Down{
				{Join: &message.Membership{To: message.ClientKey("/", id), Rooms: []string{"x"}}},
				{Join: &message.Membership{To: room, Rooms: []string{"y"}}},
				{Join: &message.Membership{To: message.AllKey("/"), Rooms: []string{"z"}}},
				{Ack: &message.Ack{Client: id, AckID: 5, Payload: message.Payload{JSON: []byte(`[1]`)}}},
			} {
				call, err := x.a.bus.Call("A", d)
				if err != nil {
					t.Fatal(err)
				}
				calls = append(calls, call)
			}
			x.a.until("the calls wait", func() bool {
				n := 0
				x.a.onShards(func(sh *shard) {
					for d := range sh.away.frozen {
						n += len(d.frozen.errands)
					}
				})
				return n == 4
			})
			x.a.push("e", 1, room)
			close(goOn)
			for _, call := range calls[:3] {
				if replies := x.a.answered(call); replies[len(replies)-1].Clients != 1 {
					t.Errorf("answered %+v", replies)
				}
			}
			node := "A"
			if moves {
				node = "B"
			}
			for _, name := range []string{"x", "y", "z", "doc"} {
				x.a.until("room "+name+" is where the client is", func() bool {
					nodes := x.a.reg.Nodes(message.RoomKey("/", name))
					return len(nodes) == 1 && nodes[0] == node
				})
			}
			want := map[string]bool{`42["e",1]`: true, `435[1]`: true}
			for len(want) > 0 {
				if moves {
					m, err := c.Message()
					if err != nil {
						t.Fatalf("%v, waiting for %v", err, want)
					}
					delete(want, string(m.Data))
					continue
				}
				for _, text := range strings.Split(x.a.poll(p), " ") {
					delete(want, text)
				}
			}
		})
	}
}

// TestMoveGarbage asks the owner for what no node asks.
func TestMoveGarbage(t *testing.T) {
	x := newCluster(t, netpoll.Auto, nil)
	p := x.a.joinByPolling(`"guid":"doc"`)
	sid := p.Open.SID
	post := func(path, body string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := x.link.Do("A", r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	known := fmt.Sprintf(`{"SID":%q,"ID":"x","Node":"B"}`, sid)
	for _, tt := range []struct {
		path, body string
		want       int
	}{
		{pathProbe, "", 400},
		{pathProbe, "[]", 400},
		{pathProbe, `{"SID":"A"}`, 404},
		{pathProbe, fmt.Sprintf(`{"SID":%q}`, sid[:11]+"xxxxxxxxxxxx"), 404}, // the public part alone is no key
		{pathPing, known, 409},
		{pathTake, known, 409},
		{pathTake, `{"SID":"A"}`, 409},
		{pathTaken, known, 410},
		{pathLeave, known, 200},
		{pathGone, known, 200},
		{pathAck, known, 410},
		{pathCall, `{}`, 200},
		{pathProbe, known, 200},
		{pathProbe, known, 409}, // one at a time
		{pathTake, known, 409},  // before its 2probe
		{pathTaken, known, 410},
		{pathPing, strings.Replace(known, `"x"`, `"y"`, 1), 409}, // not this one's attempt
		{pathPing, known, 200},
		{pathPing, known, 409}, // twice: the attempt is over
		{pathLeave, known, 200},
	} {
		if got := post(tt.path, tt.body); got != tt.want {
			t.Errorf("%s %s: %d, want %d", tt.path, tt.body, got, tt.want)
		}
	}
	// A node that goes silent after its probe holds nobody up.
	if got := post(pathProbe, known); got != 200 {
		t.Errorf("a probe: %d", got)
	}
	x.a.push("e", 1, room)
	if got := x.a.poll(p); got != `42["e",1]` {
		t.Errorf("polled %s", got)
	}
}

// TestLostGone loses what a node says when a session ends that it has taken over. The
// tombstone goes all the same, a while later: the session's node is asked. Those of
// sessions that live stay.
func TestLostGone(t *testing.T) {
	for _, how := range []string{"the session ends", "its node begins anew"} {
		t.Run(how, func(t *testing.T) {
			x := newCluster(t, netpoll.Auto, nil)
			var asked atomic.Int32
			x.link.SetHook(func(_, at string) error {
				switch at {
				case pathGone:
					return errors.New("lost")
				case pathLook + "!":
					asked.Add(1)
				}
				return nil
			})
			// One whose session lives on, and one whose session ends.
			lives, _ := x.upgradeAt(x.b, x.a.joinByPolling(`"guid":"doc"`))
			ends, _ := x.upgradeAt(x.b, x.a.joinByPolling(`"guid":"doc"`))
			x.b.until("both have moved", func() bool { return x.b.gw.Stats.MovedIn.Load() == 2 })
			look := func() {
				before := asked.Load()
				x.a.onShards(func(sh *shard) {
					sh.away.checkAt = 0
					for _, d := range sh.away.bySession {
						d.lookAt = 0
					}
				})
				x.a.until("its node is asked", func() bool { return asked.Load() > before })
			}
			look()
			if n := x.a.tombstones(); n != 2 {
				t.Errorf("%d tombstones of two sessions that live", n)
			}
			left := 1
			if how == "the session ends" {
				ends.Kill()
				x.b.until("it has ended", func() bool { return x.b.gw.Stats.Sessions.Load() == 1 })
			} else {
				left = 0
				x.link.Cut("B")
				x.b.stop()
				x.more = append(x.more, x.node("B"))
			}
			look()
			x.a.until("its tombstone has gone", func() bool { return x.a.tombstones() == left })
			if how == "the session ends" {
				look()
				x.b.push("e", 1, room)
				event(t, lives, `["e",1]`)
				if n := x.a.tombstones(); n != 1 {
					t.Errorf("%d tombstones of one session that lives", n)
				}
				x.link.SetHook(nil)
				lives.Kill()
				x.a.until("nothing is left", func() bool { return x.a.tombstones() == 0 })
			}
		})
	}
}
