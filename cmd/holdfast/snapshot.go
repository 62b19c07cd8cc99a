package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/boot"
)

// snapshot is a collector whose figures come from one look at a part of the process,
// so that a scrape asks each part once and its figures fit one another.
type snapshot[T any] struct {
	look    func() T
	figures []figure[T]
}

// figure is one metric of a snapshot.
type figure[T any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	// each calls emit for every series that the metric has, with its labels' values.
	each func(of T, emit func(v float64, labels ...string))
}

func newSnapshot[T any](look func() T) *snapshot[T] { return &snapshot[T]{look: look} }

// gauge adds a value that goes up and down.
func (s *snapshot[T]) gauge(name, help string, f func(T) float64) {
	s.add(prometheus.GaugeValue, name, help, nil, func(of T, emit func(float64, ...string)) { emit(f(of)) })
}

// counter adds a value that only grows.
func (s *snapshot[T]) counter(name, help string, f func(T) uint64) {
	s.add(prometheus.CounterValue, name, help, nil, func(of T, emit func(float64, ...string)) { emit(float64(f(of))) })
}

// add adds a metric with labels. Their values must be few, and must come from the
// configuration or from this program's text, never from clients.
func (s *snapshot[T]) add(kind prometheus.ValueType, name, help string, labels []string, each func(T, func(float64, ...string))) {
	s.figures = append(s.figures, figure[T]{prometheus.NewDesc(name, help, labels, nil), kind, each})
}

// Describe implements prometheus.Collector.
func (s *snapshot[T]) Describe(ch chan<- *prometheus.Desc) {
	for i := range s.figures {
		ch <- s.figures[i].desc
	}
}

// Collect implements prometheus.Collector.
func (s *snapshot[T]) Collect(ch chan<- prometheus.Metric) {
	of := s.look()
	for i := range s.figures {
		f := &s.figures[i]
		f.each(of, func(v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(f.desc, f.kind, v, labels...)
		})
	}
}

// queue is how full one queue of the process is. of tells alike ones apart: a shard's
// number, a backend's name. What has no bound, or is not counted in bytes, has 0.
type queue struct {
	name, of           string
	items, bytes       int
	maxItems, maxBytes int
}

// queues is all of them; the parts of the process add theirs before it is served.
type queues struct{ sources []func() []queue }

func (q *queues) from(source func() []queue) { q.sources = append(q.sources, source) }

func (q *queues) look() (all []queue) {
	for _, source := range q.sources {
		all = append(all, source()...)
	}
	return all
}

// newQueues exports the queues of the process in four metrics, so that one panel shows
// and one alert watches whatever may fill up.
func newQueues(m boot.Metrics) *queues {
	q := &queues{}
	s := newSnapshot(q.look)
	labels := []string{"queue", "of"}
	metric := func(name, help string, f func(*queue) (v int, counted bool)) {
		s.add(prometheus.GaugeValue, name, help, labels, func(all []queue, emit func(float64, ...string)) {
			for i := range all {
				if v, counted := f(&all[i]); counted {
					emit(float64(v), all[i].name, all[i].of)
				}
			}
		})
	}
	metric("holdfast_queue_items", "What waits in a queue.",
		func(q *queue) (int, bool) { return q.items, true })
	metric("holdfast_queue_bytes", "Bytes of what waits in a queue.",
		func(q *queue) (int, bool) { return q.bytes, q.bytes > 0 || q.maxBytes > 0 })
	metric("holdfast_queue_max_items", "How much may wait in a queue.",
		func(q *queue) (int, bool) { return q.maxItems, q.maxItems > 0 })
	metric("holdfast_queue_max_bytes", "How many bytes may wait in a queue.",
		func(q *queue) (int, bool) { return q.maxBytes, q.maxBytes > 0 })
	m.MustRegister(s)
	return q
}
