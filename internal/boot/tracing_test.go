package boot

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/message"
)

// TestTracerSendsSpans has a collector get spans with the IDs that were made for them.
func TestTracerSendsSpans(t *testing.T) {
	got := make(chan *collector.ExportTraceServiceRequest, 8)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		req := new(collector.ExportTraceServiceRequest)
		if err != nil || proto.Unmarshal(body, req) != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %d bytes, %v", r.URL.Path, len(body), err)
		}
		got <- req
	}))
	defer srv.Close()
	tracer, err := NewTracer(t.Context(), Tracing{Endpoint: srv.URL, Sample: 1}, "v1", API, "api-1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	root := tracer.Root("01989d1e-6a5b-7c3d-8e9f-001122334455")
	if !strings.HasPrefix(root, "00-01989d1e6a5b7c3d8e9f001122334455-") {
		t.Errorf("the trace of a message is %s", root)
	}
	child := tracer.Child(root)
	start := time.Unix(1_800_000_000, 0)
	tracer.Span(&message.Span{Name: "route", Kind: message.SpanInternal, Trace: child, Parent: root, Start: start, End: start.Add(time.Second), Error: "no"})
	tracer.Span(&message.Span{
		Name: "receive", Kind: message.SpanServer, Trace: root, Start: start, End: start.Add(-time.Second), // another clock's
		Attributes: []message.Attribute{{Key: "holdfast.node", Value: "gw-a"}},
	})
	tracer.Span(&message.Span{Name: "nobody's", Trace: "", Start: start, End: start})
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	resource := (<-got).GetResourceSpans()[0]
	if text := resource.GetResource().String(); !strings.Contains(text, "holdfast-api") || !strings.Contains(text, "api-1") {
		t.Errorf("resource %s", text)
	}
	spans := resource.GetScopeSpans()[0].GetSpans()
	if len(spans) != 2 {
		t.Fatalf("%d spans", len(spans))
	}
	route, receive := spans[0], spans[1]
	switch {
	case !bytes.Equal(route.GetTraceId(), receive.GetTraceId()), !bytes.Equal(route.GetParentSpanId(), receive.GetSpanId()):
		t.Errorf("%v does not follow %v", route, receive)
	case len(receive.GetParentSpanId()) != 0, receive.GetEndTimeUnixNano() != receive.GetStartTimeUnixNano():
		t.Errorf("the first span is %v", receive)
	case route.GetStatus().GetMessage() != "no", route.GetEndTimeUnixNano()-route.GetStartTimeUnixNano() != uint64(time.Second):
		t.Errorf("the second span is %v", route)
	case receive.GetAttributes()[0].GetValue().GetStringValue() != "gw-a":
		t.Errorf("attributes %v", receive.GetAttributes())
	}
	if sent, failed := tracer.Sent(); sent != 2 || failed != 0 {
		t.Errorf("%d sent, %d failed", sent, failed)
	}
}

// TestTracerSamples has all processes decide alike, by the message's ID.
func TestTracerSamples(t *testing.T) {
	for _, tt := range []struct {
		sample   Share
		id       string
		followed bool
	}{
		{0.5, "01989d1e-6a5b-7c3d-8e7f-112233445566", true}, // 7f11…: below the half
		{0.5, "01989d1e-6a5b-7c3d-8e80-112233445566", false},
		{0, "01989d1e-6a5b-7c3d-8e00-000000000000", false},
		{1, "01989d1e-6a5b-7c3d-8eff-ffffffffffff", true},
		{1, "no UUID", true},
		{0, "no UUID", false},
	} {
		tracer, err := NewTracer(t.Context(), Tracing{Endpoint: "http://127.0.0.1:1", Sample: tt.sample}, "v1", Dev, "n", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		root := tracer.Root(tt.id)
		if message.Followed(root) != tt.followed {
			t.Errorf("%s of %v: %q", tt.id, tt.sample, root)
		}
		if (tracer.Child(root) != "") != tt.followed {
			t.Errorf("a child of %q", root)
		}
		if err := tracer.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestTracerIsOffByDefault and says so when its collector is away.
func TestTracerIsOffByDefault(t *testing.T) {
	cfg := load(t, API, "")
	if tracer, err := NewTracer(t.Context(), cfg.Tracing, "v1", API, "n", slog.New(slog.DiscardHandler)); tracer != nil || err != nil {
		t.Errorf("%v, %v", tracer, err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }))
	defer srv.Close()
	cfg = load(t, API, "tracing: {endpoint: '"+srv.URL+"', sample: 1}")
	var log bytes.Buffer
	tracer, err := NewTracer(t.Context(), cfg.Tracing, "v1", API, "n", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	tracer.Span(&message.Span{Name: "push", Trace: tracer.Root("x"), Start: time.Now(), End: time.Now()})
	if err := tracer.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, failed := tracer.Sent(); failed != 1 || !strings.Contains(log.String(), "spans are lost") {
		t.Errorf("%d failed, log %s", failed, &log)
	}
}

// BenchmarkRoot is what a message pays that is not followed.
func BenchmarkRoot(b *testing.B) {
	tracer, err := NewTracer(b.Context(), Tracing{Endpoint: "http://127.0.0.1:1", Sample: 0.01}, "v1", Dev, "n", slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = tracer.Close(b.Context()) }()
	b.ReportAllocs()
	for b.Loop() {
		if tracer.Root("01989d1e-6a5b-7c3d-8eff-112233445566") != "" {
			b.Fatal("followed")
		}
	}
}
