package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// cluster is a world with several ws-apis, each of which consumes some sessions.
type cluster struct {
	*world
	t   *testing.T
	all []*member

	mu   sync.Mutex
	lose func(word *message.Peer) bool // nil: no word is lost
	told map[string]message.Member     // by those that live
	away error                         // of the list of members
}

// member is one ws-api, and its bus.
type member struct {
	*world
	*Server
	c    *cluster
	up   chan settling
	stop func()
}

type settling struct {
	up      *message.Up
	settled func()
}

var (
	_ SettlingBus = (*member)(nil)
	_ PeerBus     = (*member)(nil)
	_ Members     = (*cluster)(nil)
)

func (m *member) AttachAPI(id string, receive func(*message.Reply)) func() {
	return m.world.AttachAPI(id, receive)
}

func (m *member) Send(ctx context.Context, node string, d *message.Down) error {
	return m.world.Send(ctx, node, d)
}

func (m *member) Consume(context.Context, func(*message.Up)) error {
	return errors.New("the server settles")
}

func (m *member) ConsumeSettled(ctx context.Context, handle func(*message.Up, func())) error {
	for {
		select {
		case e := <-m.up:
			handle(e.up, e.settled)
		case <-ctx.Done():
			return nil
		}
	}
}

// Reply carries what ws-apis tell one another as a bus does.
func (m *member) Reply(to string, r *message.Reply) error {
	if m.c.loses(r.Peer) {
		return nil
	}
	_, headers, body := r.Record()
	r, err := message.ParseReply(headers, body)
	if err != nil {
		return err
	}
	m.world.mu.Lock()
	receive := m.world.apis[to]
	m.world.mu.Unlock()
	if receive != nil {
		receive(r)
	}
	return nil
}

func (c *cluster) loses(word *message.Peer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lose != nil && c.lose(word)
}

// losing lets those words be lost from now on for which lose is true.
func (c *cluster) losing(lose func(word *message.Peer) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lose = lose
}

func (c *cluster) Beat(_ context.Context, self message.Member) (out []message.Member, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away != nil {
		return nil, c.away
	}
	c.told[self.ID] = self
	for id, m := range c.told {
		if id != self.ID {
			out = append(out, m)
		}
	}
	return out, nil
}

func (c *cluster) Leave(_ context.Context, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.told, id)
	return nil
}

func newCluster(t *testing.T, n int, limits Limits) *cluster {
	c := &cluster{world: newWorld(t), t: t, told: make(map[string]message.Member)}
	for range n {
		c.run(limits)
	}
	return c
}

// run starts one more ws-api.
func (c *cluster) run(limits Limits) *member {
	m := &member{world: c.world, c: c, up: make(chan settling, 1000)}
	var err error
	m.Server, err = New(Config{
		ID: fmt.Sprint("api-", len(c.all)), Registry: c.world, Log: c.world, Bus: m, Members: c, Limits: limits,
		Rules: []Rule{{Event: "*", Ack: AckBackend}}, Logger: slog.New(slog.NewTextHandler(testWriter{c.t}, nil)),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Errorf("Run: %v", err)
		}
	})
	c.t.Cleanup(m.stop)
	c.all = append(c.all, m)
	synctest.Wait()
	return m
}

// kill lets a ws-api die: nobody hears of it any more.
func (c *cluster) kill(m *member) {
	c.mu.Lock()
	delete(c.told, m.Server.cfg.ID)
	c.mu.Unlock()
	c.world.mu.Lock()
	delete(c.world.apis, m.Server.cfg.ID)
	c.world.mu.Unlock()
	m.peers.beating()
}

// join subscribes at a ws-api, as Subscribe does.
func (m *member) join(group string, inFlight int) *consumer {
	m.c.t.Helper()
	c, version, err := m.groups.join(group, filter{types: [4]bool{true, true, true, true}}, inFlight)
	if err != nil {
		m.c.t.Fatal(err)
	}
	m.peers.await(m.c.t.Context(), version)
	return c
}

// emit lets an event be consumed, and returns what tells whether it is settled.
func (m *member) emit(c *message.Client, name string, ackID uint64) (settled func() bool) {
	done := make(chan struct{})
	m.up <- settling{m.event(c, name, "[]", ackID), func() { close(done) }}
	synctest.Wait()
	return func() bool {
		synctest.Wait()
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

// given takes what a consumer gets, "name/attempt …".
func given(c *consumer) string {
	synctest.Wait()
	var out []string
	for _, d := range c.take() {
		out = append(out, fmt.Sprint(d.ev.up.Name, "/", d.attempt))
	}
	return strings.Join(out, " ")
}

// acknowledge does what a stream does with an acknowledgement.
func (m *member) acknowledge(c *consumer, id string, reply *pb.EventReply) {
	m.c.t.Helper()
	en := c.ack(id)
	switch {
	case en == nil:
		m.c.t.Errorf("%s is not held", id)
		return
	case en.origin != "":
		m.passOn(en, reply)
	case reply != nil:
		(&eventService{m.Server}).carryOut(m.c.t.Context(), en.ev, reply)
	}
	c.done(en)
	synctest.Wait()
}

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
