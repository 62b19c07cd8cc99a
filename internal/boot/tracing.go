package boot

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"holdfast/internal/message"
)

// Tracer follows messages and sends their spans to a collector. Other packages know
// it by interfaces of their own, as something that makes traceparents and takes spans
// that are over.
//
// Spans wait in a queue of the library, 2048 of them, and what it has no room for is
// lost; nobody waits. Its methods are safe for concurrent use.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	client   *http.Client
	exporter *exporter
	below    uint64 // a message whose ID's last 56 bits are below this is followed
}

const sampleBits = 56

// NewTracer returns the tracer that cfg asks for, nil when it asks for none. process
// names this one among others. The caller closes it.
func NewTracer(ctx context.Context, cfg Tracing, version string, cmd Command, process string, log *slog.Logger) (*Tracer, error) {
	if cfg.Endpoint == "" {
		return nil, nil //nolint:nilnil // no tracer is wanted, and that is no error
	}
	u, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("tracing.endpoint: %w", err)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	t := &Tracer{
		client: &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}, Timeout: 10 * time.Second},
		below:  uint64(float64(cfg.Sample) * (1 << sampleBits)),
	}
	otlp, err := otlptracehttp.New(ctx,
		otlptracehttp.WithEndpointURL(u.String()), otlptracehttp.WithHTTPClient(t.client))
	if err != nil {
		return nil, fmt.Errorf("tracing.endpoint: %w", err)
	}
	t.exporter = &exporter{SpanExporter: otlp, log: log}
	t.provider = sdk.NewTracerProvider(
		sdk.WithBatcher(t.exporter),
		sdk.WithSampler(sdk.AlwaysSample()), // who makes a traceparent has decided
		sdk.WithIDGenerator(given{}),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "holdfast-"+string(cmd)),
			attribute.String("service.version", version),
			attribute.String("service.instance.id", process),
		)),
	)
	t.tracer = t.provider.Tracer("holdfast")
	return t, nil
}

// Close sends what waits and stops; ctx bounds how long it may take.
func (t *Tracer) Close(ctx context.Context) error {
	err := t.provider.Shutdown(ctx)
	t.client.CloseIdleConnections()
	if err != nil {
		return fmt.Errorf("send the last spans: %w", err)
	}
	return nil
}

// Sent returns how many spans the collector has taken, and how many it has not.
func (t *Tracer) Sent() (sent, failed uint64) {
	return t.exporter.sent.Load(), t.exporter.failed.Load()
}

// Root decides whether the message of this ID is followed and returns the traceparent
// of its first span, else "". The ID of the trace is that of the message, where that
// is a UUID, so that each is found by the other; and all processes decide alike.
func (t *Tracer) Root(id string) string {
	// Most messages are not followed, and this is all that they pay.
	n, err := strconv.ParseUint(tail(id), 16, 64)
	if err != nil {
		n = binary.BigEndian.Uint64(bytesOf(8)) >> (64 - sampleBits)
	}
	if n >= t.below {
		return ""
	}
	trace := strings.ReplaceAll(id, "-", "")
	if b, err := hex.DecodeString(trace); err != nil || len(b) != 16 {
		trace = random(16)
	}
	return "00-" + trace + "-" + random(8) + "-01"
}

// tail returns the last 14 hexadecimal digits of a UUID.
func tail(id string) string {
	const digits = 14 // 12 behind the last dash, and 2 before it
	if len(id) == 36 && id[23] == '-' {
		return id[21:23] + id[24:]
	}
	return id[max(len(id)-digits, 0):]
}

// Child returns the traceparent of a span below parent.
func (t *Tracer) Child(parent string) string {
	id, _, followed := message.ParseTraceParent(parent)
	if !followed {
		return ""
	}
	return "00-" + id + "-" + random(8) + "-01"
}

// random returns n bytes in hexadecimal.
func random(n int) string {
	b := bytesOf(n)
	b[0] |= 1 // all zero is no ID
	return hex.EncodeToString(b)
}

func bytesOf(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // does not fail
	return b
}

// Span takes a span that is over.
func (t *Tracer) Span(s *message.Span) {
	self, ok := spanContext(s.Trace)
	if !ok {
		return
	}
	ctx := context.WithValue(context.Background(), givenKey{}, self)
	if parent, ok := spanContext(s.Parent); ok {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	attributes := make([]attribute.KeyValue, len(s.Attributes))
	for i, a := range s.Attributes {
		attributes[i] = attribute.String(a.Key, a.Value)
	}
	_, span := t.tracer.Start(ctx, s.Name,
		trace.WithTimestamp(s.Start), trace.WithSpanKind(kinds[s.Kind]), trace.WithAttributes(attributes...))
	if s.Error != "" {
		span.SetStatus(codes.Error, s.Error)
	}
	end := s.End
	if end.Before(s.Start) {
		end = s.Start // the clocks of two machines
	}
	span.End(trace.WithTimestamp(end))
}

var kinds = [...]trace.SpanKind{
	message.SpanInternal: trace.SpanKindInternal,
	message.SpanServer:   trace.SpanKindServer,
	message.SpanClient:   trace.SpanKindClient,
	message.SpanProducer: trace.SpanKindProducer,
	message.SpanConsumer: trace.SpanKindConsumer,
}

func spanContext(traceParent string) (c trace.SpanContext, ok bool) {
	id, span, followed := message.ParseTraceParent(traceParent)
	if !followed {
		return c, false
	}
	of := trace.SpanContextConfig{TraceFlags: trace.FlagsSampled}
	var err, err2 error
	of.TraceID, err = trace.TraceIDFromHex(id)
	of.SpanID, err2 = trace.SpanIDFromHex(span)
	return trace.NewSpanContext(of), err == nil && err2 == nil
}

// given has spans take the IDs that were made for them.
type given struct{}

type givenKey struct{}

// NewIDs implements sdktrace.IDGenerator.
func (given) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	self, _ := ctx.Value(givenKey{}).(trace.SpanContext)
	return self.TraceID(), self.SpanID()
}

// NewSpanID implements sdktrace.IDGenerator.
func (given) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	self, _ := ctx.Value(givenKey{}).(trace.SpanContext)
	return self.SpanID()
}

// exporter counts, and says in the log once a minute that the collector is away: the
// library would tell a global of its own.
type exporter struct {
	sdk.SpanExporter
	log          *slog.Logger
	sent, failed atomic.Uint64
	told         atomic.Int64 // Unix seconds
}

// ExportSpans implements sdktrace.SpanExporter.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		e.sent.Add(uint64(len(spans)))
		return nil
	}
	e.failed.Add(uint64(len(spans)))
	now := time.Now().Unix()
	if told := e.told.Load(); now-told >= 60 && e.told.CompareAndSwap(told, now) {
		e.log.Warn("spans are lost: the collector at tracing.endpoint does not take them", "err", err)
	}
	return nil
}
