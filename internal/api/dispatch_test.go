package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
)

// funcBackend is a backend in this process.
type funcBackend func(context.Context, *pb.Event) (*pb.EventReply, *failure)

var _ backend = funcBackend(nil)

func (f funcBackend) handle(ctx context.Context, ev *pb.Event) (*pb.EventReply, *failure) {
	return f(ctx, ev)
}
func (funcBackend) close() {}

// startWith runs a server whose backend "app" is f.
func (w *world) startWith(cfg Config, f funcBackend) *Server {
	w.t.Helper()
	b := BackendConfig{Name: "app", URL: "http://127.0.0.1:1"}
	if len(cfg.Backends) > 0 {
		b = cfg.Backends[0]
		b.Name, b.URL = "app", "http://127.0.0.1:1"
	}
	cfg.Backends = []BackendConfig{b}
	s := w.server(cfg)
	s.backends["app"].backend = f
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	return s
}

func toApp(ack AckMode) []Rule {
	return []Rule{
		{Type: message.EventConnect, Backend: "app"},
		{Type: message.EventDisconnect, Backend: "app"},
		{Event: "*", Backend: "app", Ack: ack},
	}
}

func TestOneSessionAtATimeManySessionsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var mu sync.Mutex
		busy, order := map[string]bool{}, map[string][]string{}
		most, now := 0, 0
		s := w.startWith(Config{Rules: toApp(AckBackend)}, func(_ context.Context, ev *pb.Event) (*pb.EventReply, *failure) {
			id := ev.GetClient().GetId()
			mu.Lock()
			if busy[id] {
				t.Errorf("two events of %s at once", id)
			}
			busy[id] = true
			now++
			most = max(most, now)
			mu.Unlock()
			<-time.After(10 * time.Millisecond) // by the fake clock
			mu.Lock()
			defer mu.Unlock()
			busy[id] = false
			now--
			order[id] = append(order[id], ev.GetEvent())
			// The next event of this session must come after this push.
			return &pb.EventReply{Pushes: []*pb.PushRequest{{Targets: room(id), Event: "after" + ev.GetEvent()}}}, nil
		})
		var cs []*message.Client
		for i := range 30 {
			id := fmt.Sprintf("c%02d", i)
			cs = append(cs, w.add("n1", id, "", id))
		}
		for e := range 10 {
			for _, c := range cs {
				w.emit(c, fmt.Sprint(e), "[]", uint64(e+1))
			}
		}
		<-time.After(10 * time.Second) // by the fake clock
		synctest.Wait()
		for _, c := range cs {
			if got := strings.Join(order[c.ID], ""); got != "0123456789" {
				t.Errorf("%s: %s", c.ID, got)
			}
		}
		if most < 10 {
			t.Errorf("%d sessions at once", most)
		}
		var acks []string
		for _, d := range w.sent() {
			if d.d.Push != nil && d.d.Push.Stamps[0].Key == "r:/,c00" {
				acks = append(acks, d.d.Push.Event)
			}
			if d.d.Ack != nil && d.d.Ack.Client == "c00" {
				acks = append(acks, fmt.Sprint(d.d.Ack.AckID))
			}
		}
		if want := "after0 1 after1 2 after2 3"; !strings.HasPrefix(strings.Join(acks, " "), want) {
			t.Errorf("%v, want it to begin %s", acks, want)
		}
		if st := s.Stats().Backends["app"]; st.Calls != 300 || st.Waiting != 0 || st.InFlight != 0 || st.Bytes != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestFullQueueTellsTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		s := w.startWith(Config{
			Rules:    toApp(AckDurable),
			Backends: []BackendConfig{{QueueItems: 3, MaxConcurrency: 1, Timeout: time.Hour}},
			Limits:   Limits{Drain: time.Hour},
		}, func(context.Context, *pb.Event) (*pb.EventReply, *failure) {
			<-release
			return new(pb.EventReply), nil
		})
		ann := w.add("n1", "ann", "")
		for i := range 5 {
			w.emit(ann, "e", "[]", uint64(i+1))
		}
		synctest.Wait()
		w.connect(w.add("n1", "new", ""), true, "{}")
		for i := range 5 {
			w.disconnect(w.add("n1", fmt.Sprint("gone", i), ""), "transport close")
		}
		synctest.Wait()
		got := describe(w.sent())
		for _, want := range []string{
			"ack ann 1 []\n", "ack ann 2 []\n", "ack ann 3 []\n",
			`ack ann 4 [{"error":{"code":"RESOURCE_EXHAUSTED","message":"too many events are waiting for backend app"}}]`,
			`ack ann 5 [{"error":{"code":"RESOURCE_EXHAUSTED"`,
			`reject new "too many clients are waiting for backend app, try again" {"code":"RESOURCE_EXHAUSTED","retry":true}`,
		} {
			if !strings.Contains(got, want) {
				t.Errorf("no %s in\n%s", want, got)
			}
		}
		st := s.Stats().Backends["app"]
		if st.Refused != 3 || st.Dropped != 2 || st.Waiting != 6 {
			t.Errorf("stats %+v, want 3 refused, 2 dropped, 6 waiting", st)
		}
		close(release)
	})
}

