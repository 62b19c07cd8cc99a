package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/testnet"
	"holdfast/socketio"
)

// TestRemoteIP finds the client's address behind proxies.
func TestRemoteIP(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	tests := []struct {
		name, peer string
		forwarded  []string
		proxies    []netip.Prefix
		want       string
	}{
		{"no proxies", "10.0.0.1:1", []string{"1.2.3.4"}, nil, "10.0.0.1"},
		{"peer is no proxy", "8.8.8.8:1", []string{"1.2.3.4"}, proxies, "8.8.8.8"},
		{"one proxy", "10.0.0.1:1", []string{"1.2.3.4"}, proxies, "1.2.3.4"},
		{"what the client claims is not believed", "10.0.0.1:1", []string{"6.6.6.6, 1.2.3.4"}, proxies, "1.2.3.4"},
		{"two proxies, two lines", "10.0.0.1:1", []string{"6.6.6.6, 1.2.3.4", "10.0.0.2"}, proxies, "1.2.3.4"},
		{"all are proxies", "10.0.0.1:1", []string{"10.0.0.3,10.0.0.2"}, proxies, "10.0.0.3"},
		{"garbage", "10.0.0.1:1", []string{"unknown"}, proxies, "10.0.0.1"},
		{"nothing", "10.0.0.1:1", nil, proxies, "10.0.0.1"},
		{"one spelling", "[fd00::1]:1", []string{"2001:DB8:0::1"}, proxies, "2001:db8::1"},
		{"mapped", "[::ffff:10.0.0.1]:1", []string{"::ffff:1.2.3.4"}, proxies, "1.2.3.4"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := &Gateway{cfg: Config{Proxies: tt.proxies}}
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = tt.peer
			for _, line := range tt.forwarded {
				r.Header.Add("X-Forwarded-For", line)
			}
			if got := g.remoteIP(r); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestAdmission counts connections in and out, whatever becomes of the handshake.
func TestAdmission(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, func(c *Config) {
			c.MaxConnections, c.MaxPerIP = 3, 2
			c.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		})
		from := func(ip string) http.Header { return http.Header{"X-Forwarded-For": {ip}} }
		dial := func(ip string) (*testnet.Client, error) { return testnet.Dial(w.base, nil, from(ip)) }
		a1, err1 := dial("1.1.1.1")
		a2, err2 := testnet.OpenPoller(w.http, w.base, from("1.1.1.1"))
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if _, err := dial("1.1.1.1"); !refused(err, 503) {
			t.Errorf("the third of one address: %v", err)
		}
		b1, err := dial("2.2.2.2")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dial("3.3.3.3"); !refused(err, 503) {
			t.Errorf("the fourth: %v", err)
		}
		a1.Kill()
		if err := a2.Post("1"); err != nil {
			t.Fatal(err)
		}
		w.until("two have left", func() bool { return w.gw.Stats.Sessions.Load() == 1 })
		fail := errors.New("the clock ran backwards")
		w.ids.Fail.Store(&fail)
		for range 5 {
			if _, err := dial("1.1.1.1"); !refused(err, 503) {
				t.Errorf("without an ID: %v", err)
			}
		}
		w.ids.Fail.Store(nil)
		for range 2 {
			c, err := dial("1.1.1.1")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Kill()
		}
		b1.Kill()
	})
}

