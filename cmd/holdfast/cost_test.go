package main

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/bus"
	"holdfast/internal/gateway"
	"holdfast/internal/message"
	"holdfast/internal/redis"
	"holdfast/internal/redis/redistest"
	"holdfast/internal/registry"
	"holdfast/internal/roomlog"
	"holdfast/internal/testnet"
)

// A client that connects and joins a room costs at most six commands of Redis, and so
// does one that leaves, where many do so together. With recovery its save comes on top.
func TestRedisCommandsOfAClient(t *testing.T) {
	for _, recovery := range []bool{false, true} {
		t.Run(fmt.Sprint("recovery ", recovery), func(t *testing.T) { commandsOfAClient(t, recovery) })
	}
}

func commandsOfAClient(t *testing.T, recovery bool) {
	server := redistest.Start(t)
	var commands atomic.Int64
	client := redis.Observe(redistest.Client(t, server.Addr), func(string, time.Duration, bool) { commands.Add(1) })
	reg := registry.NewRedis(client, registry.RedisOptions{})
	asking := registry.NewRedis(redistest.Client(t, server.Addr), registry.RedisOptions{})
	gw, err := gateway.New(gateway.Config{
		Node: "n1", Registry: reg, Log: roomlog.NewRedis(client, roomlog.RedisOptions{}),
		Bus: bus.NewMemory(bus.Options{}), Auth: testnet.Auth{}, IDs: &testnet.IDs{}, Shards: 2, Recovery: recovery,
	})
	if err != nil {
		t.Fatal(err)
	}
	gw.Start()
	srv := httptest.NewServer(gw)
	defer srv.Close()
	closed := sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := gw.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	defer closed()
	const n = 500
	most := 6.0
	if recovery {
		most++
	}
	sessions := make([]*testnet.Client, n)
	each(n, func(i int) {
		c, err := testnet.Dial(srv.URL+"/socket.io/", nil, nil)
		if err != nil {
			t.Error(err)
		}
		sessions[i] = c
	})
	if t.Failed() {
		t.FailNow()
	}
	count := func(what string, want uint64, act func(i int), then func()) {
		t.Helper()
		before := commands.Load()
		each(n, act)
		for deadline := time.Now().Add(20 * time.Second); ; {
			clients, _, err := asking.Count(t.Context(), message.AllKey("/"))
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("%d clients, want %d; %v", clients, want, err)
			}
			if clients == want {
				break
			}
		}
		then()
		cost := float64(commands.Load()-before) / n
		t.Logf("%s: %.2f commands for each client", what, cost)
		if cost > most {
			t.Errorf("%s: %.2f commands for each client, want at most %.0f", what, cost, most)
		}
	}
	count("connect and join", n, func(i int) {
		if _, err := sessions[i].Connect("/", fmt.Sprintf(`{"uid":"u%d","guid":"doc-%d"}`, i, i/3)); err != nil {
			t.Error(err)
		}
	}, func() {})
	// The last writes come after the client is counted no more.
	count("leave", 0, func(i int) { sessions[i].Kill() }, closed)
}

// each calls act for 0 to n-1, a hundred at a time.
func each(n int, act func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				act(i)
			}
		})
	}
	all.Wait()
}

// A push to a room with members on 3 of 20 nodes is 3 records.
func TestRecordsOfAPush(t *testing.T) {
	server := redistest.Start(t)
	reg := registry.NewRedis(redistest.Client(t, server.Addr), registry.RedisOptions{})
	var changes []message.Change
	for i := range 20 {
		node := fmt.Sprintf("n%02d", i)
		room := "elsewhere"
		if i%7 == 0 {
			room = "doc"
		}
		c := &message.Client{ID: fmt.Sprintf("%011d", i), Namespace: "/", Node: node}
		changes = append(changes,
			message.Change{Kind: message.ChangeConnect, Client: c, Rooms: []string{room}},
			message.Change{Kind: message.ChangeEnter, Node: node, Key: message.AllKey("/")},
			message.Change{Kind: message.ChangeEnter, Node: node, Key: message.RoomKey("/", room)},
		)
	}
	if err := reg.Apply(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	client := redistest.Client(t, server.Addr)
	b := bus.NewRedis(client, bus.RedisOptions{})
	t.Cleanup(func() { _ = b.Close(context.WithoutCancel(t.Context())) })
	var mu sync.Mutex
	got := make(map[string]int)
	for i := range 20 {
		node := fmt.Sprintf("n%02d", i)
		t.Cleanup(b.AttachNode(node, func(d *message.Down) error {
			if d.Push != nil {
				mu.Lock()
				defer mu.Unlock()
				got[node]++
			}
			return nil
		}))
	}
	api := start(t, "api", "--config", file(t, fmt.Sprintf(`
api_listen: 127.0.0.1:0
store: {kind: redis, addrs: [%q]}
bus: {kind: redis}
log: {level: error}
`, server.Addr))).await(t, `api +(http://\S+)`)[1]
	answer := askAPI(t, api, "PushService/Push", `{"targets":[{"room":"doc"}],"event":"e","payload":{"json":"[1]"}}`)
	if !strings.Contains(answer, `"nodes":3`) {
		t.Errorf("the push is answered with %s", answer)
	}
	eventually(t, api, "ClientService/CountClients", `{"target":{"room":"doc"}}`, func(string) bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) == 3
	})
	mu.Lock()
	defer mu.Unlock()
	if got["n00"] != 1 || got["n07"] != 1 || got["n14"] != 1 {
		t.Errorf("records: %v", got)
	}
}
