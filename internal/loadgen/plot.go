package loadgen

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Line is one row of points of a chart; X and Y are as long as one another.
type Line struct {
	Name string
	X, Y []float64
}

// Bar is one bar of a chart.
type Bar struct {
	Name  string
	Value float64
	Note  string // stands behind the value
}

// The sizes of a chart, in the units of its viewBox.
const (
	chartWidth  = 460
	chartHeight = 236
	marginLeft  = 52
	marginRight = 10
	marginTop   = 26
	marginLow   = 40
	legendRow   = 15
	letterWidth = 6 // about, of the font's
	barHeight   = 22
)

// Lines draws a chart of lines from zero up. unit stands at its title, x at the axis
// below; percentiles makes that axis one of 0, 90, 99, 99.9 %, and the other one
// logarithmic, so that what is quick can be read beside what is slow.
func Lines(title, unit, x string, percentiles bool, lines ...Line) template.HTML {
	var b strings.Builder
	legend, rows := legend(lines)
	top, height := marginTop+rows*legendRow, chartHeight+rows*legendRow
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s"><text class="t" x="0" y="14">%s</text>%s`,
		chartWidth, height, html.EscapeString(title), html.EscapeString(heading(title, unit)), legend)
	maxX := 1e-9
	for _, l := range lines {
		maxX = max(maxX, slices.Max(append(l.X, 0)))
	}
	axis := linear(lines)
	if percentiles {
		axis = logarithmic(lines)
	}
	px := func(v float64) float64 { return marginLeft + v/maxX*(chartWidth-marginLeft-marginRight) }
	py := func(v float64) float64 {
		return float64(height-marginLow) - axis.at(v)*float64(height-top-marginLow)
	}
	for _, v := range axis.ticks {
		fmt.Fprintf(&b, `<path class="g" d="M%d %.1fH%d"/><text class="y" x="%d" y="%.1f">%s</text>`,
			marginLeft, py(v), chartWidth-marginRight, marginLeft-5, py(v)+3.5, short(v))
	}
	stepX := niceStep(maxX / 6)
	if percentiles {
		stepX = 1
	}
	for v := 0.0; v <= maxX*1.001; v += stepX {
		label := short(v)
		if percentiles {
			label = strconv.FormatFloat(100-100*math.Pow(10, -v), 'g', 6, 64) + " %"
		}
		class := "x"
		if px(v) > chartWidth-3*marginRight {
			class = "y" // which ends at its place, and so within the chart
		}
		fmt.Fprintf(&b, `<path class="g" d="M%.1f %dv4"/><text class="%s" x="%.1f" y="%d">%s</text>`,
			px(v), height-marginLow, class, px(v), height-marginLow+16, label)
	}
	fmt.Fprintf(&b, `<text class="a" x="%d" y="%d">%s</text>`, (marginLeft+chartWidth-marginRight)/2, height-6, html.EscapeString(x))
	for i, l := range lines {
		fmt.Fprintf(&b, `<polyline class="l%d" points="`, i%6)
		for j := range l.X {
			fmt.Fprintf(&b, "%.1f,%.1f ", px(l.X[j]), py(l.Y[j]))
		}
		b.WriteString(`"/>`)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // its texts are escaped above
}

// scale is an axis: what is written at it, and where a value is, from 0 to 1.
type scale struct {
	ticks []float64
	at    func(v float64) float64
}

// extremes are the largest value of lines, and the smallest above zero where x is at
// least from; 0 without any.
func extremes(lines []Line, from float64) (least, most float64) {
	for _, l := range lines {
		for i, y := range l.Y {
			if y > 0 && (least == 0 || y < least) && l.X[i] >= from {
				least = y
			}
			most = max(most, y)
		}
	}
	return least, most
}

// linear begins at zero.
func linear(lines []Line) scale {
	_, most := extremes(lines, 0)
	step := niceStep(most / 4)
	most = max(math.Ceil(most/step)*step, step)
	s := scale{at: func(v float64) float64 { return v / most }}
	for v := 0.0; v <= most*1.001; v += step {
		s.ticks = append(s.ticks, v)
	}
	return s
}

