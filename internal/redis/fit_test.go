package redis_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"holdfast/internal/redis"
	"holdfast/internal/redis/redistest"
)

func TestLookingClaimsNothing(t *testing.T) {
	client := redistest.Client(t, redistest.Start(t).Addr)
	if err := redis.LookAtSchema(t.Context(), client, "ws"); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Do(t.Context(), client.B().Dbsize().Build()).AsInt64(); n != 0 || err != nil {
		t.Errorf("%d keys are there, error %v", n, err)
	}
}

func TestCheckSchema(t *testing.T) {
	s := redistest.Start(t)
	client := redistest.Client(t, s.Addr)
	for range 2 { // the first one claims the prefix
		if err := redis.CheckSchema(t.Context(), client, "ws"); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		plant []string
		want  string
	}{
		{[]string{"SET", "a:schema", "2"}, `a:schema is "2"`},
		{[]string{"SADD", "a:schema", "x"}, "a:schema is no text"},
		{[]string{"SET", "a:{workers}:leases", "x"}, "a:{workers}:leases is a string"},
		{[]string{"LPUSH", "a:epoch", "x"}, "a:epoch is a list"},
	} {
		s.Run("FLUSHALL")
		s.Run(tt.plant...)
		err := redis.CheckSchema(t.Context(), client, "a")
		if !errors.Is(err, redis.ErrForeign) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %s", tt.plant, err, tt.want)
		}
	}
}

func TestSkew(t *testing.T) {
	client := redistest.Client(t, redistest.Start(t).Addr)
	if skew, err := redis.Skew(t.Context(), client); err != nil || skew.Abs() > time.Second {
		t.Errorf("a server on this host is %v ahead, %v", skew, err)
	}
}

// A master of sentinels is found, and found again when another server has taken over.
func TestSentinel(t *testing.T) {
	first := redistest.Start(t)
	host, port, _ := strings.Cut(first.Addr, ":")
	second := redistest.Start(t, "--replicaof", host, port)
	sentinel := redistest.Sentinel(t, "main", first)
	client, err := redis.Open(t.Context(), redis.Options{Addrs: []string{sentinel.Addr}, Sentinel: redis.Sentinel{Master: "main"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	set := func(value string) error {
		return redis.Do(t.Context(), client, redis.Command("SET", "key", value)).Error()
	}
	if err := set("1"); err != nil || first.Run("GET", "key") != "1" {
		t.Fatalf("the master does not have it: %v", err)
	}
	sentinel.KnowsReplica("main")
	first.Kill()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for set("2") != nil {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the new master is not found")
		}
	}
	if got := second.Run("GET", "key"); got != "2" {
		t.Errorf("the new master has %q", got)
	}
}
