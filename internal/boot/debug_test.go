package boot

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestReadiness(t *testing.T) {
	r := NewReadiness("store", "bus")
	expect := func(status int, body string) {
		t.Helper()
		if s, b := ask(r, "GET", "/readyz", ""); s != status || b != body {
			t.Errorf("got %d %s, want %d %s", s, b, status, body)
		}
		if err := r.Err(); (err == nil) != (status == 200) {
			t.Errorf("Err is %v at %d", err, status)
		}
	}
	expect(503, `{"ready":false,"reasons":{"bus":"starting","store":"starting"}}`)
	r.Set("bus", nil)
	expect(503, `{"ready":false,"reasons":{"store":"starting"}}`)
	r.Set("store", nil)
	expect(200, `{"ready":true}`)
	r.Set("drain", errors.New("draining"))
	r.Set("store", errors.New("no answer"))
	expect(503, `{"ready":false,"reasons":{"drain":"draining","store":"no answer"}}`)
	if got := r.Err().Error(); got != "not ready: drain: draining; store: no answer" {
		t.Errorf("Err: %s", got)
	}
}

func TestDebugMux(t *testing.T) {
	metrics, ready := NewMetrics("v1", Dev), NewReadiness()
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "holdfast_test", Help: "x"}, func() float64 { return 7 }))
	mux := DebugMux(metrics, ready, new(slog.LevelVar))
	for path, want := range map[string]string{
		"/healthz":                        "ok",
		"/readyz":                         `{"ready":true}`,
		"/debug/loglevel":                 `{"level":"info"}`,
		"/debug/pprof/":                   "goroutine",
		"/debug/pprof/goroutine?debug=1":  "goroutine profile",
		"/debug/pprof/cmdline":            "boot.test",
		"/debug/pprof/symbol":             "num_symbols",
		"/debug/pprof/trace?seconds=0.01": "go 1.",
		"/metrics":                        "holdfast_test 7",
	} {
		if status, body := ask(mux, "GET", path, ""); status != 200 || !strings.Contains(body, want) {
			t.Errorf("GET %s: %d %.200s", path, status, body)
		}
	}
	_, body := ask(mux, "GET", "/metrics", "")
	for _, want := range []string{`holdfast_build_info{command="dev",version="v1"} 1`, "go_goroutines ", "go_sched_latencies_seconds_bucket", "process_open_fds "} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}
	if status, _ := ask(mux, "GET", "/nothing", ""); status != 404 {
		t.Errorf("GET /nothing: %d", status)
	}
}

// Two nodes in one process must not meet in a global registry.
func TestMetricsAreNotGlobal(t *testing.T) {
	for range 2 {
		m := NewMetrics("v1", Gateway)
		if err := m.Register(prometheus.NewCounter(prometheus.CounterOpts{Name: "holdfast_x_total", Help: "x"})); err != nil {
			t.Error(err)
		}
	}
}
