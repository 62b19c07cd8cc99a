package loadgen

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/engineio"
)

// pollServer knows just enough of one Engine.IO 4 session by polling: it answers
// CONNECT and acks.
type pollServer struct {
	*httptest.Server
	socket func(http.ResponseWriter) // answers the attempt at a WebSocket
	post   func(n int64, w http.ResponseWriter) (goOn bool)

	posts  atomic.Int64
	closed chan struct{} // by the client's close packet
	out    chan string
}

// newPollServer starts one after set has changed it.
func newPollServer(t *testing.T, set func(*pollServer)) *pollServer {
	p := &pollServer{closed: make(chan struct{}), out: make(chan string, 100)}
	set(p)
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *pollServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case q.Get("transport") == "websocket":
		p.socket(w)
	case q.Get("sid") == "":
		fmt.Fprint(w, `0{"sid":"s","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":5000,"maxPayload":1000}`)
	case r.Method == http.MethodGet:
		select {
		case text := <-p.out:
			fmt.Fprint(w, text)
		case <-p.closed:
			fmt.Fprint(w, "6")
		case <-r.Context().Done():
		}
	default:
		p.take(w, r)
	}
}

func (p *pollServer) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || len(body) > 1000 {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	if n := p.posts.Add(1); p.post != nil && !p.post(n, w) {
		return
	}
	err = engineio.ParsePayload(engineio.V4, body, false, engineio.Limits{}, func(packet engineio.Packet) error {
		switch d := string(packet.Data); {
		case packet.Type == engineio.Close:
			close(p.closed)
		case strings.HasPrefix(d, "0"):
			p.out <- `40{"sid":"x"}`
		case strings.HasPrefix(d, "2"):
			p.out <- "43" + d[1:1+digits([]byte(d[1:]))] + "[]"
		}
		return nil
	})
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	fmt.Fprint(w, "ok")
}

// echoes has the only client of a swarm send events, and wants all of them answered.
func echoes(t *testing.T, s *Local, n int) {
	t.Helper()
	load := Load{Rate: 1000, For: time.Duration(n) * time.Millisecond, Event: "echo", Size: 200, Ack: true}
	if err := s.Drive(t.Context(), load); err != nil {
		t.Fatal(err)
	}
	var sum Stats
	for end := time.Now().Add(10 * time.Second); sum.Answered < n; {
		st := collect(t, s)
		sum.Merge(&st)
		if time.Now().After(end) {
			t.Fatalf("%d of %d events are answered, %d clients lost: %v", sum.Answered, n, sum.Lost, sum.Errors)
		}
	}
}

func arrive(t *testing.T, s *Local, n int) Stats {
	t.Helper()
	if err := s.Connect(t.Context(), Plan{Clients: n, Timeout: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	return collect(t, s)
}

func TestPollingOutlastsConnections(t *testing.T) {
	for name, post := range map[string]func(n int64, w http.ResponseWriter) bool{
		"that are closed after each answer": func(_ int64, w http.ResponseWriter) bool {
			w.Header().Set("Connection", "close")
			return true
		},
		"that are closed as a request comes": func(n int64, _ http.ResponseWriter) bool {
			if n == 3 {
				panic(http.ErrAbortHandler)
			}
			return true
		},
		"that do not say how long an answer is": func(_ int64, w http.ResponseWriter) bool {
			_ = http.NewResponseController(w).Flush()
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPollServer(t, func(p *pollServer) { p.post = post })
			s := newSwarm(t, Target{URL: p.URL, Transport: Polling}, 1)
			if st := arrive(t, s, 1); st.Up != 1 || st.Upgraded != 0 {
				t.Fatalf("%d are up: %v", st.Up, st.Errors)
			}
			for range 10 {
				echoes(t, s, 1) // each by a POST of its own
			}
			echoes(t, s, 40) // more than maxPayload permits in one
			if err := s.Leave(t.Context(), 1, 0); err != nil {
				t.Fatal(err)
			}
			select {
			case <-p.closed:
			default:
				t.Error("the client went without a word")
			}
			if st := collect(t, s); st.Up+st.Lost+len(st.Errors) != 0 {
				t.Errorf("%d are up, %d lost: %v", st.Up, st.Lost, st.Errors)
			}
		})
	}
}

// A WebSocket that does not come about leaves the client where it was.
func TestUpgradeThatFails(t *testing.T) {
	for want, socket := range map[string]func(http.ResponseWriter){
		"upgrade: HTTP 400 Bad request": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"code":3,"message":"Bad request"}`)
		},
		"upgrade: closed by the server": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			p := newPollServer(t, func(p *pollServer) { p.socket = socket })
			s := newSwarm(t, Target{URL: p.URL, Transport: Upgrade}, 1)
			if st := arrive(t, s, 1); st.Up != 1 || st.Upgraded != 0 || st.Errors[want] != 1 {
				t.Fatalf("%d are up, %d of them with a WebSocket: %v", st.Up, st.Upgraded, st.Errors)
			}
			echoes(t, s, 5)
		})
	}
}

func TestUpgradeThatTakesTooLong(t *testing.T) {
	gave, up := make(chan struct{}), make(chan struct{})
	p := newPollServer(t, func(p *pollServer) {
		p.socket = func(http.ResponseWriter) { close(gave); <-up }
	})
	defer close(up)
	s := newSwarm(t, Target{URL: p.URL, Transport: Upgrade}, 1)
	if err := s.Connect(t.Context(), Plan{Clients: 1, Timeout: 300 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	<-gave
	if st := collect(t, s); st.Up != 1 || st.Errors["upgrade: not over in time"] != 1 {
		t.Errorf("%d are up: %v", st.Up, st.Errors)
	}
	echoes(t, s, 5)
}

func TestPollingIsRefused(t *testing.T) {
	f := newFake(t, func(f *fake) { f.refuse = http.StatusServiceUnavailable })
	s := newSwarm(t, Target{URL: f.URL, Transport: Polling}, 1)
	if st := arrive(t, s, 2); st.Failed != 2 || st.Errors["HTTP 503 no"] != 2 {
		t.Errorf("%d failed: %v", st.Failed, st.Errors)
	}
}

// A session that the server forgets is lost.
func TestSessionIsForgotten(t *testing.T) {
	p := newPollServer(t, func(p *pollServer) {
		p.post = func(n int64, w http.ResponseWriter) bool {
			if n > 1 {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"code":1,"message":"Session ID unknown"}`)
			}
			return n == 1
		}
	})
	s := newSwarm(t, Target{URL: p.URL, Transport: Polling}, 1)
	if st := arrive(t, s, 1); st.Up != 1 {
		t.Fatalf("%d are up: %v", st.Up, st.Errors)
	}
	if err := s.Drive(t.Context(), Load{Rate: 1000, For: time.Millisecond, Event: "echo", Size: 200, Ack: true}); err != nil {
		t.Fatal(err)
	}
	var sum Stats
	for end := time.Now().Add(10 * time.Second); sum.Lost == 0 && time.Now().Before(end); {
		st := collect(t, s)
		sum.Merge(&st)
	}
	if sum.Lost != 1 || sum.Errors["HTTP 400 Session ID unknown"] != 1 {
		t.Errorf("%d lost: %v", sum.Lost, sum.Errors)
	}
}
