package loadgen

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/wsframe"
)

// fake is a server that knows just enough of Socket.IO: it answers CONNECT and
// acks, and sends an event to all when it is told to.
type fake struct {
	*httptest.Server
	refuse   int    // this status instead of the upgrade
	connect  string // answers CONNECT
	requests chan string
	heard    chan string // what clients say, if not nil
	stall    func()      // called before a client's CONNECT or event is answered, if not nil

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	cursors map[net.Conn]int // how many came by each
	done    sync.WaitGroup
}

// newFake starts one after set has changed it.
func newFake(t *testing.T, set ...func(*fake)) *fake {
	return startFake(t, (*httptest.Server).Start, set...)
}

// startFake is newFake with or without TLS.
func startFake(t *testing.T, start func(*httptest.Server), set ...func(*fake)) *fake {
	f := &fake{connect: `40{"sid":"x"}`, conns: make(map[net.Conn]struct{}), cursors: make(map[net.Conn]int), requests: make(chan string, 100)}
	for _, change := range set {
		change(f)
	}
	f.Server = httptest.NewUnstartedServer(f)
	start(f.Server)
	t.Cleanup(func() {
		f.mu.Lock()
		for c := range f.conns {
			_ = c.Close()
		}
		f.mu.Unlock()
		f.Close()
		f.done.Wait()
	})
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case f.requests <- r.URL.String():
	default:
	}
	key, err := wsframe.CheckHandshake(r)
	if f.refuse != 0 || err != nil {
		http.Error(w, "no", max(f.refuse, 400))
		return
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	f.done.Add(1)
	f.mu.Lock()
	f.conns[nc] = struct{}{}
	f.mu.Unlock()
	_, _ = fmt.Fprintf(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", wsframe.AcceptKey(key))
	go f.serve(nc, rw, strings.Contains(r.URL.RawQuery, "EIO=3"))
}

func say(nc io.Writer, text string) {
	_, _ = nc.Write(wsframe.AppendFrame(nil, wsframe.Text, false, []byte(text)))
}

func (f *fake) serve(nc net.Conn, in io.Reader, v3 bool) {
	defer f.done.Done()
	defer func() {
		f.mu.Lock()
		delete(f.conns, nc)
		f.mu.Unlock()
		_ = nc.Close()
	}()
	say(nc, `0{"sid":"s","upgrades":[],"pingInterval":100,"pingTimeout":5000,"maxPayload":1000000}`)
	if v3 {
		say(nc, "40")
	} else {
		say(nc, "2")
	}
	var r wsframe.Reader
	b := make([]byte, 4096)
	for {
		n, err := in.Read(b)
		if err != nil {
			return
		}
		if r.Feed(&wsframe.ReaderOptions{}, b[:n], func(op wsframe.Opcode, p []byte) error {
			if f.heard != nil {
				f.heard <- string(p)
			}
			if f.stall != nil {
				f.stall()
			}
			switch {
			case op == wsframe.Close:
				return io.EOF
			case bytes.HasPrefix(p, []byte("40")):
				say(nc, f.connect)
			case bytes.HasPrefix(p, []byte(`42["cursor"`)):
				f.relay(nc, string(p))
			case bytes.HasPrefix(p, []byte("42")):
				if id := p[2 : 2+digits(p[2:])]; len(id) > 0 {
					say(nc, "43"+string(id)+"[]")
				}
			case string(p) == "2":
				say(nc, "3")
			}
			return nil
		}) != nil {
			return
		}
	}
}

// relay sends a message to all but one.
func (f *fake) relay(but net.Conn, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cursors[but]++
	for c := range f.conns {
		if c != but {
			say(c, text)
		}
	}
}

// Push makes it a Pusher, which sends an event to all.
func (f *fake) Push(_ context.Context, size int, due time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		say(c, EventText(EventName, size, due))
	}
	return nil
}

// pusher makes always the same.
func pusher(p Pusher) NewPusher {
	return func(context.Context, string, time.Duration) (Pusher, error) { return p, nil }
}

// fakePusher is without the server's Close.
type fakePusher struct{ *fake }

func (fakePusher) Close() error { return nil }

