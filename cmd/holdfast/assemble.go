package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/auth"
	"holdfast/internal/boot"
	"holdfast/internal/gateway"
	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/node"
	"holdfast/internal/session"
	"holdfast/socketio"
)

// ids makes the identifiers of one node, those with its worker number in them only while
// it holds that.
type ids struct {
	*node.IDs
	holder *holder
}

var _ gateway.IDs = ids{}

func (i ids) SessionID() (string, error) {
	if err := i.holder.check(); err != nil {
		return "", err
	}
	return i.IDs.SessionID()
}

func (i ids) ClientID() (string, error) {
	if err := i.holder.check(); err != nil {
		return "", err
	}
	return i.IDs.ClientID()
}

// authenticator has the verifier's refusals told to clients.
type authenticator struct{ verifier *auth.Verifier }

var _ gateway.Authenticator = authenticator{}

func (a authenticator) Authenticate(ctx context.Context, c message.Credentials) (message.Identity, error) {
	id, err := a.verifier.Authenticate(ctx, c)
	var refused *auth.Error
	if errors.As(err, &refused) {
		return id, &refusal{refused}
	}
	return id, err
}

func (authenticator) RoomPermitted(id message.Identity, room string) bool {
	return auth.RoomPermitted(id, room)
}

// refusal is an error of auth as the client gets it: its message, and its code as data.
type refusal struct{ cause *auth.Error }

func (r *refusal) Error() string { return r.cause.Error() }
func (r *refusal) Unwrap() error { return r.cause }

// Refusal is what the client is told.
func (r *refusal) Refusal() (msg string, data []byte) {
	data, _ = json.Marshal(struct {
		Code    string `json:"code"`
		Message string `json:"message"` // version 2 clients are given the data alone
		Retry   bool   `json:"retry,omitempty"`
	}{r.cause.Code, r.cause.Message, r.cause.Code == auth.CodeUnavailable})
	return r.cause.Message, data
}

func newVerifier(cfg *boot.Config, log *slog.Logger) (*auth.Verifier, error) {
	v, err := auth.New(tokens(cfg, log))
	if err != nil {
		return nil, fmt.Errorf("auth.jwt: %w", err)
	}
	return v, nil
}

// tokens says which tokens are believed.
func tokens(cfg *boot.Config, log *slog.Logger) auth.Config {
	j := &cfg.Auth.JWT
	return auth.Config{
		Anonymous: cfg.Auth.Anonymous,
		Secret:    []byte(j.Secret), KeyFile: j.KeyFile, JWKSURL: j.JWKSURL,
		Algorithms: j.Algorithms, Audience: j.Audience, Issuer: j.Issuer, Leeway: j.Leeway,
		Claims: auth.ClaimNames{UID: j.Claims.UID, Rooms: j.Claims.Rooms, Profile: j.Claims.Profile, AuthType: j.Claims.AuthType},
		Log:    log,
	}
}

// newGateway makes the node of this process, with the worker number that it has.
func newGateway(cfg *boot.Config, s *stores, h *holder, v *auth.Verifier, peers gateway.Peers, observe gateway.Observer, tracer *boot.Tracer, log *slog.Logger) (*gateway.Gateway, error) {
	l := &cfg.Limits
	g := gateway.Config{
		Node: s.identity, Peers: peers, Registry: s.registry, Log: s.log, Bus: s.bus,
		Auth: authenticator{v}, IDs: ids{node.NewIDs(h.ids), h}, Logger: log, Observe: observe,
		Engine: engine(cfg),
		Session: session.Config{
			PingInterval: cfg.Heartbeat.Interval.Milliseconds(), PingTimeout: cfg.Heartbeat.Timeout.Milliseconds(),
			ConnectTimeout: cfg.Timeouts.Connect.Milliseconds(),
			MaxPayload:     int64(l.MaxPayload),
			Packet: socketio.Limits{
				MaxAttachments: l.Attachments, MaxBinary: int(l.AttachmentBytes), MaxEventName: int(l.EventName),
			},
			AttachmentTime: l.AttachmentTime.Milliseconds(),
			PollingPackets: l.PollingPackets,
			MaxClients:     l.Namespaces,
			OutputBytes:    int(l.OutputBytes), OutputItems: l.OutputMessages, OutputAge: l.OutputAge.Milliseconds(),
		},
		AskBackend:     asksBackend(cfg),
		UpgradeTimeout: cfg.Timeouts.Upgrade, VerdictTimeout: cfg.Timeouts.Verdict,
		HeaderTimeout: cfg.Timeouts.Header, HeaderBytes: int(cfg.Limits.HeaderBytes), Descriptors: filesForClients(),
		Recovery: cfg.Recovery.Enabled, Window: cfg.Recovery.Window,
		Deflate: cfg.Compression.WebSocket, DeflateThreshold: int(cfg.Compression.Threshold),
		Origins: cfg.CORS.Origins, HTTPHeaders: cfg.HTTPHeaders, ClientBundle: cfg.ClientBundle, Proxies: cfg.TrustedProxies,
		MaxConnections: l.Connections, MaxPerIP: l.ConnectionsPerIP, HandshakeRate: l.HandshakeRate,
		UnfinishedBytes: int(max(l.UnfinishedBytes, l.MaxPayload+l.AttachmentBytes)), MessageTime: l.MessageTime,
		MaxRooms: l.Rooms, MaxPendingAcks: l.PendingAcks, MaxHeaders: l.Headers,
		PollingResponse: int(l.PollingResponse), InboxRecords: l.ShardMessages, InboxBytes: int(l.ShardBytes),
	}
	if tracer != nil { // a nil in an interface would be something
		g.Tracer = tracer
	}
	if h := &cfg.Heartbeat; h.Adaptive {
		g.Session.PingFloor, g.Session.PingStep, g.Session.PingRounds = h.Floor.Milliseconds(), h.Step.Milliseconds(), h.Rounds
	}
	// A public key costs a shard too much time, a key set may have to be fetched.
	g.AuthNeverWaits = cfg.Auth.JWT.JWKSURL == "" && cfg.Auth.JWT.KeyFile == ""
	g.StoresNeverWait = s.neverWait
	if s.shared != nil {
		g.MayWrite = func() bool { return h.check() == nil }
		g.Ledger, g.AuditEvery = s.shared.registry, cfg.Store.Audit
	}
	if s.durableAtOnce {
		g.AckedByTheBus = api.AckedByTheBus(rules(cfg))
	}
	for i := range cfg.Endpoints {
		g.Endpoints = append(g.Endpoints, endpoint(&cfg.Endpoints[i]))
	}
	return gateway.New(g)
}

