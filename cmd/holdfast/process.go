package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	"holdfast/internal/boot"
	"holdfast/internal/console"
	"holdfast/internal/gateway"
	"holdfast/internal/netpoll"
)

// process is one running holdfast: ws-gateway, ws-api or both over the same stores.
type process struct {
	kind         boot.Command
	cfg          *boot.Config
	gateway, api bool
	page         bool                        // serve the shared document at /
	up           func(clients, api net.Addr) // called when everything is ready; clients is nil without a gateway

	log      *slog.Logger
	load     *load
	clients  func() int64 // of the gateway here; nil: there is none
	certs    *boot.Certificates
	stores   *stores
	ready    *boot.Readiness
	metrics  boot.Metrics
	queues   *queues
	meters   *meters
	tracer   *boot.Tracer // nil: no message is followed
	services []boot.Service
	closers  []func()
}

// run serves until a signal comes or a part fails.
func (p *process) run(w *world) error {
	log, level := boot.NewLogger(p.cfg.Log, w.stderr)
	p.log, p.load = log, newLoad()
	for _, warning := range p.cfg.Warnings {
		log.Warn(warning)
	}
	defer func() {
		for _, closer := range p.closers {
			closer()
		}
	}()
	p.certs = boot.NewCertificates(log)
	var err error
	if p.stores, err = openStores(w.ctx, p.cfg, p.certs, log); err != nil {
		return err
	}
	defer func() {
		if err := p.stores.closeWithin(context.WithoutCancel(w.ctx), stopTime); err != nil {
			log.Warn("the stores were not closed in an orderly way", "err", err)
		}
	}()
	if err := p.measure(w.ctx); err != nil {
		return err
	}
	if p.tracer != nil {
		defer p.closeTracer(w.ctx)
	}
	p.ready = boot.NewReadiness(string(p.kind))
	p.services = append(p.services, boot.Service{Name: "stores", Run: p.stores.sweep})
	api, err := p.listenAPI(level)
	if err != nil {
		return err
	}
	var clients net.Addr
	if p.gateway {
		if clients, err = p.addGateway(w.ctx, api); err != nil {
			return err
		}
	}
	p.services = append(p.services, boot.Service{Name: string(p.kind), Run: func(ctx context.Context, started func()) error {
		p.ready.Set(string(p.kind), nil)
		started()
		p.up(clients, api)
		<-ctx.Done()
		p.ready.Set(string(p.kind), errors.New("stopping"))
		return nil
	}})

	signals, stopSignals := boot.Notify()
	defer stopSignals()
	return boot.Run(w.ctx, boot.Group{
		Services: p.services, StopWithin: p.cfg.Drain.Timeout, Signals: signals, Log: log,
	})
}

// stopTime is how long the stores, which others may keep waiting, have for their end.
const stopTime = 5 * time.Second

// measure makes what tells of the process: its metrics, with those of the stores, and its
// tracer.
func (p *process) measure(ctx context.Context) (err error) {
	p.metrics = boot.NewMetrics(version(), p.kind)
	p.queues, p.meters = newQueues(p.metrics), newMeters(p.metrics)
	for _, export := range p.stores.export {
		export(p.metrics, p.queues)
	}
	registerCertificates(p.metrics, p.certs)
	p.tracer, err = boot.NewTracer(ctx, p.cfg.Tracing, version(), p.kind, p.stores.identity, p.log)
	if p.tracer != nil {
		registerTracer(p.metrics, p.tracer)
	}
	return err
}

// closeTracer sends the last spans.
func (p *process) closeTracer(ctx context.Context) {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if err := p.tracer.Close(end); err != nil {
		p.log.Warn("some spans were not sent", "err", err)
	}
}

// listenAPI adds what is served at api_listen and returns its address.
func (p *process) listenAPI(level *slog.LevelVar) (net.Addr, error) {
	listener, err := boot.Listen(p.cfg.APIListen, "api_listen")
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, func() { _ = listener.Close() })
	door := netpoll.NewPatient(listener, "api_listen", 0, p.log)
	registerPauses(p.metrics, "api_listen", door.Pauses)
	backends, admin, err := p.addAPI()
	if err != nil {
		return nil, err
	}
	debug := boot.DebugMux(p.metrics, p.ready, level)
	server, served, err := apiServer(p.cfg, p.certs, door, debug, backends, admin, p.log)
	if err != nil {
		return nil, err
	}
	p.services = append(p.services, boot.HTTPService("api_listen", served, server, time.Second))
	return listener.Addr(), nil
}

// addAPI adds ws-api and returns its handler and that of the console; without one,
// calls are answered by what to call instead.
func (p *process) addAPI() (backends, admin http.Handler, err error) {
	if !p.api {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "this is a gateway; backends call a `holdfast api`", http.StatusNotFound)
		}), nil, nil
	}
	observe := p.meters.api(p.metrics, slices.Sorted(maps.Keys(p.cfg.Backends)))
	server, err := newAPI(p.cfg, p.certs, p.stores, observe, p.tracer, p.aboutAPI, p.log)
	if err != nil {
		return nil, nil, err
	}
	registerAPI(p.metrics, p.queues, server)
	p.services = append(p.services, boot.Service{Name: "ws-api", Run: func(ctx context.Context, ready func()) error {
		ready()
		return server.Run(ctx)
	}}, boot.Service{Name: "burial", Run: func(ctx context.Context, ready func()) error {
		return p.stores.bury(ctx, ready, server.Buried, server.Returned, p.log)
	}})
	return server.Handler(), console.Console(console.Config{Version: version(), Locked: len(p.cfg.APITokens) > 0, Nodes: p.nodes}), nil
}