func newSwarm(t *testing.T, target Target, loops int) *Local {
	t.Helper()
	s, err := NewLocal(target, loops)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func collect(t *testing.T, s Swarm) Stats {
	t.Helper()
	st, err := s.Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestScenariosAgainstAFake(t *testing.T) {
	for _, way := range []struct {
		name     string
		protocol Protocol
		start    func(*httptest.Server)
	}{
		{"v4", SocketIO5, (*httptest.Server).Start},
		{"v2", SocketIO4, (*httptest.Server).Start},
		{"v4 by TLS", SocketIO5, (*httptest.Server).StartTLS},
	} {
		for _, name := range []string{"connect", "broadcast", "rooms", "echo", "churn", "idle", "s4"} {
			t.Run(way.name+" "+name, func(t *testing.T) {
				t.Parallel()
				f := startFake(t, way.start)
				target := Target{URL: f.URL, Protocol: way.protocol, Insecure: true}
				s := newSwarm(t, target, 2)
				var lines []string
				run := &Run{
					Scenario: name, Target: target, Swarm: s, PID: os.Getpid(),
					Options: Options{Clients: 20, Rate: 200, For: 300 * time.Millisecond, Every: 100 * time.Millisecond, Scale: .002},
					Pusher:  pusher(fakePusher{f}),
					Log:     func(line string) { lines = append(lines, line) },
				}
				r, err := run.Do(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				checkResult(t, name, r)
				if up := collect(t, s).Up; up != 0 {
					t.Errorf("%d clients are left", up)
				}
			})
		}
	}
}

func checkResult(t *testing.T, name string, r *Result) {
	t.Helper()
	st := &r.Total
	if st.Failed+st.Lost+len(st.Errors) > 0 || st.Arrived < 20 {
		t.Errorf("%d arrived, %d failed, %d lost: %v", st.Arrived, st.Failed, st.Lost, st.Errors)
	}
	switch name {
	case "broadcast":
		if st.Received != 60 || st.Delivery.Count() != 60 {
			t.Errorf("%d deliveries of 3 events to 20 clients", st.Received)
		}
	case "echo":
		if st.Sent != 60 || st.Answered != 60 || st.RoundTrip.Count() != 60 {
			t.Errorf("of 60 events %d were sent and %d answered", st.Sent, st.Answered)
		}
	case "churn":
		if st.Arrived != 80 {
			t.Errorf("%d clients came, want 20 and then 60", st.Arrived)
		}
	case "rooms":
		if st.Sent == 0 {
			t.Error("no cursor moved")
		}
	}
	var page bytes.Buffer
	if err := ResultsPage([]*Result{r}).Write(&page); err != nil {
		t.Error(err)
	}
	if !strings.Contains(page.String(), "<polyline") || strings.Contains(page.String(), "http-equiv") {
		t.Error("the page has no plot")
	}
	if text, err := json.Marshal(r); err != nil || !json.Valid(text) {
		t.Errorf("the result as JSON: %v", err)
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	for name, set := range map[string]func(*fake){
		"HTTP 503 no":                        func(f *fake) { f.refuse = 503 },
		"CONNECT_ERROR no entry":             func(f *fake) { f.connect = `44{"message":"no entry"}` },
		"Engine.IO close":                    func(f *fake) { f.connect = "1" },
		"no answer to the handshake in time": func(f *fake) { f.connect = "6" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, set)
			s := newSwarm(t, Target{URL: f.URL}, 1)
			if err := s.Connect(t.Context(), Plan{Clients: 3, Timeout: 500 * time.Millisecond}); err != nil {
				t.Fatal(err)
			}
			st := collect(t, s)
			if st.Failed != 3 || st.Up != 0 || st.Errors[name] != 3 {
				t.Errorf("%d failed, %d up: %v", st.Failed, st.Up, st.Errors)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	s := newSwarm(t, Target{URL: "http://" + l.Addr().String()}, 1)
	r := &Run{Scenario: "connect", Swarm: s, Options: Options{Clients: 5, Rate: 1000}}
	if _, err := r.Do(t.Context()); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v", err)
	}
}

func TestCredentials(t *testing.T) {
	f := newFake(t)
	s := newSwarm(t, Target{URL: f.URL, Protocol: SocketIO4, Secret: "key"}, 1)
	if err := s.Connect(t.Context(), Plan{Clients: 1, Rooms: Rooms{Name: "a b"}}); err != nil {
		t.Fatal(err)
	}
	if got := <-f.requests; !strings.Contains(got, "&guid=a+b") || !strings.Contains(got, "&token=ey") {
		t.Errorf("a v2 client has its credentials in the query, got %s", got)
	}
	target := Target{URL: f.URL, Secret: "key"}
	if object, _ := target.credentials(1, "r", time.Now()); !json.Valid(object) || !strings.Contains(string(object), `"guid":"r"`) {
		t.Errorf("the auth object is %s", object)
	}
}

func TestWorkerAnswers(t *testing.T) {
	f := newFake(t)
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	served := make(chan error, 1)
	go func() { served <- ServeWorker(t.Context(), inR, outW) }()
	w := &worker{in: inW, done: make(chan struct{}), waiting: make(map[uint64]chan answer)}
	go func() { w.read(json.NewDecoder(outR)); close(w.done) }()
	if _, err := w.call(t.Context(), call{Target: &Target{URL: f.URL}, Loops: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.call(t.Context(), call{Connect: &Plan{Clients: 4, Rate: 1000}}); err != nil {
		t.Fatal(err)
	}
	st, err := w.call(t.Context(), call{Collect: true})
	if err != nil || st.Up != 4 || st.Connect.Count() != 4 {
		t.Errorf("%v, %v", st, err)
	}
	_ = inW.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	_ = outW.Close()
	<-w.done
	if _, err := w.call(t.Context(), call{Collect: true}); err == nil {
		t.Error("a worker that has ended answered")
	}
}

func TestUnknownScenario(t *testing.T) {
	if _, err := (&Run{Scenario: "dance"}).Do(t.Context()); err == nil || !strings.Contains(err.Error(), "broadcast") {
		t.Errorf("the error does not name the scenarios: %v", err)
	}
	if _, err := (&Run{Scenario: "broadcast"}).Do(t.Context()); err == nil {
		t.Error("a broadcast without an API began")
	}
}

// stumbling fails at every second push, or at all of them.
type stumbling struct {
	fakePusher
	every int64
	n     atomic.Int64
}

func (s *stumbling) Push(ctx context.Context, size int, due time.Time) error {
	if s.n.Add(1)%s.every == 0 {
		return refusal("overloaded")
	}
	return s.fakePusher.Push(ctx, size, due)
}

// A server that does not take a push is measured on; one that takes none is not.
func TestPushesThatFail(t *testing.T) {
	for every, want := range map[int64]string{2: "", 1: "every push failed, the first with: overloaded"} {
		f := newFake(t)
		s := newSwarm(t, Target{URL: f.URL}, 1)
		p := &stumbling{fakePusher: fakePusher{f}, every: every}
		r, err := (&Run{
			Scenario: "broadcast", Swarm: s, Options: Options{Clients: 5, Rate: 1000, For: 200 * time.Millisecond, Every: 50 * time.Millisecond},
			Pusher: pusher(p),
		}).Do(t.Context())
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("every %d: %v, want %q", every, err, want)
		}
		if every == 2 && (r.Total.Received != 10 || r.Total.Errors["push: overloaded"] != 2) {
			t.Errorf("%d deliveries of the 2 pushes out of 4 that did not fail: %v", r.Total.Received, r.Total.Errors)
		}
	}
}

// One client of each room sends, and all of them as often, however many there are in a
// loop.
func TestCursorsOfEachRoom(t *testing.T) {
	f := newFake(t)
	s := newSwarm(t, Target{URL: f.URL}, 2)
	// Those that send are 0, 3 and 6, of which the second is in the second loop.
	if err := s.Connect(t.Context(), Plan{Clients: 1, Rooms: Rooms{Name: "a"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Connect(t.Context(), Plan{Clients: 6, First: 1, Rooms: Rooms{Name: "b-", Least: 3, Most: 3}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Drive(t.Context(), Load{Rate: 100, For: 200 * time.Millisecond, Event: "cursor", Leads: true}); err != nil {
		t.Fatal(err)
	}
	want := []int{20, 20, 20}
	var got []int
	for end := time.Now().Add(10 * time.Second); !slices.Equal(got, want); {
		collect(t, s)
		f.mu.Lock()
		got = slices.Collect(maps.Values(f.cursors))
		f.mu.Unlock()
		if time.Now().After(end) {
			t.Fatalf("cursors of the rooms: %d, want %d", got, want)
		}
	}
}