func engine(cfg *boot.Config) netpoll.Kind {
	switch cfg.Engine {
	case "epoll":
		return netpoll.Epoll
	case "goroutines":
		return netpoll.Goroutines
	}
	return netpoll.Auto
}

func endpoint(e *boot.Endpoint) gateway.Endpoint {
	out := gateway.Endpoint{
		Path: e.Path, Raw: e.Protocol == "engine.io", Namespaces: e.Namespaces, JSONP: e.JSONP,
		Msgpack3: e.Parser == "msgpack",
	}
	for _, t := range e.Transports {
		out.Polling = out.Polling || t == "polling"
		out.WebSocket = out.WebSocket || t == "websocket"
	}
	for _, v := range e.Versions {
		out.V3 = out.V3 || v == 3
		out.V4 = out.V4 || v == 4
	}
	return out
}

// asksBackend tells whether a backend decides about CONNECTs: then nodes wait for
// ws-api's verdict, else they decide alone and spare the hop.
func asksBackend(cfg *boot.Config) bool {
	for _, r := range cfg.Routes {
		if r.Type == "connect" && r.Backend != "" {
			return true
		}
	}
	return false
}

func newAPI(cfg *boot.Config, certs *boot.Certificates, s *stores, observe api.Observer, tracer *boot.Tracer, about func() message.About, log *slog.Logger) (*api.Server, error) {
	id, err := node.NewSecret(node.NewEntropy(nil))
	if err != nil {
		return nil, err
	}
	c := api.Config{
		ID: "api-" + id, Registry: s.registry, Log: s.log, Bus: s.bus, Logger: log, Observe: observe,
		Presence: api.PresenceConfig{
			Enabled: cfg.Presence.Enabled, Event: cfg.Presence.Event,
			Coalesce: cfg.Presence.Coalesce, FullUpTo: cfg.Presence.FullUpTo,
		},
		Limits:       api.Limits{Attachments: cfg.Limits.PushAttachments, PushBytes: int(cfg.Limits.PushBytes)},
		CheckArgs:    checkArgs,
		CheckMsgpack: checkMsgpack,
		Rules:        rules(cfg),
		About:        about,
	}
	if tracer != nil {
		c.Tracer = tracer
	}
	if s.shared != nil {
		c.Receipts, c.Answers, c.Members = s.shared.registry, s.shared.registry.Answers(), s.shared.apis
	}
	for name, b := range cfg.Backends {
		headers := make(map[string]string, len(b.Headers))
		for k, v := range b.Headers {
			headers[k] = string(v)
		}
		conf, err := certs.Client("backends."+name, b.CA, b.Cert, b.Key)
		if err != nil {
			return nil, err
		}
		c.Backends = append(c.Backends, api.BackendConfig{
			Name: name, URL: b.URL, Timeout: b.Timeout, MaxConcurrency: b.MaxConcurrency, Headers: headers, TLS: conf,
		})
	}
	return api.New(c)
}

func rules(cfg *boot.Config) []api.Rule {
	list := make([]api.Rule, len(cfg.Routes))
	for i, r := range cfg.Routes {
		list[i] = rule(r)
	}
	return list
}

