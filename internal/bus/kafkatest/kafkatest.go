// Package kafkatest runs a real Kafka broker for tests, by scripts/servers: on a free
// port, in a folder of its own, ended with the test that started it. Where none can be
// had the test fails and says what is missing, for a bus that was only tried against
// an imitation has not been tried.
//
// A broker takes some five seconds to start and 200 MB of memory, so a package's tests
// share one: they are subtests of the one that started it, and each has its own prefix.
// [StartCluster] is for what shows only where leaders move.
package kafkatest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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
	heap   string // options of the JVM; "" for those of the script
	props  []string
	cmd    *exec.Cmd
	log    *output
	done   chan struct{} // closed when cmd has ended
}

// startTimeout is how long a broker may take to be there; the first one on a machine
// is fetched within it.
const startTimeout = 3 * time.Minute

// Start starts a broker that creates no topics by itself; props are further lines of
// its properties. It returns when the broker takes requests.
func Start(t testing.TB, props ...string) *Broker {
	t.Helper()
	return start(t, func() []*Broker {
		addr, port := freeAddr(t)
		return []*Broker{{Addr: addr, port: port, props: props}}
	})[0]
}

// StartCluster starts n brokers, of 100 MB of heap each, that are one cluster. A
// broker's number, node.id, is its place from 1 on. Topics have a copy on each broker
// and take no write that less than two have. A broker that is silent for two seconds is
// taken for dead, in place of nine, and its leaders move; a controller without a leader
// for one second asks for another, in place of two, so that a death costs no more where
// the broker was that leader as well.
func StartCluster(t testing.TB, n int, props ...string) []*Broker {
	t.Helper()
	return start(t, func() []*Broker {
		brokers, controllers, voters := make([]*Broker, n), make([]string, n), make([]string, n)
		for i := range n {
			brokers[i] = &Broker{heap: "-Xms32m -Xmx100m"}
			brokers[i].Addr, brokers[i].port = freeAddr(t)
			controllers[i], _ = freeAddr(t)
			voters[i] = fmt.Sprintf("%d@%s", i+1, controllers[i])
		}
		for i, b := range brokers {
			b.props = append([]string{
				fmt.Sprintf("node.id=%d", i+1),
				"controller.quorum.voters=" + strings.Join(voters, ","),
				fmt.Sprintf("listeners=PLAINTEXT://%s,CONTROLLER://%s", b.Addr, controllers[i]),
				fmt.Sprintf("default.replication.factor=%d", n),
				fmt.Sprintf("offsets.topic.replication.factor=%d", n),
				fmt.Sprintf("min.insync.replicas=%d", min(n, 2)),
				"broker.session.timeout.ms=2000", "broker.heartbeat.interval.ms=500",
				"controller.quorum.fetch.timeout.ms=1000", "controller.quorum.election.timeout.ms=500",
				"num.network.threads=2", "num.io.threads=2",
			}, props...)
		}
		return brokers
	})
}

// start starts the brokers that plan names, all at the same time.
func start(t testing.TB, plan func() []*Broker) []*Broker {
	t.Helper()
	script, err := findScript()
	if err != nil {
		t.Fatal(err)
	}
	for try := 0; ; try++ {
		brokers := plan()
		for _, b := range brokers {
			b.t, b.script, b.dir = t, script, t.TempDir()
			t.Cleanup(b.Kill)
		}
		err := run(brokers)
		if err == nil {
			return brokers
		}
		for _, b := range brokers {
			b.Kill()
		}
		if try == 2 { // somebody else may have taken a port meanwhile
			t.Fatalf("start Kafka: %v", err)
		}
	}
}

// run starts the processes and waits until all take requests.
func run(brokers []*Broker) error {
	var errs []error
	for _, b := range brokers {
		errs = append(errs, b.launch())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, b := range brokers {
		errs = append(errs, b.await())
	}
	return errors.Join(errs...)
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

// freeAddr returns an address that nobody has, below the range from which systems take
// the ports of outgoing connections: one of these could have it when a broker that was
// killed starts again.
func freeAddr(t testing.TB) (addr, port string) {
	t.Helper()
	for range 100 {
		port = strconv.Itoa(20000 + rand.IntN(12000))
		addr = net.JoinHostPort("127.0.0.1", port)
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr, port
		}
	}
	t.Fatal("no port is free from 20000 to 31999")
	return "", ""
}

func (b *Broker) launch() error {
	args := append([]string{"run", "kafka", "--dir", b.dir, "--port", b.port, "--"}, b.props...)
	cmd := exec.Command(b.script, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if b.heap != "" {
		cmd.Env = append(os.Environ(), "KAFKA_HEAP_OPTS="+b.heap)
	}
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = in, in
	err = cmd.Start()
	_ = in.Close()
	if err != nil {
		_ = out.Close()
		return err
	}
	log, done := &output{started: make(chan struct{})}, make(chan struct{})
	b.cmd, b.log, b.done = cmd, log, done
	go func() {
		defer close(done)
		log.read(out)
		_ = cmd.Wait()
	}()
	return nil
}

// await waits until the process takes requests.
func (b *Broker) await() error {
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case <-b.log.started:
		return nil
	case <-b.done:
		return fmt.Errorf("it ended:\n%s", b.log.text())
	case <-timeout.C:
		return fmt.Errorf("it was not there within %v:\n%s", startTimeout, b.log.text())
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
	if b.cmd == nil {
		return
	}
	_ = b.cmd.Process.Kill()
	<-b.done
}

// Restart starts the broker again with its address and its data, after [Broker.Kill].
func (b *Broker) Restart() {
	b.t.Helper()
	if err := run([]*Broker{b}); err != nil {
		b.t.Fatalf("restart Kafka: %v", err)
	}
}

// Stall stops the process in the middle of what it does; resume lets it go on.
func (b *Broker) Stall() (resume func()) {
	_ = b.cmd.Process.Signal(syscall.SIGSTOP)
	return func() { _ = b.cmd.Process.Signal(syscall.SIGCONT) }
}
