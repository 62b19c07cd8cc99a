package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"holdfast/internal/loadgen"
)

// secret signs the clients' tokens.
const secret = "bench-bench-bench-bench-bench-bench"

// cluster is some processes of holdfast that share a prefix.
type cluster struct {
	folder   string
	gateways []*process
	apis     []*process
}

// process is one of them.
type process struct {
	cmd   *exec.Cmd
	url   string // of a gateway for clients, of a ws-api for backends
	admin string // where it serves /metrics and /debug
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// size is how many processes of each kind.
type size struct{ gateways, apis int }

// start starts a cluster on a bus, "redis" or "kafka"; more is further lines of the
// configuration. The caller stops it.
func (b *bench) start(ctx context.Context, bus string, n size, more string) (*cluster, error) {
	b.clusters++
	prefix := fmt.Sprintf("bench-%d-%d", os.Getpid(), b.clusters)
	if err := b.oldRegistry(ctx, prefix); err != nil {
		return nil, fmt.Errorf("prepare redis at %s: %w", b.redis, err)
	}
	folder, err := os.MkdirTemp("", "holdfast-bench-")
	if err != nil {
		return nil, err
	}
	c := &cluster{folder: folder}
	line := "bus: {kind: redis}"
	if bus == "kafka" {
		line = fmt.Sprintf("bus: {kind: kafka, brokers: [%q], prefix: %s}", b.kafka, prefix)
	}
	config := func(identity string) string {
		return fmt.Sprintf(`listen: 127.0.0.1:0
api_listen: 127.0.0.1:0
node: {listen: "127.0.0.1:0", identity: %s, secret: bench}
heartbeat: {interval: 25s, timeout: 20s, adaptive: false}
auth: {jwt: {secret: %q}}
store: {kind: redis, addrs: [%q], prefix: %s}
%s
drain: {pause: 0s, rate: 0, timeout: 5s}
log: {level: error}
%s
`, identity, secret, b.redis, prefix, line, more)
	}
	for i := range n.gateways + n.apis {
		kind, name := "gateway", fmt.Sprintf("gw-%d", i)
		if i >= n.gateways {
			kind, name = "api", fmt.Sprintf("api-%d", i-n.gateways)
		}
		p, err := launch(b.program, kind, filepath.Join(folder, name+".yaml"), config(name))
		if err != nil {
			c.stop()
			return nil, fmt.Errorf("start a %s: %w", kind, err)
		}
		if kind == "api" {
			c.apis = append(c.apis, p)
		} else {
			c.gateways = append(c.gateways, p)
		}
	}
	return c, nil
}

// oldRegistry makes a prefix look as if it had been in use for long: in an empty
// registry nodes wait for 8 s, for those who might come back.
func (b *bench) oldRegistry(ctx context.Context, prefix string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", b.redis)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "HSET %s:{workers}:state since 1\r\n", prefix); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(answer, ":") {
		err = fmt.Errorf("it answers %q", answer)
	}
	return err
}

// launch starts one process and waits for the addresses that it prints.
func launch(program, kind, file, config string) (*process, error) {
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(program, kind, "--config", file)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd}
	late := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	lines := bufio.NewScanner(out)
	for p.admin == "" && lines.Scan() {
		switch f := strings.Fields(lines.Text()); {
		case len(f) != 2:
		case f[0] == "clients":
			p.url = f[1]
		case f[0] == "api":
			p.url, p.admin = f[1], f[1]
		case f[0] == "metrics":
			p.admin = f[1]
		}
	}
	if p.admin == "" {
		p.stop()
		return nil, errors.New("it ended, or did not say where it is")
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the process
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(10*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	_ = p.cmd.Wait()
}

// stop ends all processes that were started.
func (c *cluster) stop() {
	for _, p := range append(c.gateways, c.apis...) {
		p.stop()
	}
	_ = os.RemoveAll(c.folder)
}

// swarms makes one swarm of clients for each of the first n gateways, each in a process of
// its own.
func (c *cluster) swarms(ctx context.Context, n int) ([]loadgen.Swarm, func(), error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	var all []loadgen.Swarm
	leave := func() {
		for _, s := range all {
			_ = s.Close()
		}
	}
	for _, g := range c.gateways[:n] {
		s, err := loadgen.NewRemote(ctx, 1, []string{self, workerArgument}, loadgen.Target{URL: g.url, Secret: secret})
		if err != nil {
			leave()
			return nil, nil, err
		}
		all = append(all, s)
	}
	return all, leave, nil
}

// arrive connects clients as planned, all of which must come.
func arrive(ctx context.Context, s loadgen.Swarm, p loadgen.Plan) (loadgen.Stats, error) {
	if err := s.Connect(ctx, p); err != nil {
		return loadgen.Stats{}, err
	}
	st, err := s.Collect(ctx)
	if err == nil && st.Arrived < p.Clients {
		err = fmt.Errorf("%d of %d clients did not connect: %v", p.Clients-st.Arrived, p.Clients, st.Errors)
	}
	return st, err
}

// metric sums the samples of a metric whose lines contain all of the given texts.
func (p *process) metric(ctx context.Context, name string, with ...string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.admin+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("read metrics: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	sum, lines := 0.0, bufio.NewScanner(resp.Body)
next:
	for lines.Scan() {
		labels, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || labels == "" || (labels[0] != '{' && labels[0] != ' ') {
			continue
		}
		for _, w := range with {
			if !strings.Contains(labels, w) {
				continue next
			}
		}
		v, err := strconv.ParseFloat(labels[strings.LastIndexByte(labels, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("read metrics: %w", err)
		}
		sum += v
	}
	return sum, lines.Err()
}

// profiles takes processor profiles of all processes for the time that do takes, at
// most d.
func (b *bench) profiles(ctx context.Context, c *cluster, name string, d time.Duration, do func() error) error {
	if b.profile == "" {
		return do()
	}
	if err := os.MkdirAll(b.profile, 0o755); err != nil {
		return err
	}
	all := map[string]*process{"gateway": c.gateways[0], "api": c.apis[0]}
	ended := make(chan error, len(all))
	for kind, p := range all {
		go func() {
			ended <- p.profile(ctx, filepath.Join(b.profile, name+"."+kind+".prof"), d)
		}()
	}
	errs := []error{do()}
	for range all {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

func (p *process) profile(ctx context.Context, file string, d time.Duration) error {
	url := fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", p.admin, max(1, int(d.Seconds())))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("take a profile: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, resp.Body)
	return errors.Join(err, out.Close())
}
