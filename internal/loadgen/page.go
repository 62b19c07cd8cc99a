package loadgen

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Page is an HTML page without anything from outside it.
type Page struct {
	Title, Intro string
	Facts        []Fact // what was measured, on what, and how to do it again
	Sections     []Section
}

// Fact is a line of its head.
type Fact struct {
	Name, Value string
	Code        bool // to be read letter by letter
}

// Section is a part of it: charts side by side, then a table.
type Section struct {
	Title, Text string
	Error       string
	Doubts      []string // about the figures
	Charts      []template.HTML
	Head        []string
	Rows        [][]string
}

//go:embed page.html
var pageText string

// Write writes the page.
func (p *Page) Write(w io.Writer) error {
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	if err := t.Execute(w, p); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// ResultsPage shows what scenarios have shown.
func ResultsPage(results []*Result) *Page {
	p := &Page{Title: "holdfast bench"}
	for i, r := range results {
		if i == 0 {
			p.Facts = []Fact{
				{"Command", r.Command, true},
				{"Server", r.Server, true},
				{"Clients", r.clients(), false},
				{"Machine", r.Machine, false},
				{"Began", r.Began.Format(time.RFC1123), false},
			}
		}
		p.Sections = append(p.Sections, r.section())
	}
	return p
}

// clients says what they speak.
func (r *Result) clients() string {
	is := map[Protocol]string{
		SocketIO5: "as socket.io-client 3 and 4 (Engine.IO 4)", SocketIO4: "as socket.io-client 2 (Engine.IO 3)",
		Bare: "plain WebSockets", Centrifugo: "of Centrifugo",
	}[r.Protocol]
	if r.Parser != "" {
		is += " with " + r.Parser
	}
	by := map[Transport]string{
		WebSocket: "by WebSocket", Polling: "by polling alone", Upgrade: "by polling, then WebSocket", JSONP: "by polling with JSONP",
	}[r.Transport]
	return strings.TrimSpace(is + ", " + by)
}

// about tells the scenario's settings, those that it has.
func (r *Result) about() string {
	o := r.Options
	said := []string{fmt.Sprintf("%d clients", o.Clients)}
	if o.Rate > 0 {
		said = append(said, short(o.Rate)+" a second")
	}
	if o.Every > 0 {
		said = append(said, fmt.Sprintf("an event every %s", o.Every))
	}
	if o.Hz > 0 {
		said = append(said, fmt.Sprintf("cursors at %s Hz", short(o.Hz)))
	}
	if o.Size > 0 {
		said = append(said, fmt.Sprintf("%d bytes each", o.Size))
	}
	if o.Scale > 0 {
		said = append(said, fmt.Sprintf("scale %g", o.Scale))
	}
	return strings.Join(append(said, fmt.Sprintf("%.1f s in all", r.Seconds)), ", ")
}

func (r *Result) section() Section {
	s := Section{Title: r.Scenario, Head: []string{"figure", "value", "unit"}, Text: r.about(), Error: r.Error, Doubts: r.Doubts}
	for _, c := range []struct {
		title, unit string
		lines       []Line
	}{
		{"Connected", "clients", []Line{r.line("", func(s *Sample) float64 { return float64(s.Up) })}},
		{"Arrivals", "clients/s", []Line{r.line("", func(s *Sample) float64 { return s.Arrived })}},
		{"Failures", "clients/s", []Line{
			r.line("did not get in", func(s *Sample) float64 { return s.Failed }),
			r.line("lost afterwards", func(s *Sample) float64 { return s.Lost }),
		}},
		{"Deliveries", "messages/s", []Line{r.line("", func(s *Sample) float64 { return s.Received })}},
		{"Answers", "messages/s", []Line{r.line("", func(s *Sample) float64 { return s.Answered })}},
		{"Processor time", "% of one processor", []Line{
			r.line("the server", func(s *Sample) float64 { return s.CPU * 100 }),
			r.line("the busiest of the clients' processes", func(s *Sample) float64 { return s.Busy * 100 }),
		}},
		{"Server's resident memory", "MB", []Line{r.line("", func(s *Sample) float64 { return s.RSS })}},
	} {
		lines := slices.DeleteFunc(c.lines, func(l Line) bool { return len(l.X) == 0 })
		if len(lines) > 0 {
			s.Charts = append(s.Charts, Lines(c.title, c.unit, "seconds since the beginning", false, lines...))
		}
	}
	s.Charts = append(s.Charts, r.delays()...)
	for _, f := range r.Figures {
		s.Rows = append(s.Rows, []string{f.Name, strconv.FormatFloat(math.Round(f.Value*100)/100, 'f', -1, 64), f.Unit})
	}
	for _, why := range r.Total.Reasons() {
		s.Rows = append(s.Rows, []string{"error: " + why, fmt.Sprint(r.Total.Errors[why]), "times"})
	}
	return s
}

// line is a figure of each sample over time; empty when it is never above zero.
func (r *Result) line(name string, of func(*Sample) float64) Line {
	l := Line{Name: name}
	any := false
	for i := range r.Samples {
		y := of(&r.Samples[i])
		any = any || y > 0
		l.X, l.Y = append(l.X, r.Samples[i].At), append(l.Y, y)
	}
	if !any {
		return Line{}
	}
	return l
}

// delays are charts of how long things took: the slowest hundredth of each second,
// in which a stall shows, and their distributions over all.
func (r *Result) delays() (charts []template.HTML) {
	var over, all []Line
	for _, d := range []struct {
		name string
		h    *Histogram
		of   func(*Sample) float64
	}{
		{"to connect", &r.Total.Connect, func(s *Sample) float64 { return s.Connect }},
		{"to upgrade", &r.Total.Upgrade, func(*Sample) float64 { return 0 }},
		{"to deliver", &r.Total.Delivery, func(s *Sample) float64 { return s.Delivery }},
		{"to answer", &r.Total.RoundTrip, func(s *Sample) float64 { return s.RoundTrip }},
		{"the generator was late", &r.Total.Late, func(s *Sample) float64 { return s.Late }},
	} {
		if l := r.line(d.name, d.of); len(l.X) > 0 {
			over = append(over, l)
		}
		if d.h.Count() > 0 {
			all = append(all, Percentiles(d.name, d.h))
		}
	}
	if len(over) > 0 {
		charts = append(charts, Lines("Delay of the slowest 1 % in each second", "ms", "seconds since the beginning", false, over...))
	}
	if len(all) > 0 {
		charts = append(charts, Lines("Distribution of delays", "ms", "share that took no longer", true, all...))
	}
	return charts
}
