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
	"time"

	"holdfast/bench/rig"
	"holdfast/internal/loadgen"
)

// cluster is some processes of holdfast that share a prefix.
type cluster struct {
	folder   string
	gateways []*process
	apis     []*process
}

// process is one of them.
type process struct {
	*rig.Process
	url   string // of a gateway for clients, of a ws-api for backends
	admin string // where it serves /metrics and /debug
}

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
`, identity, rig.Secret, b.redis, prefix, line, more)
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

// launch starts one process, which prints its addresses.
func launch(program, kind, file, config string) (*process, error) {
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	marks := []string{"clients", "metrics"}
	if kind == "api" {
		marks = []string{"api", "api"}
	}
	p, urls, err := rig.Launch(exec.Command(program, kind, "--config", file), marks...)
	if err != nil {
		return nil, err
	}
	return &process{p, urls[0], urls[1]}, nil
}

// stop ends all processes that were started.
func (c *cluster) stop() {
	for _, p := range append(c.gateways, c.apis...) {
		p.Stop(10 * time.Second)
	}
	_ = os.RemoveAll(c.folder)
}

// swarms makes one swarm of clients for each of the first n gateways, each in a process of
// its own.
func (c *cluster) swarms(ctx context.Context, n int) ([]loadgen.Swarm, func(), error) {
	var all []loadgen.Swarm
	leave := func() {
		for _, s := range all {
			_ = s.Close()
		}
	}
	for _, g := range c.gateways[:n] {
		s, err := rig.Clients(ctx, loadgen.Target{URL: g.url, Secret: rig.Secret})
		if err != nil {
			leave()
			return nil, nil, err
		}
		all = append(all, s)
	}
	return all, leave, nil
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
