package redistest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Sentinel starts a sentinel that watches a server as the master of that name, and
// makes another the master half a second after that one has died.
func Sentinel(t testing.TB, name string, master *Server) *Server {
	t.Helper()
	return start(t, []string{watches(t, name, master.Addr)}, "--sentinel")
}

// SecureSentinel is a sentinel that speaks TLS, to those who ask it and to its master.
func SecureSentinel(t testing.TB, name string, master Secure) Secure {
	t.Helper()
	s := Secure{Signer: master.Signer, TLS: freeAddr(t)}
	args := append([]string{"--sentinel"}, s.options(t)...)
	s.Server = start(t, []string{watches(t, name, master.TLS)}, append(args, "--tls-replication", "yes")...)
	return s
}

// watches writes the configuration of a sentinel.
func watches(t testing.TB, name, addr string) (file string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor %s %s %s 1\nsentinel down-after-milliseconds %s 500\nsentinel failover-timeout %s 2000\n",
		name, host, port, name, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// KnowsReplica waits until a sentinel has found a replica of its master.
func (s *Server) KnowsReplica(name string) {
	s.t.Helper()
	deadline := time.After(startTimeout)
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for {
		if out := s.Run("SENTINEL", "REPLICAS", name); strings.Contains(out, "master-link-status") && strings.Contains(out, "\nok\n") {
			return
		}
		select {
		case <-every.C:
		case <-deadline:
			s.t.Fatal("the sentinel has found no replica")
		}
	}
}
