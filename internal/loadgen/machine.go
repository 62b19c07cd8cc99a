package loadgen

import (
	"fmt"
	"runtime"
	"strings"
)

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
