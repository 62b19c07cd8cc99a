package gateway

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/testnet"
)

// cluster is two nodes over the same stores, with a link between them.
type cluster struct {
	a, b *world
	link *testnet.Link
	more []*world
	node func(name string) *world // starts another
}

// newCluster starts both. At the end they are closed and must have nothing left.
func newCluster(t *testing.T, kind netpoll.Kind, change func(*Config)) *cluster {
	t.Helper()
	x := &cluster{link: testnet.NewLink()}
	reg, log, bus := &testnet.Registry{}, &testnet.Log{}, testnet.NewBus(1<<16, 1)
	x.node = func(name string) *world {
		w := &world{t: t, reg: reg, log: log, bus: bus, ids: &testnet.IDs{Prefix: name}}
		w.start(name, kind, func(c *Config) {
			c.Peers = x.link
			if change != nil {
				change(c)
			}
		})
		x.link.Attach(name, w.gw.PeerHandler())
		return w
	}
	x.a, x.b = x.node("A"), x.node("B")
	t.Cleanup(func() {
		reg.Gate.Open()
		log.Gate.Open()
		all := append([]*world{x.a, x.b}, x.more...)
		for _, w := range all {
			w.close()
		}
		x.link.Close()
		for _, w := range all {
			w.empty()
		}
	})
	return x
}

// third starts a third node.
func (x *cluster) third() *world {
	w := x.node("C")
	x.more = append(x.more, w)
	return w
}

// TestForwardedPolling has each request of a client come to the node that it is not
// on.
func TestForwardedPolling(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		x := newCluster(t, kind, nil)
		here := x.a.open()
		p := here.Via(x.b.base)
		if err := p.Post(`40{"guid":"doc"}`); err != nil {
			t.Fatal(err)
		}
		if got := x.b.poll(p); !strings.HasPrefix(got, `40{"sid":`) {
			t.Fatalf("CONNECT was answered with %s", got)
		}
		polled := make(chan string, 1)
		go func() { polled <- x.b.poll(p) }()
		x.a.until("the poll waits at the owner", func() bool { return x.a.waiting() == 1 })
		if n := x.b.gw.Stats.Sessions.Load(); n != 0 {
			t.Errorf("the other node has %d sessions", n)
		}
		x.a.push("e", 1, room)
		if got := <-polled; got != `42["e",1]` {
			t.Errorf("polled %s", got)
		}
		for i := range 4 { // here and there in turn
			from := []*testnet.Poller{here, p}[i%2]
			if err := from.Post(fmt.Sprintf(`42["n",%d]`, i)); err != nil {
				t.Fatal(err)
			}
			if up := x.a.up(message.EventMessage); string(up.Payload.JSON) != fmt.Sprintf("[%d]", i) || up.Client.Node != "A" {
				t.Errorf("event %d: %s of node %s", i, up.Payload.JSON, up.Client.Node)
			}
		}
		out, in := &x.b.gw.Stats, &x.a.gw.Stats
		if n := out.ForwardedOut.Load(); n != 5 || in.ForwardedIn.Load() != n || in.ForwardedOut.Load() != 0 {
			t.Errorf("%d requests went out, %d came in", n, in.ForwardedIn.Load())
		}
		if s, r := out.LinkBytesOut.Load(), in.LinkBytesIn.Load(); s == 0 || s != r {
			t.Errorf("%d bytes went out, %d came in", s, r)
		}
		if s, r := in.LinkBytesOut.Load(), out.LinkBytesIn.Load(); s == 0 || s != r {
			t.Errorf("%d bytes went back, %d arrived", s, r)
		}
	})
}

