package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/auth"
	"holdfast/internal/redis/redistest"
	"holdfast/internal/testnet"
)

const outageSecret = "a secret for this test that is long enough"

// witness is a client that writes down all that it gets.
type witness struct {
	t   *testing.T
	id  string
	ws  *testnet.Client
	mu  sync.Mutex
	got []string
	err error
	new chan struct{}
}

// newWitness connects a user to a room of a gateway.
func newWitness(t *testing.T, clients, uid, room string) *witness {
	t.Helper()
	token, err := auth.Mint(auth.Config{Secret: []byte(outageSecret)}, uid, []string{"*"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ws := dialPatiently(t, clients)
	p, err := ws.Connect("/", fmt.Sprintf(`{"token":%q,"guid":%q}`, token, room))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(p.Data), `"sid":"`)
	if !ok {
		t.Fatalf("CONNECT was answered with %s", p.Data)
	}
	w := &witness{t: t, ws: ws, new: make(chan struct{}, 1)}
	w.id, _, _ = strings.Cut(rest, `"`)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			p, err := ws.Packet()
			w.mu.Lock()
			w.got, w.err = append(w.got, string(p.Data)), err
			w.mu.Unlock()
			select {
			case w.new <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		ws.Kill()
		<-done
	})
	return w
}

// dialPatiently opens a session as soon as the node lets newcomers in.
func dialPatiently(t *testing.T, clients string) *testnet.Client {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); ; {
		ws, err := testnet.Dial(clients+"/socket.io/", nil, nil)
		var refused *testnet.Refused
		if err == nil {
			return ws
		}
		if !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable {
			t.Fatal(err)
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(err)
		}
	}
}

func (w *witness) all() (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.got, "\n"), w.err
}

// until waits for something to arrive.
func (w *witness) until(want string) {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		all, err := w.all()
		if strings.Contains(all, want) {
			return
		}
		if err != nil {
			w.t.Fatalf("the connection is lost: %v", err)
		}
		select {
		case <-w.new:
		case <-deadline:
			w.t.Fatalf("no %s in:\n%s", want, all)
		}
	}
}

// eventually asks ws-api until the answer is right.
func eventually(t *testing.T, api, method, body string, right func(answer string) bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		answer, err := tryAPI(api, method, body)
		if err == nil && right(answer) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s %s is still answered with %s, %v", method, body, answer, err)
		}
	}
}

func contains(parts ...string) func(string) bool {
	return func(answer string) bool {
		for _, p := range parts {
			if !strings.Contains(answer, p) {
				return false
			}
		}
		return true
	}
}

// outage is two gateways and a ws-api whose Redis has a hard time.
type outage struct {
	t       *testing.T
	redis   *redistest.Server
	api     string
	nodes   []string
	metrics []string // of the nodes
	who     []*witness
	round   int
}

// TestRedisHasAHardTime loses Redis' data, stops it for longer than a lease lasts, and
// kills it. No connection is lost, nobody is said to have left, and a moment later
// everything is known again.
func TestRedisHasAHardTime(t *testing.T) {
	t.Parallel()
	defer http.DefaultClient.CloseIdleConnections()
	server := redistest.Start(t)
	o := newOutage(t, server, fmt.Sprintf("addrs: [%q]", server.Addr), "")
	o.right()

	o.redis.Run("FLUSHALL")
	o.right()

	resume := o.redis.Stall()
	o.refused() // once the lease is over
	resume()
	o.right()

	o.redis.Kill()
	o.refused()
	o.redis.Restart()
	o.right()
	o.undisturbed()
}

// TestRedisFailsOver kills the master under a cluster that finds it by a sentinel.
func TestRedisFailsOver(t *testing.T) {
	t.Parallel()
	defer http.DefaultClient.CloseIdleConnections()
	master := redistest.Start(t)
	host, port, _ := strings.Cut(master.Addr, ":")
	replica := redistest.Start(t, "--replicaof", host, port)
	sentinel := redistest.Sentinel(t, "main", master)
	o := newOutage(t, replica, fmt.Sprintf("addrs: [%q], sentinel: {master: main}", sentinel.Addr), "")
	o.right()
	sentinel.KnowsReplica("main")
	master.Kill()
	o.right()
	if role := replica.Run("ROLE"); !strings.HasPrefix(role, "master") {
		t.Errorf("the replica is %q", role)
	}
	o.undisturbed()
}

// TestRedisClusterHasAHardTime loses the data of each of three servers that share the
// keys, one after the other; then one stalls, and one starts again without its data.
func TestRedisClusterHasAHardTime(t *testing.T) {
	t.Parallel()
	defer http.DefaultClient.CloseIdleConnections()
	servers := redistest.Cluster(t)
	o := newOutage(t, servers[0], fmt.Sprintf("addrs: [%q]", servers[1].Addr), "")
	o.right()
	for _, server := range servers {
		server.Run("FLUSHALL")
		o.right()
	}
	resume := servers[1].Stall()
	o.unanswered()
	resume()
	o.right()

	servers[2].Kill()
	o.unanswered()
	servers[2].Restart()
	o.right()
	o.undisturbed()
}