// TestRefusals are the answers to requests that begin nothing.
func TestRefusals(t *testing.T) {
	w := newWorld(t, netpoll.Auto, func(c *Config) { c.HandshakeRate = 0 })
	tests := []struct {
		name, method, query string
		status              int
		body                string
	}{
		{"no transport", "GET", "EIO=4", 400, `{"code":0,"message":"Transport unknown"}`},
		{"unknown transport", "GET", "EIO=4&transport=pigeon", 400, `{"code":0,"message":"Transport unknown"}`},
		{"no version", "GET", "transport=polling", 400, `{"code":5,"message":"Unsupported protocol version"}`},
		{"version 2", "GET", "EIO=2&transport=polling", 400, `{"code":5,"message":"Unsupported protocol version"}`},
		{"not by GET", "POST", "EIO=4&transport=polling", 400, `{"code":2,"message":"Bad handshake method"}`},
		{"no upgrade", "GET", "EIO=4&transport=websocket", 400, `{"code":3,"message":"Bad request"}`},
		{"unknown session", "GET", "EIO=4&transport=polling&sid=x", 400, `{"code":1,"message":"Session ID unknown"}`},
		{"unknown session, post", "POST", "EIO=4&transport=polling&sid=x", 400, `{"code":1,"message":"Session ID unknown"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			w.gw.ServeHTTP(rec, httptest.NewRequest(tt.method, "/socket.io/?"+tt.query, nil))
			if rec.Code != tt.status || rec.Body.String() != tt.body {
				t.Errorf("%d %s", rec.Code, rec.Body)
			}
		})
	}
}

// TestEndpointOfAPath takes the longest of the paths that a request's begins with,
// in whatever order they are configured, and a path as it is.
func TestEndpointOfAPath(t *testing.T) {
	paths := []string{"/rt/", "/rt/raw/", "/socket.io/"}
	tests := map[string]string{
		"/rt/": "/rt/", "/rt": "/rt/", "/rt/x": "/rt/", "/rt/raw/": "/rt/raw/", "/rt/raw": "/rt/raw/", "/rt/raw/x": "/rt/raw/",
		"/socket.io//": "/socket.io/", "/socket.io/a/../b": "/socket.io/", "/socket.iox": "", "//socket.io/": "", "/": "",
	}
	for _, root := range []bool{false, true} {
		g := &Gateway{}
		if root {
			paths = append(paths, "/")
		}
		for _, p := range paths {
			g.endpoints = append(g.endpoints, newEndpoint(&Config{}, &Endpoint{Path: p}))
		}
		for path, want := range tests {
			if want == "" && root {
				want = "/"
			}
			got := ""
			if e := g.endpoint(path); e != nil {
				got = e.Path
			}
			if got != want || g.Serves(path) != (want != "") {
				t.Errorf("root %v: %s is for %q, want %q", root, path, got, want)
			}
		}
	}
}

// TestTakesGzip reads Accept-Encoding.
func TestTakesGzip(t *testing.T) {
	tests := map[string]bool{
		"": false, "gzip": true, "deflate, gzip;q=1.0, *;q=0.5": true, "GZIP": true, "gzip; q=0.001": true,
		"deflate": false, "gzip;q=0": false, "gzip; q=0.000, identity": false, "x-gzipped": false, "br, gzip ": true,
	}
	for accept, want := range tests {
		if got := takesGzip(http.Header{"Accept-Encoding": {accept}}); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

// TestSecretOfASession is needed: the public part of its ID opens nothing.
func TestSecretOfASession(t *testing.T) {
	w := newWorld(t, netpoll.Auto, nil)
	p := w.open()
	sid := p.Open.SID
	for _, guess := range []string{message.PublicID(sid), message.PublicID(sid) + "AAAAAAAAAAAA"} {
		p.Open.SID = guess
		if err := p.Post("40"); !refused(err, http.StatusBadRequest) {
			t.Errorf("%s: %v", guess, err)
		}
	}
	p.Open.SID = sid
	if err := p.Post("40"); err != nil {
		t.Error(err)
	}
}

// TestNamespaces keeps rooms of one name apart.
func TestNamespaces(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, func(c *Config) {
			c.Endpoints = []Endpoint{{
				Path: "/socket.io/", Namespaces: []string{"/", "/t-*"}, Polling: true, WebSocket: true, V4: true,
			}}
		})
		c := w.dial()
		for _, ns := range []string{"/", "/t-1"} {
			p, err := c.Connect(ns, `{"guid":"doc"}`)
			w.accepted(p, err)
		}
		for _, ns := range []string{"/x", "/t"} {
			if p, err := c.Connect(ns, ""); err != nil || p.Type != socketio.ConnectError {
				t.Errorf("%s: %v %s, %v", ns, p.Type, p.Data, err)
			}
		}
		w.push("a", 1, message.RoomKey("/t-1", "doc"))
		w.push("b", 2, message.RoomKey("/", "doc"), message.RoomKey("/t-1", "doc"))
		got := map[string]int{}
		for range 3 {
			p, err := c.Packet()
			if err != nil {
				t.Fatal(err)
			}
			got[p.Namespace+string(p.Data)]++
		}
		want := map[string]int{`/t-1["a",1]`: 1, `/t-1["b",2]`: 1, `/["b",2]`: 1}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v", got)
		}
		if err := c.Text("41/t-1,"); err != nil {
			t.Fatal(err)
		}
		if up := w.up(message.EventDisconnect); up.Client.Namespace != "/t-1" {
			t.Errorf("left %s", up.Client.Namespace)
		}
		w.push("c", 3, message.AllKey("/"))
		event(t, c, `["c",3]`)
	})
}

// TestDrain ends sessions at a rate, and refuses new ones.
func TestDrain(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, nil)
		var all []*testnet.Client
		for range 10 {
			c, _ := w.join(`"guid":"doc"`)
			all = append(all, c)
		}
		w.open() // a polling session that does not poll
		start := time.Now()
		w.gw.Drain(t.Context(), 50)
		if took := time.Since(start); took < 150*time.Millisecond {
			t.Errorf("11 sessions at 50 a second took %v", took)
		}
		for _, c := range all {
			var closed *testnet.Closed
			if _, err := c.Packet(); !errors.As(err, &closed) || closed.Code != 1001 {
				t.Errorf("closed with %v", err)
			}
		}
		if _, err := testnet.Dial(w.base, nil, nil); !refused(err, 503) {
			t.Errorf("a handshake: %v", err)
		}
		for range 10 {
			if up := w.up(message.EventDisconnect); up.Reason != "server shutting down" {
				t.Errorf("left for %s", up.Reason)
			}
		}
	})
}

// TestClose may be called at any time, also when nothing runs or for a second time.
func TestClose(t *testing.T) {
	g, err := New(Config{
		Node: "n", Registry: &testnet.Registry{}, Log: &testnet.Log{}, Bus: testnet.NewBus(1, 1),
		Auth: testnet.Auth{}, IDs: &testnet.IDs{},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := g.Close(t.Context()); err != nil {
			t.Errorf("not started: %v", err)
		}
	}
	w := newWorld(t, netpoll.Auto, nil)
	w.join("")
	w.close()
	if err := w.gw.Close(t.Context()); err != nil {
		t.Errorf("again: %v", err)
	}
	if _, err := testnet.Dial(w.base, url.Values{}, nil); err == nil {
		t.Error("a handshake after the end")
	}
}

// TestUpgradeOfASessionThatEnds closes the probe with it.
func TestUpgradeOfASessionThatEnds(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, nil)
		p := w.joinByPolling(`"guid":"doc"`)
		probe, err := testnet.Probe(p)
		if err != nil {
			t.Fatal(err)
		}
		defer probe.Kill()
		if late, err := testnet.Probe(p); err == nil {
			t.Error("a second probe was taken")
			late.Kill()
		}
		w.end(true)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, _ = p.Poll(ctx) // takes the close packet
		var closed *testnet.Closed
		if _, err := probe.Message(); !errors.As(err, &closed) {
			t.Errorf("the probe ended with %v", err)
		}
	})
}
