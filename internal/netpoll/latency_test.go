package netpoll

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The limit is on the whole process as a user sees it; what keeps it, that an
// idle shard holds no thread, has a sharper test (TestIdleShardIsParked). The
// machine may be busy with other things, so one of some attempts must keep the
// limit, in itself or in comparison with the same requests without shards.
func TestIdleShardsDoNotSlowHTTP(t *testing.T) {
	const attempts, limit = 6, time.Millisecond
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok")
	}))
	defer server.Close()
	for _, kind := range kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			var seen []string
			for range attempts {
				alone := p99(t, server)
				beside := besideShards(t, kind, func() time.Duration { return p99(t, server) })
				if beside <= max(limit, alone+alone/2) {
					t.Logf("p99 %v beside idle shards, %v without", beside, alone)
					return
				}
				seen = append(seen, fmt.Sprintf("%v (without %v)", beside, alone))
			}
			t.Errorf("p99 beside idle shards: %v", seen)
		})
	}
}

// p99 of requests one after the other.
func p99(t *testing.T, server *httptest.Server) time.Duration {
	t.Helper()
	const n = 1000
	took := make([]time.Duration, n)
	for i := range took {
		start := time.Now()
		resp, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return took[n*99/100]
}

// besideShards runs f while as many shards as there are CPUs do what an idle one
// does: it looks at its timers every millisecond.
func besideShards(t *testing.T, kind Kind, f func() time.Duration) time.Duration {
	t.Helper()
	var wg sync.WaitGroup
	var stop atomic.Bool
	var wakes []func()
	for range runtime.GOMAXPROCS(0) {
		b := newBench(t, kind, Options{}, tcpPair)
		for range 10 {
			b.connect()
		}
		wakes = append(wakes, b.Wake)
		wg.Go(func() {
			for !stop.Load() {
				if err := b.Poll(time.Millisecond); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	took := f()
	stop.Store(true)
	for _, wake := range wakes {
		wake()
	}
	wg.Wait()
	return took
}
