package boot

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The collector's target, where GOGC does not say otherwise: garbage may take half
// as much as what lives, or gcFloor where that is more. A gateway at rest holds a
// large heap of small live objects and makes little garbage: at Go's default of 100
// half of its memory may be garbage. With few connections the same target would
// have it collect many times a second for a few megabytes.
const (
	gcPercent = 50
	gcMost    = 800
	gcFloor   = 32 << 20 // bytes
)

// gcTarget returns the percentage for a heap of live bytes.
func gcTarget(live uint64) int {
	return int(min(max(gcPercent, gcFloor*100/max(live, 1)), gcMost))
}

// How a storm of connections is noticed to be over.
const (
	memoryLook  = 2 * time.Second
	memoryQuiet = 3  // looks in a row with less than a tenth of the busiest one's work
	memoryLeast = 64 // pieces of work below which a look counts as quiet in any case
)

// KeepSmall sets the collector's target and gives memory back to the system after
// each storm: opening a connection takes several times the memory that holding it
// does, and Go's own scavenger returns that within minutes only. work is a counter
// of what makes such garbage (handshakes). It runs until ctx ends.
func KeepSmall(ctx context.Context, work func() int64) {
	percent := 0
	collect := func() {
		if p := gcTarget(liveHeap()); p != percent { // setting it stops the world for a moment
			percent = p
			debug.SetGCPercent(p)
		}
	}
	if os.Getenv("GOGC") != "" {
		collect = func() {}
	}
	collect()
	// What lives may grow tenfold between two looks. With the percentage of a small heap
	// its garbage would be let grow to many times that, so each collection is a look.
	collected := make(chan struct{}, 1)
	watchCollections(ctx, collected)
	every := time.NewTicker(memoryLook)
	defer every.Stop()
	var s storm
	last := work()
	for {
		select {
		case <-every.C:
			now := work()
			if s.over(now - last) {
				debug.FreeOSMemory()
			}
			last = now
			collect()
		case <-collected:
			collect()
		case <-ctx.Done():
			return
		}
	}
}

// watchCollections tells of each garbage collection until ctx ends: of something that
// nobody refers to, the next one finds that it is gone.
func watchCollections(ctx context.Context, collected chan<- struct{}) {
	type leaf struct{ _ *leaf } // a pointer keeps it out of a block that others share
	runtime.AddCleanup(&leaf{}, func(ctx context.Context) {
		if ctx.Err() != nil {
			return
		}
		select {
		case collected <- struct{}{}:
		default:
		}
		watchCollections(ctx, collected)
	}, ctx)
}

// liveHeap returns what lived after the last collection, in bytes.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}

// storm tells when a burst of work has passed.
type storm struct {
	peak  int64
	quiet int
}

// over takes the work since the last look; true once for each storm, when it has
// been quiet for a while.
func (s *storm) over(work int64) bool {
	if work >= memoryLeast {
		s.peak = max(s.peak, work)
	}
	if s.peak == 0 {
		return false
	}
	if work >= memoryLeast && work*10 > s.peak {
		s.quiet = 0
		return false
	}
	if s.quiet++; s.quiet < memoryQuiet {
		return false
	}
	*s = storm{}
	return true
}
