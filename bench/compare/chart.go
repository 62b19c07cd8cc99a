package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// chart is one picture of the figures that matter most, for a README: a group of bars
// for each, a bar for each server, as long as its ratio to the floor.
type chart struct {
	name, title string
}

func charted() []chart {
	return []chart{
		{"broadcast.cpu", "processor time for each delivery to a room"},
		{"burst.cpu", "the same, ten events at once"},
		{"echo.cpu", "processor time for each acknowledged event"},
		{"idle.cpu", "processor time for each heartbeat"},
		{"connect.cpu", "processor time for each connect"},
	}
}

// The picture's measures, in pixels.
const (
	chartWidth = 760
	nameWidth  = 110
	barHeight  = 13
	groupGap   = 34
	chartTop   = 46
)

// writeChart writes the picture as SVG, which needs no other file.
func (s *suite) writeChart(began time.Time) error {
	if s.svg == "" {
		return nil
	}
	var b strings.Builder
	longest := 1.0
	for _, c := range charted() {
		for _, f := range s.results.figures {
			if f.name == c.name {
				longest = max(longest, s.results.ratio(f))
			}
		}
	}
	scale := float64(chartWidth-nameWidth-60) / longest
	y := chartTop
	for _, c := range charted() {
		top := y
		for _, f := range s.results.figures {
			ratio := s.results.ratio(f)
			if f.name != c.name || f.server == floorName || ratio == 0 {
				continue
			}
			class := "other"
			if f.server == "holdfast" {
				class = "ours"
			}
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, nameWidth-8, y+barHeight-3, f.server)
			fmt.Fprintf(&b, `<rect class="%s" x="%d" y="%d" width="%.0f" height="%d" rx="2"/>`, class, nameWidth, y, ratio*scale, barHeight-2)
			fmt.Fprintf(&b, `<text x="%.0f" y="%d">%.2f</text>`+"\n", nameWidth+ratio*scale+6, y+barHeight-3, ratio)
			y += barHeight + 2
		}
		if y == top {
			continue
		}
		fmt.Fprintf(&b, `<text class="h" x="%d" y="%d">%s</text>`, nameWidth, top-7, c.title)
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", nameWidth+scale, top-3, nameWidth+scale, y)
		y += groupGap
	}
	about := fmt.Sprintf("Ratios to the bare system calls (the line); %d clients, medians of %d rounds, %d processors, %s.",
		s.high, s.rounds, runtime.NumCPU(), began.Format("January 2006"))
	text := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">
<style>
text { font: 11px system-ui, sans-serif; fill: #57606a }
.h { font-weight: 600; fill: #24292f }
.ours { fill: #0969da } .other { fill: #afb8c1 }
line { stroke: #24292f; stroke-dasharray: 2 2 }
</style>
<rect width="100%%" height="100%%" fill="#fff"/>
<text x="%d" y="16">%s</text>
%s</svg>
`, chartWidth, y, about, nameWidth, about, b.String())
	if err := os.WriteFile(s.svg, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the chart: %w", err)
	}
	return nil
}
