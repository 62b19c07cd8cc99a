package api

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
	"holdfast/proto/holdfast/v1/holdfastpb/holdfastpbconnect"
)

type subscribeStream = connect.BidiStreamForClient[pb.SubscribeRequest, pb.SubscribeResponse]

func subscribe(t *testing.T, es holdfastpbconnect.EventServiceClient, first *pb.SubscribeRequest) *subscribeStream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	st := es.Subscribe(ctx)
	if err := st.Send(first); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		st.CloseRequest()
		st.CloseResponse()
	})
	return st
}

// joined waits until that many consumers are there.
func joined(t *testing.T, s *Server, n int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, have, _, _ := s.groups.sizes(); have == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("there are never %d consumers", n)
		}
		<-time.After(time.Millisecond)
	}
}

func TestSubscribe(t *testing.T) {
	w := newWorld(t)
	s := w.start(Config{Rules: []Rule{{Event: "*", Ack: AckBackend}}})
	_, _, es := clients(t, s)
	ann := w.add("n1", "ann1", "ann", "doc")

	w.emit(ann, "early", "[]", 1)
	w.wait("no backend", has(`ack ann1 1 [{"error":{"code":"UNAVAILABLE","message":"no backend is subscribed to this event"}}]`))

	worker := subscribe(t, es, &pb.SubscribeRequest{Group: "work", Events: []string{"task*"}, MaxInFlight: 10})
	tail := subscribe(t, es, &pb.SubscribeRequest{})
	joined(t, s, 2)
	w.emit(ann, "task1", `[1]`, 2)
	w.emit(ann, "task2", `[2]`, 3)

	got, err := worker.Receive()
	if err != nil || got.GetEvent().GetEvent() != "task1" || got.GetAttempt() != 1 {
		t.Fatalf("the worker got %v, error %v", got, err)
	}
	seen, err := tail.Receive()
	if err != nil || seen.GetEvent().GetId() != got.GetEvent().GetId() {
		t.Fatalf("the tail got %v, error %v", seen, err)
	}
	tail.Send(&pb.SubscribeRequest{EventId: seen.GetEvent().GetId()}) // answers nobody
	worker.Send(&pb.SubscribeRequest{EventId: got.GetEvent().GetId(), Reply: &pb.EventReply{
		Ack:       &pb.Payload{Json: `["done"]`},
		JoinRooms: []string{"team"},
		Pushes:    []*pb.PushRequest{{Targets: room("team"), Event: "note"}},
	}})
	downs := w.wait("the ack", has(`ack ann1 2 ["done"]`))
	if want := "n1 join c:/,ann1 [team]\nn1 push note [] to r:/,team@1001<0\nn1 ack ann1 2 [\"done\"]\n"; !strings.HasSuffix(describe(downs), want) {
		t.Errorf("records:\n%swant at the end:\n%s", describe(downs), want)
	}
	// An acknowledgement without a reply by everybody: the client learns that nobody
	// answers.
	if got, err = worker.Receive(); err != nil || got.GetEvent().GetEvent() != "task2" {
		t.Fatalf("the worker got %v, error %v", got, err)
	}
	worker.Send(&pb.SubscribeRequest{EventId: got.GetEvent().GetId()})
	if seen, err = tail.Receive(); err != nil {
		t.Fatal(err)
	}
	tail.Send(&pb.SubscribeRequest{EventId: seen.GetEvent().GetId()})
	w.wait("no answer", has(`ack ann1 3 [{"error":{"code":"UNAVAILABLE","message":"no backend has answered this event"}}]`))

	// Messages that make no sense end the stream.
	for name, first := range map[string]*pb.SubscribeRequest{
		"types[0]: ": {Types: []pb.EventType{9}},
		"event_id: ": {EventId: "x"},
		"reply: ":    {Reply: &pb.EventReply{}},
		"events[0]:": {Events: []string{""}},
	} {
		st := subscribe(t, es, first)
		if _, err := st.Receive(); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	worker.Send(&pb.SubscribeRequest{})
	if _, err := worker.Receive(); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("an acknowledgement of nothing: %v", err)
	}
}

