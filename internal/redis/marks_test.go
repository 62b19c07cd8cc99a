package redis_test

import (
	"strconv"
	"testing"

	"holdfast/internal/redis"
	"holdfast/internal/redis/redistest"
)

// A Cluster says itself in which slot a key is.
func TestSlots(t *testing.T) {
	server := redistest.Cluster(t)[0]
	keys := []string{"", "123456789", "ws:client:{a}", "ws:{}:x", "{a", "a}b{c}d{e}", "ws:guid:log:{/chat,größe}"}
	for slot := 0; slot < 16384; slot += 1000 {
		keys = append(keys, redis.SlotTag(slot))
	}
	for _, key := range keys {
		want, err := strconv.Atoi(server.Run("CLUSTER", "KEYSLOT", key))
		if err != nil || redis.SlotOf(key) != want {
			t.Errorf("%q is in slot %d, %v, and not in %d", key, want, err, redis.SlotOf(key))
		}
	}
	for slot := range 16384 {
		if tag := redis.SlotTag(slot); redis.SlotOf("ws:mark:"+tag) != slot {
			t.Fatalf("%s stands for slot %d and is in %d", tag, slot, redis.SlotOf(tag))
		}
	}
}

// Whichever server loses its data, each process hears of it, once.
func TestMarks(t *testing.T) {
	servers := redistest.Cluster(t)
	client := redistest.Client(t, redistest.Addrs(servers)...)
	processes := []*redis.Marks{redis.NewMarks(client, "ws"), redis.NewMarks(client, "ws")}
	count := func(want bool) {
		t.Helper()
		for i, m := range processes {
			if lost, err := m.Count(t.Context()); lost != want || err != nil {
				t.Errorf("process %d: lost %t, %v; want %t", i, lost, err, want)
			}
		}
	}
	count(false)
	for _, s := range servers {
		count(false)
		s.Run("FLUSHALL")
		count(true)
		count(false)
	}
	// A replica that was behind has taken over.
	key := "ws:mark:" + redis.SlotTag(128)
	if err := client.Do(t.Context(), client.B().Decrby().Key(key).Decrement(5).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	count(true)
	count(false)
	// While a server is away, the others are heard of.
	servers[0].Kill()
	servers[2].Run("FLUSHALL")
	for i, m := range processes {
		if lost, err := m.Count(t.Context()); !lost || err == nil {
			t.Errorf("process %d: lost %t, %v", i, lost, err)
		}
	}
}

func TestMarksOfOneServer(t *testing.T) {
	server := redistest.Start(t)
	m := redis.NewMarks(redistest.Client(t, server.Addr), "ws")
	for range 2 {
		if lost, err := m.Count(t.Context()); lost || err != nil {
			t.Errorf("lost %t, %v", lost, err)
		}
		server.Run("FLUSHALL")
	}
	if keys := server.Run("KEYS", "*"); keys != "" {
		t.Errorf("it has left %s", keys)
	}
}
