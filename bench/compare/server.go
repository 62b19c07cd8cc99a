package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"holdfast/bench/rig"
	"holdfast/internal/loadgen"
)

// server is one that is measured: a process, its clients, and what pushes to them.
type server struct {
	name    string
	process *rig.Process
	target  loadgen.Target
	swarm   loadgen.Swarm
	pusher  loadgen.Pusher
	echoes  bool // it answers events
	came    int  // clients that have been asked to come
	clients int  // that are connected
	failed  bool // it takes no further part
}

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
	var err error
	if s.swarm, err = rig.Clients(ctx, s.target); err != nil {
		return err
	}
	if s.pusher == nil {
		t := s.target
		if s.name != "node" {
			t.Protocol = loadgen.Bare
		}
		s.pusher, err = loadgen.NewFramePusher(ctx, t, "")
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
%s`, o.ping, rig.Secret, tls)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	urls, err := s.launch(exec.Command(program, "dev", "--config", config,
		"--listen", "127.0.0.1:0", "--api", "127.0.0.1:0"), "clients", "api")
	if err != nil {
		return err
	}
	s.target.URL = urls[0]
	s.target.Secret, s.target.Insecure = rig.Secret, tls != ""
	s.pusher = &loadgen.APIPusher{URL: urls[1], Room: room}
	return nil
}

// bare starts one of those in bench/peers that speak as the floor does.
func (s *server) bare(o *options) error {
	urls, err := s.launch(exec.Command(filepath.Join(o.bin, s.name), "-ping", o.ping.String()), "listening on")
	if err == nil {
		s.target.URL = urls[0]
	}
	return err
}

func (s *server) node(o *options) error {
	cmd := exec.Command("node", "server.mjs", fmt.Sprint(o.ping.Milliseconds()))
	cmd.Dir = filepath.Join(o.bin, "node")
	urls, err := s.launch(cmd, "listening on")
	if err == nil {
		s.target.URL = urls[0]
	}
	return err
}

// launch starts the process, which prints where it listens.
func (s *server) launch(cmd *exec.Cmd, marks ...string) (urls []string, err error) {
	s.process, urls, err = rig.Launch(cmd, marks...)
	return urls, err
}

// stop ends the clients, then the process.
func (s *server) stop() {
	if s.pusher != nil {
		_ = s.pusher.Close()
	}
	if s.swarm != nil {
		_ = s.swarm.Close()
	}
	if s.process != nil {
		s.process.Stop(3 * time.Second)
	}
}

// collect returns what the clients have seen since it was last called.
func (s *server) collect(ctx context.Context) (loadgen.Stats, error) {
	st, err := s.swarm.Collect(ctx)
	if err == nil {
		s.clients = st.Up
	}
	return st, err
}

// connect lets n more clients come, and returns what became of them.
func (s *server) connect(ctx context.Context, n int, rate float64) (loadgen.Stats, error) {
	if _, err := s.collect(ctx); err != nil {
		return loadgen.Stats{}, err
	}
	err := s.swarm.Connect(ctx, loadgen.Plan{Clients: n, First: s.came, Rate: rate, Rooms: loadgen.Rooms{Name: room}})
	if err != nil {
		return loadgen.Stats{}, err
	}
	s.came += n
	return s.collect(ctx)
}

// reasons are why clients failed or were lost, the commonest first.
func (s *server) reasons(st *loadgen.Stats) string {
	var all []string
	for _, why := range st.Reasons() {
		all = append(all, fmt.Sprintf("%d times %s", st.Errors[why], why))
	}
	return strings.Join(all, ", ")
}

// leave closes n clients.
func (s *server) leave(ctx context.Context, n int) error {
	if err := s.swarm.Leave(ctx, n, 0); err != nil {
		return err
	}
	if err := s.quiet(ctx); err != nil {
		return err
	}
	_, err := s.collect(ctx)
	return err
}

// quiet waits until the process does next to nothing, at most some seconds.
func (s *server) quiet(ctx context.Context) error {
	const step = 100 * time.Millisecond
	last, err := s.process.CPU()
	for range 50 {
		if err != nil {
			return err
		}
		if err := loadgen.Sleep(ctx, step); err != nil {
			return err
		}
		var now time.Duration
		if now, err = s.process.CPU(); now-last < step/20 {
			return err
		}
		last = now
	}
	return err
}
