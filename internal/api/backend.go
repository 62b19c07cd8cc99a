package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	pb "holdfast/proto/holdfast/v1/holdfastpb"
	"holdfast/proto/holdfast/v1/holdfastpb/holdfastpbconnect"
)

// backend is something that answers events. ctx carries the deadline.
type backend interface {
	handle(ctx context.Context, ev *pb.Event) (*pb.EventReply, *failure)
	close()
}

var (
	_ backend = (*httpBackend)(nil)
	_ backend = (*grpcBackend)(nil)
)

const (
	maxReply    = 16 << 20 // bytes of one reply
	dialTimeout = 2 * time.Second
)

// newBackend returns the backend at cfg.URL. It connects when it is first used.
func newBackend(cfg *BackendConfig) (backend, error) {
	base, grpc, err := parseBackendURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	client := cfg.Client
	if client == nil {
		client = &http.Client{
			Transport: newTransport(cfg, grpc),
			// A POST that is sent elsewhere may arrive as a GET: better an error.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	common := caller{name: cfg.Name, timeout: cfg.Timeout, headers: cfg.Headers, client: client}
	if grpc {
		return &grpcBackend{caller: common, rpc: holdfastpbconnect.NewBackendServiceClient(client, base,
			connect.WithGRPC(), connect.WithReadMaxBytes(maxReply))}, nil
	}
	return &httpBackend{caller: common, url: base + holdfastpbconnect.BackendServiceHandleEventProcedure}, nil
}

// newTransport keeps as many connections alive as there may be calls. gRPC runs
// over HTTP/2 only, without TLS too, and pings the connection to learn of its death.
func newTransport(cfg *BackendConfig, grpc bool) *http.Transport {
	most, conf := cfg.MaxConcurrency, cfg.TLS
	if conf == nil {
		conf = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   dialTimeout,
		MaxIdleConns:          most,
		MaxIdleConnsPerHost:   most,
		IdleConnTimeout:       90 * time.Second,
		ResponseHeaderTimeout: 0, // the call's context says how long
		Protocols:             new(http.Protocols),
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
	}
	t.Protocols.SetHTTP2(true)
	if grpc {
		t.Protocols.SetUnencryptedHTTP2(true)
	} else {
		t.Protocols.SetHTTP1(true)
	}
	return t
}

// caller is what both kinds of backend have.
type caller struct {
	name    string
	timeout time.Duration
	headers map[string]string
	client  *http.Client
}

func (c *caller) close() { c.client.CloseIdleConnections() }

// setHeaders adds the configured headers and the trace to a call.
func (c *caller) setHeaders(h http.Header, ev *pb.Event) {
	for k, v := range c.headers {
		h.Set(k, v)
	}
	for _, k := range []string{headerTraceID, headerTraceParent} {
		if v := ev.GetHeaders()[k]; v != "" && !strings.ContainsAny(v, "\r\n\x00") {
			h.Set(k, v)
		}
	}
}

// retryDelays are the pauses before a call is tried again that found no
// connection: nothing of it was sent, so it cannot arrive twice.
var retryDelays = [...]time.Duration{50 * time.Millisecond, 200 * time.Millisecond}

// try calls once, and again while there is no connection.
func (c *caller) try(ctx context.Context, call func() error) error {
	for i := 0; ; i++ {
		err := call()
		var op *net.OpError
		if err == nil || i == len(retryDelays) || !errors.As(err, &op) || op.Op != "dial" {
			return err
		}
		select {
		case <-time.After(retryDelays[i]):
		case <-ctx.Done():
			return err
		}
	}
}

// transportFailure says why no answer came.
func (c *caller) transportFailure(ctx context.Context, err error) *failure {
	var op *net.OpError
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &failure{codeDeadlineExceeded, fmt.Sprintf("backend %s did not answer within %v", c.name, c.timeout), err}
	case errors.Is(ctx.Err(), context.Canceled):
		return &failure{codeUnavailable, "ws-api is shutting down", err}
	case errors.As(err, &op) && op.Op == "dial":
		return &failure{codeUnavailable, fmt.Sprintf("backend %s cannot be reached", c.name), err}
	}
	return &failure{codeUnavailable, fmt.Sprintf("backend %s broke off the call", c.name), err}
}

// httpBackend posts proto3 JSON.
type httpBackend struct {
	caller
	url string
}

func (b *httpBackend) handle(ctx context.Context, ev *pb.Event) (*pb.EventReply, *failure) {
	body, err := protojson.Marshal(ev)
	if err != nil {
		return nil, &failure{codeInvalidArgument, "the event is not valid text", err}
	}
	var (
		status int
		answer []byte
	)
	err = b.try(ctx, func() (err error) {
		status, answer, err = b.post(ctx, ev, body)
		return err
	})
	if errors.Is(err, errReplyTooLarge) {
		return nil, &failure{codeInternal, fmt.Sprintf("backend %s gave an answer that is not valid", b.name), err}
	}
	if err != nil {
		return nil, b.transportFailure(ctx, err)
	}
	if status < 200 || status > 299 {
		return nil, b.statusFailure(status, answer)
	}
	reply := new(pb.EventReply)
	if len(bytes.TrimSpace(answer)) == 0 {
		return reply, nil // 204, or a handler that had nothing to say
	}
	if err := unmarshalJSON(answer, reply); err != nil {
		return nil, &failure{
			codeInternal, fmt.Sprintf("backend %s gave an answer that is not valid", b.name),
			fmt.Errorf("read the EventReply: %w; it begins %q", err, beginning(answer)),
		}
	}
	return reply, nil
}

var errReplyTooLarge = fmt.Errorf("the reply is larger than %d bytes", maxReply)

func (b *httpBackend) post(ctx context.Context, ev *pb.Event, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "holdfast")
	b.setHeaders(req.Header, ev)
	resp, err := b.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err == nil && len(answer) > maxReply {
		err = errReplyTooLarge
	}
	return resp.StatusCode, answer, err
}

