package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/internal/certtest"
	"holdfast/internal/redis/redistest"
	"holdfast/internal/testnet"
	"holdfast/socketio"
)

// nodes is two gateways and a ws-api over one Redis.
type nodes struct{ api, a, b string }

func startNodes(t *testing.T, more string) nodes {
	t.Helper()
	return startLinked(t, "", more)
}

// startLinked is the same with further keys of node.
func startLinked(t *testing.T, link, more string) nodes {
	t.Helper()
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	server := redistest.Start(t)
	config := func(identity string) string {
		return file(t, fmt.Sprintf(`
listen: 127.0.0.1:0
api_listen: 127.0.0.1:0
node: {listen: 127.0.0.1:0, identity: %s, secret: test%s}
auth: {anonymous: true}
store: {kind: redis, addrs: [%q]}
bus: {kind: redis}
drain: {pause: 0s, rate: 0}
log: {level: error}
%s`, identity, link, server.Addr, more))
	}
	return nodes{
		api: start(t, "api", "--config", config("api")).await(t, `api +(http://\S+)`)[1],
		a:   start(t, "gateway", "--config", config("gw-a")).await(t, `clients +(http://\S+)`)[1],
		b:   start(t, "gateway", "--config", config("gw-b")).await(t, `clients +(http://\S+)`)[1],
	}
}

// TestRequestsAlternateBetweenNodes has each poll and each post of a client go to
// another node than the one before.
func TestRequestsAlternateBetweenNodes(t *testing.T) {
	ca := certtest.NewCA(t)
	pair := ca.Sign("gateways")
	for name, link := range map[string]string{
		"in the clear": "",
		"by TLS":       fmt.Sprintf(", tls: {cert: %q, key: %q, ca: %q, name: gateways}", pair.Cert, pair.Key, ca.File),
	} {
		t.Run(name, func(t *testing.T) { requestsAlternate(t, startLinked(t, link, "")) })
	}
}

func requestsAlternate(t *testing.T, n nodes) {
	t.Helper()
	_, open := get(t, n.a+"/socket.io/?EIO=4&transport=polling")
	var hello struct {
		SID string `json:"sid"`
	}
	if err := json.Unmarshal([]byte(open[1:]), &hello); err != nil {
		t.Fatalf("handshake: %s", open)
	}
	var turn int
	at := func() *guest {
		turn++
		return &guest{t, []string{n.a, n.b}[turn%2] + "/socket.io/?EIO=4&transport=polling&sid=" + hello.SID}
	}
	at().post(`40{"guid":"doc-1"}`)
	at().until(`40{"sid":"`)
	for i := range 6 {
		at().post(fmt.Sprintf(`42%d["say",%d]`, i, i))
		at().until(fmt.Sprintf(`43%d[]`, i))
		text := fmt.Sprintf(`["hello",%d]`, i)
		askAPI(t, n.api, "PushService/Push", fmt.Sprintf(`{"targets":[{"room":"doc-1"}],"event":"hello","payload":{"json":"[%d]"}}`, i))
		at().until(text)
	}
	at().post("1")
	if status, body := get(t, at().url); status != http.StatusBadRequest || !strings.Contains(body, `"code":1`) {
		t.Errorf("a poll after the end: %d %s", status, body)
	}
}

// TestUpgradeOnTheOtherNode moves clients that are pushed to: nothing is lost, nothing
// comes twice, and afterwards nothing of them goes between the nodes.
func TestUpgradeOnTheOtherNode(t *testing.T) {
	n := startNodes(t, "recovery: {enabled: true}")
	h := &http.Client{}
	defer h.CloseIdleConnections()
	for _, way := range [][2]string{{n.a, n.b}, {n.b, n.a}} {
		from, to := way[0]+"/socket.io/", way[1]+"/socket.io/"
		p, err := testnet.OpenPoller(h, from, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Post(`40{"guid":"doc-1"}`); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		pushed := make(chan struct{})
		go func() {
			defer close(pushed)
			for i := range 100 {
				askAPI(t, n.api, "PushService/Push", fmt.Sprintf(`{"targets":[{"room":"doc-1"}],"event":"n","payload":{"json":"[%d]"}}`, i))
			}
		}()
		due := 0
		took := func(data []byte) {
			if packet, err := socketio.Parse(data, socketio.Limits{}); err == nil && packet.Type == socketio.Event {
				if !strings.HasPrefix(string(packet.Data), fmt.Sprintf(`["n",%d,`, due)) {
					t.Errorf("%s came, %d was due", packet.Data, due)
				}
				due++
			}
		}
		for due < 20 {
			packets, err := p.Via([]string{from, to}[due%2]).Poll(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range packets {
				took(x.Data)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		c, rest, err := p.Via(to).Upgrade(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range rest {
			took(x.Data)
		}
		for due < 100 {
			packet, err := c.Packet()
			if err != nil {
				t.Fatalf("%v, %d was due", err, due)
			}
			took(append([]byte("2"), packet.Data...))
		}
		<-pushed
		if err := c.Text(`427["say"]`); err != nil {
			t.Fatal(err)
		}
		if packet, err := c.Packet(); err != nil || packet.Type != socketio.Ack || packet.ID != 7 {
			t.Errorf("the ack: %+v, %v", packet, err)
		}
		if count := askAPI(t, n.api, "ClientService/CountClients", `{"target":{"room":"doc-1"}}`); !strings.Contains(count, `"clients":"1"`) {
			t.Errorf("count: %s", count)
		}
		if left := askAPI(t, n.api, "ClientService/Disconnect", `{"target":{"room":"doc-1"}}`); !strings.Contains(left, `"clients":1`) {
			t.Errorf("disconnect: %s", left)
		}
		if packet, err := c.Packet(); err != nil || packet.Type != socketio.Disconnect {
			t.Errorf("it is closed by %+v, %v", packet, err)
		}
		c.Kill()
	}
}
