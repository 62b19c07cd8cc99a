package boot

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is a process's registry of metrics: its own rather than the library's
// global one, so that two nodes fit in one test process. The embedded registry
// is what packages register their collectors with.
type Metrics struct{ *prometheus.Registry }

var (
	_ prometheus.Registerer = Metrics{}
	_ prometheus.Gatherer   = Metrics{}
)

// NewMetrics returns a registry with the Go runtime's and the process's figures
// and holdfast_build_info, a constant 1 with the version and the command.
func NewMetrics(version string, cmd Command) Metrics {
	m := Metrics{prometheus.NewRegistry()}
	m.MustRegister(
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsScheduler)),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "holdfast_build_info",
			Help:        "Constant 1; the labels say what runs.",
			ConstLabels: prometheus.Labels{"version": version, "command": string(cmd)},
		}, func() float64 { return 1 }),
	)
	return m
}

// Handler serves the metrics. A collector that fails costs its own figures
// only; the failures are counted in promhttp_metric_handler_errors_total.
func (m Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m, promhttp.HandlerOpts{
		Registry:            m,
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
	})
}