// checkArgs tells whether text is what a push may carry: a JSON array whose
// placeholders match its attachments.
func checkArgs(text []byte, attachments int) error {
	if err := socketio.ValidArgs(text); err != nil {
		return inPayload(err)
	}
	return inPayload(socketio.CheckAllPlaced(text, attachments))
}

var errNotMsgpackArray = errors.New("is not a MessagePack array")

// checkMsgpack tells whether b is what a push may carry: a MessagePack array that can
// be written as JSON as well, for clients of both forms may be behind its targets. It
// returns how many attachments that has.
func checkMsgpack(b []byte) (binaries int, err error) {
	text, attachments, err := socketio.MsgpackToJSON(b)
	if err != nil {
		return 0, inPayload(err)
	}
	if text[0] != '[' {
		return 0, errNotMsgpackArray
	}
	return len(attachments), nil
}

// inPayload is an error about a part of a payload in the words for a caller, who is told
// the field by name and need not know which package reads it.
func inPayload(err error) error {
	var wrong *socketio.Error
	if errors.As(err, &wrong) {
		return errors.New(wrong.Reason)
	}
	return err
}

func rule(r boot.Route) api.Rule {
	out := api.Rule{Event: r.Event, Backend: r.Backend, Volatile: r.Volatile, Collapse: r.Collapse, Drop: r.Drop}
	switch r.Type {
	case "connect":
		out.Type, out.Event = message.EventConnect, ""
	case "disconnect":
		out.Type, out.Event = message.EventDisconnect, ""
	default:
		out.Type = message.EventMessage
	}
	switch r.Relay {
	case "others":
		out.Relay = api.RelayOthers
	case "all":
		out.Relay = api.RelayAll
	}
	if out.Type == message.EventMessage {
		switch r.Ack {
		case "durable":
			out.Ack = api.AckDurable
		case "backend":
			out.Ack = api.AckBackend
		case "none":
			out.Ack = api.AckNone
		}
	}
	return out
}

// clientServer is the HTTP server of the clients' listener, which it returns as the
// server is to serve it: with TLS, where that is configured.
//
// No poll waits for longer than the heartbeat lets a session be silent, so whatever
// takes longer than that and the age of its output is somebody who sends a body, or
// reads an answer, a byte at a time or not at all: who is not even a session, and whom
// no heartbeat ends.
func clientServer(cfg *boot.Config, certs *boot.Certificates, h http.Handler, l net.Listener, log *slog.Logger) (*http.Server, net.Listener, error) {
	longest := cfg.Heartbeat.Interval + cfg.Heartbeat.Timeout + cfg.Limits.OutputAge
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: cfg.Timeouts.Header,
		ReadTimeout:       longest,
		WriteTimeout:      longest,
		IdleTimeout:       cfg.Timeouts.Idle,
		MaxHeaderBytes:    int(cfg.Limits.HeaderBytes),
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	if cfg.TLS.Cert == "" {
		return s, l, nil
	}
	// HTTP/2 is for polling. A WebSocket has a connection of its own, for which browsers and
	// stock clients offer HTTP/1.1 alone.
	var err error
	if s.TLSConfig, err = certs.Server("tls", cfg.TLS); err != nil {
		return nil, nil, err
	}
	s.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams: 100, // each of a page's sessions has a poll and a post at most
		SendPingTimeout:      30 * time.Second,
		PingTimeout:          15 * time.Second,
		WriteByteTimeout:     30 * time.Second,
	}
	shakes := boot.NewHandshakes(l, s.TLSConfig, cfg.Limits.TLSHandshakes,
		func(nc net.Conn) net.Conn { return netpoll.NewSocket(nc) })
	s.ConnState = shakes.ConnState
	return s, shakes, nil
}

// apiServer is the HTTP server of api_listen: the API and the console where there
// is one, and what every process shows of itself. It returns the listener as the server
// is to serve it.
func apiServer(cfg *boot.Config, certs *boot.Certificates, l net.Listener, debug *http.ServeMux, backends, console http.Handler, log *slog.Logger) (*http.Server, net.Listener, error) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/holdfast.v1."), strings.HasPrefix(r.URL.Path, "/grpc."):
			backends.ServeHTTP(w, r)
		case console != nil && isConsole(r.URL.Path):
			console.ServeHTTP(w, r)
		default:
			debug.ServeHTTP(w, r)
		}
	})
	s := &http.Server{
		Handler: newGuard(cfg.APITokens, h, log), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	api.ConfigureHTTP(s)
	if cfg.APITLS.Cert == "" {
		return s, l, nil
	}
	var err error
	if s.TLSConfig, err = certs.Server("api_tls", cfg.APITLS); err != nil {
		return nil, nil, err
	}
	return s, tls.NewListener(l, s.TLSConfig), nil
}

func isConsole(path string) bool { return path == "/" || strings.HasPrefix(path, "/console/") }
