package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/internal/boot"
	"holdfast/internal/console"
	"holdfast/internal/gateway"
)

type devCommand struct {
	Config string `help:"Configuration file (YAML)." type:"path" placeholder:"F"`
	Listen string `help:"Where clients connect; port 0 picks a free one. Default 127.0.0.1:8000." placeholder:"ADDR"`
	API    string `name:"api" help:"Where backends connect. Default 127.0.0.1:8001." placeholder:"ADDR"`
}

// Help is shown by `holdfast dev --help`.
func (*devCommand) Help() string {
	return `Everything runs in this process and is kept in memory. Open the printed page in
two windows, or connect a stock socket.io client to the same address. Every key
of the configuration can be set by a variable as well: HOLDFAST_HEARTBEAT_INTERVAL
for heartbeat.interval.`
}

func (c *devCommand) flags() map[string]string {
	flags := make(map[string]string)
	if c.Listen != "" {
		flags["listen"] = c.Listen
	}
	if c.API != "" {
		flags["api_listen"] = c.API
	}
	return flags
}

// pageRoutes let the page at / work: where the configuration names no routes, dev
// relays what the page's windows tell each other.
func pageRoutes() []boot.Route {
	return []boot.Route{
		{Type: "message", Event: "cursor", Relay: "others", Volatile: true, Collapse: true, Ack: "durable"},
		{Type: "message", Event: "page:*", Relay: "others", Ack: "durable"},
	}
}

// Run serves until a signal comes.
func (c *devCommand) Run(w *world) error {
	cfg, err := boot.Load(boot.Dev, c.Config, w.env, c.flags())
	if err != nil {
		return err
	}
	if len(cfg.Routes) <= 1 { // the implicit last one
		cfg.Routes = append(pageRoutes(), cfg.Routes...)
	}
	log, level := boot.NewLogger(cfg.Log, w.stderr)
	for _, warning := range cfg.Warnings {
		log.Warn(warning)
	}
	s, err := openStores(cfg)
	if err != nil {
		return err
	}
	verifier, err := newVerifier(cfg, log)
	if err != nil {
		return err
	}
	defer verifier.Close()
	backends, err := newAPI(cfg, s, log)
	if err != nil {
		return err
	}
	node, err := newGateway(cfg, s, verifier, log)
	if err != nil {
		return err
	}

	ready := boot.NewReadiness("gateway")
	metrics := boot.NewMetrics(version(), boot.Dev)
	registerGateway(metrics, node)
	registerAPI(metrics, backends)
	registerStores(metrics, s)

	apiListener, err := boot.Listen(cfg.APIListen, "api_listen")
	if err != nil {
		return err
	}
	listener, err := boot.Listen(cfg.Listen, "listen")
	if err != nil {
		_ = apiListener.Close()
		return err
	}
	clients := http.NewServeMux()
	health := boot.HealthMux(ready)
	clients.Handle("/healthz", health)
	clients.Handle("/readyz", health)
	for _, e := range cfg.Endpoints {
		clients.Handle(strings.TrimSuffix(e.Path, "/"), node)
		clients.Handle(strings.TrimSuffix(e.Path, "/")+"/", node)
	}
	clients.Handle("/", console.Page(console.PageConfig{
		API: "http://" + apiListener.Addr().String(), Path: pagePath(cfg),
		PresenceEvent: cfg.Presence.Event, Stock: cfg.ClientBundle != "",
	}))
	clientHTTP, err := clientServer(cfg, clients, log)
	if err != nil {
		return err
	}
	apiHTTP := apiServer(boot.DebugMux(metrics, ready, level), backends.Handler(), console.Console(console.Config{Page: pageURL(cfg, listener.Addr()), Version: version()}))

	signals, stopSignals := boot.Notify()
	defer stopSignals()
	banner := func() { c.banner(w.stdout, cfg, listener.Addr(), apiListener.Addr()) }
	return boot.Run(w.ctx, boot.Group{
		Services: []boot.Service{
			{Name: "stores", Run: s.sweep},
			{Name: "ws-api", Run: func(ctx context.Context, ready func()) error { ready(); return backends.Run(ctx) }},
			boot.HTTPService("api_listen", apiListener, apiHTTP, time.Second),
			boot.HTTPService("listen", listener, clientHTTP, time.Second),
			{Name: "memory", Run: func(ctx context.Context, ready func()) error {
				ready()
				boot.KeepSmall(ctx, node.Stats.Handshakes.Load)
				return nil
			}},
			gatewayService(node, ready, cfg, log, banner),
		},
		StopWithin: cfg.Drain.Timeout, Signals: signals, Log: log,
	})
}

// pageURL is the address of the clients' listener, without a slash at its end.
func pageURL(cfg *boot.Config, addr net.Addr) string {
	if cfg.TLS.Cert != "" {
		return "https://" + addr.String()
	}
	return "http://" + addr.String()
}

// pagePath is the endpoint that the page connects to.
func pagePath(cfg *boot.Config) string {
	for _, e := range cfg.Endpoints {
		if e.Protocol == "socket.io" {
			return e.Path
		}
	}
	return ""
}

// gatewayService runs a node and, when told to stop, drains it: readiness goes
// off, after a pause for the balancer the transports close at the set rate, so
// that clients come back elsewhere.
func gatewayService(g *gateway.Gateway, ready *boot.Readiness, cfg *boot.Config, log *slog.Logger, up func()) boot.Service {
	return boot.Service{Name: "ws-gateway", Run: func(ctx context.Context, started func()) error {
		g.Start()
		ready.Set("gateway", nil)
		started()
		up()
		<-ctx.Done()
		ready.Set("gateway", errors.New("draining"))
		stop := context.WithoutCancel(ctx)
		stop, cancel := context.WithTimeout(stop, cfg.Drain.Timeout)
		defer cancel()
		if n := g.Stats.Sessions.Load(); n > 0 {
			log.Info("draining", "sessions", n, "pause", cfg.Drain.Pause, "rate", cfg.Drain.Rate)
			select {
			case <-time.After(cfg.Drain.Pause):
			case <-stop.Done():
			}
			if cfg.Drain.Rate > 0 {
				g.Drain(stop, cfg.Drain.Rate)
			}
		}
		return g.Close(stop)
	}}
}

// banner tells what is where and what to do next.
func (c *devCommand) banner(out io.Writer, cfg *boot.Config, clients, api net.Addr) {
	page, apiURL := pageURL(cfg, clients), "http://"+api.String()
	self := invocation()
	flag := ""
	if api.String() != "127.0.0.1:8001" {
		flag = " --api " + apiURL
	}
	fmt.Fprintf(out, `holdfast dev is up; everything is kept in memory and gone at its end.

  page     %[1]s/          open it in two windows
  clients  %[1]s           socket.io-client 2, 3 and 4 connect here
  api      %[2]s           backends: gRPC, gRPC-Web and HTTP/JSON; console, /metrics

Push to the page:

  %[3]s push%[4]s --room doc-1 --event hello '{"text":"Hello, page"}'

  curl %[2]s/holdfast.v1.PushService/Push -d '{"targets":[{"room":"doc-1"}],"event":"hello","payload":{"json":"[1]"}}'

Watch what clients send: %[3]s tail%[4]s
Stop with Ctrl-C.
`, page, apiURL, self, flag)
}

// invocation is how this program is called again: by `go run` where it was, else
// by its name.
func invocation() string {
	exe, err := os.Executable()
	if err == nil && strings.Contains(exe, string(filepath.Separator)+"go-build") {
		return "go run ./cmd/holdfast"
	}
	return filepath.Base(os.Args[0])
}
