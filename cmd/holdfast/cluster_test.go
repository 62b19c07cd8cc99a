package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/internal/console"
	"holdfast/internal/redis/redistest"
)

// start runs a command that serves until the test ends and returns its output.
func start(t *testing.T, args ...string) *buffer {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	out, errs := newBuffer(), newBuffer()
	done := make(chan int, 1)
	go func() { done <- run(ctx, args, nil, out, errs) }()
	t.Cleanup(func() {
		stop()
		if code := <-done; code != 0 {
			t.Errorf("%q ended with %d:\n%s", args, code, errs)
		}
	})
	return out
}

// guest is a client that polls.
type guest struct {
	t   *testing.T
	url string
}

func newGuest(t *testing.T, clients, room string) *guest {
	t.Helper()
	_, open := get(t, clients+"/socket.io/?EIO=4&transport=polling")
	var hello struct {
		SID string `json:"sid"`
	}
	if err := json.Unmarshal([]byte(open[1:]), &hello); err != nil {
		t.Fatalf("handshake: %s", open)
	}
	g := &guest{t, clients + "/socket.io/?EIO=4&transport=polling&sid=" + hello.SID}
	g.post(fmt.Sprintf(`40{"guid":%q}`, room))
	g.until(`40{"sid":"`)
	return g
}

func (g *guest) post(body string) {
	g.t.Helper()
	resp, err := http.Post(g.url, "text/plain", strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}

// until polls until an answer contains want, and returns all answers.
func (g *guest) until(want string) (all string) {
	g.t.Helper()
	for {
		status, body := get(g.t, g.url)
		all += body
		if status != http.StatusOK {
			g.t.Fatalf("poll: %d %s, waiting for %s", status, body, want)
		}
		if strings.Contains(body, want) {
			return all
		}
		for _, packet := range strings.Split(body, "\x1e") {
			if packet == "2" {
				g.post("3")
			}
		}
	}
}

func askAPI(t *testing.T, api, method, body string) string {
	t.Helper()
	answer, err := tryAPI(api, method, body)
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return answer
}

func tryAPI(api, method, body string) (string, error) {
	resp, err := http.Post(api+"/holdfast.v1."+method, "application/json", bytes.NewReader([]byte(body)))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%d %s", resp.StatusCode, text)
	}
	return string(text), err
}

// TestTwoGatewaysAndAnAPIOnRedis has clients on two nodes meet in a room through a
// third process.
func TestTwoGatewaysAndAnAPIOnRedis(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
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
`, identity, server.Addr))
	}
	api := start(t, "api", "--config", config("api")).await(t, `api +(http://\S+)`)[1]
	a := start(t, "gateway", "--config", config("gw-a")).await(t, `clients +(http://\S+)`)[1]
	b := start(t, "gateway", "--config", config("gw-b")).await(t, `clients +(http://\S+)`)[1]

	meetInARoom(t, api, a, b)

	// The console shows all of them, and another ws-api as soon as it is there.
	newGuest(t, a, "doc-1")
	newGuest(t, b, "doc-2")
	start(t, "api", "--config", config("api-2")).await(t, `api +(http://\S+)`)
	settles(t, func() (missing string) {
		_, text := get(t, api+"/console/nodes")
		var answer struct{ Nodes []console.Node }
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var got []string
		for _, n := range answer.Nodes {
			clients := int64(-1)
			if n.Clients != nil {
				clients = *n.Clients
			}
			got = append(got, fmt.Sprint(n.Kind, " ", n.Name, " ", clients, n.Version != "", time.Since(n.Since) < time.Minute, n.Dead))
		}
		want := "gateway gw-a 1 true true false, gateway gw-b 1 true true false, api api -1 true true false, api api-2 -1 true true false"
		if all := strings.Join(got, ", "); all != want {
			return fmt.Sprintf("got %s\nwant %s", all, want)
		}
		return ""
	})
}

// meetInARoom has a client on each of two nodes, and ws-api between them.
func meetInARoom(t *testing.T, api, a, b string) {
	t.Helper()
	ann, bob := newGuest(t, a, "doc-1"), newGuest(t, b, "doc-1")
	answer := askAPI(t, api, "PushService/Push", `{"targets":[{"room":"doc-1"}],"event":"hello","payload":{"json":"[1]"}}`)
	if !strings.Contains(answer, `"nodes":2`) {
		t.Errorf("push: %s", answer)
	}
	ann.until(`42["hello",1]`)
	bob.until(`42["hello",1]`)

	ann.post(`427["say",{"x":1}]`) // acknowledged when it is on the bus
	ann.until(`437[]`)

	if count := askAPI(t, api, "ClientService/CountClients", `{"target":{"room":"doc-1"}}`); !strings.Contains(count, `"clients":"2"`) {
		t.Errorf("count: %s", count)
	}
	if left := askAPI(t, api, "ClientService/Disconnect", `{"target":{"room":"doc-1"}}`); !strings.Contains(left, `"clients":2`) {
		t.Errorf("disconnect: %s", left)
	}
	ann.until(`41`)
	bob.until(`41`)
}
