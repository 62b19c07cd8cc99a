package loadgen

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// machine reads what Machine tells; what cannot be read is empty.
func machine() (cpu string, memory int64, kernel string) {
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		cpu = modelName(string(text))
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		memory, _ = kilobytes(text, "MemTotal:")
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		kernel = unix.ByteSliceToString(name.Release[:])
	}
	return cpu, memory, kernel
}

// modelName is the first processor's; some kinds have none.
func modelName(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	return ""
}
