package main

import (
	"context"
	"encoding/json"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/bus"
	"holdfast/internal/gateway"
	"holdfast/internal/message"
	"holdfast/internal/redis/redistest"
	"holdfast/internal/registry"
	"holdfast/internal/roomlog"
	"holdfast/internal/testnet"
)

// audited is one node over a real Redis.
type audited struct {
	t     *testing.T
	redis *redistest.Server
	reg   *registry.Redis
	gw    *gateway.Gateway
	ids   []string // of ann, bob and cid
}

// newAudited has ann and bob in the room doc, and cid in none.
func newAudited(t *testing.T) *audited {
	a := &audited{t: t, redis: redistest.Start(t)}
	client := redistest.Client(t, a.redis.Addr)
	a.reg = registry.NewRedis(client, registry.RedisOptions{})
	var err error
	a.gw, err = gateway.New(gateway.Config{
		Node: "n1", Registry: a.reg, Ledger: a.reg, Log: roomlog.NewRedis(client, roomlog.RedisOptions{}),
		Bus: bus.NewMemory(bus.Options{}), Auth: testnet.Auth{}, IDs: &testnet.IDs{}, Shards: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	a.gw.Start()
	srv := httptest.NewServer(a.gw)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := a.gw.Close(ctx); err != nil {
			t.Error(err)
		}
		srv.Close()
		if left := a.redis.Run("--raw", "KEYS", "ws:*clients*"); left != "" {
			t.Errorf("left behind by the last client: %s", left)
		}
	})
	for i, auth := range []string{`{"uid":"ann","guid":"doc"}`, `{"uid":"bob","guid":"doc"}`, `{"uid":"cid"}`} {
		c, err := testnet.Dial(srv.URL+"/socket.io/", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Kill)
		p, err := c.Connect("/", auth)
		if err != nil {
			t.Fatal(err)
		}
		var shown struct {
			SID string `json:"sid"`
		}
		if err := json.Unmarshal(p.Data, &shown); err != nil {
			t.Fatalf("client %d: %s", i, p.Data)
		}
		a.ids = append(a.ids, shown.SID)
	}
	return a
}

// dump is all that the registry has, but for what counts changes.
func (a *audited) dump() map[string]string {
	a.t.Helper()
	all := make(map[string]string)
	for key := range strings.FieldsSeq(a.redis.Run("--raw", "KEYS", "ws:*")) {
		var parts []string
		switch kind := a.redis.Run("--raw", "TYPE", key); kind {
		case "hash":
			fields := strings.Split(a.redis.Run("--raw", "HGETALL", key), "\n")
			for i := 0; i+1 < len(fields); i += 2 {
				if fields[i] != "v" && fields[i] != "seen" {
					parts = append(parts, fields[i]+"="+fields[i+1])
				}
			}
		case "set":
			parts = strings.Split(a.redis.Run("--raw", "SMEMBERS", key), "\n")
		case "zset":
			parts = strings.Split(a.redis.Run("--raw", "ZRANGE", key, "0", "-1"), "\n")
		default:
			continue // versions, the logs' epoch and clock
		}
		slices.Sort(parts)
		all[key] = strings.Join(parts, " ")
	}
	return all
}

func (a *audited) apply(changes ...message.Change) {
	a.t.Helper()
	if err := a.reg.Apply(a.t.Context(), changes); err != nil {
		a.t.Fatal(err)
	}
}

