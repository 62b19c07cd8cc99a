package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"holdfast/internal/redis/redistest"
)

// nodes is two gateways and a ws-api over one Redis.
type nodes struct{ api, a, b string }

func startNodes(t *testing.T, more string) nodes {
	t.Helper()
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	server := redistest.Start(t)
	config := func(identity string) string {
		return file(t, fmt.Sprintf(`
listen: 127.0.0.1:0
api_listen: 127.0.0.1:0
node: {listen: 127.0.0.1:0, identity: %s, secret: test}
auth: {anonymous: true}
store: {kind: redis, addrs: [%q]}
bus: {kind: redis}
drain: {pause: 0s, rate: 0}
log: {level: error}
%s`, identity, server.Addr, more))
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
	n := startNodes(t, "")
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
