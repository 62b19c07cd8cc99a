package gateway

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/session"
	"holdfast/internal/testnet"
)

// tally counts observations by stage.
type tally struct {
	mu sync.Mutex
	n  map[Stage]int
	at map[Stage]time.Duration // the longest
}

func (y *tally) observer() Observer {
	return Observer{Stage: func(s Stage, took time.Duration) {
		y.mu.Lock()
		defer y.mu.Unlock()
		if y.n == nil {
			y.n, y.at = make(map[Stage]int), make(map[Stage]time.Duration)
		}
		y.n[s]++
		y.at[s] = max(y.at[s], took)
	}}
}

func (y *tally) count(s Stage) int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.n[s]
}

// TestStagesAreObservedPerMessage has a push to many sockets observed once for the
// node and once for each shard with receivers, and an event once.
func TestStagesAreObservedPerMessage(t *testing.T) {
	var seen tally
	w := newWorld(t, netpoll.Auto, func(c *Config) { c.Shards, c.Observe = 1, seen.observer() })
	var clients []*testnet.Client
	for range 5 {
		c, _ := w.join(`"guid":"doc"`)
		clients = append(clients, c)
	}
	connects := len(clients)
	for i := range 3 {
		p := w.newPush("e", i, room)
		sent := time.Now().Add(-time.Second)
		d := &message.Delivery{Push: p, Stamps: w.log.Append(p), Pushed: sent}
		if err := w.bus.Send("n1", &message.Down{Push: d}); err != nil {
			t.Fatal(err)
		}
		for _, c := range clients {
			event(t, c, fmt.Sprintf(`["e",%d]`, i))
		}
	}
	if err := clients[0].Text(`42["say"]`); err != nil {
		t.Fatal(err)
	}
	w.until("all is observed", func() bool {
		return seen.count(Arrived) == 3 && seen.count(Written) == 3 && seen.count(Enqueued) == connects+1
	})
	seen.mu.Lock()
	took := seen.at[Arrived]
	seen.mu.Unlock()
	if took < time.Second || took > patience {
		t.Errorf("a push sent a second ago arrived after %v", took)
	}
}

// TestKindsFollowTheTransport counts a client where it is: on polling, then on the
// WebSocket, then nowhere.
func TestKindsFollowTheTransport(t *testing.T) {
	var s Stats
	var c conn
	cfg := session.Config{}.WithDefaults()
	c.session.Init(&cfg, session.Hello{ID: "s", Version: 4, Transport: session.Polling}, 0, &session.Actions{})
	check := func(when string, polling, webSocket int64) {
		t.Helper()
		for _, k := range s.Kinds() {
			want := int64(0)
			switch {
			case k.Protocol == "socket.io/5" && k.Transport == "polling":
				want = polling
			case k.Protocol == "socket.io/5":
				want = webSocket
			}
			if k.Clients != want {
				t.Errorf("%s: %+v, want %d", when, k, want)
			}
		}
		if n := s.Clients.Load(); n != polling+webSocket {
			t.Errorf("%s: %d clients", when, n)
		}
	}
	s.count(&c.session, 1)
	check("after a CONNECT", 1, 0)
	c.session.Probe([]byte("2probe"), 0)
	if c.session.Probe([]byte("5"), 0) != session.ProbeUpgraded {
		t.Fatal("the session is not upgraded")
	}
	s.upgraded(&c.session)
	check("after the upgrade", 0, 1)
	s.count(&c.session, -1)
	check("after the end", 0, 0)
}

// TestQueuesShowWhatWaits looks at a node whose registry does not answer.
func TestQueuesShowWhatWaits(t *testing.T) {
	w := newWorld(t, netpoll.Auto, func(c *Config) { c.Shards = 1 })
	w.join(`"guid":"doc"`)
	if q := w.gw.Queues(); q.Inboxes[0].MaxItems == 0 || q.Backlogs[0].MaxBytes == 0 || q.Registrar.MaxItems == 0 {
		t.Errorf("bounds are missing: %+v", q)
	}
	w.reg.Gate.Shut()
	// One batch is being carried out, and what comes meanwhile waits. How many come in time
	// for that batch is for the scheduler to say, so people come until somebody waits.
	w.until("the registrar has something to do", func() bool {
		if w.gw.Queues().Registrar.Items == 0 {
			if err := w.dial().Text(`40{"guid":"doc"}`); err != nil {
				t.Fatal(err)
			}
		}
		return w.gw.Queues().Registrar.Items > 0
	})
	w.reg.Gate.Open()
	w.until("it is done", func() bool { return w.gw.Queues().Registrar.Items == 0 })
}

// TestBlockedSocketsAreCounted has a client take nothing until its socket is full, and
// then everything.
func TestBlockedSocketsAreCounted(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, func(c *Config) { c.Session.OutputBytes, c.Session.OutputItems = 256<<20, 1000 })
		c, _ := w.join(`"guid":"doc"`)
		big := message.Payload{JSON: []byte(`["` + strings.Repeat("x", 512<<10) + `"]`)}
		sent := 0
		w.until("the socket is full", func() bool {
			if w.gw.Stats.Blocked.Load() == 0 && sent < 200 {
				p := w.newPush("e", sent, room)
				p.Payload = big
				w.deliver(p, w.log.Append(p))
				sent++
			}
			return w.gw.Stats.Blocked.Load() == 1 && w.gw.Stats.BlockedBytes.Load() > 0
		})
		for range sent {
			event(t, c, `["e","x`)
		}
		w.until("it has taken all", func() bool { return w.gw.Stats.Blocked.Load() == 0 && w.gw.Stats.BlockedBytes.Load() == 0 })
	})
}
