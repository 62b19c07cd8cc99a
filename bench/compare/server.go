package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"holdfast/internal/loadgen"
)

// server is one that is measured: a process, its clients, and what pushes to them.
type server struct {
	name    string
	cmd     *exec.Cmd
	api     string // of holdfast and Centrifugo
	target  loadgen.Target
	swarm   loadgen.Swarm
	pusher  loadgen.Pusher
	echoes  bool // it answers events
	clients int
}

// secret signs the tokens of holdfast's clients.
const secret = "bench-bench-bench-bench-bench-bench"

// room is where all clients are.
const room = "all"

// start starts the server of a name and one worker for its clients.
func start(ctx context.Context, o *options, name, folder string) (*server, error) {
	s := &server{name: name, echoes: true, target: loadgen.Target{Protocol: loadgen.SocketIO5}}
	var err error
	switch name {
	case "holdfast", "holdfast-f":
		err = s.holdfast(o, folder, filepath.Join(o.bin, name), "")
	case "holdfast-tls":
		var tls string
		if tls, err = certificate(folder); err == nil {
			err = s.holdfast(o, folder, filepath.Join(o.bin, "holdfast"), tls)
		}
	case "floor", "gws", "gorilla":
		err = s.bare(o)
	case "node":
		err = s.node(o)
	case "centrifugo":
		err = s.centrifugo(o, folder)
	default:
		err = errors.New("there is no server of that name")
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := s.attach(ctx); err != nil {
		s.stop()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return s, nil
}

// attach makes the swarm and the pusher, whose connection is there before the
// memory is measured.
func (s *server) attach(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if s.swarm, err = loadgen.NewRemote(ctx, 1, []string{self, workerArgument}, s.target); err != nil {
		return err
	}
	if s.pusher == nil {
		t := s.target
		if s.name != "node" {
			t.Protocol = loadgen.Bare
		}
		s.pusher, err = loadgen.NewFramePusher(ctx, t)
	}
	return err
}

// holdfast starts a program of that name; tls is a line of the configuration.
func (s *server) holdfast(o *options, folder, program, tls string) error {
	config := filepath.Join(folder, s.name+".yaml")
	text := fmt.Sprintf(`heartbeat: {interval: %s, timeout: 20s, adaptive: false}
recovery: {enabled: false}
presence: {enabled: false}
log: {level: error}
auth: {anonymous: true, jwt: {secret: %q}}
routes:
  - {event: "*", ack: durable}
%s`, o.ping, secret, tls)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	lines, err := s.launch(exec.Command(program, "dev", "--config", config,
		"--listen", "127.0.0.1:0", "--api", "127.0.0.1:0"), "  clients ", "  api ")
	if err != nil {
		return err
	}
	s.target.URL, s.api = lines[0], lines[1]
	s.target.Secret, s.target.Insecure = secret, tls != ""
	s.pusher = &loadgen.APIPusher{URL: s.api, Room: room}
	return nil
}

// bare starts one of those in bench/peers that speak as the floor does.
func (s *server) bare(o *options) error {
	lines, err := s.launch(exec.Command(filepath.Join(o.bin, s.name), "-ping", o.ping.String()), "listening on ")
	if err == nil {
		s.target.URL = lines[0]
	}
	return err
}

func (s *server) node(o *options) error {
	cmd := exec.Command("node", "server.mjs", fmt.Sprint(o.ping.Milliseconds()))
	cmd.Dir = filepath.Join(o.bin, "node")
	lines, err := s.launch(cmd, "listening on ")
	if err == nil {
		s.target.URL = lines[0]
	}
	return err
}

// launch starts a process and waits for lines that begin with marks, in their
// order; it returns the first word after each.
func (s *server) launch(cmd *exec.Cmd, marks ...string) ([]string, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.cmd = cmd
	late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	var found []string
	lines := bufio.NewScanner(out)
	for len(found) < len(marks) && lines.Scan() {
		if after, ok := strings.CutPrefix(lines.Text(), marks[len(found)]); ok {
			if f := strings.Fields(after); len(f) > 0 {
				found = append(found, f[0])
			}
		}
	}
	if len(found) < len(marks) {
		return nil, fmt.Errorf("it did not say %q", marks[len(found)])
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the process
	return found, nil
}

// stop ends the clients, then the process.
func (s *server) stop() {
	if s.pusher != nil {
		_ = s.pusher.Close()
	}
	if s.swarm != nil {
		_ = s.swarm.Close()
	}
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(3*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer kill.Stop()
	_ = s.cmd.Wait()
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// connect lets n more clients come; an error if one of them fails.
func (s *server) connect(ctx context.Context, n int, rate float64) (loadgen.Stats, error) {
	if _, err := s.swarm.Collect(ctx); err != nil {
		return loadgen.Stats{}, err
	}
	err := s.swarm.Connect(ctx, loadgen.Plan{Clients: n, First: s.clients, Rate: rate, Rooms: loadgen.Rooms{Name: room}})
	if err != nil {
		return loadgen.Stats{}, err
	}
	s.clients += n
	st, err := s.swarm.Collect(ctx)
	if err == nil && st.Arrived < n {
		err = fmt.Errorf("%s: %d of %d clients did not connect: %v", s.name, n-st.Arrived, n, st.Errors)
	}
	return st, err
}

func (s *server) leave(ctx context.Context, n int, rate float64) error {
	s.clients -= n
	if err := s.swarm.Leave(ctx, n, rate); err != nil {
		return err
	}
	return s.quiet(ctx)
}

// quiet waits until the process does next to nothing.
func (s *server) quiet(ctx context.Context) error {
	const step = 100 * time.Millisecond
	last, err := loadgen.CPUTime(s.pid())
	for range 50 {
		if err != nil {
			return err
		}
		if err := loadgen.Sleep(ctx, step); err != nil {
			return err
		}
		var now time.Duration
		if now, err = loadgen.CPUTime(s.pid()); now-last < step/20 {
			return err
		}
		last = now
	}
	return err
}

// await collects until count says that enough has come, or for at most limit.
func (s *server) await(ctx context.Context, limit time.Duration, enough func(*loadgen.Stats) bool) (loadgen.Stats, error) {
	var sum loadgen.Stats
	end := time.Now().Add(limit)
	for {
		st, err := s.swarm.Collect(ctx)
		if err != nil {
			return sum, err
		}
		sum.Merge(&st)
		if enough(&sum) {
			return sum, nil
		}
		if time.Now().After(end) {
			return sum, fmt.Errorf("%s: not everything came within %s: %d deliveries, %d answers, errors %v", s.name, limit, sum.Received, sum.Answered, sum.Errors)
		}
		if err := loadgen.Sleep(ctx, 20*time.Millisecond); err != nil {
			return sum, err
		}
	}
}
