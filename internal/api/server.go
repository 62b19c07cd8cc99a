package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
	"holdfast/proto/holdfast/v1/holdfastpb/holdfastpbconnect"
)

// Server is one ws-api.
type Server struct {
	cfg    Config
	limits Limits
	log    *slog.Logger

	rules      *rules
	nodes      *nodeLists
	heads      *heads
	calls      *calls
	pushed     *dedup[*pb.PushResponse]
	pushWaited *dedup[*pb.PushAndWaitResponse]
	waits      *semaphore.Weighted // pushes that wait for answers, with a dedup_id
	backends   map[string]*dispatcher
	groups     *groups
	peers      *peers // nil where there are none
	unrelayed  unrelayed
	presence   *presence // nil when off
	intake     *intake
	health     *grpchealth.StaticChecker
	handler    http.Handler

	count counters
	// What went wrong in the background, logged once in a burst.
	replyErrors, relayErrors, presenceErrors, recordErrors, receiptErrors, peerErrors burst

	// base is the context of what the server does by itself; it ends when Run does.
	base context.Context
	stop context.CancelFunc
	// patient ends before, when nobody is to be waited for any more.
	patient context.Context
	hurry   context.CancelFunc
	// work counts the goroutines that the server started.
	work sync.WaitGroup
}

// New returns a server that answers by its Handler. What clients send is consumed
// while Run runs, which nodes' answers arrive during as well: start it first.
func New(cfg Config) (*Server, error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("ws-api: %w", err)
	}
	s := &Server{
		cfg: cfg, limits: cfg.Limits, log: cfg.Logger,
		rules:      newRules(cfg.Rules),
		nodes:      newNodeLists(cfg.Registry, cfg.Now, cfg.Limits.NodeLists),
		heads:      newHeads(cfg.Bus, cfg.ID+"."+cfg.NewID()),
		calls:      newCalls(cfg.Limits),
		pushed:     newDedup[*pb.PushResponse](cfg.Limits.DedupWindow, cfg.Limits.DedupEntries, cfg.Now),
		pushWaited: newDedup[*pb.PushAndWaitResponse](cfg.Limits.DedupWindow, cfg.Limits.DedupEntries, cfg.Now),
		waits:      semaphore.NewWeighted(int64(cfg.Limits.Calls)),
		backends:   make(map[string]*dispatcher, len(cfg.Backends)),
	}
	s.pushWaited.maxBytes, s.pushWaited.size = waitedBytes, func(r *pb.PushAndWaitResponse) int { return proto.Size(r) }
	for _, b := range []*burst{&s.replyErrors, &s.relayErrors, &s.presenceErrors, &s.recordErrors, &s.receiptErrors, &s.peerErrors} {
		b.now, b.every = cfg.Now, 10*time.Second
	}
	s.base, s.stop = context.WithCancel(context.Background())
	s.patient, s.hurry = context.WithCancel(s.base)
	for i := range cfg.Backends {
		d, err := s.newDispatcher(&s.cfg.Backends[i])
		if err != nil {
			s.stop()
			return nil, fmt.Errorf("ws-api: backends.%s: %w", cfg.Backends[i].Name, err)
		}
		s.backends[cfg.Backends[i].Name] = d
	}
	s.unrelayed.s = s
	s.groups = newGroups(s)
	s.peers = newPeers(s)
	s.intake = newIntake(s)
	if cfg.Presence.Enabled {
		s.presence = newPresence(s)
	}
	s.handler = s.newHandler()
	return s, nil
}

