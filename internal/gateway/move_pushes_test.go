package gateway

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/testnet"
	"holdfast/socketio"
)

// mover is a client that moves from A to B while pushes come that no log keeps: one that
// asks for an acknowledgement, and one that does not.
type mover struct {
	*cluster
	t      *testing.T
	id     string
	p      *testnet.Poller
	me     listener
	others uint32 // who are asked as well
	asking *message.Push
	silent *message.Push
	calls  []*testnet.Call
}

// listener is a client that answers what it is asked, and counts its events by name.
type listener struct {
	t *testing.T
	c *testnet.Client

	mu  sync.Mutex
	got map[string]int
}

func newMover(t *testing.T) *mover {
	m := &mover{cluster: newCluster(t, netpoll.Auto, nil), t: t, me: listener{t: t, got: map[string]int{}}}
	m.p = m.a.joinByPolling(`"guid":"doc"`)
	m.id = m.a.up(message.EventConnect).Client.ID
	m.asking, m.silent = m.a.newPush("ask", 1, room), m.a.newPush("e", 2, room)
	return m
}

// send brings both pushes to a node.
func (m *mover) send(node string) {
	m.t.Helper()
	stamps := []message.Stamp{{Key: room}}
	if err := m.a.bus.Send(node, &message.Down{Push: &message.Delivery{Push: m.silent, Stamps: stamps}}); err != nil {
		m.t.Fatal(err)
	}
	call, err := m.a.bus.Call(node, &message.Down{
		Push: &message.Delivery{Push: m.asking, Stamps: stamps, WantAcks: true}, Expires: time.Now().Add(patience),
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.calls = append(m.calls, call)
}

// upgrade has the client go to B; it answers what it is asked there.
func (m *mover) upgrade() {
	m.t.Helper()
	c, rest := m.upgradeAt(m.b, m.p)
	m.me.c = c
	for _, text := range strings.Fields(rest) {
		packet, is := strings.CutPrefix(text, "4")
		if !is {
			continue
		}
		p, err := socketio.Parse([]byte(packet), socketio.Limits{})
		if err != nil {
			m.t.Fatalf("%s: %v", text, err)
		}
		m.me.take(p)
	}
}

func (l *listener) take(p socketio.Packet) (event string) {
	event, _, _ = strings.Cut(strings.TrimPrefix(string(p.Data), `["`), `"`)
	l.mu.Lock()
	l.got[event]++
	l.mu.Unlock()
	if p.HasID {
		if err := l.c.Text(fmt.Sprintf(`43%d["yes"]`, p.ID)); err != nil {
			l.t.Error(err)
		}
	}
	return event
}

// read takes what comes until the last event.
func (l *listener) read() {
	for {
		p, err := l.c.Packet()
		if err != nil {
			l.t.Errorf("a client reads: %v", err)
			return
		}
		if l.take(p) == "last" {
			return
		}
	}
}

func (l *listener) has(event string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.got[event]
}

func (m *mover) moved() {
	m.t.Helper()
	m.b.until("it has moved", func() bool { return m.b.gw.Stats.MovedIn.Load() == 1 })
}

// joinedByOthers has clients in the room on B, one at least on the shard to which the
// client will come, so that it has somebody to ask before.
func (m *mover) joinedByOthers() {
	m.t.Helper()
	var reading sync.WaitGroup
	m.t.Cleanup(reading.Wait)
	for there := false; !there; m.others++ {
		c, id := m.b.join(`"guid":"doc"`)
		reading.Go((&listener{t: m.t, c: c, got: map[string]int{}}).read)
		there = m.b.gw.shardOf(id.SID) == m.b.gw.shardOf(m.id)
	}
}

// still holds the shards of a node until the returned function is called, and says how
// many tasks wait on each.
func (m *mover) still(w *world) (goOn func(), waiting func() int) {
	held := make(chan struct{})
	for _, sh := range w.gw.shards {
		reached := make(chan struct{})
		sh.inbox.post(func() { close(reached); <-held })
		<-reached
	}
	waiting = func() (n int) {
		for _, sh := range w.gw.shards {
			sh.inbox.mu.Lock()
			n += len(sh.inbox.tasks)
			sh.inbox.mu.Unlock()
		}
		return n
	}
	goOn = sync.OnceFunc(func() { close(held) })
	m.t.Cleanup(goOn)
	return goOn, waiting
}

// hold has the next request of a path wait, before it is sent (or answered, with a !).
func (m *mover) hold(path string) (reached chan struct{}, goOn func()) {
	reached, wait := make(chan struct{}), make(chan struct{})
	var once sync.Once
	m.link.SetHook(func(_, at string) error {
		if at == path {
			once.Do(func() { close(reached) })
			<-wait
		}
		return nil
	})
	goOn = sync.OnceFunc(func() { close(wait) })
	m.t.Cleanup(goOn)
	return reached, goOn
}

// shards is how many a node of the cluster has.
const shards = 2

// sendBeforeFreeze has the pushes lie before the freeze, in the inboxes of A's shards, which
// go on when the returned function is called.
func (m *mover) sendBeforeFreeze() (goOn func()) {
	reached, take := m.hold(pathTake)
	m.upgrade()
	<-reached
	goOn, waiting := m.still(m.a)
	m.send("A")
	take()
	m.a.until("the freeze comes behind it", func() bool { return waiting() == 2*shards+1 })
	return goOn
}

// TestPushInEachStageOfAMove plants a push that asks for an acknowledgement, and one that
// does not, in each stage of a move, at the nodes that whoever pushes may know then: the
// client gets each once, is asked once, and its answer arrives.
func TestPushInEachStageOfAMove(t *testing.T) {
	for _, stage := range []struct {
		name string
		plan func(m *mover)
	}{
		{"before it, old", func(m *mover) {
			m.send("A")
			m.upgrade()
		}},
		{"before it, old; after it, new", func(m *mover) {
			m.send("A")
			m.upgrade()
			m.moved()
			m.send("B")
		}},
		{"in the turn of the freeze, old", func(m *mover) {
			m.sendBeforeFreeze()()
		}},
		{"in the turn of the freeze, old; frozen, new", func(m *mover) {
			goOn := m.sendBeforeFreeze()
			m.a.reg.Gate.Shut()
			goOn()
			m.b.until("it arrives", func() bool { return m.arriving() == 1 })
			m.send("B")
			m.a.reg.Gate.Open()
		}},
		{"frozen, old", func(m *mover) {
			reached, answer := m.hold(pathTake + "!")
			m.upgrade()
			<-reached
			m.send("A")
			answer()
		}},
		{"frozen, both", func(m *mover) {
			m.a.reg.Gate.Shut()
			m.upgrade()
			m.b.until("it arrives", func() bool { return m.arriving() == 1 })
			m.send("B")
			m.send("A")
			m.a.reg.Gate.Open()
		}},
		{"in the turn in which it arrives, both", func(m *mover) {
			m.joinedByOthers()
			reached, answer := m.hold(pathTake + "!")
			m.upgrade()
			<-reached
			m.send("A")
			goOn, waiting := m.still(m.b)
			m.send("B")
			answer()
			m.b.until("it comes behind the push", func() bool { return waiting() == 2*shards+1 })
			goOn()
		}},
		{"confirmed, both", func(m *mover) {
			reached, confirm := m.hold(pathTaken + "!")
			m.upgrade()
			<-reached
			m.send("A")
			m.send("B")
			confirm()
		}},
		{"just after it, old", func(m *mover) {
			m.upgrade()
			m.moved()
			m.send("A")
		}},
		{"just after it, both", func(m *mover) {
			m.upgrade()
			m.moved()
			m.send("B")
			m.send("A")
		}},
	} {
		t.Run(stage.name, func(t *testing.T) {
			m := newMover(t)
			stage.plan(m)
			var read sync.WaitGroup
			read.Go(m.me.read)
			m.moved()
			var asked, answered uint32
			for _, call := range m.calls {
				for _, r := range m.a.answered(call) {
					if r.Ack != nil && r.Ack.Client == m.id {
						answered++
					}
					if r.Done {
						asked += r.Clients
					}
				}
			}
			if asked != 1+m.others || answered != 1 {
				t.Errorf("%d were asked, and the client has answered %d times", asked, answered)
			}
			m.b.until("the one that asks for nothing is there", func() bool { return m.me.has("e") > 0 })
			m.a.push("last", 3, room)
			read.Wait()
			if m.me.has("ask") != 1 || m.me.has("e") != 1 {
				t.Errorf("the client had %v", m.me.got)
			}
		})
	}
}

func (m *mover) arriving() (n int) {
	m.b.onShards(func(sh *shard) { n += sh.away.arriving })
	return n
}
