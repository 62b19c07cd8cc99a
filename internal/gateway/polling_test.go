package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/engineio"
	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/testnet"
)

func (w *world) open() *testnet.Poller {
	w.t.Helper()
	p, err := testnet.OpenPoller(w.http, w.base, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// joinByPolling opens a session and connects it to "/".
func (w *world) joinByPolling(fields string) *testnet.Poller {
	w.t.Helper()
	p := w.open()
	if err := p.Post("40{" + fields + "}"); err != nil {
		w.t.Fatal(err)
	}
	if got := w.poll(p); !strings.HasPrefix(got, `40{"sid":`) {
		w.t.Fatalf("CONNECT was answered with %s", got)
	}
	return p
}

// poll returns what a poll brings, in text form, without pings.
func (w *world) poll(p *testnet.Poller) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	packets, err := p.Poll(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return texts(packets)
}

func texts(packets []engineio.Packet) string {
	var out []string
	for _, p := range packets {
		if p.Type != engineio.Ping {
			out = append(out, string(p.Type.Byte())+string(p.Data))
		}
	}
	return strings.Join(out, " ")
}

// TestPolling is the common way, up to the upgrade.
func TestPolling(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, nil)
		p := w.joinByPolling(`"guid":"doc"`)
		w.push("e", 0, room)
		w.push("e", 1, room)
		got := w.poll(p)
		if !strings.Contains(got, `["e",1]`) {
			got += " " + w.poll(p)
		}
		if got != `42["e",0] 42["e",1]` {
			t.Errorf("polled %s", got)
		}
		c, rest, err := p.Upgrade(t.Context())
		if err != nil || texts(rest) != "6" {
			t.Fatalf("upgraded with %s, %v", texts(rest), err)
		}
		defer c.Kill()
		w.push("e", 2, room)
		event(t, c, `["e",2]`)
		if err := p.Post("42[]"); !refused(err, http.StatusBadRequest) {
			t.Errorf("a late post: %v", err)
		}
		if err := c.Text(`42["still here"]`); err != nil {
			t.Fatal(err)
		}
		if up := w.up(message.EventMessage); up.Client.Transport != "websocket" {
			t.Errorf("the event says %s", up.Client.Transport)
		}
	})
}

// TestNoRequestWaitsForEver ends a session, or the node, under each kind of request.
func TestNoRequestWaitsForEver(t *testing.T) {
	ends := map[string]func(w *world, p *testnet.Poller){
		// net/http calls a connection of HTTP/2 idle, and cuts it when told to stop, a moment
		// before its last answer has left; here the node alone is meant.
		"the node stops":         func(w *world, _ *testnet.Poller) { w.stop() },
		"the client is closed":   func(w *world, _ *testnet.Poller) { w.end(true) },
		"the client is kicked":   func(w *world, _ *testnet.Poller) { w.end(false) },
		"the client says close":  func(w *world, p *testnet.Poller) { _ = p.Post("1") },
		"the client sends trash": func(w *world, p *testnet.Poller) { _ = p.Post("4abc") },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			onEngines(t, func(t *testing.T, kind netpoll.Kind) {
				w := newWorld(t, kind, nil)
				p := w.joinByPolling(`"guid":"doc"`)
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				answered := make(chan error, 1)
				go func() {
					_, err := p.Poll(ctx)
					answered <- err
				}()
				w.until("the poll waits", func() bool { return w.waiting() == 1 })
				end(w, p)
				if err := <-answered; err != nil && !refused(err, http.StatusBadRequest) {
					t.Errorf("the poll: %v", err)
				}
			})
		})
	}
}

func (w *world) end(back bool) {
	w.call(&message.Down{Disconnect: &message.Disconnect{To: room, AllowReconnect: back}})
}

// waiting counts the polls that wait.
func (w *world) waiting() (n int) {
	w.onShards(func(sh *shard) {
		for _, c := range sh.sessions {
			if c.poll != nil {
				n++
			}
		}
	})
	return n
}

// TestAbortedPoll gives a poll up: the session ends.
func TestAbortedPoll(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, nil)
		p := w.joinByPolling(`"guid":"doc"`)
		ctx, cancel := context.WithCancel(context.Background())
		answered := make(chan error, 1)
		go func() {
			_, err := p.Poll(ctx)
			answered <- err
		}()
		w.until("the poll waits", func() bool { return w.waiting() == 1 })
		cancel()
		if err := <-answered; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		w.until("the session is over", func() bool { return w.gw.Stats.Sessions.Load() == 0 })
		if up := w.up(message.EventDisconnect); up.Reason != "transport error" {
			t.Errorf("it left for %s", up.Reason)
		}
	})
}

// TestHalfClosedPoll ends the client's side of the connection under its poll. The session
// ends, and what the client reads is no answer of a session.
func TestHalfClosedPoll(t *testing.T) {
	w := newWorld(t, netpoll.Auto, nil)
	p := w.joinByPolling("")
	nc := w.connect(t)
	if _, err := fmt.Fprintf(nc, "GET /socket.io/?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: h\r\n\r\n", p.Open.SID); err != nil {
		t.Fatal(err)
	}
	w.until("the poll waits", func() bool { return w.waiting() == 1 })
	if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("the poll is answered with %s", resp.Status)
	}
	w.until("the session is over", func() bool { return w.gw.Stats.Sessions.Load() == 0 })
}

