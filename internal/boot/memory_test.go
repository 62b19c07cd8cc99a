package boot

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestStormIsOverOnceAfterIt(t *testing.T) {
	for name, tt := range map[string]struct {
		work []int64
		over []int // indices of looks at which it is over
	}{
		"nothing happens":            {work: []int64{0, 0, 0, 0, 0}},
		"a trickle":                  {work: []int64{5, 9, 3, 0, 0, 0, 0}},
		"one storm":                  {work: []int64{900, 4000, 300, 10, 0, 0}, over: []int{4}},
		"a lull is not the end":      {work: []int64{4000, 0, 0, 4000, 0, 0, 0, 0}, over: []int{6}},
		"a steady rate never ends":   {work: []int64{500, 500, 500, 500, 500, 500}},
		"steady rate after the peak": {work: []int64{9000, 100, 100, 100, 100}, over: []int{3}},
		"two storms":                 {work: []int64{900, 0, 0, 0, 900, 0, 0, 0}, over: []int{3, 7}},
	} {
		var s storm
		var over []int
		for i, w := range tt.work {
			if s.over(w) {
				over = append(over, i)
			}
		}
		if len(over) != len(tt.over) {
			t.Errorf("%s: over at %v, want %v", name, over, tt.over)
			continue
		}
		for i := range over {
			if over[i] != tt.over[i] {
				t.Errorf("%s: over at %v, want %v", name, over, tt.over)
			}
		}
	}
}

func TestCollectorsTarget(t *testing.T) {
	for live, want := range map[uint64]int{0: 800, 1 << 20: 800, 16 << 20: 200, 32 << 20: 100, 64 << 20: 50, 1 << 30: 50} {
		if got := gcTarget(live); got != want {
			t.Errorf("%d MiB: %d, want %d", live>>20, got, want)
		}
	}
}

// TestTargetFollowsTheHeap has much live all at once: the target is another as soon as a
// collection has seen that, long before the next look.
func TestTargetFollowsTheHeap(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		KeepSmall(ctx, func() int64 { return 0 })
	}()
	defer func() {
		cancel()
		<-ended
	}()
	percent := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	until := func(what string, ok func(uint64) bool) {
		t.Helper()
		for end := time.Now().Add(memoryLook - memoryLook/4); ; {
			runtime.GC() // one that begins at once after another may not be noticed
			metrics.Read(percent)
			if ok(percent[0].Value.Uint64()) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %d", what, percent[0].Value.Uint64())
			}
		}
	}
	until("the target of a small heap", func(p uint64) bool { return p > 100 })
	live := make([][]byte, 100)
	for i := range live {
		live[i] = make([]byte, 1<<20)
	}
	until("the target of a large heap", func(p uint64) bool { return p == gcPercent })
	runtime.KeepAlive(live)
}
