package redistest

import (
	"testing"
	"time"

	"github.com/redis/rueidis"

	"holdfast/internal/redis"
)

// Client connects to servers until the test ends.
func Client(t testing.TB, addrs ...string) rueidis.Client {
	t.Helper()
	c, err := redis.Open(t.Context(), redis.Options{Addrs: addrs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Age makes time pass for the keys that begin with prefix: what would have expired
// after d is gone, and the rest has so much less to live. A d below zero gives
// time back.
func Age(t testing.TB, c rueidis.Client, prefix string, d time.Duration) {
	t.Helper()
	for _, server := range c.Nodes() {
		keys, err := server.Do(t.Context(), server.B().Keys().Pattern(prefix+"*").Build()).AsStrSlice()
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			left, err := server.Do(t.Context(), server.B().Pttl().Key(key).Build()).AsInt64()
			if err != nil {
				t.Fatal(err)
			}
			if left < 0 {
				continue
			}
			left -= d.Milliseconds() // Redis deletes what has nothing left
			if err := server.Do(t.Context(), server.B().Pexpire().Key(key).Milliseconds(left).Build()).Error(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