// Run consumes the clients' events until ctx ends, then gives what is under way
// Limits.Drain to finish, and returns when every goroutine of the server has
// ended. It is called once. The error is the bus's.
func (s *Server) Run(ctx context.Context) error {
	detach := s.cfg.Bus.AttachAPI(s.cfg.ID, s.receive)
	defer detach()

	s.intake.start()
	s.spawn(func() { s.heads.run(s.base) })
	s.spawn(func() { s.groups.run(s.base) })
	if s.presence != nil {
		s.spawn(func() { s.presence.run(s.base) })
	}
	if s.peers != nil {
		s.peers.start()
	}
	consuming, consumingCtx := errgroup.WithContext(ctx)
	consuming.Go(func() error { return s.consume(consumingCtx) })
	consuming.Go(func() error { return s.consumePushes(consumingCtx) })
	err := consuming.Wait()

	s.hurry()
	s.groups.close() // their streams end, so that consumers go to another ws-api
	s.intake.close()
	s.drain()
	if s.peers != nil {
		s.peers.stop(s.base)
	}
	s.stop()
	s.work.Wait()
	for _, d := range s.backends {
		d.close()
	}
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// receive takes what comes into this ws-api's inbox.
func (s *Server) receive(r *message.Reply) {
	if r.Peer == nil {
		s.calls.receive(r)
	} else if s.peers != nil {
		s.peers.receive(r.Peer)
	}
}

func (s *Server) consume(ctx context.Context) (err error) {
	if s.peers != nil {
		// Not before it is known for which groups events are to be gathered.
		select {
		case <-s.peers.began:
		case <-ctx.Done():
			return nil
		}
	}
	if bus, ok := s.cfg.Bus.(SettlingBus); ok {
		err = bus.ConsumeSettled(ctx, s.intake.take)
	} else {
		err = s.cfg.Bus.Consume(ctx, func(up *message.Up) { s.intake.take(up, func() {}) })
	}
	if err != nil {
		return fmt.Errorf("consume events: %w", err)
	}
	return nil
}

// drain waits until no backend has anything to do, and clients have answered those who may
// ask another ws-api for that, but no longer than it may.
func (s *Server) drain() {
	ctx, cancel := context.WithTimeout(s.base, s.limits.Drain)
	defer cancel()
	for _, d := range s.backends {
		select {
		case <-d.idle():
		case <-ctx.Done():
			return
		}
	}
	if n := int64(s.limits.Calls); s.waits.Acquire(ctx, n) == nil {
		s.waits.Release(n)
	}
}

// spawn starts a goroutine that Run waits for.
func (s *Server) spawn(f func()) {
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		f()
	}()
}

// Handler serves all of the API: PushService, ClientService and EventService by
// gRPC, gRPC-Web, Connect and plain JSON, with gRPC's health and reflection. Other
// paths get 404. gRPC without TLS needs a server that [ConfigureHTTP] has seen.
func (s *Server) Handler() http.Handler { return s.handler }

// ConfigureHTTP lets srv take HTTP/1.1 and HTTP/2, the latter without TLS as well.
func ConfigureHTTP(srv *http.Server) {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	srv.Protocols = p
}

func (s *Server) newHandler() http.Handler {
	services := []string{
		holdfastpbconnect.PushServiceName,
		holdfastpbconnect.ClientServiceName,
		holdfastpbconnect.EventServiceName,
	}
	opts := []connect.HandlerOption{
		connect.WithReadMaxBytes(int(s.maxRequest())),
		// To compress the few bytes of a usual answer costs more than to route a push.
		connect.WithCompressMinBytes(4096),
		connect.WithRecover(s.recovered),
		connect.WithCodec(strictJSON{"json"}),
		connect.WithCodec(strictJSON{"json; charset=utf-8"}),
	}
	s.health = grpchealth.NewStaticChecker(services...)
	reflector := grpcreflect.NewStaticReflector(services...)

	mux := http.NewServeMux()
	mux.Handle(holdfastpbconnect.NewPushServiceHandler(&pushService{s}, opts...))
	mux.Handle(holdfastpbconnect.NewClientServiceHandler(&clientService{s}, opts...))
	mux.Handle(holdfastpbconnect.NewEventServiceHandler(&eventService{s}, opts...))
	mux.Handle(grpchealth.NewHandler(s.health))
	mux.Handle(grpcreflect.NewHandlerV1(reflector))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector))
	return plainJSON(s.checkCall(mux, services))
}

// tell answers with an error as calls have it.
func tell(w http.ResponseWriter, status int, code connect.Code, format string, args ...any) {
	text, _ := json.Marshal(struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{code.String(), fmt.Sprintf(format, args...)})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}

