package api

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
)

func TestGroupsAreOfAllAPIs(t *testing.T) {
	tests := []struct {
		name string
		run  func(t *testing.T, c *cluster)
	}{
		{"consumers at another one", elsewhere},
		{"each event goes to one", shared},
		{"a consumer leaves", leaves},
		{"a consumer does not answer", unanswered},
		{"a ws-api dies", dies},
		{"a ws-api stops", stops},
		{"the group of a stream", ofAStream},
		{"a group lingers", lingers},
		{"a word is lost", wordLost},
		{"the newest choice holds", newestChoice},
		{"credit is shared", credit},
		{"members are not known for a while", unknownFor},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.run(t, newCluster(t, 2, Limits{}))
			})
		})
	}
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// elsewhere: the events of a session come one at a time, and its ws-api carries replies
// out and answers the client.
func elsewhere(t *testing.T, c *cluster) {
	a, b := c.all[0], c.all[1]
	ann, bob := c.add("n1", "ann1", "ann"), c.add("n1", "bob1", "bob")
	x := b.join("g", 10)
	first, second := a.emit(ann, "a1", 1), a.emit(ann, "a2", 0)
	a.emit(bob, "b1", 0)
	expect(t, "given", given(x), "a1/1 b1/1")
	if first() {
		t.Error("settled before it was acknowledged")
	}
	b.acknowledge(x, "ev-ann1-a1-1", &pb.EventReply{
		Ack: &pb.Payload{Json: `["done"]`}, JoinRooms: []string{"team"}, Pushes: []*pb.PushRequest{{Targets: room("team"), Event: "note"}},
	})
	want := "n1 join c:/,ann1 [team]\nn1 push note [] to r:/,team@1001<0\nn1 ack ann1 1 [\"done\"]\n"
	expect(t, "records", describe(c.sent()), want)
	expect(t, "then", given(x), "a2/1")
	b.acknowledge(x, "ev-ann1-a2-0", nil)
	if !first() || !second() {
		t.Error("not settled though acknowledged")
	}
	if st := a.Stats(); st.GroupGiven != 3 || st.GroupWaiting != 1 || st.Peers != 1 {
		t.Errorf("%+v", st)
	}
	// Nobody reads this: the client is told so by one ws-api.
	b.groups.leave(x)
	<-time.After(2 * time.Minute)
	c.forget()
	a.emit(ann, "late", 7)
	expect(t, "records", describe(c.sent()), `n1 ack ann1 7 [{"error":{"code":"UNAVAILABLE","message":"no backend is subscribed to this event"}}]`+"\n")
}

// shared: a consumer at the session's ws-api is preferred while it has credit, then the
// others help.
func shared(t *testing.T, c *cluster) {
	a, b := c.all[0], c.all[1]
	x, y := a.join("g", 2), b.join("g", 4)
	for i := range 6 {
		a.emit(c.add("n1", fmt.Sprint("c", i), ""), fmt.Sprint("e", i), 0)
	}
	expect(t, "here", given(x), "e0/1 e1/1")
	expect(t, "there", given(y), "e2/1 e3/1") // the half of its credit
	a.acknowledge(x, "ev-c0-e0-0", nil)
	b.acknowledge(y, "ev-c2-e2-0", nil)
	expect(t, "here", given(x), "e4/1")
	expect(t, "there", given(y), "e5/1")
}

func leaves(t *testing.T, c *cluster) {
	a, b := c.all[0], c.all[1]
	ann := c.add("n1", "ann1", "ann")
	x := b.join("g", 4)
	settled := a.emit(ann, "e", 0)
	expect(t, "given", given(x), "e/1")
	b.groups.leave(x)
	if synctest.Wait(); settled() {
		t.Error("settled though nobody has acknowledged it")
	}
	y := a.join("g", 1)
	expect(t, "given again", given(y), "e/2")
	if x.ack("ev-ann1-e-0") != nil {
		t.Error("the one that has left may still acknowledge")
	}
	a.acknowledge(y, "ev-ann1-e-0", nil)
	if !settled() {
		t.Error("not settled")
	}
}

func unanswered(t *testing.T, c *cluster) {
	a, b := c.all[0], c.all[1]
	ann := c.add("n1", "ann1", "ann")
	x, y := b.join("g", 4), b.join("g", 4)
	a.emit(ann, "e", 0)
	expect(t, "given", given(x)+given(y), "e/1")
	<-time.After(29 * time.Second)
	expect(t, "too early", given(x)+given(y), "")
	<-time.After(3 * time.Second)
	if got := given(x) + given(y); got != "e/2" {
		t.Errorf("after the deadline: %q", got)
	}
}

