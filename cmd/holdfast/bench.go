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
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"holdfast/internal/boot"
	"holdfast/internal/loadgen"
)

type benchCommand struct {
	Scenarios []string      `arg:"" optional:"" name:"run" help:"Scenarios, one after the other; see above."`
	URL       string        `name:"url" help:"Where clients connect. Default http://127.0.0.1:8000." default:"http://127.0.0.1:8000" placeholder:"URL"`
	API       string        `name:"api" env:"HOLDFAST_API" help:"URL of the API, for scenarios that push. Default http://127.0.0.1:8001." default:"http://127.0.0.1:8001" placeholder:"URL"`
	Token     string        `name:"token" env:"HOLDFAST_API_TOKEN" help:"One of the API's api_tokens, where it has some; better given by the variable." placeholder:"T"`
	Client    string        `help:"Which socket.io-client the clients are like: 2, 3 or 4 (the default); 3 and 4 put the same on the wire." enum:",2,3,4" default:"" placeholder:"V"`
	Transport string        `help:"How they reach the server: websocket at once, polling alone, upgrade: polling first, then a WebSocket, as stock clients do; or jsonp: polling as the oldest of clients 2." enum:"websocket,polling,upgrade,jsonp" default:"websocket" placeholder:"T"`
	Push      string        `help:"Who pushes the events of broadcast and s2 to s4: api (holdfast's), or for broadcast and s3 at any other server client: one more client sends the event b, which the server must send on to the others." enum:"api,client" default:"api" placeholder:"W"`
	Parser    string        `help:"How their packets are encoded: json, or msgpack as by socket.io-msgpack-parser." enum:"json,msgpack" default:"json" placeholder:"P"`
	Protocol  string        `help:"What they speak, instead of --client: eio4 (clients 3 and 4), eio3 (2), or to other servers bare (WebSocket and no packets), centrifugo." enum:",eio4,eio3,bare,centrifugo" default:"" placeholder:"P"`
	Path      string        `help:"The endpoint's path; the protocol's usual one by default." placeholder:"P"`
	Secret    string        `env:"HOLDFAST_AUTH_JWT_SECRET" help:"Give each client a token that is signed with this (HS256)." placeholder:"S"`
	Insecure  bool          `help:"With https, take any certificate."`
	Clients   int           `short:"n" help:"How many clients." placeholder:"N"`
	Rate      float64       `help:"Arrivals a second; for echo messages, for churn comings and goings." placeholder:"N"`
	For       time.Duration `help:"How long it goes on once all clients are there." placeholder:"30s"`
	Every     time.Duration `help:"From one push to the next." placeholder:"1s"`
	Size      int           `help:"Size of a message in bytes." placeholder:"N"`
	Hz        float64       `help:"Cursors a second in each room." placeholder:"N"`
	Scale     float64       `help:"What the users and the rates of s1 to s4 are multiplied by. Default 0.01." placeholder:"N"`
	Processes int           `help:"Processes for the clients; 0: one for each 15,000 (8,000 when they poll), this one when one will do." placeholder:"N"`
	PID       int           `name:"pid" help:"The server's process, to measure it. By default the one that listens at the URL, when it is on this machine." placeholder:"N"`
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
process opens as many as ulimit -n says; the server needs as many.

The exit status is 0 when all scenarios were played, whatever the figures say, 1
when one could not be, 2 when the command line is wrong, 130 after Ctrl-C; what was
measured until then is reported in each case.`
}

// Run plays the scenarios and reports.
func (c *benchCommand) Run(w *world) error {
	if c.Worker {
		signal.Ignore(os.Interrupt) // a terminal sends it to all; this one's end is that of its input
		return loadgen.ServeWorker(w.ctx, os.Stdin, w.stdout)
	}
	p, err := c.prepare(w)
	if err != nil {
		return usageError{fmt.Errorf("bench: %w", err)}
	}
	ctx, cancel := context.WithCancelCause(w.ctx)
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals) // so that a second one ends the process
			fmt.Fprintln(w.stderr, "Stopping; the figures so far follow. Once more ends it at once.")
			cancel(boot.SignalError{Signal: s})
		case <-ctx.Done():
		}
	}()
	results, err := c.play(ctx, w, p)
	return errors.Join(err, c.report(w, results))
}

// prepared is what scenarios need, once it is known that they can be played.
type prepared struct {
	target    loadgen.Target
	options   loadgen.Options
	pusher    loadgen.NewPusher
	pid       int // of the server; 0: it is not measured
	processes int // for the clients; 0: this one
}

// prepare finds what is wrong with the command line before anything is done.
func (c *benchCommand) prepare(w *world) (*prepared, error) {
	if len(c.Scenarios) == 0 {
		return nil, fmt.Errorf("no scenario is named; there are:\n%s", loadgen.Help())
	}
	p := &prepared{options: loadgen.Options{
		Clients: c.Clients, Rate: c.Rate, For: c.For, Every: c.Every, Size: c.Size, Hz: c.Hz, Scale: c.Scale,
	}}
	for _, name := range c.Scenarios {
		if err := loadgen.Check(name, p.options); err != nil {
			return nil, err
		}
	}
	protocol, err := c.protocol()
	if err != nil {
		return nil, err
	}
	p.target = loadgen.Target{
		URL: c.URL, Path: c.Path, Protocol: protocol, Transport: loadgen.Transport(c.Transport),
		Msgpack: c.Parser == "msgpack", Insecure: c.Insecure, Secret: c.Secret,
	}
	if err := p.target.Check(); err != nil {
		return nil, err
	}
	switch {
	case c.Push == "client":
		p.pusher = loadgen.PushByClient(p.target)
	case c.API != "":
		p.pusher = loadgen.PushByAPI(c.API, c.Token, c.Insecure)
	}
	if p.pid, err = c.server(w); err != nil {
		return nil, err
	}
	if p.processes, err = c.spread(w, p); err != nil {
		return nil, err
	}
	return p, errors.Join(writable(c.JSON), writable(c.HTML))
}

// writable fails for a file that cannot be written when all is over.
func writable(name string) error {
	if name == "" || name == "-" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// play stops at the first scenario that fails; its result, as far as it got, is
// the last.
func (c *benchCommand) play(ctx context.Context, w *world, p *prepared) (results []*loadgen.Result, err error) {
	swarm, err := p.swarm(ctx)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer func() { err = errors.Join(err, swarm.Close()) }()
	for _, name := range c.Scenarios {
		fmt.Fprintf(w.stderr, "%s against %s\n", name, c.URL)
		run := &loadgen.Run{
			Scenario: name, Target: p.target, Swarm: swarm, PID: p.pid, Options: p.options, Pusher: p.pusher,
			Log:     func(line string) { fmt.Fprintln(w.stderr, line) },
			Command: c.line(w.args),
		}
		r, err := run.Do(ctx)
		if r != nil {
			results = append(results, r)
			printResult(w.stdout, r, c.JSON == "-")
			for _, doubt := range r.Doubts {
				fmt.Fprintln(w.stderr, "! "+doubt)
			}
		}
		if err != nil {
			err = fmt.Errorf("bench %s: %w", name, err)
			if r != nil && r.Total.Arrived == 0 {
				err = errors.Join(err, advice(r))
			}
			return results, err
		}
	}
	return results, nil
}

// advice is what may help when no client got in; nil when nothing comes to mind.
func advice(r *loadgen.Result) error {
	for _, a := range []struct{ seen, do string }{
		{"connection refused", "nothing listens there: is the server up, and --url right?"},
		{"no such host", "is --url right?"},
		{"certificate", "--insecure takes any certificate"},
		{"does not look like a TLS handshake", "the server has no TLS there: --url http://… in place of https://…"},
		{"HTTPS server", "the server has TLS there: --url https://… in place of http://…"},
		{"HTTP 404", "is that the address for clients, and is the endpoint's path another (--path)?"},
		{"UNAUTHENTICATED", "the server wants tokens: --secret is the one that it checks them with"},
		{"MessagePack", "the server has another parser: --parser"},
		{"too many open files", "raise ulimit -n"},
	} {
		for _, why := range r.Total.Reasons() {
			if strings.Contains(why, a.seen) {
				return errors.New(a.do)
			}
		}
	}
	return nil
}

// line is the command line, without what is secret.
func (c *benchCommand) line(args []string) string {
	text := "holdfast " + strings.Join(args, " ")
	for _, secret := range []string{c.Secret, c.Token} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "…")
		}
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
func (p *prepared) swarm(ctx context.Context) (loadgen.Swarm, error) {
	if p.processes == 0 {
		return loadgen.NewLocal(p.target, 1)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start the clients' processes: %w", err)
	}
	return loadgen.NewRemote(ctx, p.processes, []string{self, "bench", "--worker"}, p.target)
}

const (
	spareFiles    = 64 // that a process opens beside its clients' connections
	mostProcesses = 64 // that are started without being asked for
)

// spread is over how many processes the clients are to be spread; 0: they stay in this
// one. It fails when these cannot open as many connections.
func (c *benchCommand) spread(w *world, p *prepared) (int, error) {
	clients := 0
	for _, name := range c.Scenarios {
		clients = max(clients, loadgen.Clients(name, p.options))
	}
	if may, need := loadgen.OpenFiles(p.pid), clients*p.target.Connections(); p.pid != 0 && may > 0 && uint64(need) > may {
		fmt.Fprintf(w.stderr, "The server's process may open %d files (ulimit -n), and %d clients need %d: it will refuse some.\n", may, clients, need)
	}
	each := 15_000 // with which one goroutine is not yet too busy
	if p.target.Connections() > 1 {
		each = 8000
	}
	fit := clients
	if files := openFiles(); files > 0 {
		fit = p.target.Fit(int(min(files, 1<<30)) - spareFiles)
	}
	n := c.Processes
	if each = min(each, fit); n == 0 && each > 0 {
		n = (clients + each - 1) / each
	}
	if fit <= 0 || clients > n*fit || n > max(c.Processes, mostProcesses) {
		return 0, fmt.Errorf("a process may open %d files (ulimit -n), too few for %d clients: raise that, "+
			"or take fewer clients (-n), or more processes for them (--processes)", openFiles(), clients)
	}
	if n <= 1 {
		return 0, nil
	}
	return n, nil
}

// server is the process to measure, 0 when there is none.
func (c *benchCommand) server(w *world) (int, error) {
	if c.PID != 0 {
		_, err := loadgen.Measure(c.PID)
		return c.PID, err
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
		fmt.Fprintf(out, "%-36s %12.2f %s\n", r.Scenario+"."+f.Name, f.Value, f.Unit)
	}
	for _, why := range r.Total.Reasons() {
		fmt.Fprintf(out, "%-36s %12d times: %s\n", r.Scenario+".error", r.Total.Errors[why], why)
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