// unanswered waits until ws-api cannot count the clients of any of some rooms, which
// are on all servers.
func (o *outage) unanswered() {
	o.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for n := 0; ; n++ {
		body := fmt.Sprintf(`{"target":{"room":"room-%d"}}`, n%16)
		if _, err := tryAPI(o.api, "ClientService/CountClients", body); err != nil {
			return
		}
		if time.Now().After(deadline) {
			o.t.Fatal("everything is answered")
		}
	}
}

// newOutage starts the processes over a store, and connects three clients. more is what
// else the configuration has.
func newOutage(t *testing.T, server *redistest.Server, store, more string) *outage {
	t.Helper()
	o := &outage{t: t, redis: server}
	config := func(identity string) string {
		return file(t, fmt.Sprintf(`
listen: 127.0.0.1:0
api_listen: 127.0.0.1:0
node: {identity: %s, secret: test}
auth: {jwt: {secret: %q}}
presence: {enabled: true}
recovery: {enabled: true}
store: {kind: redis, %s}
bus: {kind: redis}
drain: {pause: 0s, rate: 0}
log: {level: error}
%s`, identity, outageSecret, store, more))
	}
	o.api = start(t, "api", "--config", config("api")).await(t, `api +(http://\S+)`)[1]
	for _, name := range []string{"gw-a", "gw-b"} {
		out := start(t, "gateway", "--config", config(name))
		o.nodes = append(o.nodes, out.await(t, `clients +(http://\S+)`)[1])
		o.metrics = append(o.metrics, out.await(t, `metrics +(http://\S+)`)[1])
	}
	for i, uid := range []string{"ann", "bob", "cid"} {
		o.who = append(o.who, newWitness(t, o.nodes[i%2], uid, "doc-1"))
	}
	return o
}

// undisturbed checks that nobody has noticed anything.
func (o *outage) undisturbed() {
	o.t.Helper()
	for _, w := range o.who {
		all, err := w.all()
		if err != nil {
			o.t.Errorf("a connection was lost: %v", err)
		}
		if strings.Contains(all, `"type":"leave"`) {
			o.t.Errorf("somebody is said to have left:\n%s", all)
		}
	}
}

// refused waits until a node turns newcomers away for now.
func (o *outage) refused() {
	o.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); ; {
		ws, err := testnet.Dial(o.nodes[0]+"/socket.io/", nil, nil)
		var refused *testnet.Refused
		if errors.As(err, &refused) && refused.Status == http.StatusServiceUnavailable {
			return
		}
		if err == nil {
			ws.Kill()
		}
		select {
		case <-tick.C:
		case <-deadline:
			o.t.Fatalf("a handshake is answered with %v", err)
		}
	}
}

// right checks that everybody is known and reached, and that one more can come.
func (o *outage) right() {
	o.t.Helper()
	o.round++
	n := len(o.who)
	eventually(o.t, o.api, "ClientService/CountClients", `{"target":{"room":"doc-1"}}`, contains(fmt.Sprintf(`"clients":"%d"`, n), fmt.Sprintf(`"users":"%d"`, n)))
	eventually(o.t, o.api, "ClientService/CountClients", `{"target":{"all":true}}`, contains(fmt.Sprintf(`"clients":"%d"`, n)))
	var ids []string
	for _, w := range o.who {
		ids = append(ids, w.id)
	}
	eventually(o.t, o.api, "ClientService/ListClients", `{"target":{"room":"doc-1"}}`, contains(ids...))
	for _, node := range []string{"gw-a", "gw-b"} {
		eventually(o.t, o.api, "ClientService/ListClients", fmt.Sprintf(`{"node":%q}`, node), contains(`"id"`))
	}
	push := func(target, event string) {
		o.t.Helper()
		body := fmt.Sprintf(`{"targets":[%s],"event":%q,"payload":{"json":"[%d]"}}`, target, event, o.round)
		eventually(o.t, o.api, "PushService/Push", body, func(string) bool { return true })
	}
	push(`{"room":"doc-1"}`, "to-room")
	for _, w := range o.who {
		w.until(fmt.Sprintf(`["to-room",%d`, o.round))
	}
	push(`{"user":"bob"}`, "to-user")
	o.who[1].until(fmt.Sprintf(`["to-user",%d`, o.round))
	push(fmt.Sprintf(`{"client":%q}`, o.who[2].id), "to-client")
	o.who[2].until(fmt.Sprintf(`["to-client",%d`, o.round))
	o.who = append(o.who, newWitness(o.t, o.nodes[o.round%2], fmt.Sprint("late-", o.round), "doc-1"))
}
