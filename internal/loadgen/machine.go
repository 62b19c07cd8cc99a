package loadgen

import (
	"fmt"
	"runtime"
	"strings"
)

// jiffies is how long all processors of the machine were busy and how long there were
// some, both since it was started and in one unit; zero where that is unknown.
type jiffies struct{ busy, all uint64 }

// since is the share of all processors that was busy since an earlier time, 0 … 1.
func (j jiffies) since(before jiffies) float64 {
	if j.all <= before.all || j.busy < before.busy {
		return 0
	}
	return float64(j.busy-before.busy) / float64(j.all-before.all)
}

// Machine says what a figure was measured on: how many processors of which kind, how
// much memory, which system; as far as that can be found out.
func Machine() string {
	cpu, memory, kernel := machine()
	parts := []string{strings.TrimSpace(fmt.Sprintf("%d × %s", runtime.NumCPU(), cpu))}
	if cpu == "" {
		parts[0] = fmt.Sprintf("%d processors", runtime.NumCPU())
	}
	if memory > 0 {
		parts = append(parts, fmt.Sprintf("%.1f GB", float64(memory)/1e9))
	}
	return strings.Join(append(parts, strings.TrimSpace(runtime.GOOS+" "+kernel), runtime.GOARCH, runtime.Version()), ", ")
}