// TestForwardedAnswers compares what the owner says with what the other node passes
// on, byte by byte.
func TestForwardedAnswers(t *testing.T) {
	x := newCluster(t, netpoll.Auto, func(c *Config) {
		c.Origins = []string{"https://app.example"}
		c.Session.MaxPayload = 1000
	})
	big := strings.Repeat("x", 2000)
	tests := []struct {
		name, method, query, body, kind string
		before                          string // posted to the owner
		status                          int
	}{
		{name: "a poll", method: "GET", before: `40{"guid":"doc"}`, status: 200},
		{name: "JSONP", method: "GET", query: "&j=3", before: `40{}`, status: 200},
		{name: "a post", method: "POST", body: "40{}", status: 200},
		{name: "a JSONP post", method: "POST", query: "&j=3", body: "d=40%7B%7D", kind: "application/x-www-form-urlencoded", status: 200},
		{name: "garbage", method: "POST", body: "x", status: 400},
		{name: "another method", method: "PUT", body: "x", status: 500},
		{name: "too large", method: "POST", body: big, status: 413},
		{name: "too large, with an ack", method: "POST", body: `4217["` + big + `"]`, before: `40{}`, status: 200},
		{name: "no such session", method: "GET", query: "&sid=Bxxxxxxxxxx", status: 400},
		{name: "no such node", method: "GET", query: "&sid=Qxxxxxxxxxx", status: 400},
		{name: "no ID", method: "GET", query: "&sid=%00", status: 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ask := func(base string) string {
				p := x.a.open()
				sid := "&sid=" + p.Open.SID
				if strings.Contains(tt.query, "sid=") {
					sid = ""
				}
				if tt.before != "" {
					before := x.a.gw.Stats.Clients.Load()
					if err := p.Post(tt.before); err != nil {
						t.Fatal(err)
					}
					x.a.until("the client is in", func() bool { return x.a.gw.Stats.Clients.Load() > before })
				}
				r, err := http.NewRequestWithContext(t.Context(), tt.method, base+"?EIO=4&transport=polling"+sid+tt.query, strings.NewReader(tt.body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Origin", "https://app.example")
				r.Header.Set("Content-Type", cmp.Or(tt.kind, "text/plain"))
				resp, err := x.a.http.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != tt.status {
					t.Errorf("%s: %d %s %v, want %d", base, resp.StatusCode, body, err, tt.status)
				}
				resp.Header.Del("Date")
				if i := bytes.Index(body, []byte("sid")); i >= 0 {
					body = body[:i]
				}
				if resp.Header.Get("Access-Control-Allow-Origin") != "https://app.example" {
					t.Errorf("%s: headers %v", base, resp.Header)
				}
				return fmt.Sprintf("%v %s", resp.Header, body)
			}
			if owner, other := ask(x.a.base), ask(x.b.base); owner != other {
				t.Errorf("the owner says\n%s\nthe other\n%s", owner, other)
			}
		})
	}
}

// TestForwardedPollGivenUp has the client go away: that ends the request at the owner,
// and the session with it, as it would there.
func TestForwardedPollGivenUp(t *testing.T) {
	x := newCluster(t, netpoll.Auto, nil)
	p := x.a.joinByPolling(`"guid":"doc"`).Via(x.b.base)
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() {
		_, err := p.Poll(ctx)
		answered <- err
	}()
	x.a.until("the poll waits", func() bool { return x.a.waiting() == 1 })
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	x.a.until("the session is over", func() bool { return x.a.gw.Stats.Sessions.Load() == 0 })
	if up := x.a.up(message.EventDisconnect); up.Reason != "transport error" {
		t.Errorf("it left for %s", up.Reason)
	}
}

// TestForwardedManyPolls has more polls wait on the link than HTTP/2 carries by
// default.
func TestForwardedManyPolls(t *testing.T) {
	const many = 300
	x := newCluster(t, netpoll.Auto, nil)
	polled := make(chan error, many)
	for range many {
		p := x.a.joinByPolling(`"guid":"doc"`).Via(x.b.base)
		go func() {
			packets, err := p.Poll(context.Background())
			if got := texts(packets); err == nil && got != `42["e",1]` {
				err = errors.New(got)
			}
			polled <- err
		}()
	}
	x.a.until("all wait", func() bool { return x.a.waiting() == many })
	x.a.push("e", 1, room)
	for range many {
		if err := <-polled; err != nil {
			t.Fatal(err)
		}
	}
}

// TestOwnerGone has the owner die: its clients are told at once that they have no
// session, also those whose polls wait.
func TestOwnerGone(t *testing.T) {
	x := newCluster(t, netpoll.Auto, nil)
	p := x.a.joinByPolling(`"guid":"doc"`).Via(x.b.base)
	unknown := func(err error) bool {
		var r *testnet.Refused
		return errors.As(err, &r) && r.Status == http.StatusBadRequest && r.Body == `{"code":1,"message":"Session ID unknown"}`
	}
	polled := make(chan error, 1)
	go func() {
		_, err := p.Poll(context.Background())
		polled <- err
	}()
	x.a.until("the poll waits", func() bool { return x.a.waiting() == 1 })
	x.link.Cut("A")
	if err := <-polled; !unknown(err) {
		t.Errorf("the poll that waited: %v", err)
	}
	if _, err := p.Poll(t.Context()); !unknown(err) {
		t.Errorf("the next poll: %v", err)
	}
	if err := p.Post("3"); !unknown(err) {
		t.Errorf("a post: %v", err)
	}
}

// TestPeerHandlerGarbage asks for what no node asks.
func TestPeerHandlerGarbage(t *testing.T) {
	x := newCluster(t, netpoll.Auto, nil)
	for path, want := range map[string]int{
		"/":        http.StatusNotFound,
		"/forward": http.StatusBadRequest,
		"/forward?sid=" + url.QueryEscape(x.a.open().Open.SID): http.StatusBadRequest, // of no endpoint
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := x.link.Do("A", r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
}
