package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/bench/rig"
	"holdfast/internal/loadgen"
)

// results are the figures of each round.
type results struct {
	round int

	mu      sync.Mutex
	figures []*figure
	notes   []note
}

// note is what a server did not manage.
type note struct {
	Server string `json:"server"`
	Round  int    `json:"round"` // from 1
	Text   string `json:"text"`
}

// figure is one number of one server.
type figure struct {
	server, name, unit string
	rounds             map[int]float64 // those in which it was measured
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
		f = &figure{server: server, name: name, unit: unit, rounds: make(map[int]float64)}
		r.figures = append(r.figures, f)
	}
	f.rounds[r.round] = value
}

func (r *results) note(server, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, note{server, r.round + 1, text})
}

// median is that of its rounds.
func (f *figure) median() float64 { return median(slices.Collect(maps.Values(f.rounds))) }

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
	for round, value := range f.rounds {
		if floor.rounds[round] > 0 {
			ratios = append(ratios, value/floor.rounds[round])
		}
	}
	return median(ratios)
}

const floorName = "floor"

// finish prints a line for each figure: its name, the figure, its unit and its
// ratio to the floor's. What servers did not manage follows in lines that begin
// with #. The error says of which of them there is no figure at all.
func (s *suite) finish(began time.Time) error {
	slices.SortStableFunc(s.results.figures, func(a, b *figure) int { return s.order(a) - s.order(b) })
	for _, f := range s.results.figures {
		ratio := "-"
		if r := s.results.ratio(f); r > 0 {
			ratio = fmt.Sprintf("%.2f", r)
		}
		fmt.Fprintf(s.out, "%-26s %9.2f %-14s %6s\n", f.server+"."+f.name, f.median(), f.unit, ratio)
	}
	var missing []string
	for _, n := range s.results.notes {
		fmt.Fprintf(s.out, "# %s, round %d: %s\n", n.Server, n.Round, n.Text)
	}
	for _, name := range s.names {
		if !slices.ContainsFunc(s.results.figures, func(f *figure) bool { return f.server == name }) {
			missing = append(missing, name)
		}
	}
	s.progress("%d s, load average %s", int(time.Since(began).Seconds()), rig.LoadAverage())
	err := errors.Join(s.writeJSON(began), s.writePage(began), s.writeChart(began))
	if len(missing) > 0 {
		err = errors.Join(err, fmt.Errorf("there is no figure of %s", strings.Join(missing, ", ")))
	}
	return err
}

// figureJSON is a figure as -json writes it.
type figureJSON struct {
	Server string  `json:"server"`
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Ratio  float64 `json:"ratioToFloor,omitempty"`
	// Rounds has null for a round in which it was not measured.
	Rounds []*float64 `json:"rounds"`
}

func (s *suite) writeJSON(began time.Time) error {
	if s.json == "" {
		return nil
	}
	figures := make([]figureJSON, 0, len(s.results.figures))
	for _, f := range s.results.figures {
		var rounds []*float64
		for round := range slices.Max(slices.Collect(maps.Keys(f.rounds))) + 1 {
			if value, measured := f.rounds[round]; measured {
				rounds = append(rounds, &value)
			} else {
				rounds = append(rounds, nil)
			}
		}
		figures = append(figures, figureJSON{f.server, f.name, f.median(), f.unit, s.results.ratio(f), rounds})
	}
	text, err := json.MarshalIndent(map[string]any{
		"began": began, "loadAverage": rig.LoadAverage(), "clients": s.high, "rounds": s.rounds, "figures": figures,
		"together": s.together, "machine": loadgen.Machine(), "notes": s.results.notes,
	}, "", " ")
	if err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	if err := os.WriteFile(s.json, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return nil
}

func (s *suite) writePage(began time.Time) error {
	if s.page == "" {
		return nil
	}
	how := "each server alone"
	if s.together {
		how = "all servers at the same time, in turns"
	}
	page := &loadgen.Page{
		Title: "holdfast beside others",
		Intro: "Medians of the rounds; in brackets the ratios to the floor, which is what the bare system calls take.",
		Facts: []loadgen.Fact{
			{Name: "Command", Value: "bench/compare " + strings.Join(s.args, " "), Code: true},
			{Name: "Clients", Value: fmt.Sprintf("%d of each server, %d rounds, %s", s.high, s.rounds, how)},
			{Name: "Machine", Value: loadgen.Machine() + "; load average " + rig.LoadAverage()},
			{Name: "Began", Value: began.Format(time.RFC1123)},
		},
	}
	for _, m := range measures() {
		if section, any := s.section(m); any {
			page.Sections = append(page.Sections, section)
		}
	}
	if len(s.results.notes) > 0 {
		missed := loadgen.Section{Title: "What was not managed", Head: []string{"server", "round", ""}}
		for _, n := range s.results.notes {
			missed.Rows = append(missed.Rows, []string{n.Server, strconv.Itoa(n.Round), n.Text})
		}
		page.Sections = append(page.Sections, missed)
	}
	f, err := os.Create(s.page)
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return errors.Join(page.Write(f), f.Close())
}

// section shows the figures of one measurement.
func (s *suite) section(m measure) (loadgen.Section, bool) {
	section := loadgen.Section{Title: m.what, Head: []string{"figure", "value", "unit", "ratio"}}
	section.Title = strings.ToUpper(section.Title[:1]) + section.Title[1:]
	bars := make(map[string][]loadgen.Bar)
	lines := make(map[string][]loadgen.Line)
	var order []string
	for _, f := range s.results.figures {
		if f.name != m.name && !strings.HasPrefix(f.name, m.name+".") {
			continue
		}
		ratio, note := s.results.ratio(f), ""
		if ratio > 0 {
			note = fmt.Sprintf("(%.2f ×)", ratio)
		}
		title := f.name + "\x00" + f.unit
		if bars[title] == nil {
			order = append(order, title)
		}
		bars[title] = append(bars[title], loadgen.Bar{Name: f.server, Value: f.median(), Note: note})
		if f.histogram.Count() > 0 {
			lines[title] = append(lines[title], loadgen.Percentiles(f.server, &f.histogram))
		}
		section.Rows = append(section.Rows, []string{f.server + "." + f.name, fmt.Sprintf("%.2f", f.median()), f.unit, note})
	}
	for _, title := range order {
		name, unit, _ := strings.Cut(title, "\x00")
		section.Charts = append(section.Charts, loadgen.Bars(name, unit, bars[title]...))
	}
	for _, title := range order {
		if name, unit, _ := strings.Cut(title, "\x00"); len(lines[title]) > 0 {
			section.Charts = append(section.Charts, loadgen.Lines(strings.TrimSuffix(name, ".p99"), unit, "share that took no longer", true, lines[title]...))
		}
	}
	return section, len(section.Rows) > 0
}

// order is the measurements' order, in each the figures', and for each the servers'.
func (s *suite) order(f *figure) int {
	measure, _, _ := strings.Cut(f.name, ".")
	of := slices.Index(measureNames(), measure)
	part := slices.Index([]string{"", ".cpu", ".base", ".rate", ".p99"}, f.name[len(measure):])
	return (of*10+part)*len(s.names) + slices.Index(s.names, f.server)
}
