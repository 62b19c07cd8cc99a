package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/redis/redistest"
)

// span is one that the collector has got.
type span struct {
	service, id, parent string
	*trace.Span
}

// collected is a collector: OTLP over HTTP.
type collected struct {
	url string
	mu  sync.Mutex
	all map[string][]span // by trace ID
}

func newCollector(t *testing.T) *collected {
	t.Helper()
	c := &collected{all: map[string][]span{}}
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var req collector.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(body, &req) != nil {
			t.Errorf("the collector got %d bytes that are no spans, %v", len(body), err)
		}
		c.take(&req)
	}))
	t.Cleanup(srv.Close)
	c.url = srv.URL
	return c
}

func (c *collected) take(req *collector.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range req.GetResourceSpans() {
		service := ""
		for _, a := range of.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				id := hex.EncodeToString(s.GetTraceId())
				c.all[id] = append(c.all[id], span{service, hex.EncodeToString(s.GetSpanId()), hex.EncodeToString(s.GetParentSpanId()), s})
			}
		}
	}
}

// await waits until a trace has these spans, in any number, and returns one of each.
func (c *collected) await(t *testing.T, id string, names ...string) map[string]span {
	t.Helper()
	var found map[string]span
	settles(t, func() (missing string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		found = map[string]span{}
		for _, s := range c.all[id] {
			found[s.service+" "+s.GetName()] = s
		}
		for _, name := range names {
			if _, ok := found[name]; !ok {
				missing += fmt.Sprintf("trace %s has no span %q\n", id, name)
			}
		}
		return missing
	})
	return found
}

// has tells whether a trace has a span of this name below another.
func (c *collected) has(id, name, parent string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.all[id], func(s span) bool { return s.GetName() == name && s.parent == parent })
}

// request is what the backend saw of one call.
type request struct {
	header http.Header
	Type   string            `json:"type"`
	Event  string            `json:"event"`
	Header map[string]string `json:"headers"`
}

// newBackend answers each event with an acknowledgement and a push to doc-1.
func newBackend(t *testing.T) (url string, calls <-chan request) {
	t.Helper()
	seen := make(chan request, 16)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := request{header: r.Header}
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		seen <- got
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"ack":{"json":"[\"yes\"]"},"pushes":[{"targets":[{"room":"doc-1"}],"event":"told"}]}`)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, seen
}

// TestATraceGoesThereAndBack follows an event from a gateway over Redis and ws-api to
// the backend, and its answer and a push back.
func TestATraceGoesThereAndBack(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	server, spans := redistest.Start(t), newCollector(t)
	backend, calls := newBackend(t)
	config := func(identity string) string {
		return file(t, fmt.Sprintf(`
listen: 127.0.0.1:0
api_listen: 127.0.0.1:0
node: {identity: %s, listen: 127.0.0.1:0, secret: test}
auth: {anonymous: true}
backends: {app: {url: %q}}
routes: [{event: say, backend: app}]
store: {kind: redis, addrs: [%q]}
bus: {kind: redis}
drain: {pause: 0s, rate: 0}
log: {level: error}
tracing: {endpoint: %q, sample: 1}
`, identity, backend, server.Addr, spans.url))
	}
	api := start(t, "api", "--config", config("api")).await(t, `api +(http://\S+)`)[1]
	clients := start(t, "gateway", "--config", config("gw-a")).await(t, `clients +(http://\S+)`)[1]
	ann := newGuest(t, clients, "doc-1")
	ann.post(`421["say",{"x":1}]`)
	ann.until(`431["yes"]`)

	call := <-calls
	parent := call.header.Get("traceparent")
	parts := strings.Split(parent, "-")
	if len(parts) != 4 || parts[3] != "01" || call.Header["traceparent"] != parent || call.Header["X-Trace-ID"] != parts[1] {
		t.Fatalf("the backend was called with traceparent %q, the event has %v", parent, call.Header)
	}
	found := spans.await(t, parts[1],
		"holdfast-gateway receive", "holdfast-api consume", "holdfast-api route", "holdfast-api call backend",
		"holdfast-api ack", "holdfast-api push", "holdfast-api append", "holdfast-api send",
		"holdfast-gateway transit", "holdfast-gateway deliver")
	if at := found["holdfast-api call backend"]; at.id != parts[2] {
		t.Errorf("the backend's parent is %s, the call %s", parts[2], at.id)
	}
	for child, above := range map[string]string{
		"holdfast-api consume":      "holdfast-gateway receive",
		"holdfast-api route":        "holdfast-gateway receive",
		"holdfast-api call backend": "holdfast-api route",
		"holdfast-api push":         "holdfast-api call backend",
		"holdfast-api append":       "holdfast-api push",
		"holdfast-gateway transit":  "holdfast-api push",
	} {
		if found[child].parent != found[above].id {
			t.Errorf("%s is not below %s", child, above)
		}
	}
	// Both the answer and what everybody was told were written.
	settles(t, func() (missing string) {
		for _, above := range []string{"holdfast-api push", "holdfast-api ack"} {
			if !spans.has(parts[1], "deliver", found[above].id) {
				missing += "no delivery is below " + above + "\n"
			}
		}
		return missing
	})

	// A push of a backend's own that follows a trace goes on with it.
	const theirs = "4bf92f3577b34da6a3ce929d0e0e4736"
	askAPI(t, api, "PushService/Push", `{"targets":[{"room":"doc-1"}],"event":"hello",
		"headers":{"traceparent":"00-`+theirs+`-00f067aa0ba902b7-01"}}`)
	ann.until(`42["hello"`)
	found = spans.await(t, theirs, "holdfast-api push", "holdfast-gateway deliver")
	if found["holdfast-api push"].parent != "00f067aa0ba902b7" {
		t.Errorf("the push is below %s", found["holdfast-api push"].parent)
	}
}

// TestNobodyIsFollowedUnlessWished looks at what the backend gets without tracing.
func TestNobodyIsFollowedUnlessWished(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	backend, calls := newBackend(t)
	clients, _ := dev(t, "--config", file(t, "backends: {app: {url: '"+backend+"'}}\nroutes: [{event: say, backend: app}]\n"))
	ann := newGuest(t, clients, "doc-1")
	ann.post(`421["say"]`)
	ann.until(`431["yes"]`)
	if call := <-calls; call.header.Get("traceparent") != "" || call.Header["traceparent"] != "" || call.Header["X-Trace-ID"] == "" {
		t.Errorf("%v %v", call.header, call.Header)
	}
}
