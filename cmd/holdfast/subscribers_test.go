package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"connectrpc.com/connect"

	"holdfast/proto/holdfast/v1/holdfastpb"
	"holdfast/proto/holdfast/v1/holdfastpb/holdfastpbconnect"
)

// subscriber is a stream of events that acknowledges each with a reply.
type subscriber struct {
	t      *testing.T
	got    chan *holdfastpb.Event
	cancel func()
	done   chan struct{}
}

// newSubscriber reads what clients ask, as one of a group unless that is "".
func newSubscriber(t *testing.T, api, group string) *subscriber {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	client := (&remote{API: api}).client()
	stream := holdfastpbconnect.NewEventServiceClient(client, api, connect.WithGRPC()).Subscribe(ctx)
	if err := stream.Send(&holdfastpb.SubscribeRequest{Group: group, Events: []string{"ask"}}); err != nil {
		t.Fatal(err)
	}
	stream.ResponseHeader()
	s := &subscriber{t: t, got: make(chan *holdfastpb.Event, 1000), done: make(chan struct{})}
	s.cancel = func() {
		cancel()
		_ = stream.CloseRequest() // else the transport waits for more of it
	}
	go func() {
		defer close(s.done)
		defer client.CloseIdleConnections()
		for {
			r, err := stream.Receive()
			if err != nil {
				if ctx.Err() == nil && !errors.Is(err, io.EOF) {
					t.Errorf("the stream at %s: %v", api, err)
				}
				return
			}
			s.got <- r.GetEvent()
			ack := &holdfastpb.SubscribeRequest{EventId: r.GetEvent().GetId()}
			if group != "" {
				ack.Reply = &holdfastpb.EventReply{Ack: &holdfastpb.Payload{Json: r.GetEvent().GetPayload().GetJson()}}
			}
			_ = stream.Send(ack) // the stream tells when it has broken
		}
	}()
	t.Cleanup(s.leave)
	return s
}

func (s *subscriber) leave() {
	s.cancel()
	<-s.done
}

// subscribersOfTwoAPIs has streams at one of two ws-apis, which share the events: each
// reaches them whichever ws-api consumes it. Whoever subscribed to route `ack: backend`
// answers the client.
func subscribersOfTwoAPIs(t *testing.T, apis, nodes []string) {
	defer http.DefaultClient.CloseIdleConnections()
	const clients, each = 10, 4
	var guests []*guest
	for i := range clients {
		guests = append(guests, newGuest(t, nodes[i%len(nodes)], fmt.Sprintf("of-%d", i)))
	}
	ask := func(from int) {
		t.Helper()
		for i, g := range guests {
			for n := range each {
				g.post(fmt.Sprintf(`42%d["ask",%d,%d]`, from+n, i, from+n))
			}
		}
		for i, g := range guests {
			g.until(fmt.Sprintf(`43%d[%d,%d]`, from+each-1, i, from+each-1))
		}
	}
	expect := func(s *subscriber, from int) {
		t.Helper()
		next := make(map[int]int)
		for range clients * each {
			var i, n int
			e := <-s.got
			if _, err := fmt.Sscanf(e.GetPayload().GetJson(), "[%d,%d]", &i, &n); err != nil {
				t.Fatalf("%s: %v", e.GetPayload().GetJson(), err)
			}
			if n != from+next[i] {
				t.Errorf("client %d: %d instead of %d", i, n, from+next[i])
			}
			next[i]++
		}
		if len(s.got) > 0 {
			t.Errorf("%d events too many", len(s.got))
		}
	}
	tail := newSubscriber(t, apis[1], "")
	worker := newSubscriber(t, apis[0], "work")
	ask(0)
	expect(worker, 0)
	expect(tail, 0)
	// The next one is at the other ws-api.
	worker.leave()
	worker = newSubscriber(t, apis[1], "work")
	ask(each)
	expect(worker, each)
	expect(tail, each)
}
