// Package kafkatest runs a real Kafka broker for tests, by scripts/servers: on a free
// port, in a folder of its own, ended with the test that started it. Where none can be
// had the test fails and says what is missing, for a bus that was only tried against
// an imitation has not been tried.
//
// A broker takes some five seconds to start and 200 MB of memory, so a package's tests
// share one: they are subtests of the one that started it, and each has its own prefix.
package kafkatest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Broker is one running Kafka.
type Broker struct {
	Addr string // host:port, the same after a restart

	t      testing.TB
	script string
	dir    string
	port   string
	props  []string
	cmd    *exec.Cmd
	done   chan struct{} // closed when cmd has ended
}

// startTimeout is how long a broker may take to be there; the first one on a machine
// is fetched within it.
const startTimeout = 3 * time.Minute

// Start starts a broker that creates no topics by itself; props are further lines of
// its properties. It returns when the broker takes requests.
func Start(t testing.TB, props ...string) *Broker {
	t.Helper()
	script, err := findScript()
	if err != nil {
		t.Fatal(err)
	}
	b := &Broker{t: t, script: script, dir: t.TempDir(), props: props}
	t.Cleanup(b.Kill)
	for try := 0; ; try++ {
		b.Addr, b.port = freeAddr(t)
		err := b.run()
		if err == nil {
			return b
		}
		if try == 2 { // somebody else may have taken a port meanwhile
			t.Fatalf("start Kafka: %v", err)
		}
	}
}

// findScript looks for it from the test's folder upwards.
func findScript() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		script := filepath.Join(at, "scripts", "servers")
		if _, err := os.Stat(script); err == nil {
			return script, nil
		}
		up := filepath.Dir(at)
		if up == at {
			return "", errors.New("scripts/servers is in none of the folders above this test")
		}
		at = up
	}
}

func freeAddr(t testing.TB) (addr, port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	addr = l.Addr().String()
	_, port, err = net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return addr, port
}

// run starts the process and waits until it takes requests.
func (b *Broker) run() error {
	args := append([]string{"run", "kafka", "--dir", b.dir, "--port", b.port, "--"}, b.props...)
	b.cmd = exec.Command(b.script, args...)
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	b.cmd.Stdout, b.cmd.Stderr = in, in
	err = b.cmd.Start()
	_ = in.Close()
	if err != nil {
		_ = out.Close()
		return err
	}
	log := &output{started: make(chan struct{})}
	done := make(chan struct{})
	b.done = done
	go func(cmd *exec.Cmd) {
		defer close(done)
		log.read(out)
		_ = cmd.Wait()
	}(b.cmd)
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case <-log.started:
		return nil
	case <-done:
		return fmt.Errorf("it ended:\n%s", log.text())
	case <-timeout.C:
		return fmt.Errorf("it was not there within %v:\n%s", startTimeout, log.text())
	}
}

// output is what a broker has printed, up to a bound.
type output struct {
	started chan struct{} // closed when it takes requests

	mu   sync.Mutex
	kept []byte
}

func (o *output) read(from io.ReadCloser) {
	defer from.Close()
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for up := false; lines.Scan(); {
		o.mu.Lock()
		if len(o.kept) < 64<<10 {
			o.kept = append(append(o.kept, lines.Bytes()...), '\n')
		}
		o.mu.Unlock()
		if !up && strings.Contains(lines.Text(), "Kafka Server started") {
			up = true
			close(o.started)
		}
	}
	_, _ = io.Copy(io.Discard, from) // so that it never blocks on its output
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.kept)
}

// Kill ends the broker as a crash would.
func (b *Broker) Kill() {
	if b.cmd == nil || b.cmd.Process == nil {
		return
	}
	_ = b.cmd.Process.Kill()
	<-b.done
}

// Restart starts the broker again with its address and its data, after [Broker.Kill].
func (b *Broker) Restart() {
	b.t.Helper()
	if err := b.run(); err != nil {
		b.t.Fatalf("restart Kafka: %v", err)
	}
}

// Stall stops the process in the middle of what it does; resume lets it go on.
func (b *Broker) Stall() (resume func()) {
	_ = b.cmd.Process.Signal(syscall.SIGSTOP)
	return func() { _ = b.cmd.Process.Signal(syscall.SIGCONT) }
}
