package gateway

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/testnet"
	"holdfast/socketio"
)

// attempt is one of several connections on which a client comes back.
type attempt struct {
	w   *world
	c   *testnet.Client
	new chan struct{}
	end chan struct{} // closed when the connection is

	mu  sync.Mutex
	sid string // of the CONNECT answer, "" while there is none
	got []string
}

// attempt comes back on a node, whatever comes of it.
func (w *world) attempt(id who, offset string) *attempt {
	a := &attempt{w: w, c: w.dial(), new: make(chan struct{}, 1), end: make(chan struct{})}
	if err := a.c.Text(fmt.Sprintf(`40{"guid":"doc","pid":%q,"offset":%q}`, id.PID, offset)); err != nil {
		w.t.Error(err)
	}
	go func() {
		defer close(a.end)
		for {
			p, err := a.c.Packet()
			if err != nil {
				return
			}
			a.take(&p)
		}
	}()
	return a
}

func (a *attempt) take(p *socketio.Packet) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch p.Type {
	case socketio.Connect:
		var answer who
		fromJSON(a.w.t, p.Data, &answer)
		a.sid = answer.SID
	case socketio.Event:
		var args []any
		fromJSON(a.w.t, p.Data, &args)
		a.got = append(a.got, fmt.Sprintf("%v %v", args[:2]...))
	default:
		a.w.t.Errorf("%v %s", p.Type, p.Data)
	}
	select {
	case a.new <- struct{}{}:
	default:
	}
}

func (a *attempt) has() (sid string, got []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sid, slices.Clone(a.got)
}

// lives tells whether the client is in on this connection.
func (a *attempt) lives() bool {
	select {
	case <-a.end:
		return false
	default:
		sid, _ := a.has()
		return sid != ""
	}
}

// TestTwoComeBackAtOnce has a client come back on two nodes at the same time that do
// not have it: it has given the first attempt up, and a balancer brought the second one
// elsewhere. One of them is the client, the other connection is closed, and nothing is
// counted or told twice.
func TestTwoComeBackAtOnce(t *testing.T) {
	for round := range 30 {
		t.Run(fmt.Sprint(round), func(t *testing.T) { twoComeBack(t, round) })
	}
}

func twoComeBack(t *testing.T, round int) {
	x := newCluster(t, netpoll.Auto, recovering)
	third := x.third()
	old, id := x.a.join(`"guid":"doc"`)
	x.a.push("e", 1, room)
	offset := take(t, old, "e 1")
	x.a.push("e", 2, room)
	x.a.until("it is saved", func() bool {
		_, _, saved := x.a.reg.Left()
		return saved == 1
	})
	if round%3 == 0 {
		old.Kill()
		x.a.until("it has left", func() bool { return x.a.gw.Stats.Clients.Load() == 0 })
	}
	// In two of three rounds neither goes on before both have got as far as asking the old
	// node.
	var both sync.WaitGroup
	both.Add(2)
	if round%3 != 2 {
		var arrived int
		var mu sync.Mutex
		x.link.SetHook(func(node, path string) error {
			if node != "A" || path != pathEvict {
				return nil
			}
			mu.Lock()
			arrived++
			mine := arrived <= 2
			mu.Unlock()
			if mine {
				both.Done()
				both.Wait()
			}
			return nil
		})
	}
	all := []*attempt{x.b.attempt(id, offset), third.attempt(id, offset)}
	won := func() (is []*attempt) {
		for _, a := range all {
			if a.lives() {
				is = append(is, a)
			}
		}
		return is
	}
	clients := func() (n int64) {
		for _, w := range []*world{x.a, x.b, third} {
			n += w.gw.Stats.Clients.Load()
		}
		return n
	}
	x.a.until("one has come back, and the other is closed", func() bool {
		ended := 0
		for _, a := range all {
			select {
			case <-a.end:
				ended++
			default:
			}
		}
		return ended == 1 && len(won()) == 1 && clients() == 1
	})
	winner := won()[0]
	winner.w.push("e", 3, room)
	deadline := time.After(patience)
	for {
		sid, got := winner.has()
		if slices.Contains(got, "e 3") {
			if sid != id.SID || !slices.Equal(got, []string{"e 2", "e 3"}) {
				t.Errorf("the client is %s instead of %s and got %v", sid, id.SID, got)
			}
			break
		}
		select {
		case <-winner.new:
		case <-deadline:
			t.Fatalf("no e 3 in %v", got)
		}
	}
	if info, _ := x.b.reg.Client(id.SID); info == nil || info.Node != winner.w.gw.cfg.Node {
		t.Errorf("the registry has %+v, the client is on %s", info, winner.w.gw.cfg.Node)
	}
	winner.c.Kill()
	<-winner.end
	x.a.until("nobody is left", func() bool { return clients() == 0 })
	inside := false
	var story []string
	for {
		ctx, cancel := testTime()
		up, err := x.a.bus.Up(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		comes := up.Type == message.EventConnect
		story = append(story, fmt.Sprint(up.Type, " of ", up.Client.ID, " on ", up.Client.Node))
		if comes == inside || up.Client.ID != id.SID {
			t.Errorf("while it is in: %t: %v", inside, story)
		}
		if inside = comes; !inside && up.Client.Node == winner.w.gw.cfg.Node {
			break
		}
	}
}
