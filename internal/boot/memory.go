package boot

import (
	"context"
	"os"
	"runtime/debug"
	"time"
)

// gcPercent is the collector's target where GOGC does not say otherwise. A gateway
// at rest holds a large heap of small live objects and makes little garbage: at
// Go's default of 100 half of its memory may be garbage, and a collection more
// now and then costs little beside the system calls of its traffic.
const gcPercent = 50

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
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
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
		case <-ctx.Done():
			return
		}
	}
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