// Each kind of drift between what a node holds and what Redis has is gone after one
// audit, and nothing else has changed.
func TestAuditMends(t *testing.T) {
	a := newAudited(t)
	if n, err := a.gw.Audit(t.Context(), 0); n != 0 || err != nil {
		t.Fatalf("an audit with nothing to mend: %d, %v", n, err)
	}
	want := a.dump()
	ann, cid := a.ids[0], a.ids[2]
	run := a.redis.Run
	ghost := &message.Client{ID: "0000000gone", Namespace: "/", UID: "gone", Node: "n1"}
	for _, drift := range []struct {
		name  string
		plant func()
		drops int
	}{
		{"a client's record is gone", func() { run("DEL", "ws:client:{"+ann+"}") }, 0},
		{"a room is missing in it", func() { run("HDEL", "ws:client:{"+ann+"}", "r:doc") }, 0},
		{"it has a room too many", func() {
			a.apply(message.Change{Kind: message.ChangeJoin, Client: &message.Client{ID: ann, Namespace: "/", UID: "ann", Node: "n1"}, Rooms: []string{"other"}})
		}, 0},
		{"it names another user", func() {
			a.apply(message.Change{Kind: message.ChangeConnect, Client: &message.Client{ID: ann, Namespace: "/", UID: "eve", Node: "n1"}, Rooms: []string{"doc"}})
		}, 0},
		{"a member of the room is missing", func() {
			run("ZREM", "ws:guid:clients:{/,doc}", ann)
			run("HDEL", "ws:guid:users:{/,doc}", "ann")
		}, 0},
		{"a server of a Cluster has lost the room", func() {
			run("DEL", "ws:guid:clients:{/,doc}", "ws:guid:users:{/,doc}", "ws:guid:nodes:{/,doc}", "ws:guid:version:{/,doc}")
		}, 0},
		{"a user's client is missing", func() { run("DEL", "ws:user:clients:{/,ann}") }, 0},
		{"a node's client is missing", func() { run("ZREM", "ws:node:clients:{n1}", ann) }, 0},
		{"the node is missing in a room", func() { run("SREM", "ws:guid:nodes:{/,doc}", "n1") }, 0},
		{"the node has forgotten that it is there", func() { run("DEL", "ws:node:keys:{n1}") }, 0},
		{"a client that nobody holds", func() {
			a.apply(message.Change{Kind: message.ChangeConnect, Client: ghost, Rooms: []string{"doc", "its own"}})
		}, 1},
		{"only the node's set has it", func() { run("ZADD", "ws:node:clients:{n1}", "0", ghost.ID) }, 1},
		{"the node is in a room without members", func() {
			a.apply(message.Change{Kind: message.ChangeEnter, Node: "n1", Key: message.RoomKey("/", "empty")})
		}, 1},
		{"a member that has no record", func() { run("ZADD", "ws:guid:clients:{/,doc}", "0", ghost.ID) }, 0},
		{"a member whose record knows nothing of it", func() {
			run("ZADD", "ws:guid:clients:{/,doc}", "0", cid)
			run("HSET", "ws:guid:users:{/,doc}", "cid", "1")
		}, 0},
		{"everything is gone", func() { run("FLUSHALL") }, 0},
	} {
		t.Run(drift.name, func(t *testing.T) {
			drift.plant()
			if maps.Equal(a.dump(), want) {
				t.Fatal("nothing was planted")
			}
			dropped, err := a.gw.Audit(t.Context(), 0)
			if err != nil || dropped != drift.drops {
				t.Errorf("%d entries were dropped, want %d; %v", dropped, drift.drops, err)
			}
			// What leaves a room goes by the registrar, which the walk of the next one waits for.
			if _, err := a.gw.Audit(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			got := a.dump()
			for key := range want {
				if got[key] != want[key] {
					t.Errorf("%s is %q, want %q", key, got[key], want[key])
				}
			}
			for key := range got {
				if _, ok := want[key]; !ok {
					t.Errorf("%s is left with %q", key, got[key])
				}
			}
		})
	}
}

// A client that comes while the audit looks is not taken for a stranger.
func TestAuditAmongTraffic(t *testing.T) {
	a := newAudited(t)
	entries, _, err := a.reg.Held(t.Context(), "n1", "", 100)
	if err != nil || len(entries) != 3 {
		t.Fatalf("%v, %v", entries, err)
	}
	// One has changed since it was read.
	a.apply(message.Change{Kind: message.ChangeMend, Client: &message.Client{ID: a.ids[0], Namespace: "/", UID: "ann", Node: "n1"}, Rooms: []string{"doc"}})
	if err := a.reg.Drop(t.Context(), "n1", entries); err != nil {
		t.Fatal(err)
	}
	list, _, err := a.reg.List(t.Context(), message.AllKey("/"), "", 100)
	if err != nil || len(list) != 1 || list[0].ID != a.ids[0] {
		t.Errorf("left are %v, %v", list, err)
	}
	if _, err := a.gw.Audit(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if n, _, err := a.reg.Count(t.Context(), message.AllKey("/")); n != 3 || err != nil {
		t.Errorf("%d clients, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.gw.Audit(ctx, 1); err == nil {
		t.Error("an audit goes on after its context's end")
	}
}
