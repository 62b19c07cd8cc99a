package main

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"holdfast/internal/loadgen"
)

// results are the figures of each round.
type results struct {
	round int

	mu      sync.Mutex
	figures []*figure
}

// figure is one number of one server.
type figure struct {
	server, name, unit string
	rounds             []float64
	histogram          loadgen.Histogram
}

func (r *results) figure(server, name string) *figure {
	for _, f := range r.figures {
		if f.server == server && f.name == name {
			return f
		}
	}
	return nil
}

// add notes a value of this round.
func (r *results) add(server, name, unit string, value float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.figure(server, name)
	if f == nil {
		f = &figure{server: server, name: name, unit: unit}
		r.figures = append(r.figures, f)
	}
	f.rounds = append(f.rounds, value)
}

// merge adds the durations behind a figure.
func (r *results) merge(server, name string, h *loadgen.Histogram) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.figure(server, name).histogram.Merge(h)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// ratio is the median of a figure's ratios to the floor's, round by round; 0
// without a floor.
func (r *results) ratio(f *figure) float64 {
	floor := r.figure(floorName, f.name)
	if floor == nil {
		return 0
	}
	var ratios []float64
	for i := range min(len(f.rounds), len(floor.rounds)) {
		if floor.rounds[i] > 0 {
			ratios = append(ratios, f.rounds[i]/floor.rounds[i])
		}
	}
	return median(ratios)
}

const floorName = "floor"

// finish prints a line for each figure: its name, the figure, its unit and its
// ratio to the floor's.
func (s *suite) finish(began time.Time) error {
	s.results.mu.Lock()
	defer s.results.mu.Unlock()
	slices.SortStableFunc(s.results.figures, func(a, b *figure) int { return s.order(a) - s.order(b) })
	for _, f := range s.results.figures {
		ratio := "-"
		if r := s.results.ratio(f); r > 0 {
			ratio = fmt.Sprintf("%.2f", r)
		}
		fmt.Fprintf(s.out, "%-26s %9.2f %-14s %6s\n", f.server+"."+f.name, median(f.rounds), f.unit, ratio)
	}
	s.progress("%d s, load average %s", int(time.Since(began).Seconds()), loadAverage())
	return nil
}

// order is the measurements' order, and in each the servers'.
func (s *suite) order(f *figure) int {
	first := slices.IndexFunc(s.results.figures, func(g *figure) bool { return g.name == f.name })
	return first*len(s.names) + slices.Index(s.names, f.server)
}