// fewestDecades is the least that a logarithmic axis spans, and how many the values
// of the smallest may be away from the largest; what is smaller lies on the axis.
const (
	fewestDecades = 2
	mostDecades   = 6
)

// median is where Percentiles has half of all.
const median = .3

// logarithmic has whole decades, for lines of Percentiles: from the least of their
// medians, for how quick the quickest were is of no interest.
func logarithmic(lines []Line) scale {
	least, most := extremes(lines, median)
	if most == 0 {
		most = 1
	}
	if least == 0 {
		least = most
	}
	high := math.Ceil(math.Log10(most))
	low := min(max(math.Floor(math.Log10(least)), high-mostDecades), high-fewestDecades)
	s := scale{at: func(v float64) float64 {
		return max(math.Log10(max(v, 1e-300))-low, 0) / (high - low)
	}}
	for d := low; d <= high; d++ {
		s.ticks = append(s.ticks, math.Pow(10, d))
	}
	return s
}

// legend names the lines in rows below the title; one with a name alone, too.
func legend(lines []Line) (text string, rows int) {
	var b strings.Builder
	x := 0
	for i, l := range lines {
		if l.Name == "" {
			continue
		}
		width := letterWidth*len([]rune(l.Name)) + 26
		if rows == 0 || x+width > chartWidth {
			x = 0
			rows++
		}
		y := marginTop - 10 + rows*legendRow
		fmt.Fprintf(&b, `<rect class="b%d" x="%d" y="%d" width="10" height="3"/><text class="n%d" x="%d" y="%d">%s</text>`,
			i%6, x, y-5, i%6, x+14, y, html.EscapeString(l.Name))
		x += width
	}
	return b.String(), rows
}

func heading(title, unit string) string {
	if unit == "" {
		return title
	}
	return title + ", " + unit
}

// Bars draws horizontal bars from zero.
func Bars(title, unit string, bars ...Bar) template.HTML {
	var b strings.Builder
	height := marginTop + barHeight*len(bars) + 6
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s"><text class="t" x="0" y="14">%s</text>`,
		chartWidth, height, html.EscapeString(title), html.EscapeString(heading(title, unit)))
	most := 1e-9
	for _, r := range bars {
		most = max(most, r.Value)
	}
	const from, width = 90, chartWidth - 90 - 110
	for i, r := range bars {
		y := marginTop + barHeight*i
		w := max(r.Value/most*width, 1)
		fmt.Fprintf(&b, `<text class="y" x="%d" y="%d">%s</text><rect class="b%d" x="%d" y="%d" width="%.1f" height="%d"/><text class="v" x="%.1f" y="%d">%s</text>`,
			from-6, y+14, html.EscapeString(r.Name), i%6, from, y+2, w, barHeight-6, from+w+5, y+14,
			html.EscapeString(strings.TrimSpace(short(r.Value)+"  "+r.Note)))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // its texts are escaped above
}

// Percentiles is a histogram as a line for Lines: at x the value that all but
// 10^-x did not exceed.
func Percentiles(name string, h *Histogram) Line {
	l := Line{Name: name}
	if h.Count() == 0 {
		return l
	}
	end := math.Log10(float64(h.Count()))
	for x := 0.0; x < end; x += .05 {
		l.X = append(l.X, x)
		l.Y = append(l.Y, ms(h.Quantile(1-math.Pow(10, -x))))
	}
	l.X, l.Y = append(l.X, end), append(l.Y, ms(h.Max()))
	return l
}

// niceStep is the least of 1, 2, 5, 10 … that is not below v.
func niceStep(v float64) float64 {
	if v <= 0 {
		return 1
	}
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*p >= v*.999 {
			return m * p
		}
	}
	return 10 * p
}

// short writes a number with three digits or so.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 3, 64) + "M"
	case a >= 10_000:
		return strconv.FormatFloat(v/1000, 'g', 3, 64) + "k"
	case a >= 100 || v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
