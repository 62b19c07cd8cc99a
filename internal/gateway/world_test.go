package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/testnet"
	"holdfast/socketio"
)

// patience bounds every wait of a test.
const patience = 15 * time.Second

// world is a node with everything that it talks to.
type world struct {
	t    *testing.T
	reg  *testnet.Registry
	log  *testnet.Log
	bus  *testnet.Bus
	ids  *testnet.IDs
	gw   *Gateway
	srv  *httptest.Server
	http *http.Client
	base string

	stopped, closed bool

	mu sync.Mutex // holds an append and what follows from it together
}

// overTLS is Auto with TLS on the clients' side, and HTTP/2 for polling.
const overTLS netpoll.Kind = 100

// littleRoom is Auto with sockets of which the kernel takes little at once.
const littleRoom netpoll.Kind = 101

// onEngines runs a test on both engines, and over TLS.
func onEngines(t *testing.T, test func(t *testing.T, kind netpoll.Kind)) {
	t.Helper()
	for name, kind := range map[string]netpoll.Kind{"auto": netpoll.Auto, "goroutines": netpoll.Goroutines, "tls": overTLS} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, kind)
		})
	}
}

// newWorld starts a node of two shards. At the end of the test it is closed, if the
// test has not done so, and must have nothing left.
func newWorld(t *testing.T, kind netpoll.Kind, change func(*Config)) *world {
	t.Helper()
	w := &world{
		t: t, reg: &testnet.Registry{}, log: &testnet.Log{}, bus: testnet.NewBus(1<<16, 1), ids: &testnet.IDs{},
	}
	w.start("n1", kind, change)
	t.Cleanup(func() {
		w.reg.Gate.Open()
		w.log.Gate.Open()
		w.close()
		w.empty()
	})
	return w
}

// start runs the world's node.
func (w *world) start(node string, kind netpoll.Kind, change func(*Config)) {
	w.t.Helper()
	secure, little := kind == overTLS, kind == littleRoom
	if secure || little {
		kind = netpoll.Auto
	}
	w.http = &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 64, ForceAttemptHTTP2: secure,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the test server's
	}}
	cfg := Config{
		Node: node, Registry: w.reg, Log: w.log, Bus: w.bus, Auth: testnet.Auth{}, IDs: w.ids,
		Shards: 2, Engine: kind,
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if w.gw, err = New(cfg); err != nil {
		w.t.Fatal(err)
	}
	w.gw.Start()
	w.srv = httptest.NewUnstartedServer(w.gw)
	switch {
	case secure:
		w.srv.Listener = sockets{w.srv.Listener}
		w.srv.EnableHTTP2 = true
		w.srv.StartTLS()
	case little:
		w.srv.Listener = littleSockets{w.srv.Listener}
		w.srv.Start()
	default:
		w.srv.Listener = w.gw.Listen(w.srv.Listener)
		w.srv.Start()
	}
	w.base = w.srv.URL + "/socket.io/"
}

// sockets has TLS stand on netpoll's Socket, as it does in the gateway's process.
type sockets struct{ net.Listener }

func (l sockets) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return netpoll.NewSocket(nc), nil
}

// littleSockets are sockets with little room for what is written to them.
type littleSockets struct{ net.Listener }

func (l littleSockets) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(8 << 10)
	}
	return nc, err
}

// stop stops the node; the HTTP server before it goes on.
func (w *world) stop() {
	w.t.Helper()
	if w.stopped {
		return
	}
	w.stopped = true
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.gw.Close(ctx); err != nil {
		w.t.Errorf("close the node: %v", err)
	}
}

// close stops the node and everything around it.
func (w *world) close() {
	w.t.Helper()
	w.stop()
	if !w.closed {
		w.closed = true
		w.http.CloseIdleConnections()
		w.srv.Close()
	}
}

// empty fails the test for what a closed node has left anywhere.
func (w *world) empty() {
	w.t.Helper()
	check := func(what string, n int) {
		w.t.Helper()
		if n != 0 {
			w.t.Errorf("%d %s left", n, what)
		}
	}
	check("sessions counted", int(w.gw.Stats.Sessions.Load()))
	check("clients counted", int(w.gw.Stats.Clients.Load()))
	for _, k := range w.gw.Stats.Kinds() {
		check("clients of "+k.Protocol+" on "+k.Transport, int(k.Clients))
	}
	check("blocked sockets", int(w.gw.Stats.Blocked.Load()))
	check("bytes for them", int(w.gw.Stats.BlockedBytes.Load()))
	check("registrar's keys", len(w.gw.registrar.nodes))
	check("registrar's ops", len(w.gw.registrar.ops))
	check("claims", len(w.gw.claims.by))
	check("connections admitted", w.gw.admission.now)
	check("addresses", len(w.gw.admission.byIP))
	clients, keys, _ := w.reg.Left()
	check("clients in the registry", clients)
	check("keys in the registry", keys)
	for _, sh := range w.gw.shards {
		check("sessions", len(sh.sessions))
		check("clients", len(sh.clients))
		check("probes", len(sh.probes))
		check("tombstones", len(sh.away.bySession)+len(sh.away.byClient)+len(sh.away.frozen))
		check("sessions that others try to take over", len(sh.away.visited))
		check("sessions that arrive", sh.away.arriving)
		check("greeters", len(sh.greeters))
		check("sockets that part", len(sh.parting))
		check("rooms", sh.hub.Rooms())
		check("seats", sh.hub.Seats())
		check("clients coming in", len(sh.coming))
		check("verdicts", len(sh.verdicts))
		check("bodies", len(sh.bodies))
		check("calls", len(sh.calls))
		check("joins that wait", len(sh.joins))
		check("early records", len(sh.early))
		check("active rooms", len(sh.active))
		check("events in the backlog", len(sh.backlog.events))
		check("connections of the poller", sh.engine.Len())
	}
}