// Many clients go at once: whoever is there is served before them.
func TestMassDisconnectDoesNotFloodTheBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var mu sync.Mutex
		var order []string
		gone, most := 0, 0
		w.startWith(Config{Rules: toApp(AckBackend), Limits: Limits{Drain: time.Hour}}, func(_ context.Context, ev *pb.Event) (*pb.EventReply, *failure) {
			mu.Lock()
			if ev.GetType() == pb.EventType_EVENT_TYPE_DISCONNECT {
				gone++
				most = max(most, gone)
			}
			mu.Unlock()
			<-time.After(10 * time.Millisecond) // by the fake clock
			mu.Lock()
			defer mu.Unlock()
			if ev.GetType() == pb.EventType_EVENT_TYPE_DISCONNECT {
				gone--
			}
			order = append(order, ev.GetType().String())
			return new(pb.EventReply), nil
		})
		for i := range 2000 {
			w.disconnect(w.add("n1", fmt.Sprint("gone", i), ""), "transport close")
		}
		synctest.Wait()
		for i := range 50 {
			w.emit(w.add("n1", fmt.Sprint("here", i), ""), "e", "[]", 1)
		}
		<-time.After(time.Minute) // by the fake clock
		mu.Lock()
		defer mu.Unlock()
		last := 0
		for i, typ := range order {
			if typ == "EVENT_TYPE_MESSAGE" {
				last = i
			}
		}
		if len(order) != 2050 || last > 150 {
			t.Errorf("%d events; the last message came as number %d", len(order), last)
		}
		if most > 64 {
			t.Errorf("%d DISCONNECTs at once", most)
		}
	})
}