// checkCall answers those who call what is no method or in a way in which it cannot be
// called, for whom there would be a status alone.
func (s *Server) checkCall(next http.Handler, services []string) http.Handler {
	rpc := connect.NewErrorWriter()
	refuse := func(w http.ResponseWriter, r *http.Request, status int, code connect.Code, format string, args ...any) {
		if t := r.Header.Get("Content-Type"); strings.HasPrefix(t, "application/grpc") || strings.HasPrefix(t, "application/connect+") {
			_ = rpc.Write(w, r, connect.NewError(code, fmt.Errorf(format, args...)))
			return
		}
		tell(w, status, code, format, args...)
	}
	streams := make(map[string]bool) // by path; false: a method that is no stream
	all := pb.File_holdfast_v1_holdfast_proto.Services()
	for i := range all.Len() {
		service := all.Get(i)
		for j := range service.Methods().Len() {
			m := service.Methods().Get(j)
			if slices.Contains(services, string(service.FullName())) {
				streams["/"+string(service.FullName())+"/"+string(m.Name())] = m.IsStreamingClient()
			}
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stream, known := streams[r.URL.Path]
		switch {
		case !known && strings.HasPrefix(r.URL.Path, "/grpc."): // health, reflection
			next.ServeHTTP(w, r)
		case !known:
			refuse(w, r, http.StatusNotFound, connect.CodeUnimplemented,
				"%s is no method; they are named like %s, with large letters", r.URL.Path, holdfastpbconnect.PushServicePushProcedure)
		case r.Method != http.MethodPost:
			w.Header().Set("Allow", http.MethodPost)
			tell(w, http.StatusMethodNotAllowed, connect.CodeUnimplemented,
				"every call is a POST with its request as the body, not a %s", r.Method)
		case stream && r.ProtoMajor < 2:
			// The client may send on and listen to nothing until this connection ends.
			w.Header().Set("Connection", "close")
			refuse(w, r, http.StatusHTTPVersionNotSupported, connect.CodeUnimplemented,
				"%s is a stream in both directions, which needs HTTP/2: gRPC, or Connect over HTTP/2", r.URL.Path)
		case !callType(r.Header.Get("Content-Type")):
			tell(w, http.StatusUnsupportedMediaType, connect.CodeInvalidArgument,
				"%q is no type of a call: send JSON with Content-Type application/json", r.Header.Get("Content-Type"))
		case r.ContentLength > s.maxRequest():
			// Not RESOURCE_EXHAUSTED, which says that it may succeed later.
			refuse(w, r, http.StatusRequestEntityTooLarge, connect.CodeInvalidArgument,
				"the request has %d bytes, more than %d; the payload of a push may have %d (limits.push_bytes)",
				r.ContentLength, s.maxRequest(), s.limits.PushBytes)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// callType tells whether calls can be of that type. Parameters are none of its business.
func callType(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	switch media {
	case "application/json", "application/proto", "application/connect+json", "application/connect+proto":
		return true
	}
	return media == "application/grpc" || strings.HasPrefix(media, "application/grpc+") ||
		media == "application/grpc-web" || strings.HasPrefix(media, "application/grpc-web+")
}

// maxRequest bounds a request in bytes: a payload, its attachments in base64, and the
// text around it.
func (s *Server) maxRequest() int64 { return 2*int64(s.limits.PushBytes) + 1<<20 }

// recovered answers a caller whose request made a handler panic.
func (s *Server) recovered(_ context.Context, spec connect.Spec, _ http.Header, v any) error {
	s.log.Error("a handler panicked", "procedure", spec.Procedure, "panic", v)
	return connect.NewError(connect.CodeInternal, errors.New("internal error"))
}

// plainJSON takes a POST whose type says nothing for JSON: `curl -d` calls it a
// form. Not so when a page sent it: a form is what a browser lets any page send
// to any host without asking it first, so a page must name the type, for which the
// browser asks, and is refused.
func plainJSON(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "" {
			media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
			switch {
			case r.Header.Get("Content-Type") == "",
				err == nil && (media == "application/x-www-form-urlencoded" || media == "text/plain" || media == "text/json"):
				r = r.Clone(r.Context())
				r.Header.Set("Content-Type", "application/json")
			case err == nil && media == "application/json" && !strings.EqualFold(r.Header.Get("Content-Type"), media):
				// Parameters (charset in any spelling) change nothing: JSON is UTF-8.
				r = r.Clone(r.Context())
				r.Header.Set("Content-Type", "application/json")
			}
		}
		next.ServeHTTP(w, r)
	})
}

// rpcError gives an error the code that its cause has.
func rpcError(err error) error {
	if err == nil {
		return nil
	}
	var field *fieldError
	var already *connect.Error
	switch {
	case errors.As(err, &already):
		return err
	case errors.As(err, &field):
		return invalid(err)
	case errors.Is(err, message.ErrNotFound):
		return connect.NewError(connect.CodeNotFound, err)
	case errors.Is(err, message.ErrFull), errors.Is(err, errTooManyCalls):
		return connect.NewError(connect.CodeResourceExhausted, err)
	case errors.Is(err, errLost):
		return connect.NewError(connect.CodeAborted, err)
	case errors.Is(err, message.ErrForgotten):
		// Of a push that was tried before: to say that it is done may lose it, to do it
		// again may double it. The caller decides.
		return connect.NewError(connect.CodeAborted, fmt.Errorf(
			"whether an earlier attempt with this dedup_id has pushed is not known any more; push under another one if twice is better than not at all: %w", err))
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	}
	return connect.NewError(connect.CodeUnavailable, err)
}