// dial opens a session on a WebSocket.
func (w *world) dial() *testnet.Client {
	w.t.Helper()
	c, err := testnet.Dial(w.base, nil, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Kill)
	return c
}

// who is what a CONNECT is answered with.
type who struct {
	SID string `json:"sid"`
	PID string `json:"pid"`
}

// join opens a session and connects it to "/" with an auth object of these fields.
func (w *world) join(fields string) (*testnet.Client, who) {
	w.t.Helper()
	c := w.dial()
	p, err := c.Connect("/", "{"+fields+"}")
	return c, w.accepted(p, err)
}

func (w *world) accepted(p socketio.Packet, err error) (id who) {
	w.t.Helper()
	if err != nil || p.Type != socketio.Connect {
		w.t.Fatalf("CONNECT was answered with %v %s, %v", p.Type, p.Data, err)
	}
	fromJSON(w.t, p.Data, &id)
	return id
}

// newPush makes a push that tells its number.
func (w *world) newPush(event string, n int, targets ...message.Key) *message.Push {
	id, err := w.ids.AppendMessageID(nil)
	if err != nil {
		w.t.Error(err)
	}
	return &message.Push{
		ID: string(id), Event: event, Targets: targets,
		Payload: message.Payload{JSON: fmt.Appendf(nil, "[%d]", n)},
	}
}

// push sends a push in the way that ws-api does.
func (w *world) push(event string, n int, targets ...message.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.newPush(event, n, targets...)
	w.deliver(p, w.log.Append(p))
}

func (w *world) deliver(p *message.Push, stamps []message.Stamp) {
	sent := make(map[string]bool)
	for _, s := range stamps {
		for _, node := range w.reg.Nodes(s.Key) {
			if !sent[node] {
				sent[node] = true
				_ = w.bus.Send(node, &message.Down{Push: &message.Delivery{Push: p, Stamps: stamps}}) // the log knows
			}
		}
	}
}

// append is a push that the bus loses.
func (w *world) append(event string, n int, targets ...message.Key) (*message.Push, []message.Stamp) {
	p := w.newPush(event, n, targets...)
	return p, w.log.Append(p)
}

// call makes a call and waits for its end.
func (w *world) call(d *message.Down) []message.Reply {
	w.t.Helper()
	c, err := w.bus.Call(w.gw.cfg.Node, d)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.answered(c)
}

// answered waits for the end of a call, which must come once.
func (w *world) answered(c *testnet.Call) []message.Reply {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	replies, err := c.Wait(ctx, testnet.Done)
	if err != nil {
		w.t.Fatalf("a call ended with %v after %v", err, replies)
	}
	return replies
}

// onShards runs something on each shard, one after the other.
func (w *world) onShards(run func(*shard)) {
	w.t.Helper()
	for _, sh := range w.gw.shards {
		done := make(chan struct{})
		if !sh.inbox.post(func() { run(sh); close(done) }) {
			w.t.Fatal("a shard has stopped")
		}
		<-done
	}
}

// until waits for a state of the shards.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("timed out: %s", what)
		}
	}
}

// event reads the next packet, which must be that event.
func event(t *testing.T, c *testnet.Client, want string) {
	t.Helper()
	p, err := c.Packet()
	if err != nil {
		t.Fatalf("waiting for %s: %v", want, err)
	}
	if got := string(p.Data); p.Type != socketio.Event || !strings.HasPrefix(got, strings.TrimSuffix(want, "]")) {
		t.Fatalf("got %v %s, want %s", p.Type, got, want)
	}
}

// offsetOf is the last argument of an event.
func offsetOf(t *testing.T, p socketio.Packet) string {
	t.Helper()
	var args []any
	fromJSON(t, p.Data, &args)
	offset, _ := args[len(args)-1].(string)
	return offset
}

// testTime is a context that ends when a test has waited too long.
func testTime() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}
