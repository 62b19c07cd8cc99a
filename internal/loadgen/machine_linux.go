package loadgen

import (
	"os"
	"strconv"
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

func processors() jiffies {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return jiffies{}
	}
	return firstLine(string(text))
}

// firstLine reads that of /proc/stat: the times of all processors as user, nice and
// system, then idle and waiting for a disk, then others that are busy. What guests used
// is in user and nice already.
//
//	cpu  4705 150 1120 16250 520 0 30 0 0 0
func firstLine(stat string) (j jiffies) {
	line, _, _ := strings.Cut(stat, "\n")
	f := strings.Fields(line)
	if len(f) < 6 || f[0] != "cpu" {
		return jiffies{}
	}
	for i, field := range f[1:min(len(f), 9)] {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return jiffies{}
		}
		j.all += n
		if i != 3 && i != 4 {
			j.busy += n
		}
	}
	return j
}