// TestTwoPolls makes two polls at once, which no client does.
func TestTwoPolls(t *testing.T) {
	w := newWorld(t, netpoll.Auto, nil)
	p := w.joinByPolling("")
	first := make(chan string, 1)
	go func() {
		packets, err := p.Poll(context.Background())
		first <- texts(packets) + fmt.Sprint(err)
	}()
	w.until("the poll waits", func() bool { return w.waiting() == 1 })
	if _, err := p.Poll(t.Context()); !refused(err, http.StatusBadRequest) {
		t.Errorf("the second: %v", err)
	}
	if got := <-first; got != "1<nil>" {
		t.Errorf("the first got %s", got)
	}
}

// TestFullBus has the bus take nothing for a while: sockets are not read, posts not
// answered, and when it takes events again they are all there, in order.
func TestFullBus(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, func(c *Config) {
			c.Session.PingInterval, c.Session.PingTimeout = 600, 600 // ms: nobody is dead for not being read
		})
		c, _ := w.join(`"guid":"doc"`)
		p := w.joinByPolling(`"guid":"doc"`)
		w.up(message.EventConnect)
		w.up(message.EventConnect)
		w.bus.SetFull(true)
		if err := c.Texts(`42["c",0]`, `42["c",1]`); err != nil {
			t.Fatal(err)
		}
		posted := make(chan error, 1)
		go func() { posted <- p.Post(`42["p",0]`, `42["p",1]`) }()
		w.until("both are paused", func() bool { return w.gw.Stats.PausedReads.Load() == 2 })
		if err := c.Text(`42["c",2]`); err != nil {
			t.Fatal(err)
		}
		polls := make(chan struct{})
		ctx, cancel := context.WithCancel(context.Background())
		go func() { // it goes on polling, as clients do
			defer close(polls)
			for ctx.Err() == nil {
				_, _ = p.Poll(ctx)
			}
		}()
		select {
		case err := <-posted:
			t.Errorf("the post was answered while the bus was full: %v", err)
		case <-time.After(1500 * time.Millisecond): // longer than a ping may take
		}
		w.bus.SetFull(false)
		if err := <-posted; err != nil {
			t.Errorf("the post: %v", err)
		}
		next := map[string]int{}
		for range 5 {
			up := w.up(message.EventMessage)
			if got := fmt.Sprint(next[up.Name]); got != strings.Trim(string(up.Payload.JSON), "[]") {
				t.Errorf("event %s %s, want %s", up.Name, up.Payload.JSON, got)
			}
			next[up.Name]++
		}
		cancel()
		<-polls
	})
}

// TestTwoPosts sends a post while the one before is not answered yet.
func TestTwoPosts(t *testing.T) {
	w := newWorld(t, netpoll.Auto, nil)
	p := w.joinByPolling("")
	w.bus.SetFull(true)
	posted := make(chan error, 1)
	go func() { posted <- p.Post(`42["p",0]`) }()
	w.until("the post waits", func() bool { return w.gw.Stats.PausedReads.Load() == 1 })
	if err := p.Post(`42["p",1]`); !refused(err, http.StatusBadRequest) {
		t.Errorf("the second: %v", err)
	}
	if err := <-posted; err != nil {
		t.Errorf("the first: %v", err)
	}
	w.bus.SetFull(false)
	w.until("the session is over", func() bool { w.poll400(p); return w.gw.Stats.Sessions.Load() == 0 })
}

func (w *world) poll400(p *testnet.Poller) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, _ = p.Poll(ctx)
}

// TestBacklogBound has one read of a socket bring more events than the backlog holds.
func TestBacklogBound(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, func(c *Config) { c.Shards, c.InboxRecords = 1, 10 })
		c, _ := w.join("")
		w.up(message.EventConnect)
		w.bus.SetFull(true)
		many := make([]string, 100)
		for i := range many {
			many[i] = `42["e"]`
		}
		if err := c.Texts(many...); err != nil {
			t.Fatal(err)
		}
		var closed *testnet.Closed
		if _, err := c.Packet(); !errors.As(err, &closed) || closed.Code != 1008 {
			t.Errorf("closed with %v", err)
		}
		if _, err := testnet.Dial(w.base, nil, nil); !refused(err, http.StatusServiceUnavailable) {
			t.Errorf("a handshake meanwhile: %v", err)
		}
		w.bus.SetFull(false)
		for range 10 {
			w.up(message.EventMessage)
		}
		w.until("handshakes are taken again", func() bool {
			c, err := testnet.Dial(w.base, nil, nil)
			if err == nil {
				c.Kill()
			}
			return err == nil
		})
	})
}

// TestBodyWithoutEnd posts what never ends and has the session end: the request does, too.
func TestBodyWithoutEnd(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, nil)
		p := w.joinByPolling(`"guid":"doc"`)
		body, never := io.Pipe()
		defer func() { _ = never.Close() }()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.base+"?EIO=4&transport=polling&sid="+p.Open.SID, body)
		if err != nil {
			t.Fatal(err)
		}
		status := make(chan int, 1)
		go func() {
			defer close(status)
			if resp, err := w.http.Do(r); err == nil {
				status <- resp.StatusCode
				_ = resp.Body.Close()
			}
		}()
		if _, err := never.Write([]byte("42[")); err != nil {
			t.Fatal(err)
		}
		w.until("the post is being read", func() (reading bool) {
			w.onShards(func(sh *shard) { reading = reading || len(sh.bodies) > 0 })
			return reading
		})
		began := time.Now()
		w.call(&message.Down{Disconnect: &message.Disconnect{To: room, AllowReconnect: true}})
		if got := <-status; got != http.StatusBadRequest {
			t.Errorf("answered with %d", got)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("after %v", took)
		}
	})
}
