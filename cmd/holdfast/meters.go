package main

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/api"
	"holdfast/internal/boot"
	"holdfast/internal/gateway"
)

// spans of time, in seconds: from what a message takes within one machine to what
// somebody complains about.
var (
	stageBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}
	callBuckets  = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
)

// meters are the histograms and counters that are fed as things happen.
type meters struct {
	stages       *prometheus.HistogramVec // way, stage
	pushes       prometheus.Histogram
	backends     *prometheus.HistogramVec // backend
	backendCalls *prometheus.CounterVec   // backend, code
}

func newMeters(m boot.Metrics) *meters {
	x := &meters{
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "holdfast_stage_seconds", Help: "Time that a message took from the stage before to this one.",
			Buckets: stageBuckets,
		}, []string{"way", "stage"}),
		pushes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "holdfast_push_seconds", Help: "Time from a push's arrival until it was sent to its nodes.", Buckets: stageBuckets,
		}),
		backends: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "holdfast_backend_seconds", Help: "Time of a backend's answers.", Buckets: callBuckets,
		}, []string{"backend"}),
		backendCalls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_backend_calls_total", Help: "Calls of a backend by how they ended.",
		}, []string{"backend", "code"}),
	}
	m.MustRegister(x.stages)
	return x
}

// gateway returns what a node feeds.
func (x *meters) gateway() gateway.Observer {
	stage := map[gateway.Stage]prometheus.Observer{
		gateway.Enqueued: x.stages.WithLabelValues("up", gateway.Enqueued.String()),
		gateway.Arrived:  x.stages.WithLabelValues("down", gateway.Arrived.String()),
		gateway.Written:  x.stages.WithLabelValues("down", gateway.Written.String()),
	}
	return gateway.Observer{Stage: func(s gateway.Stage, took time.Duration) { stage[s].Observe(seconds(took)) }}
}

// api returns what ws-api feeds. The backends' series are there from the start, so
// that the first failure shows as a rise.
func (x *meters) api(m boot.Metrics, backends []string) api.Observer {
	m.MustRegister(x.pushes, x.backends, x.backendCalls)
	took := make(map[string]prometheus.Observer, len(backends))
	for _, name := range backends {
		took[name] = x.backends.WithLabelValues(name)
		for _, code := range []string{"ok", "UNAVAILABLE", "DEADLINE_EXCEEDED"} {
			x.backendCalls.WithLabelValues(name, code)
		}
	}
	stage := map[api.Stage]prometheus.Observer{
		api.Dequeued: x.stages.WithLabelValues("up", api.Dequeued.String()),
		api.Routed:   x.stages.WithLabelValues("up", api.Routed.String()),
		api.Appended: x.stages.WithLabelValues("down", api.Appended.String()),
		api.Pushed:   x.stages.WithLabelValues("down", api.Pushed.String()),
	}
	return api.Observer{
		Backend: func(name string, d time.Duration, code string) {
			if h := took[name]; h != nil {
				h.Observe(seconds(d))
			}
			x.backendCalls.WithLabelValues(name, known(code)).Inc()
		},
		Push:  func(d time.Duration, _ error) { x.pushes.Observe(seconds(d)) },
		Stage: func(s api.Stage, d time.Duration) { stage[s].Observe(seconds(d)) },
	}
}

// seconds never is below zero: where the clocks of two machines differ, a message may
// seem to arrive before it was sent.
func seconds(d time.Duration) float64 { return max(d, 0).Seconds() }

// known returns a code as a label's value. A backend names its codes itself, and only
// those that gRPC has become series.
func known(code string) string {
	switch {
	case code == "":
		return "ok"
	case slices.Contains(codes, code):
		return code
	}
	return "UNKNOWN"
}

var codes = []string{
	"CANCELED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
	"DATA_LOSS", "UNAUTHENTICATED",
}

// callMeter counts the calls of a store by family.
type callMeter struct {
	took   *prometheus.HistogramVec
	errors *prometheus.CounterVec
	series map[string]callSeries // the map itself does not change
}

type callSeries struct {
	took   prometheus.Observer
	errors prometheus.Counter
}

// newCallMeter returns the meter of a store by its name, for metrics that begin with
// prefix.
func newCallMeter(prefix, name string, families []string) *callMeter {
	x := &callMeter{
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + "_seconds", Help: "Time until " + name + " answered a call.", Buckets: callBuckets,
		}, []string{"family"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "_errors_total", Help: "Calls that " + name + " did not carry out.",
		}, []string{"family"}),
		series: make(map[string]callSeries),
	}
	for _, family := range families {
		x.series[family] = callSeries{x.took.WithLabelValues(family), x.errors.WithLabelValues(family)}
	}
	return x
}

func (x *callMeter) register(m boot.Metrics) { m.MustRegister(x.took, x.errors) }

// observe notes one call.
func (x *callMeter) observe(family string, took time.Duration, failed bool) {
	s := x.series[family]
	s.took.Observe(took.Seconds())
	if failed {
		s.errors.Inc()
	}
}