// A consumer that breaks off gives its events to the next one, in order.
func TestUnacknowledgedEventsAreGivenAgain(t *testing.T) {
	w := newWorld(t)
	s := w.start(Config{})
	_, _, es := clients(t, s)
	first := subscribe(t, es, &pb.SubscribeRequest{Group: "g"})
	joined(t, s, 1)
	ann, bob := w.add("n1", "ann1", ""), w.add("n1", "bob1", "")
	for i := range 3 {
		w.emit(ann, fmt.Sprint("a", i), "[]", 0)
	}
	w.emit(bob, "b0", "[]", 0)
	for range 2 { // one of each session
		if _, err := first.Receive(); err != nil {
			t.Fatal(err)
		}
	}
	first.CloseRequest()
	if _, err := first.Receive(); err == nil {
		t.Error("a stream goes on after its end")
	}
	second := subscribe(t, es, &pb.SubscribeRequest{Group: "g", MaxInFlight: 1})
	var got []string
	for range 4 {
		r, err := second.Receive()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(r.GetEvent().GetEvent(), "/", r.GetAttempt()))
		second.Send(&pb.SubscribeRequest{EventId: r.GetEvent().GetId()})
	}
	text := strings.Join(got, " ")
	if !strings.Contains(text, "a0/2") || !strings.Contains(text, "b0/2") ||
		strings.Index(text, "a0") > strings.Index(text, "a1/1") || strings.Index(text, "a1") > strings.Index(text, "a2/1") {
		t.Errorf("given: %s", text)
	}
}

func TestGroupDeadlineBoundsAndLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.startWith(Config{Limits: Limits{GroupItems: 4}}, nil)
		all := filter{types: [4]bool{true, true, true, true}}
		join := func(name string) *consumer {
			t.Helper()
			c, _, err := s.groups.join(name, all, 2)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		names := func(c *consumer) (out string) {
			synctest.Wait()
			for _, d := range c.take() {
				out += fmt.Sprint(d.ev.up.Name, "/", d.attempt, " ")
			}
			return out
		}
		a, b := join("g"), join("g")
		ann := w.add("n1", "ann1", "")
		w.emit(ann, "e1", "[]", 0)
		synctest.Wait()
		holder, other := a, b
		if len(b.out) > 0 {
			holder, other = b, a
		}
		if got := names(holder); got != "e1/1 " {
			t.Fatalf("given: %s", got)
		}
		<-time.After(29 * time.Second)
		if got := names(other); got != "" {
			t.Errorf("given again too early: %s", got)
		}
		<-time.After(2 * time.Second)
		if got := names(other); got != "e1/2 " {
			t.Errorf("after the deadline the other one has: %q", got)
		}
		if holder.ack("ev-ann1-e1-0") != nil {
			t.Error("the first one may still acknowledge")
		}
		en := other.ack("ev-ann1-e1-0")
		<-time.After(time.Minute)
		if got := names(holder) + names(other); got != "" {
			t.Errorf("given again while the reply is carried out: %s", got)
		}
		other.done(en)

		// Full: the oldest that nobody holds goes.
		for i := range 6 {
			w.emit(ann, fmt.Sprint("f", i), "[]", 0)
			synctest.Wait()
		}
		if st := s.Stats(); st.GroupWaiting != 4 || st.GroupDropped != 2 {
			t.Errorf("%d wait, %d dropped", st.GroupWaiting, st.GroupDropped)
		}
		if got := names(a) + names(b); got != "f0/1 " {
			t.Errorf("held: %s", got)
		}
		s.groups.leave(a)
		s.groups.leave(b)
		<-time.After(50 * time.Second)
		c := join("g")
		if got := names(c); got != "f0/2 " {
			t.Errorf("who comes back in time gets: %s", got)
		}
		s.groups.leave(c)
		<-time.After(62 * time.Second)
		if st := s.Stats(); st.Groups != 0 || st.Consumers != 0 || st.GroupDropped != 6 {
			t.Errorf("a group that was left: %+v", st)
		}
		private := join("")
		w.emit(ann, "p", "[]", 0)
		if got := names(private); got != "p/1 " {
			t.Errorf("a private group is given: %s", got)
		}
		s.groups.leave(private)
		if st := s.Stats(); st.Groups != 0 {
			t.Errorf("a private group outlives its stream: %+v", st)
		}
	})
}

func TestFilter(t *testing.T) {
	message1, connect1 := &message.Up{Type: message.EventMessage, Name: "a1"}, &message.Up{Type: message.EventConnect}
	for _, c := range []struct {
		req         *pb.SubscribeRequest
		msg, conect bool
	}{
		{&pb.SubscribeRequest{}, true, true},
		{&pb.SubscribeRequest{Events: []string{"a*"}}, true, false},
		{&pb.SubscribeRequest{Events: []string{"b"}}, false, false},
		{&pb.SubscribeRequest{Types: []pb.EventType{pb.EventType_EVENT_TYPE_CONNECT}}, false, true},
		{&pb.SubscribeRequest{Events: []string{"b", "a1"}, Types: []pb.EventType{1, 2}}, true, true},
	} {
		f, n, err := filterOfRequest(c.req)
		if err != nil || n != 64 || f.match(message1) != c.msg || f.match(connect1) != c.conect {
			t.Errorf("%v: message %v, connect %v, error %v", c.req, f.match(message1), f.match(connect1), err)
		}
	}
}
