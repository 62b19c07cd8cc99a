//go:build !linux

package loadgen

import (
	"errors"
	"fmt"
	"time"
)

// Usage is what a process has used.
type Usage struct {
	RSS int64         `json:"rss"`
	CPU time.Duration `json:"cpuNs"`
}

// Measure needs /proc.
func Measure(pid int) (Usage, error) {
	return Usage{}, fmt.Errorf("measure process %d: %w: only on Linux", pid, errors.ErrUnsupported)
}

// CPUTime needs Linux as well.
func CPUTime(pid int) (time.Duration, error) {
	_, err := Measure(pid)
	return 0, err
}

// OpenFiles is unknown.
func OpenFiles(int) uint64 { return 0 }
