package loadgen

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what a process has used.
type Usage struct {
	RSS int64         `json:"rss"`   // resident memory now, in bytes
	CPU time.Duration `json:"cpuNs"` // user and system time since its start, all threads, ended ones too
}

// Measure reads the usage of a process of this machine.
//
// The memory is that of smaps_rollup, which is exact, where status counts in
// batches for each thread. The time comes from the process' own clock, which is
// what utime and stime of /proc/PID/stat are made of, in nanoseconds instead of
// hundredths of a second.
func Measure(pid int) (Usage, error) {
	var u Usage
	rss, err := residentBytes(pid)
	if err != nil {
		return u, fmt.Errorf("measure process %d: %w", pid, err)
	}
	u.RSS = rss
	if u.CPU, err = CPUTime(pid); err != nil {
		return u, err
	}
	return u, nil
}

// CPUTime is the time alone, which costs the process measured nothing.
func CPUTime(pid int) (time.Duration, error) {
	var ts unix.Timespec
	// The kernel's number for the clock of a whole process, CPUCLOCK_SCHED.
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		return 0, fmt.Errorf("measure process %d: clock_gettime: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

func residentBytes(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	key := "Rss:"
	if err != nil {
		key = "VmRSS:"
		if text, err = os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err != nil {
			return 0, err
		}
	}
	return kilobytes(text, key)
}

// kilobytes reads the line "key   123 kB" of a file of /proc.
func kilobytes(text []byte, key string) (int64, error) {
	for line := range bytes.Lines(text) {
		f := bytes.Fields(line)
		if len(f) >= 2 && string(f[0]) == key {
			kb, err := strconv.ParseInt(string(f[1]), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s %w", key, err)
			}
			return kb << 10, nil
		}
	}
	return 0, fmt.Errorf("no line %s", key)
}

// OpenFiles is how many files a process may open, 0 when that is unknown.
func OpenFiles(pid int) uint64 {
	var l unix.Rlimit
	if pid == 0 || unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &l) != nil {
		return 0
	}
	return l.Cur
}