func dies(t *testing.T, c *cluster) {
	a, b := c.all[0], c.all[1]
	ann, bob := c.add("n1", "ann1", "ann"), c.add("n1", "bob1", "bob")
	x, y := b.join("g", 4), a.join("g", 1)
	a.emit(bob, "b", 0)
	expect(t, "here", given(y), "b/1")
	settled := a.emit(ann, "e", 0)
	expect(t, "there", given(x), "e/1")
	c.kill(b)
	<-time.After(2 * time.Second)
	a.acknowledge(y, "ev-bob1-b-0", nil)
	expect(t, "again", given(y), "e/2")
	a.acknowledge(y, "ev-ann1-e-0", nil)
	if !settled() {
		t.Error("not settled")
	}
}

func stops(t *testing.T, c *cluster) {
	a, b := c.all[0], c.all[1]
	ann := c.add("n1", "ann1", "ann")
	x := b.join("g", 4)
	a.emit(ann, "e", 0)
	expect(t, "there", given(x), "e/1")
	b.stop()
	y := a.join("g", 1)
	expect(t, "again", given(y), "e/2")
	if n := a.Stats().Peers; n != 0 {
		t.Errorf("%d others", n)
	}
}

func ofAStream(t *testing.T, c *cluster) {
	a, b := c.all[0], c.all[1]
	ann := c.add("n1", "ann1", "ann")
	x, y := b.join("", 4), a.join("", 4)
	a.emit(ann, "e", 0)
	expect(t, "there", given(x), "e/1")
	expect(t, "here", given(y), "e/1")
	b.groups.leave(x)
	a.groups.leave(y)
	synctest.Wait()
	for _, m := range c.all {
		if st := m.Stats(); st.Groups != 0 || st.GroupWaiting != 0 {
			t.Errorf("left are %d groups with %d events", st.Groups, st.GroupWaiting)
		}
	}
}

func lingers(t *testing.T, c *cluster) {
	a, b := c.all[0], c.all[1]
	ann := c.add("n1", "ann1", "ann")
	b.groups.leave(b.join("g", 4))
	<-time.After(20 * time.Second)
	b.stop()
	// One that starts now has to know that there is a group.
	z := c.run(Limits{})
	a.emit(ann, "e1", 0)
	z.emit(c.add("n1", "bob1", ""), "e2", 0)
	<-time.After(20 * time.Second)
	x := z.join("g", 4)
	if got := strings.Fields(given(x)); len(got) != 2 || !slices.Contains(got, "e1/1") || !slices.Contains(got, "e2/1") {
		t.Errorf("who comes back gets %q", got)
	}
	z.groups.leave(x)
	<-time.After(70 * time.Second)
	for _, m := range []*member{a, z} {
		if st := m.Stats(); st.Groups != 0 {
			t.Errorf("%d groups are left", st.Groups)
		}
	}
}

func wordLost(t *testing.T, c *cluster) {
	a, b := c.all[0], c.all[1]
	ann := c.add("n1", "ann1", "ann")
	x := b.join("g", 4)
	c.losing(func(w *message.Peer) bool { return w.Kind == message.PeerGive })
	settled := a.emit(ann, "e", 0)
	expect(t, "given", given(x), "")
	c.losing(nil)
	<-time.After(guestWait + 30*time.Second + peerGrace + 2*time.Second)
	expect(t, "given later", given(x), "e/2")
	c.losing(func(w *message.Peer) bool { return w.Kind == message.PeerTook })
	b.acknowledge(x, "ev-ann1-e-0", nil)
	c.losing(nil)
	<-time.After(guestWait + 30*time.Second + peerGrace + 2*time.Second)
	expect(t, "given for want of an answer", given(x), "e/3")
	b.acknowledge(x, "ev-ann1-e-0", nil)
	if !settled() {
		t.Error("not settled")
	}
}

func newestChoice(t *testing.T, c *cluster) {
	a, b := c.all[0], c.all[1]
	ann := c.add("n1", "ann1", "ann")
	x := a.join("g", 10)
	y, version, err := b.groups.join("g", filter{events: []string{"b*"}, types: [4]bool{false, false, true}}, 10)
	if err != nil {
		t.Fatal(err)
	}
	b.peers.await(t.Context(), version)
	a.emit(ann, "a1", 0)
	a.emit(ann, "b1", 0)
	expect(t, "here", given(x)+given(y), "b1/1")
}

func credit(t *testing.T, c *cluster) {
	a, b := c.all[0], c.all[1]
	x := b.join("g", 1)
	z := c.run(Limits{})
	// Both may give to the one, which has them one after the other.
	a.emit(c.add("n1", "ann1", ""), "e1", 0)
	z.emit(c.add("n1", "bob1", ""), "e2", 0)
	expect(t, "first", given(x), "e1/1")
	b.acknowledge(x, "ev-ann1-e1-0", nil)
	expect(t, "second", given(x), "e2/1")
	a.emit(c.add("n1", "cat1", ""), "e3", 0)
	<-time.After(guestWait + 2*time.Second) // it goes back, and nobody else has room
	expect(t, "still", given(x), "")
	b.acknowledge(x, "ev-bob1-e2-0", nil)
	<-time.After(2 * time.Second)
	expect(t, "third", given(x), "e3/1")
}

