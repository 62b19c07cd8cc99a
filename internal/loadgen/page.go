package loadgen

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"
)

// Page is an HTML page without anything from outside it.
type Page struct {
	Title, Intro string
	Sections     []Section
}

// Section is a part of it: charts side by side, then a table.
type Section struct {
	Title, Text string
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
	for _, r := range results {
		p.Intro = fmt.Sprintf("%s, %s, %s", r.Server, r.Protocol, r.Began.Format(time.RFC1123))
		p.Sections = append(p.Sections, r.section())
	}
	return p
}

func (r *Result) section() Section {
	s := Section{
		Title: r.Scenario, Head: []string{"figure", "value", "unit"},
		Text: fmt.Sprintf("%d clients, %.1f s. %s", r.Options.Clients, r.Seconds, r.Error),
	}
	row := func(f func(*Sample) float64) Line {
		var l Line
		for i := range r.Samples {
			l.X, l.Y = append(l.X, r.Samples[i].At), append(l.Y, f(&r.Samples[i]))
		}
		return l
	}
	for _, c := range []struct {
		title, unit string
		of          func(*Sample) float64
	}{
		{"Connected clients", "", func(s *Sample) float64 { return float64(s.Up) }},
		{"Arrivals", "a second", func(s *Sample) float64 { return s.Arrived }},
		{"Deliveries", "a second", func(s *Sample) float64 { return s.Received }},
		{"Answers", "a second", func(s *Sample) float64 { return s.Answered }},
		{"Server's processor time", "%", func(s *Sample) float64 { return s.CPU * 100 }},
		{"Server's memory", "MB", func(s *Sample) float64 { return s.RSS }},
	} {
		l := row(c.of)
		for _, y := range l.Y {
			if y > 0 {
				s.Charts = append(s.Charts, Lines(c.title, c.unit, "s", false, l))
				break
			}
		}
	}
	for _, d := range []struct {
		title string
		h     *Histogram
	}{{"Time to connect", &r.Total.Connect}, {"Time to deliver", &r.Total.Delivery}, {"Time to answer", &r.Total.RoundTrip}} {
		if d.h.Count() > 0 {
			s.Charts = append(s.Charts, Lines(d.title, "ms", "not exceeded by", true, Percentiles("", d.h)))
		}
	}
	for _, f := range r.Figures {
		s.Rows = append(s.Rows, []string{f.Name, fmt.Sprintf("%.2f", f.Value), f.Unit})
	}
	for _, why := range r.Total.Reasons() {
		s.Rows = append(s.Rows, []string{"error: " + why, fmt.Sprint(r.Total.Errors[why]), "times"})
	}
	return s
}