// addGateway adds ws-gateway with its listener and returns its address.
func (p *process) addGateway(ctx context.Context, apiAddr net.Addr) (net.Addr, error) {
	verifier, err := newVerifier(p.cfg, p.log)
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, verifier.Close)
	link, err := p.openLink()
	if err != nil {
		return nil, err
	}
	holder, err := p.stores.acquire(ctx, link.about, p.log)
	if err != nil {
		return nil, err
	}
	node, err := newGateway(p.cfg, p.stores, holder, verifier, link.peers(), p.meters.gateway(), p.tracer, p.log)
	if err != nil {
		return nil, err
	}
	link.serve(p, node)
	registerGateway(p.metrics, p.queues, node)
	listener, err := boot.ListenClients(p.cfg.Listen, "listen")
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, func() { _ = listener.Close() })
	door := listener
	if p.cfg.TLS.Cert == "" {
		door = node.Listen(listener)
		p.closers = append(p.closers, func() { _ = door.Close() })
	}
	pauses := node.Stats.AcceptPauses.Load
	if door == listener {
		patient := netpoll.NewPatient(listener, "listen", filesForClients(), p.log)
		door, pauses = patient, patient.Pauses
	}
	registerPauses(p.metrics, "listen", pauses)
	server, served, err := clientServer(p.cfg, p.certs, p.clientHandler(node, apiAddr), door, p.log)
	if err != nil {
		return nil, err
	}
	if shakes, ok := served.(*boot.Handshakes); ok {
		registerTLS(p.metrics, shakes)
	}
	p.services = append(p.services,
		boot.HTTPService("listen", served, server, time.Second),
		boot.Service{Name: "memory", Run: func(ctx context.Context, ready func()) error {
			ready()
			boot.KeepSmall(ctx, node.Stats.Handshakes.Load)
			return nil
		}},
		boot.Service{Name: "lease", Run: func(ctx context.Context, ready func()) error {
			return p.stores.keep(ctx, ready, holder, node, p.log)
		}},
		boot.Service{Name: "losses", Run: func(ctx context.Context, ready func()) error {
			return p.stores.watch(ctx, ready, node, p.log)
		}},
		p.gatewayService(node),
	)
	return listener.Addr(), nil
}

// clientHandler serves what clients see.
func (p *process) clientHandler(node *gateway.Gateway, apiAddr net.Addr) http.Handler {
	mux := http.NewServeMux()
	health := boot.HealthMux(p.ready)
	mux.Handle("/healthz", health)
	mux.Handle("/readyz", health)
	if p.page {
		mux.Handle("/", console.Page(console.PageConfig{
			API: apiURL(p.cfg, apiAddr), Program: invocation(), Path: pagePath(p.cfg),
			PresenceEvent: p.cfg.Presence.Event, Stock: p.cfg.ClientBundle != "",
		}))
	}
	// The gateway gets its paths as they are. A ServeMux would answer one like
	// /socket.io//, which a proxy in front may make, by a redirect to the tidy one, and
	// neither a WebSocket nor a preflight follows that.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path := r.URL.Path; path != "/healthz" && path != "/readyz" && node.Serves(path) {
			node.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// callable is an address that can be called: a listener on all of them is on this
// host's own as well.
func callable(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
	}
	return addr.String()
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

// pageURL is the address of the clients' listener, without a slash at its end.
func pageURL(cfg *boot.Config, addr net.Addr) string {
	if cfg.TLS.Cert != "" {
		return "https://" + callable(addr)
	}
	return "http://" + callable(addr)
}

// apiURL is the same of api_listen.
func apiURL(cfg *boot.Config, addr net.Addr) string {
	if cfg.APITLS.Cert != "" {
		return "https://" + callable(addr)
	}
	return "http://" + callable(addr)
}

// gatewayService runs a node and, when told to stop, drains it: readiness goes
// off, after a pause for the balancer the transports close at the set rate, so
// that clients come back elsewhere.
func (p *process) gatewayService(g *gateway.Gateway) boot.Service {
	drain := &p.cfg.Drain
	return boot.Service{Name: "ws-gateway", Run: func(ctx context.Context, started func()) error {
		g.Start()
		started()
		<-ctx.Done()
		// What stops after it gets some time of its own.
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain.Timeout-min(stopTime, drain.Timeout/4))
		defer cancel()
		if n := g.Stats.Sessions.Load(); n > 0 {
			p.log.Info("draining", "sessions", n, "pause", drain.Pause, "rate", drain.Rate)
			select {
			case <-time.After(drain.Pause):
			case <-stop.Done():
			}
			if drain.Rate > 0 {
				g.Drain(stop, drain.Rate)
			}
		}
		return g.Close(stop)
	}}
}
