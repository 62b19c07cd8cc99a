package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/internal/redis/redistest"
)

// A gateway is started under the name of one that lives. The new one takes name and
// number over, the old one sends its clients away and ends, and leaves alone what the new
// one has written.
func TestTwoGatewaysOfOneIdentity(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	server := redistest.Start(t)
	config := file(t, fmt.Sprintf(`
listen: 127.0.0.1:0
api_listen: 127.0.0.1:0
node: {identity: gw, secret: test}
auth: {jwt: {secret: %q}}
store: {kind: redis, addrs: [%q]}
bus: {kind: redis}
drain: {pause: 0s, rate: 0}
log: {level: error}
`, outageSecret, server.Addr))
	api := start(t, "api", "--config", config).await(t, `api +(http://\S+)`)[1]

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	out, errs := newBuffer(), newBuffer()
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"gateway", "--config", config}, nil, out, errs) }()
	ann := newWitness(t, out.await(t, `clients +(http://\S+)`)[1], "ann", "doc")
	eventually(t, api, "ClientService/CountClients", `{"target":{"room":"doc"}}`, contains(`"clients":"1"`))

	second := start(t, "gateway", "--config", config).await(t, `clients +(http://\S+)`)[1]
	bob := newWitness(t, second, "bob", "doc")
	select {
	case code := <-ended:
		if code == 0 || !strings.Contains(errs.String(), `node.identity "gw"`) {
			t.Errorf("the first one ended with %d: %s", code, errs)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the first one does not end")
	}
	for {
		if _, err := ann.all(); err != nil {
			break // her client reconnects
		}
		<-ann.new
	}
	eventually(t, api, "ClientService/CountClients", `{"target":{"room":"doc"}}`, contains(`"clients":"1"`))
	eventually(t, api, "ClientService/ListClients", `{"node":"gw"}`, contains(bob.id))
	askAPI(t, api, "PushService/Push", `{"targets":[{"room":"doc"}],"event":"hello","payload":{"json":"[1]"}}`)
	bob.until(`["hello",1]`)
	if nodes := server.Run("--raw", "SMEMBERS", "ws:guid:nodes:{/,doc}"); nodes != "gw" {
		t.Errorf("nodes of the room: %q", nodes)
	}
}
