package loadgen

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// FindServer returns the pid of the process of this machine that listens at a
// port, as far as this user may see it.
func FindServer(port int) (int, error) {
	inodes := make(map[string]bool)
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a kernel without IPv6
		}
		listeners(text, port, inodes)
	}
	if len(inodes) == 0 {
		return 0, fmt.Errorf("nothing listens at port %d of this machine", port)
	}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return 0, fmt.Errorf("look for the server's process: %w", err)
	}
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil {
			continue // it has ended, or is somebody else's
		}
		if inode, ok := strings.CutPrefix(to, "socket:["); ok && inodes[strings.TrimSuffix(inode, "]")] {
			return strconv.Atoi(strings.Split(link, "/")[2])
		}
	}
	return 0, fmt.Errorf("the process that listens at port %d is not this user's", port)
}

// listeners adds the inodes of the sockets that listen at a port. A line of the
// file has the local address (hexadecimal, after a number) second, the state
// fourth, where 0A is LISTEN, and the inode tenth.
func listeners(text []byte, port int, inodes map[string]bool) {
	want := fmt.Sprintf(":%04X", port)
	for line := range bytes.Lines(text) {
		f := strings.Fields(string(line))
		if len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], want) {
			inodes[f[9]] = true
		}
	}
}

// Here reports whether a host is this machine's.
func Here(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
