package boot

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
)

// Healthz answers 200 as long as the process can answer at all: a restart is
// what mends a process that cannot, and nothing less.
func Healthz() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, "ok\n")
	})
}

// HealthMux serves /healthz and /readyz, for the clients' listener.
func HealthMux(ready *Readiness) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/healthz", Healthz())
	mux.Handle("/readyz", ready)
	return mux
}

// DebugMux serves what operators need, for api_listen:
//
//	/healthz  /readyz  /metrics  /debug/loglevel  /debug/pprof/
//
// The caller may add its own patterns.
func DebugMux(metrics Metrics, ready *Readiness, level *slog.LevelVar) *http.ServeMux {
	mux := HealthMux(ready)
	mux.Handle("/metrics", metrics.Handler())
	mux.Handle("/debug/loglevel", LevelHandler(level))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