func unknownFor(t *testing.T, c *cluster) {
	a, b := c.all[0], c.all[1]
	c.mu.Lock()
	c.away = errors.New("away")
	c.mu.Unlock()
	began := time.Now()
	x := b.join("g", 4)
	if took := time.Since(began); took != joinWait {
		t.Errorf("a subscriber waits for %v", took)
	}
	c.mu.Lock()
	c.away = nil
	c.mu.Unlock()
	<-time.After(2 * peerBeat)
	a.emit(c.add("n1", "ann1", ""), "e", 0)
	expect(t, "given", given(x), "e/1")
}

// TestGroupsAtRandom lets subscribers come and go at three ws-apis, be slow, and words
// among the ws-apis be lost. No event is given before those of its session that came
// earlier are done with, and none is lost.
func TestGroupsAtRandom(t *testing.T) {
	for seed := range uint64(8) {
		synctest.Test(t, func(t *testing.T) {
			r := &randomGroups{
				T: t, Rand: rand.New(rand.NewPCG(seed, 7)), cluster: newCluster(t, 3, Limits{GroupLinger: time.Hour}),
				next: make(map[string]int), emitted: make(map[string]int), streams: make(map[*consumer]*member),
			}
			for range 400 {
				r.step()
			}
			r.finish()
			if t.Failed() {
				t.Logf("seed %d", seed)
			}
		})
	}
}

type randomGroups struct {
	*testing.T
	*rand.Rand
	*cluster
	mu      sync.Mutex
	next    map[string]int // by session: the first event that is not settled
	emitted map[string]int
	streams map[*consumer]*member
}

func (r *randomGroups) step() {
	switch r.IntN(12) {
	case 0:
		m := r.all[r.IntN(len(r.all))]
		if len(r.streams) < 8 {
			r.streams[m.join("g", 1+r.IntN(4))] = m
		}
	case 1:
		for c, m := range r.streams {
			m.groups.leave(c)
			delete(r.streams, c)
			break
		}
	case 2:
		<-time.After(time.Duration(r.IntN(40)) * time.Second)
	case 3:
		lossy := r.IntN(3) == 0
		dice := rand.New(rand.NewPCG(r.Uint64(), 8))
		r.losing(func(*message.Peer) bool { return lossy && dice.IntN(4) == 0 })
	case 4, 5, 6, 7:
		r.send()
	default:
		r.acknowledgeSome(r.IntN(3))
	}
	synctest.Wait()
}

// send emits one more event of a session, each of which has its ws-api.
func (r *randomGroups) send() {
	n := r.IntN(7)
	session := fmt.Sprint("s", n)
	k := r.emitted[session]
	r.emitted[session]++
	up := r.event(&message.Client{ID: session, Node: "n1", Namespace: "/"}, fmt.Sprint(k), "[]", 0)
	r.all[n%len(r.all)].up <- settling{up, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.next[session] != k {
			r.Errorf("event %d of %s is settled after %d", k, session, r.next[session])
		}
		r.next[session] = k + 1
	}}
}

// acknowledgeSome has the subscribers deal with what they have, save for every n-th.
func (r *randomGroups) acknowledgeSome(leave int) {
	for c, m := range r.streams {
		for _, d := range c.take() {
			session, k := d.ev.up.Client.ID, 0
			fmt.Sscan(d.ev.up.Name, &k)
			r.mu.Lock()
			if k > r.next[session] {
				r.Errorf("event %d of %s is given before %d is done with", k, session, r.next[session])
			}
			r.mu.Unlock()
			if leave > 0 && r.IntN(3) < leave {
				continue
			}
			if en := c.ack(d.ev.up.ID); en != nil {
				if en.origin != "" {
					m.passOn(en, nil)
				}
				c.done(en)
				synctest.Wait()
			}
		}
	}
}

func (r *randomGroups) finish() {
	r.losing(nil)
	r.streams[r.all[0].join("g", 100)] = r.all[0]
	for range 200 {
		r.acknowledgeSome(0)
		<-time.After(time.Second)
	}
	for session, n := range r.emitted {
		if r.next[session] != n {
			r.Errorf("%d of %d events of %s are settled", r.next[session], n, session)
		}
	}
	for _, m := range r.all {
		if st := m.Stats(); st.GroupWaiting != 0 {
			r.Errorf("%d events wait", st.GroupWaiting)
		}
	}
	for c, m := range r.streams {
		m.groups.leave(c)
	}
}