// statusFailure makes a failure of an answer that is no success. A body in the
// form of Connect's errors is the backend's own word and goes to the client; any
// other goes to the log only.
func (b *httpBackend) statusFailure(status int, body []byte) *failure {
	var own errorText
	if json.Unmarshal(body, &own) == nil && own.Code != "" {
		var code connect.Code
		if code.UnmarshalText([]byte(strings.ToLower(own.Code))) == nil { // in either of the two usual spellings
			return &failure{codeName(code), own.Message, nil}
		}
	}
	f := &failure{
		code:    codeInternal,
		message: fmt.Sprintf("backend %s answered %d %s", b.name, status, http.StatusText(status)),
		cause:   fmt.Errorf("the body begins %q", beginning(body)),
	}
	switch status {
	case http.StatusTooManyRequests:
		f.code = codeResourceExhausted
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		f.code = codeUnavailable
	case http.StatusGatewayTimeout, http.StatusRequestTimeout:
		f.code = codeDeadlineExceeded
	case http.StatusUnauthorized:
		f.code = "UNAUTHENTICATED"
	case http.StatusForbidden:
		f.code = "PERMISSION_DENIED"
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		f.code = "UNIMPLEMENTED" // the URL is wrong rather than the client
	}
	return f
}

// beginning is as much of a body as a log line needs.
func beginning(b []byte) string {
	if len(b) > 200 {
		b = b[:200]
	}
	return string(b)
}

// grpcBackend calls BackendService.
type grpcBackend struct {
	caller
	rpc holdfastpbconnect.BackendServiceClient
}

func (b *grpcBackend) handle(ctx context.Context, ev *pb.Event) (*pb.EventReply, *failure) {
	var resp *connect.Response[pb.EventReply]
	err := b.try(ctx, func() (err error) {
		req := connect.NewRequest(ev)
		b.setHeaders(req.Header(), ev)
		resp, err = b.rpc.HandleEvent(ctx, req)
		return err
	})
	if err == nil {
		return resp.Msg, nil
	}
	var rpc *connect.Error
	switch {
	case !errors.As(err, &rpc) || ctx.Err() != nil:
		return nil, b.transportFailure(ctx, err)
	case connect.IsWireError(err):
		return nil, &failure{codeName(rpc.Code()), rpc.Message(), nil}
	case strings.HasPrefix(rpc.Message(), "HTTP status "):
		return nil, &failure{codeName(rpc.Code()), fmt.Sprintf("backend %s answered %s", b.name, rpc.Message()), nil}
	case rpc.Code() == connect.CodeUnavailable || rpc.Code() == connect.CodeCanceled:
		return nil, b.transportFailure(ctx, err)
	}
	// An answer has come: too large, of another type, or no EventReply.
	return nil, &failure{codeInternal, fmt.Sprintf("backend %s gave an answer that is not valid", b.name), err}
}
