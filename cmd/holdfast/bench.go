package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/boot"
	"holdfast/internal/loadgen"
)

type benchCommand struct {
	Scenarios []string      `arg:"" optional:"" name:"run" help:"Scenarios, one after the other; see above."`
	URL       string        `name:"url" help:"Where clients connect." default:"http://127.0.0.1:8000" placeholder:"URL"`
	API       string        `name:"api" env:"HOLDFAST_API" help:"URL of the API, for scenarios that push." default:"http://127.0.0.1:8001" placeholder:"URL"`
	Client    string        `help:"Which socket.io-client the clients are like: 2, 3 or 4 (the default); 3 and 4 put the same on the wire." enum:",2,3,4" default:"" placeholder:"V"`
	Transport string        `help:"How they reach the server: websocket at once, polling alone, or upgrade: polling first, then a WebSocket, as stock clients do." enum:"websocket,polling,upgrade" default:"websocket" placeholder:"T"`
	Protocol  string        `help:"What they speak, instead of --client: eio4 (clients 3 and 4), eio3 (2), or to other servers bare (WebSocket and no packets), centrifugo." enum:",eio4,eio3,bare,centrifugo" default:"" placeholder:"P"`
	Path      string        `help:"The endpoint's path; the protocol's usual one by default." placeholder:"P"`
	Secret    string        `env:"HOLDFAST_AUTH_JWT_SECRET" help:"Give each client a token that is signed with this (HS256)."`
	Insecure  bool          `help:"With https, take any certificate."`
	Clients   int           `short:"n" help:"How many clients."`
	Rate      float64       `help:"Arrivals a second; for echo messages, for churn comings and goings."`
	For       time.Duration `help:"How long it goes on once all clients are there."`
	Every     time.Duration `help:"From one push to the next."`
	Size      int           `help:"Size of a message in bytes."`
	Hz        float64       `help:"Cursors a second in each room."`
	Scale     float64       `help:"Share of the reference's 500,000 users in s1 to s4. Default 0.01."`
	Processes int           `help:"Processes for the clients; 0: one for each 15,000 (8,000 when they poll), this one when one will do."`
	PID       int           `name:"pid" help:"The server's process, to measure it. By default the one that listens at the URL, when it is on this machine."`
	JSON      string        `name:"json" help:"Write the results to this file; - is the standard output." placeholder:"F"`
	HTML      string        `name:"html" help:"Write a page with plots to this file." placeholder:"F"`
	Worker    bool          `hidden:""`
}

// Help is shown by `holdfast bench --help`.
func (*benchCommand) Help() string {
	return "Scenarios:\n\n" + loadgen.Help() + `
Times count from when a thing was due, so a server that stalls is charged for all
that it kept waiting. Example, with holdfast dev running:

  holdfast bench broadcast --clients 5000 --every 500ms --html bench.html

A client that polls has two connections, one that upgrades three for a moment. A
process opens as many as ulimit -n says; the server needs as many.`
}

