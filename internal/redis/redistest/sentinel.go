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
	host, port, err := net.SplitHostPort(master.Addr)
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor %s %s %s 1\nsentinel down-after-milliseconds %s 500\nsentinel failover-timeout %s 2000\n",
		name, host, port, name, name)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return start(t, []string{conf}, "--sentinel")
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
