package loadgen

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestScales(t *testing.T) {
	for _, tt := range []struct {
		name  string
		scale scale
		ticks []float64
		at    map[float64]float64
	}{
		{"from zero", linear(lines(0, 7)), []float64{0, 2, 4, 6, 8}, map[float64]float64{0: 0, 4: .5, 8: 1}},
		{"of nothing", linear(nil), []float64{0, 1}, map[float64]float64{0: 0}},
		{
			"logarithmic, from the median", logarithmic(lines(.003, .2, 900)),
			[]float64{.1, 1, 10, 100, 1000},
			map[float64]float64{0: 0, .05: 0, .1: 0, 10: .5, 1000: 1},
		},
		{"logarithmic, of one value", logarithmic(lines(5)), []float64{.1, 1, 10}, map[float64]float64{1: .5}},
		{"logarithmic, of nothing", logarithmic(nil), []float64{.01, .1, 1}, map[float64]float64{0: 0}},
		{
			"logarithmic, of all that there is", logarithmic(lines(0, 1e-9, 1e4)),
			[]float64{.01, .1, 1, 10, 100, 1000, 1e4},
			map[float64]float64{1e-9: 0},
		},
	} {
		if !slices.EqualFunc(tt.scale.ticks, tt.ticks, near) {
			t.Errorf("%s: ticks at %v, want %v", tt.name, tt.scale.ticks, tt.ticks)
		}
		for v, want := range tt.at {
			if got := tt.scale.at(v); !near(got, want) {
				t.Errorf("%s: %v is at %v, want %v", tt.name, v, got, want)
			}
		}
	}
}

// lines is one whose x counts from 0.
func lines(y ...float64) []Line {
	l := Line{Y: y}
	for i := range y {
		l.X = append(l.X, float64(i))
	}
	return []Line{l}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(a)) }

// No value, however odd, makes a chart that is none.
func TestLinesOfAnything(t *testing.T) {
	for _, percentiles := range []bool{false, true} {
		for _, line := range []Line{{}, {X: []float64{0}, Y: []float64{0}}, {X: []float64{0, 1}, Y: []float64{1e-12, 1e12}}} {
			if text := string(Lines("t", "ms", "x", percentiles, line)); strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
				t.Errorf("%v, percentiles %v: %s", line, percentiles, text)
			}
		}
	}
}
