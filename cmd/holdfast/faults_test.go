package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/redis/redistest"
	"holdfast/internal/testnet"
	"holdfast/socketio"
)

// listener is a client that writes down the numbers that it gets, and can come back.
type listener struct {
	t    *testing.T
	auth string
	c    *testnet.Client
	SID  string `json:"sid"`
	PID  string `json:"pid"`
	done chan struct{}

	mu     sync.Mutex
	got    []int
	offset string
	new    chan struct{}
}

// listen connects a client with these fields of its auth object.
func listen(t *testing.T, clients, fields string) *listener {
	t.Helper()
	l := &listener{t: t, auth: fields, c: dialPatiently(t, clients), done: make(chan struct{}), new: make(chan struct{}, 1)}
	if err := l.c.Text("40{" + fields + "}"); err != nil {
		t.Fatal(err)
	}
	for l.SID == "" {
		p, err := l.c.Packet()
		switch {
		case err != nil:
			t.Fatal(err)
		case p.Type == socketio.Event:
			l.take(p.Data) // missed
		case p.Type != socketio.Connect || json.Unmarshal(p.Data, l) != nil:
			t.Fatalf("CONNECT was answered with %v %s", p.Type, p.Data)
		}
	}
	go func() {
		defer close(l.done)
		for {
			p, err := l.c.Packet()
			if err != nil {
				return
			}
			l.take(p.Data)
		}
	}()
	t.Cleanup(l.lose)
	return l
}

func (l *listener) take(data []byte) {
	var name, offset string
	var n int
	if err := json.Unmarshal(data, &[]any{&name, &n, &offset}); err != nil {
		l.t.Errorf("%s: %v", data, err)
	}
	l.mu.Lock()
	l.got, l.offset = append(l.got, n), offset
	l.mu.Unlock()
	select {
	case l.new <- struct{}{}:
	default:
	}
}

// lose drops the connection.
func (l *listener) lose() {
	l.c.Kill()
	<-l.done
}

// back returns as the client that it was, if it is let.
func (l *listener) back(clients string) *listener {
	l.t.Helper()
	l.lose()
	return listen(l.t, clients, fmt.Sprintf(`%s,"pid":%q,"offset":%q`, l.auth, l.PID, l.offset))
}

// until waits for a number and returns all so far.
func (l *listener) until(n int) []int {
	l.t.Helper()
	deadline := time.After(15 * time.Second)
	for {
		l.mu.Lock()
		got := slices.Clone(l.got)
		l.mu.Unlock()
		if slices.Contains(got, n) {
			return got
		}
		select {
		case <-l.new:
		case <-deadline:
			l.t.Fatalf("no %d in %v", n, got)
		}
	}
}

// faulty is a cluster of two nodes and two ws-apis on one Redis.
type faulty struct {
	t     *testing.T
	redis *redistest.Server
	apis  []string
	nodes []string
}

func (f *faulty) push(api, n int, room string) {
	f.t.Helper()
	askAPI(f.t, f.apis[api], "PushService/Push",
		fmt.Sprintf(`{"targets":[{"room":%q}],"event":"e","payload":{"json":"[%d]"}}`, room, n))
}

// deaf makes Redis refuse whatever is sent to a node, until hear is called. The node
// reads on and does not notice.
func (f *faulty) deaf(node string) (hear func()) {
	inbox := "ws:node:{" + node + "}:inbox"
	allow := []string{
		"ACL", "SETUSER", "default", "resetkeys", "%R~" + inbox,
		"~ws:guid:*", "~ws:user:*", "~ws:client:*", "~ws:saved:*", "~ws:api:*", "~ws:{up}:*",
	}
	for _, key := range strings.Fields(f.redis.Run("--raw", "KEYS", "ws:*")) {
		if key != inbox {
			allow = append(allow, "~"+key)
		}
	}
	f.redis.Run(allow...)
	return func() { f.redis.Run("ACL", "SETUSER", "default", "allkeys") }
}

// TestFaultsOnRedis goes through what may go wrong between a push and its receivers,
// over the real thing.
func TestFaultsOnRedis(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	f := &faulty{t: t, redis: redistest.Start(t)}
	config := func(identity string) string {
		return file(t, fmt.Sprintf(`
listen: 127.0.0.1:0
api_listen: 127.0.0.1:0
node: {listen: 127.0.0.1:0, identity: %s, secret: test}
auth: {anonymous: true}
recovery: {enabled: true}
store: {kind: redis, addrs: [%q]}
bus: {kind: redis}
drain: {pause: 0s, rate: 0}
log: {level: error}
routes: [{event: ask, ack: backend}]
`, identity, f.redis.Addr))
	}
	for _, name := range []string{"api-1", "api-2"} {
		f.apis = append(f.apis, start(t, "api", "--config", config(name)).await(t, `api +(http://\S+)`)[1])
	}
	for _, name := range []string{"gw-a", "gw-b"} {
		f.nodes = append(f.nodes, start(t, "gateway", "--config", config(name)).await(t, `clients +(http://\S+)`)[1])
	}
	for _, test := range []struct {
		name string
		run  func(f *faulty)
	}{
		{"a lost record of a quiet room", (*faulty).lostRecord},
		{"a node that an api does not know of", (*faulty).newNode},
		{"two apis push to one room", (*faulty).twoProducers},
		{"a push is repeated at the other api", (*faulty).repeated},
		{"a push that waits is repeated at the other api", (*faulty).waitsTwice},
		{"subscribers of one api", (*faulty).subscribers},
		{"a join races an append", (*faulty).joinRacesAppend},
		{"a log expires in a quiet room", (*faulty).expired},
		{"the logs are lost", (*faulty).lost},
	} {
		t.Run(test.name, func(t *testing.T) {
			of := *f
			of.t = t
			test.run(&of)
		})
	}
}

