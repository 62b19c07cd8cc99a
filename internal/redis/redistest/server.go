// Package redistest starts Redis servers for tests: a real redis-server on a free
// port in a folder of its own, ended with the test that started it. Where none is
// installed the test fails and says what to install, for a store that was only tried
// against an imitation has not been tried.
package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/certtest"
)

// Server is one running redis-server.
type Server struct {
	Addr string

	t     testing.TB
	dir   string
	first []string // of the command line, before all options
	args  []string
	cmd   *exec.Cmd
	done  chan struct{} // closed when cmd has ended
}

// startTimeout is how long a server may take to answer.
const startTimeout = 20 * time.Second

// Start starts a server which keeps its data in memory alone unless args, written as
// on redis-server's command line, say otherwise.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, nil, args...)
}

// Secure is a server that speaks TLS as well.
type Secure struct {
	*Server        // Addr is in the clear
	TLS     string // host:port
	Signer  *certtest.CA
}

// StartSecure starts a server as [Start] does, which also listens to TLS with a
// certificate for 127.0.0.1. args may ask for more, as "--tls-auth-clients", "yes" does.
// Without that it takes clients which show none.
func StartSecure(t testing.TB, args ...string) Secure {
	t.Helper()
	return startSecure(t, certtest.NewCA(t), args...)
}

func startSecure(t testing.TB, ca *certtest.CA, args ...string) Secure {
	t.Helper()
	s := Secure{Signer: ca, TLS: freeAddr(t)}
	s.Server = Start(t, append(s.options(t), args...)...)
	return s
}

// options is how the server is told of its TLS.
func (s *Secure) options(t testing.TB) []string {
	t.Helper()
	_, port, err := net.SplitHostPort(s.TLS)
	if err != nil {
		t.Fatal(err)
	}
	pair := s.Signer.Sign("redis")
	return []string{
		"--tls-port", port, "--tls-cert-file", pair.Cert, "--tls-key-file", pair.Key,
		"--tls-ca-cert-file", s.Signer.File, "--tls-auth-clients", "no",
	}
}

// start starts a server whose command line begins with first, a configuration file.
func start(t testing.TB, first []string, args ...string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("redis-server is missing: install Debian's package redis-server (apt-get install redis-server), or Redis 7 or newer on PATH")
	}
	s := &Server{t: t, dir: t.TempDir(), first: first, args: args}
	t.Cleanup(s.Kill)
	for try := 0; ; try++ {
		s.Addr = freeAddr(t)
		err := s.run()
		if err == nil {
			return s
		}
		if try == 5 { // somebody else may have taken the port meanwhile
			t.Fatalf("start redis-server: %v", err)
		}
	}
}

func freeAddr(t testing.TB) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().(*net.TCPAddr)
		_ = l.Close()
		if addr.Port < 55_000 { // a Cluster's bus has the port 10,000 above
			return addr.String()
		}
	}
}

// run starts the process and waits until it answers.
func (s *Server) run() error {
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	args := append(slices.Clone(s.first),
		"--port", port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "no",
		"--logfile", filepath.Join(s.dir, "log"), "--daemonize", "no",
	)
	args = append(args, s.args...)
	s.cmd = exec.Command("redis-server", args...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	s.done = done
	go func(cmd *exec.Cmd) {
		defer close(done)
		_ = cmd.Wait()
	}(s.cmd)
	return s.answers()
}

func (s *Server) answers() error {
	deadline := time.After(startTimeout)
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	for {
		if conn, err := net.Dial("tcp", s.Addr); err == nil {
			_ = conn.Close()
			if out, err := s.cli("PING"); err == nil && (strings.TrimSpace(out) == "PONG" || strings.Contains(out, "NOAUTH")) {
				return nil
			}
		}
		select {
		case <-s.done:
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("it ended: %s", log)
		case <-deadline:
			return fmt.Errorf("no answer within %v", startTimeout)
		case <-every.C:
		}
	}
}

// Kill ends the server as a power cut would.
func (s *Server) Kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.done
}

// Restart starts the server again on the same port and folder, after [Server.Kill].
func (s *Server) Restart() {
	s.t.Helper()
	if err := s.run(); err != nil {
		s.t.Fatalf("restart redis-server: %v", err)
	}
}

// Stall stops the process in the middle of what it does; resume lets it go on.
func (s *Server) Stall() (resume func()) {
	_ = s.cmd.Process.Signal(syscall.SIGSTOP)
	return func() { _ = s.cmd.Process.Signal(syscall.SIGCONT) }
}

// Run carries one command out by redis-cli and returns what it prints.
func (s *Server) Run(args ...string) string {
	s.t.Helper()
	out, err := s.cli(args...)
	if err != nil {
		s.t.Fatalf("redis-cli %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

func (s *Server) cli(args ...string) (string, error) {
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "redis-cli", append([]string{"-h", host, "-p", port}, args...)...).CombinedOutput()
	return string(out), err
}

// Cluster starts three servers that share the slots, and returns when all agree.
func Cluster(t testing.TB) []*Server {
	t.Helper()
	var servers []*Server
	for range nodes {
		servers = append(servers, Start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000"))
	}
	gather(t, servers, Addrs(servers))
	return servers
}

// SecureCluster is the same of servers that also speak TLS to each other.
func SecureCluster(t testing.TB) []Secure {
	t.Helper()
	ca := certtest.NewCA(t)
	var secure []Secure
	var servers []*Server
	var addrs []string
	for range nodes {
		s := startSecure(t, ca, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--tls-cluster", "yes")
		secure, servers, addrs = append(secure, s), append(servers, s.Server), append(addrs, s.TLS)
	}
	gather(t, servers, addrs)
	return secure
}

// What a Cluster of the tests has.
const nodes, slots = 3, 16384

// gather makes a Cluster of servers which reach each other at addrs.
func gather(t testing.TB, servers []*Server, addrs []string) {
	t.Helper()
	for i, s := range servers {
		s.Run("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/nodes), strconv.Itoa((i+1)*slots/nodes-1))
		host, port, _ := net.SplitHostPort(addrs[i])
		servers[0].Run("CLUSTER", "MEET", host, port)
	}
	deadline := time.After(startTimeout)
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for _, s := range servers {
		for !agrees(s, nodes) {
			select {
			case <-deadline:
				t.Fatal("the Cluster did not come together:\n" + s.Run("CLUSTER", "NODES"))
			case <-every.C:
			}
		}
	}
}

func agrees(s *Server, nodes int) bool {
	info := s.Run("CLUSTER", "INFO")
	return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(nodes)) &&
		strings.Contains(info, "cluster_slots_ok:16384")
}

// Addrs returns the addresses of servers.
func Addrs(servers []*Server) []string {
	addrs := make([]string, len(servers))
	for i, s := range servers {
		addrs[i] = s.Addr
	}
	return addrs
}
