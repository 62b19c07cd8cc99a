package redis_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"holdfast/internal/redis"
	"holdfast/internal/redis/redistest"
)

// TestObserve has commands of each family told once each, with how they ended.
func TestObserve(t *testing.T) {
	server := redistest.Start(t)
	plain, err := redis.Open(t.Context(), redis.Options{Addrs: []string{server.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	type seen struct{ calls, failed int }
	var mu sync.Mutex
	got := map[string]seen{}
	client := redis.Observe(plain, func(family string, took time.Duration, failed bool) {
		mu.Lock()
		defer mu.Unlock()
		s := got[family]
		s.calls++
		if failed {
			s.failed++
		}
		got[family] = s
		if took <= 0 || took > time.Minute {
			t.Errorf("%s took %v", family, took)
		}
	})

	script := redis.NewScript("return redis.call('INCR', KEYS[1])")
	calls := []redis.Call{
		{Script: script, Keys: []string{"n"}},
		redis.Command("XADD", "s", "*", "a", "1"),
		redis.Query("HGET", "h", "nothing"), // nil is an answer
		redis.Query("HGET", "s", "x"),       // of another type
	}
	if err := redis.FirstError(redis.Pipeline(t.Context(), client, calls)); err == nil {
		t.Error("HGET on a stream went well")
	}
	wait := client.B().Arbitrary("XREAD", "BLOCK", "1", "STREAMS").Keys("s").Args("$").Blocking()
	_ = client.Do(t.Context(), wait) // nothing new is nil
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_ = client.Do(ended, client.B().Ping().Build())

	want := map[string]seen{
		redis.FamilyScript: {calls: 2}, // unknown at first
		redis.FamilyStream: {calls: 1},
		redis.FamilyKey:    {calls: 2, failed: 1},
		redis.FamilyWait:   {calls: 1},
		redis.FamilyServer: {calls: 2}, // SCRIPT LOAD and PING
	}
	mu.Lock()
	defer mu.Unlock()
	for _, family := range redis.Families() {
		if got[family] != want[family] {
			t.Errorf("%s: %+v, want %+v", family, got[family], want[family])
		}
	}
	if len(got) != len(want) {
		t.Errorf("families %v", got)
	}
}