// lostRecord: the only record that a room ever had, and one after that, do not reach its
// node.
func (f *faulty) lostRecord() {
	a, b := listen(f.t, f.nodes[0], `"guid":"quiet"`), listen(f.t, f.nodes[1], `"guid":"quiet"`)
	for n := range 2 {
		hear := f.deaf("gw-a")
		f.push(n%2, n, "quiet")
		b.until(n)
		hear()
		began := time.Now()
		a.until(n)
		// Two seconds are promised, the rest is for a busy machine.
		if took := time.Since(began); took > 5*time.Second {
			f.t.Errorf("the record was made up for after %v", took)
		}
	}
	if got := a.until(1); !slices.Equal(got, []int{0, 1}) {
		f.t.Errorf("got %v", got)
	}
}

// newNode: both apis remember which nodes have members of a room, and then another node
// gets its first one.
func (f *faulty) newNode() {
	a := listen(f.t, f.nodes[0], `"guid":"grows"`)
	f.push(0, 0, "grows")
	f.push(1, 1, "grows")
	a.until(1)
	b := listen(f.t, f.nodes[1], `"guid":"grows"`)
	for n := 2; n < 4; n++ {
		f.push(n%2, n, "grows")
		a.until(n)
		b.until(n)
	}
	if got := b.until(3); !slices.Equal(got, []int{2, 3}) {
		f.t.Errorf("the member on the new node got %v", got)
	}
}

// twoProducers: each member gets what both apis push, once, in one order for all, which
// for each api is that of its pushes.
func (f *faulty) twoProducers() {
	const each = 150
	var members []*listener
	for i := range 4 {
		members = append(members, listen(f.t, f.nodes[i%2], `"guid":"busy"`))
	}
	var wg sync.WaitGroup
	for api := range f.apis {
		wg.Go(func() {
			for n := range each {
				f.push(api, 1000*api+n, "busy")
			}
		})
	}
	wg.Wait()
	members[0].until(each - 1)
	first := members[0].until(1000 + each - 1)
	if len(first) != 2*each {
		f.t.Errorf("%d messages for %d", len(first), 2*each)
	}
	next := []int{0, 1000}
	for _, n := range first {
		if api := n / 1000; n != next[api] {
			f.t.Fatalf("%d instead of %d in %v", n, next[api], first)
		}
		next[n/1000]++
	}
	for _, m := range members[1:] {
		m.until(each - 1)
		if got := m.until(1000 + each - 1); !slices.Equal(got, first) {
			f.t.Errorf("one member got\n%v\nanother\n%v", first, got)
		}
	}
}

// repeated: a caller that has lost the answer asks the other api.
func (f *faulty) repeated() {
	l := listen(f.t, f.nodes[0], `"guid":"once"`)
	body := `{"targets":[{"room":"once"}],"event":"e","payload":{"json":"[1]"},"dedup_id":"an order"}`
	first := askAPI(f.t, f.apis[0], "PushService/Push", body)
	if again := askAPI(f.t, f.apis[1], "PushService/Push", body); again != first {
		f.t.Errorf("answered with %s, then with %s", first, again)
	}
	// An api that has claimed a push and dies before it is made.
	const dead = "0199a4b2-0000-7000-8000-000000000001"
	now := time.Now().UnixMicro()
	f.redis.Run("SET", "ws:receipt:{another order}", fmt.Sprintf("%s %d %d by:dead", dead, now, now), "PX", "120000")
	body = `{"targets":[{"room":"once"}],"event":"e","payload":{"json":"[2]"},"dedup_id":"another order"}`
	if got := askAPI(f.t, f.apis[1], "PushService/Push", body); !strings.Contains(got, dead) {
		f.t.Errorf("answered with %s", got)
	}
	f.push(0, 3, "once")
	if got := l.until(3); !slices.Equal(got, []int{1, 2, 3}) {
		f.t.Errorf("got %v", got)
	}
}

