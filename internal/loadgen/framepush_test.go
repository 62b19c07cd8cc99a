package loadgen

import (
	"strings"
	"testing"
	"time"
)

// The pusher is a client like others: a server that gets no answer to its heartbeats
// ends it, and what is pushed afterwards reaches nobody.
func TestFramePusherAnswersHeartbeats(t *testing.T) {
	f := newFake(t, func(f *fake) { f.heard = make(chan string, 10) })
	p, err := NewFramePusher(t.Context(), Target{URL: f.URL}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	heard(t, f, "40")
	heard(t, f, "3") // to the ping that came before the answer to CONNECT
	f.mu.Lock()
	for c := range f.conns {
		say(c, "2")
	}
	f.mu.Unlock()
	heard(t, f, "3")
	if err := p.Push(t.Context(), 100, time.Now()); err != nil {
		t.Fatal(err)
	}
	heard(t, f, `42["b",{"at":`)
}

func TestBareFramePusher(t *testing.T) {
	f := newFake(t, func(f *fake) { f.heard = make(chan string, 10) })
	p, err := NewFramePusher(t.Context(), Target{URL: f.URL, Protocol: Bare}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Push(t.Context(), 100, time.Now()); err != nil {
		t.Fatal(err)
	}
	heard(t, f, `b42["ev",{"at":`)
}

func heard(t *testing.T, f *fake, want string) {
	t.Helper()
	select {
	case got := <-f.heard:
		if !strings.HasPrefix(got, want) {
			t.Errorf("the server heard %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("the server did not hear %q", want)
	}
}

// What cannot reach anybody is told.
func TestFramePusherThatIsGone(t *testing.T) {
	f := newFake(t)
	p, err := NewFramePusher(t.Context(), Target{URL: f.URL}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	f.mu.Lock()
	for c := range f.conns {
		_ = c.Close()
	}
	f.mu.Unlock()
	<-p.ended
	if err := p.Push(t.Context(), 100, time.Now()); err == nil {
		t.Error("a push by a connection that is gone succeeded")
	}
	f = newFake(t, func(f *fake) { f.refuse = 503 })
	if _, err := NewFramePusher(t.Context(), Target{URL: f.URL}, ""); err == nil || !strings.Contains(err.Error(), "HTTP 503") {
		t.Errorf("a pusher that is refused: %v", err)
	}
}

// With Engine.IO 3 it is the client that sends the heartbeats, and joins by its query.
func TestFramePusherOfClients2(t *testing.T) {
	f := newFake(t, func(f *fake) { f.heard = make(chan string, 10) })
	p, err := NewFramePusher(t.Context(), Target{URL: f.URL, Protocol: SocketIO4}, "a room")
	if err != nil {
		t.Fatal(err)
	}
	if got := <-f.requests; !strings.Contains(got, "EIO=3") || !strings.Contains(got, "&guid=a+room") {
		t.Errorf("it asked for %s", got)
	}
	heard(t, f, "2")
	if err := p.Push(t.Context(), 100, time.Now()); err != nil {
		t.Fatal(err)
	}
	for {
		got := <-f.heard
		if got == "2" {
			continue
		}
		if !strings.HasPrefix(got, `42["b",{"at":`) {
			t.Errorf("the server heard %q", got)
		}
		break
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestPushersThatCannotBe(t *testing.T) {
	for want, of := range map[string]struct {
		target Target
		ack    time.Duration
	}{
		"by an API":      {Target{}, time.Second},
		"no MessagePack": {Target{Msgpack: true}, 0},
		"Centrifugo's":   {Target{Protocol: Centrifugo}, 0},
	} {
		of.target.URL = "http://127.0.0.1:1"
		if _, err := PushByClient(of.target)(t.Context(), "room", of.ack); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