// Run plays the scenarios and reports.
func (c *benchCommand) Run(w *world) error {
	if c.Worker {
		return loadgen.ServeWorker(w.ctx, os.Stdin, w.stdout)
	}
	if len(c.Scenarios) == 0 {
		return fmt.Errorf("bench: no scenario is named; there are:\n%s", loadgen.Help())
	}
	signals, stop := boot.Notify()
	defer stop()
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	go func() {
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	results, err := c.play(ctx, w)
	return errors.Join(err, c.report(w, results))
}

// play stops at the first scenario that fails; its result, as far as it got, is
// the last.
func (c *benchCommand) play(ctx context.Context, w *world) (results []*loadgen.Result, err error) {
	protocol, err := c.protocol()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	target := loadgen.Target{
		URL: c.URL, Path: c.Path, Protocol: protocol, Transport: loadgen.Transport(c.Transport), Insecure: c.Insecure, Secret: c.Secret,
	}
	pid, err := c.server(w)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	swarm, err := c.swarm(ctx, target)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer func() { err = errors.Join(err, swarm.Close()) }()
	for _, name := range c.Scenarios {
		fmt.Fprintf(w.stderr, "%s against %s\n", name, c.URL)
		run := &loadgen.Run{
			Scenario: name, Target: target, Swarm: swarm, PID: pid,
			Options: loadgen.Options{Clients: c.Clients, Rate: c.Rate, For: c.For, Every: c.Every, Size: c.Size, Hz: c.Hz, Scale: c.Scale},
			Log:     func(line string) { fmt.Fprintln(w.stderr, line) },
			Command: c.line(w.args),
		}
		if c.API != "" {
			run.Pusher = func(room string, ack time.Duration) loadgen.Pusher {
				return &loadgen.APIPusher{URL: c.API, Room: room, AckTimeout: ack}
			}
		}
		r, err := run.Do(ctx)
		if r != nil {
			results = append(results, r)
			printResult(w.stdout, r, c.JSON == "-")
		}
		if err != nil {
			return results, fmt.Errorf("bench %s: %w", name, err)
		}
	}
	return results, nil
}

// line is the command line, without what is secret.
func (c *benchCommand) line(args []string) string {
	text := "holdfast " + strings.Join(args, " ")
	if c.Secret != "" {
		text = strings.ReplaceAll(text, c.Secret, "…")
	}
	return text
}

// protocol is what --client or --protocol asks for.
func (c *benchCommand) protocol() (loadgen.Protocol, error) {
	byClient := map[string]loadgen.Protocol{"2": loadgen.SocketIO4, "3": loadgen.SocketIO5, "4": loadgen.SocketIO5}[c.Client]
	asked := loadgen.Protocol(c.Protocol)
	if byClient != "" && asked != "" && asked != byClient {
		return "", fmt.Errorf("--client %s speaks %s, but --protocol says %s; one of the two is enough", c.Client, byClient, asked)
	}
	return cmp.Or(asked, byClient, loadgen.SocketIO5), nil
}

// swarm is in this process, or in several workers.
func (c *benchCommand) swarm(ctx context.Context, t loadgen.Target) (loadgen.Swarm, error) {
	perProcess := 15_000
	if t.Transport == loadgen.Polling { // two connections each
		perProcess = 8000
	}
	n := c.Processes
	if n == 0 {
		for _, name := range c.Scenarios {
			n = max(n, (loadgen.Clients(name, loadgen.Options{Clients: c.Clients, Scale: c.Scale})+perProcess-1)/perProcess)
		}
	}
	if n <= 1 {
		return loadgen.NewLocal(t, 1)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start workers: %w", err)
	}
	return loadgen.NewRemote(ctx, n, []string{self, "bench", "--worker"}, t)
}

// server is the process to measure, 0 when there is none.
func (c *benchCommand) server(w *world) (int, error) {
	if c.PID != 0 {
		return c.PID, nil
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return 0, fmt.Errorf("read --url: %w", err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil || !loadgen.Here(u.Hostname()) {
		return 0, nil //nolint:nilerr // a server elsewhere, or at its scheme's usual port
	}
	pid, err := loadgen.FindServer(port)
	if err != nil {
		fmt.Fprintf(w.stderr, "The server's memory and processor time are not measured: %v\n", err)
		return 0, nil
	}
	return pid, nil
}

func printResult(out io.Writer, r *loadgen.Result, quiet bool) {
	if quiet {
		return
	}
	for _, f := range r.Figures {
		fmt.Fprintf(out, "%-28s %12.2f %s\n", r.Scenario+"."+f.Name, f.Value, f.Unit)
	}
	for _, why := range r.Total.Reasons() {
		fmt.Fprintf(out, "%-28s %12d times: %s\n", r.Scenario+".error", r.Total.Errors[why], why)
	}
}

// report writes the files.
func (c *benchCommand) report(w *world, results []*loadgen.Result) error {
	if len(results) == 0 {
		return nil
	}
	if c.JSON != "" {
		text, err := json.MarshalIndent(results, "", " ")
		if err != nil {
			return fmt.Errorf("bench: write the results: %w", err)
		}
		if c.JSON == "-" {
			_, err = w.stdout.Write(append(text, '\n'))
		} else {
			err = os.WriteFile(c.JSON, text, 0o644)
		}
		if err != nil {
			return fmt.Errorf("bench: write the results: %w", err)
		}
	}
	if c.HTML == "" {
		return nil
	}
	f, err := os.Create(c.HTML)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	err = loadgen.ResultsPage(results).Write(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}