// waitsTwice: a caller that has lost the answer of clients asks the other api.
func (f *faulty) waitsTwice() {
	ann := newGuest(f.t, f.nodes[0], "ask")
	body := `{"targets":[{"room":"ask"}],"event":"q","payload":{"json":"[1]"},"ack_timeout":"30s","dedup_id":"%s"}`
	gone, cancel := context.WithCancel(f.t.Context())
	first, err := http.NewRequestWithContext(gone, http.MethodPost, f.apis[0]+"/holdfast.v1.PushService/PushAndWait", strings.NewReader(fmt.Sprintf(body, "x")))
	if err != nil {
		f.t.Fatal(err)
	}
	lost := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(first)
		if err == nil {
			_ = resp.Body.Close()
		}
		lost <- err
	}()
	asked := regexp.MustCompile(`42(\d+)\["q",1\]`).FindStringSubmatch(ann.until(`["q",1]`))
	cancel()
	if err := <-lost; !errors.Is(err, context.Canceled) {
		f.t.Errorf("the first caller got %v", err)
	}
	again := make(chan string, 1)
	go func() {
		answer, err := tryAPI(f.apis[1], "PushService/PushAndWait", fmt.Sprintf(body, "x"))
		again <- fmt.Sprint(answer, err)
	}()
	ann.post("43" + asked[1] + `["yes"]`)
	if got := <-again; !strings.Contains(got, `[\"yes\"]`) || strings.Contains(got, "missing") {
		f.t.Errorf("the second caller got %s", got)
	}

	// An api that has asked and died.
	now := time.Now().UnixMicro()
	f.redis.Run("SET", "ws:answers:{y}", fmt.Sprintf("m %d %d asked:%d:dead", now, now, now+200_000), "PX", "120000")
	if answer, err := tryAPI(f.apis[1], "PushService/PushAndWait", fmt.Sprintf(body, "y")); err == nil || !strings.Contains(err.Error(), `409 {"code":"aborted"`) {
		f.t.Errorf("of a dead api: %s, %v", answer, err)
	}
	f.push(0, 3, "ask")
	if all := ann.until(`["e",3`); strings.Contains(all, `"q"`) {
		f.t.Errorf("she was asked again: %s", all)
	}
}

// subscribers: a group has its streams at one api, and clients' events are at both.
func (f *faulty) subscribers() { subscribersOfTwoAPIs(f.t, f.apis, f.nodes) }

// joinRacesAppend: a client joins a room into which is pushed all the time. It gets all
// that is pushed from the answer on.
func (f *faulty) joinRacesAppend() {
	var begun atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				n := int(begun.Add(1))
				f.push(n%2, n, "race")
			}
		}
	}()
	for i := range 20 {
		l := listen(f.t, f.nodes[i%2], `"guid":"elsewhere"`)
		answer := askAPI(f.t, f.apis[i%2], "ClientService/Join", fmt.Sprintf(`{"target":{"client":%q},"rooms":["race"]}`, l.SID))
		from := int(begun.Load()) + 1
		if !strings.Contains(answer, "1") {
			f.t.Fatalf("join: %s", answer)
		}
		got := l.until(from + 5)
		at := slices.Index(got, from)
		if at < 0 {
			f.t.Fatalf("round %d: no %d in %v", i, from, got)
		}
		for k, n := range got[at:] {
			if n != from+k {
				f.t.Fatalf("round %d: from %d on got %v", i, from, got)
			}
		}
		l.lose()
	}
	close(stop)
	<-stopped
}

// expired: the room is silent until its log is gone. Nobody has missed anything.
func (f *faulty) expired() {
	stays, goes := listen(f.t, f.nodes[0], `"guid":"old"`), listen(f.t, f.nodes[1], `"guid":"old"`)
	f.push(0, 1, "old")
	stays.until(1)
	goes.until(1)
	goes.lose()
	keys := strings.Fields(f.redis.Run("--raw", "KEYS", "ws:guid:*:{*old}"))
	logs := slices.DeleteFunc(keys, func(k string) bool { return !strings.Contains(k, ":log:") && !strings.Contains(k, ":head:") })
	if len(logs) != 2 {
		f.t.Fatalf("the room has the logs %v of %v", logs, keys)
	}
	f.redis.Run(append([]string{"DEL"}, logs...)...)
	back := goes.back(f.nodes[0])
	if back.SID != goes.SID {
		f.t.Error("who missed nothing came back as new")
	}
	f.push(1, 2, "old")
	stays.until(2)
	if got := back.until(2); !slices.Equal(got, []int{2}) {
		f.t.Errorf("got %v", got)
	}
}

// lost: who is away while Redis loses everything is told that it begins anew; who stays
// goes on.
func (f *faulty) lost() {
	stays, goes := listen(f.t, f.nodes[0], `"guid":"doc"`), listen(f.t, f.nodes[1], `"guid":"doc"`)
	f.push(0, 1, "doc")
	stays.until(1)
	goes.until(1)
	goes.lose()
	f.redis.Run("FLUSHALL")
	if back := goes.back(f.nodes[1]); back.SID == goes.SID {
		f.t.Error("it was recovered from nothing")
	}
	eventually(f.t, f.apis[0], "ClientService/CountClients", `{"target":{"room":"doc"}}`, contains(`"clients":"2"`))
	eventually(f.t, f.apis[1], "PushService/Push", `{"targets":[{"room":"doc"}],"event":"e","payload":{"json":"[2]"}}`, contains("messageId"))
	stays.until(2)
}