func TestRelay(t *testing.T) {
	w := newWorld(t)
	s := w.start(Config{
		Rules: []Rule{
			{Event: "cursor", Relay: RelayOthers, Volatile: true, Collapse: true},
			{Event: "say", Relay: RelayAll},
			{Event: "connect*", Relay: RelayAll},
			{Event: "drop", Drop: true},
		},
	})
	ann := w.add("n1", "ann1", "ann", "doc", "team")
	w.add("n2", "bob1", "bob", "doc")
	w.emit(ann, "cursor", `[{"x":1}]`, 0)
	downs := w.wait("the cursor", has("n2 push cursor [{\"x\":1}] to r:/,doc@0<0\n"))
	p := downs[0].d.Push
	if !p.Volatile || p.CollapseKey != "cursor\x00ann1" || p.Sender != "ann1" || !slices.Equal(p.Filter.ExceptClients, []string{"ann1"}) || p.TraceID != "trace-1" {
		t.Errorf("the push is %+v", p.Push)
	}
	w.forget()
	w.emit(ann, "connect", `[]`, 0)
	w.emit(ann, "drop", `[]`, 9)
	w.emit(ann, "say", `["hi"]`, 3)
	downs = w.wait("the word", has("n2 push say [\"hi\"] to r:/,doc@1001<0\n"))
	if got, want := describe(downs), "n1 ack ann1 3 []\nn1 push say [\"hi\"] to r:/,doc@1001<0 r:/,team@1001<0\nn2 push say [\"hi\"] to r:/,doc@1001<0\n"; got != want {
		t.Errorf("records:\n%swant:\n%s", got, want)
	}
	if p := downs[1].d.Push; p.Filter != nil || p.Volatile || p.ID != "ev-ann1-say-3" {
		t.Errorf("the push is %+v", p.Push)
	}
	if st := s.Stats(); st.EventsDropped != 1 || st.Relayed != 2 {
		t.Errorf("dropped %d, relayed %d", st.EventsDropped, st.Relayed)
	}
	w.forget()
	eleven := w.event(ann, "say", `[]`, 5)
	eleven.Payload.Attachments = make([][]byte, 11)
	w.up <- eleven
	downs = w.wait("the refusal", has(`n1 ack ann1 5 [{"error":{"code":"INVALID_ARGUMENT","message":"11 attachments are more than the 10 that can be sent on"}}]`))
	if len(downs) != 1 {
		t.Errorf("records:\n%s", describe(downs))
	}
	// An event that another ws-api may have had is not put into the log that has it, nor
	// left out of one that does not.
	w.forget()
	again := *w.event(ann, "say", `["hi"]`, 3)
	again.Again, again.Enqueued = true, time.Now()
	w.up <- &again
	w.wait("the word again", has("n2 push say [\"hi\"] to r:/,doc@1001<1000\n"))
	other := *w.event(ann, "say", `["ho"]`, 4)
	other.Again, other.Enqueued = true, time.Now()
	w.mu.Lock()
	w.notFound = message.ErrForgotten
	w.mu.Unlock()
	w.up <- &other
	w.wait("what nobody knows of", has("n2 push say [\"ho\"] to r:/,doc@1002<1001\n"))
	// Of a session one of whose events was not relayed, the later ones were not either.
	w.mu.Lock()
	w.notFound = message.ErrNotFound
	w.mu.Unlock()
	for i, text := range []string{"one", "two"} {
		up := *w.event(ann, "say", fmt.Sprintf(`[%q]`, text), uint64(5+i))
		up.Again, up.Enqueued = true, time.Now()
		w.up <- &up
		w.wait(text, has(fmt.Sprintf("n2 push say [%q] to r:/,doc@%d<%d\n", text, 1003+i, 1002+i)))
	}
	w.mu.Lock()
	if w.finds != 7 { // three times about the first event, for each room about the second and third, not about the last
		t.Errorf("the logs were asked %d times", w.finds)
	}
	w.mu.Unlock()
	// More attachments than stock clients take are not sent on.
	w.forget()
	up := w.emit(w.add("n1", "z", "", "doc"), "other", "[]", 0)
	many := *up
	many.Name, many.WantsAck, many.AckID, many.Payload.Attachments = "say", true, 4, make([][]byte, 11)
	w.up <- &many
	w.wait("the refusal", has(`ack z 4 [{"error":{"code":"INVALID_ARGUMENT"`))
}

// An event is done with for the bus when all have done with it, not before.
func TestSettling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		s := w.startWith(Config{Rules: toApp(AckDurable)}, func(ctx context.Context, _ *pb.Event) (*pb.EventReply, *failure) {
			select {
			case <-release:
			case <-ctx.Done():
			}
			return new(pb.EventReply), nil
		})
		c, _, err := s.groups.join("g", filter{types: [4]bool{true, true, true, true}}, 1)
		if err != nil {
			t.Fatal(err)
		}
		settled := 0
		ann := w.add("n1", "ann", "")
		up := w.event(ann, "e", "[]", 0)
		s.intake.take(up, func() { settled++ })
		synctest.Wait()
		c.done(c.ack(up.ID))
		synctest.Wait()
		if settled != 0 {
			t.Error("settled though the backend is at it")
		}
		close(release)
		synctest.Wait()
		if settled != 1 {
			t.Errorf("settled %d times", settled)
		}
		s.groups.leave(c)
	})
}

func TestBuriedClientsAreTold(t *testing.T) {
	w := newWorld(t)
	r := newRecorder(func(*pb.Event) (*pb.EventReply, error) { return new(pb.EventReply), nil })
	s := w.start(Config{
		Backends: []BackendConfig{{Name: "app", URL: r.serveJSON(t)}},
		Rules:    []Rule{{Type: message.EventDisconnect, Backend: "app"}},
	})
	c := w.add("n1", "ann", "ann", "doc")
	s.Buried([]message.ClientInfo{{Client: *c, Rooms: []string{"doc"}}})
	if ev := r.wait(1)[0]; ev.GetType() != pb.EventType_EVENT_TYPE_DISCONNECT || ev.GetClient().GetId() != "ann" || ev.GetReason() == "" {
		t.Errorf("the backend saw %v", ev)
	}
}
