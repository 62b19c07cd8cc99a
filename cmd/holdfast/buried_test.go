package main

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"holdfast/internal/node"
	"holdfast/internal/redis/redistest"
	"holdfast/internal/registry"
)

// A node that was cut off from Redis goes on in the middle of its burial, and has written
// all that it holds before the last of it is cleared away. It is told so, and writes it
// once more.
func TestNodeThatIsBuriedAlive(t *testing.T) {
	t.Parallel()
	defer http.DefaultClient.CloseIdleConnections()
	server := redistest.Start(t)
	o := newOutage(t, server, fmt.Sprintf("addrs: [%q]", server.Addr), "")
	o.right()

	client := redistest.Client(t, server.Addr)
	workers, reg := node.NewRedisWorkers(client, "ws"), registry.NewRedis(client, registry.RedisOptions{})
	const name, held = "gw-a", "ws:node:clients:{gw-a}"
	see := func() node.Sighting {
		t.Helper()
		all, err := workers.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			if s.Identity == name {
				return s
			}
		}
		t.Fatalf("%s is not among %+v", name, all)
		return node.Sighting{}
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for deadline := time.After(20 * time.Second); !ok(); {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatal(what)
			}
		}
	}

	var condemned node.Sighting
	until("it renews in between each time", func() (ok bool) {
		var err error
		if condemned, ok, err = workers.Condemn(t.Context(), see()); err != nil {
			t.Fatal(err)
		}
		return ok
	})
	had := server.Run("ZCARD", held)
	server.Run("DEL", held)
	until("it does not write again what it holds", func() bool { return server.Run("ZCARD", held) == had })
	if gone, err := reg.Bury(t.Context(), name); err != nil || fmt.Sprint(len(gone)) != had {
		t.Fatalf("%d of %s clients were buried: %v", len(gone), had, err)
	}
	if ok, err := workers.Bury(t.Context(), condemned); ok || err != nil {
		t.Fatalf("its number was freed although it lives: %v, %v", ok, err)
	}
	o.right()
}
