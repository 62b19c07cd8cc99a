package main

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/boot"
	"holdfast/internal/bus"
	"holdfast/internal/redis/redistest"
)

// exported returns the names of the metrics that a process exports, those of a
// histogram's parts without their endings.
func exported(t *testing.T, api string) map[string]bool {
	t.Helper()
	status, text := get(t, api+"/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics: %d %s", status, text)
	}
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) `).FindAllStringSubmatch(text, -1) {
		names[m[1]] = true
	}
	return names
}

// exportedByAll returns what a process on memory with TLS, and a gateway and an API on Redis,
// export together.
func exportedByAll(t *testing.T) map[string]bool {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	routes := "backends: {app: {url: 'http://127.0.0.1:1'}}\nroutes: [{event: say, backend: app}]\n"
	cert, key := certificate(t)
	_, api := dev(t, "--config", file(t, routes+"tls: {cert: '"+cert+"', key: '"+key+"'}\ntracing: {endpoint: 'http://127.0.0.1:1'}\n"))
	all := exported(t, api)
	server := redistest.Start(t)
	config := func(identity string) string {
		return file(t, routes+fmt.Sprintf(`
listen: 127.0.0.1:0
api_listen: 127.0.0.1:0
node: {identity: %s, secret: test}
store: {kind: redis, addrs: [%q]}
bus: {kind: redis}
drain: {pause: 0s, rate: 0}
log: {level: error}
`, identity, server.Addr))
	}
	gateway := start(t, "gateway", "--config", config("gw-a")).await(t, `metrics +(http://\S+)`)[1]
	maps.Copy(all, exported(t, gateway))
	apiAlone := start(t, "api", "--config", config("api")).await(t, `api +(http://\S+)`)[1]
	maps.Copy(all, exported(t, apiAlone))
	for _, name := range exportedByKafka(t) {
		all[name] = true
	}
	return all
}

// exportedByKafka returns what the bus on Kafka exports, without a Kafka.
func exportedByKafka(t *testing.T) (names []string) {
	t.Helper()
	s := &stores{}
	cfg := &boot.Config{Bus: boot.Bus{Kind: "kafka", Brokers: []string{"127.0.0.1:1"}}}
	meter := newCallMeter("holdfast_kafka", "Kafka", bus.KafkaFamilies())
	b, err := newKafka(cfg, nil, "n", nil, meter.observe, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close(t.Context()) }()
	s.exportKafka(b, meter)
	s.kafkaDurability(nil, slog.New(slog.DiscardHandler))
	m := boot.NewMetrics("v", boot.API)
	q := newQueues(m)
	for _, export := range s.export {
		export(m, q)
	}
	families, err := m.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		names = append(names, f.GetName())
	}
	return names
}

// TestNamesOfMetrics holds those who speak of metrics against what processes export.
func TestNamesOfMetrics(t *testing.T) {
	all := exportedByAll(t)
	t.Run("docs/operations.md", func(t *testing.T) { documented(t, all) })
	t.Run("dashboard and alerts", func(t *testing.T) { shown(t, all) })
}

// documented compares docs/operations.md with what is exported, both ways.
func documented(t *testing.T, all map[string]bool) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, name := range regexp.MustCompile("holdfast_[a-z0-9_]+").FindAllString(string(page), -1) {
		named[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(name, "holdfast_") && !named[name] {
			t.Errorf("docs/operations.md does not say what %s is for", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if !all[name] {
			t.Errorf("docs/operations.md has %s, which nothing exports", name)
		}
	}
}

// TestMetricsFollowAMessage sends an event up and a push down and looks at what the
// process tells of them.
func TestMetricsFollowAMessage(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	clients, api := dev(t, "--config", file(t, "backends: {app: {url: 'http://127.0.0.1:1'}}\nroutes: [{event: ask, backend: app}]\n"))
	g := newGuest(t, clients, "doc-1")
	askAPI(t, api, "PushService/Push", `{"targets":[{"room":"doc-1"}],"event":"hello"}`)
	g.until(`42["hello"`)
	g.post(`421["ask"]`)
	g.until(`431[{"error":{"code":"UNAVAILABLE"`)
	// What follows an answer, such as an event's leave of its queue, may take a moment.
	settles(t, func() (missing string) {
		_, text := get(t, api+"/metrics")
		for _, line := range []string{
			`holdfast_clients{protocol="socket.io/5",transport="polling"} 1`,
			`holdfast_clients{protocol="socket.io/4",transport="websocket"} 0`,
			`holdfast_stage_seconds_count{stage="routed",way="up"} 2`, // the CONNECT as well
			`holdfast_stage_seconds_count{stage="enqueued",way="up"} 2`,
			`holdfast_route_events_total{event="ask",route="0",type="Message"} 1`,
			`holdfast_backend_calls_total{backend="app",code="UNAVAILABLE"} 1`,
			`holdfast_backend_seconds_count{backend="app"} 1`,
			`holdfast_queue_items{of="app",queue="backend"} 0`,
			`holdfast_queue_items{of="0",queue="inbox"} 0`,
			`holdfast_queue_max_items{of="",queue="registrar"} 65536`,
			`holdfast_queue_bytes{of="",queue="upstream"} 0`,
		} {
			if !strings.Contains(text, "\n"+line+"\n") {
				missing += fmt.Sprintf("no %s in\n%s", line, grep(text, line[:strings.IndexByte(line, '{')]))
			}
		}
		for _, stage := range []string{"arrived", "written", "appended", "pushed"} {
			if !regexp.MustCompile(`holdfast_stage_seconds_count\{stage="` + stage + `",way="down"\} [1-9]`).MatchString(text) {
				missing += fmt.Sprintf("nothing was %s:\n%s", stage, grep(text, "holdfast_stage_seconds_count"))
			}
		}
		return missing
	})
}

// settles waits until look finds nothing missing.
func settles(t *testing.T, look func() (missing string)) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	for {
		missing := look()
		if missing == "" {
			return
		}
		select {
		case <-every.C:
		case <-deadline:
			t.Fatal(missing)
		}
	}
}

func grep(text, prefix string) string {
	var found []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}
