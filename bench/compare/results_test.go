package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What slows the machine for one round does not change a ratio.
func TestRatiosAreOfTheSameRound(t *testing.T) {
	var r results
	for i, v := range []struct{ floor, other float64 }{{10, 12}, {30, 36}, {8, 9.6}} {
		r.round = i
		r.add("floor", "x", "µs", v.floor)
		r.add("other", "x", "µs", v.other)
	}
	r.add("other", "alone", "µs", 7)
	if got := r.ratio(r.figure("other", "x")); got < 1.19 || got > 1.21 {
		t.Errorf("the ratio is %v, want 1.2", got)
	}
	if got := r.ratio(r.figure("other", "alone")); got != 0 {
		t.Errorf("the ratio to a floor that was not measured is %v", got)
	}
}

func TestMedian(t *testing.T) {
	for want, of := range map[float64][]float64{0: nil, 2: {9, 1, 2}, 1.5: {2, 1}} {
		if got := median(of); got != want {
			t.Errorf("the median of %v is %v", of, got)
		}
	}
}

func TestFinishPrintsALineForEachFigure(t *testing.T) {
	folder := t.TempDir()
	var out bytes.Buffer
	s := &suite{out: &out, log: io.Discard, options: options{
		names: []string{"floor", "holdfast"}, high: 10, rounds: 1,
		page: filepath.Join(folder, "p.html"), json: filepath.Join(folder, "p.json"), svg: filepath.Join(folder, "p.svg"),
	}}
	s.results.add("holdfast", "broadcast.cpu", "µs/delivery", 9)
	s.results.add("floor", "broadcast.cpu", "µs/delivery", 10)
	if err := s.finish(time.Now()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "floor.") {
		t.Fatalf("printed %q", lines)
	}
	if f := strings.Fields(lines[1]); len(f) != 4 || f[0] != "holdfast.broadcast.cpu" || f[1] != "9.00" || f[3] != "0.90" {
		t.Errorf("a line has a name, a figure, a unit and a ratio, not %q", f)
	}
	if text, err := os.ReadFile(s.svg); err != nil || !bytes.Contains(text, []byte(">0.90</text>")) || bytes.Contains(text, []byte(">floor<")) {
		t.Errorf("%v, the picture is %s", err, text)
	}
	for _, file := range []string{s.page, s.json} {
		if text, err := os.ReadFile(file); err != nil || !bytes.Contains(text, []byte("broadcast.cpu")) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestFlags(t *testing.T) {
	quick, err := parse([]string{"-quick", "-rounds", "7"}, io.Discard)
	if err != nil || quick.rounds != 7 || quick.high != 4000 || quick.ping != 10*time.Second {
		t.Errorf("%+v, %v", quick, err)
	}
	if quick.within != 0 {
		t.Errorf("of the rounds that were asked for some may be left out, after %s", quick.within)
	}
	if o, err := parse([]string{"-quick", "-servers", "a,b,c", "-settle", "12s"}, io.Discard); err != nil || o.within != 71*time.Second {
		t.Errorf("rounds are left out after %s, %v", o.within, err)
	}
	for _, bad := range [][]string{{"-clients", "10"}, {"-dance"}} {
		if _, err := parse(bad, io.Discard); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

// A round in which a server was not measured takes no part in its ratio.
func TestRoundsThatAreMissing(t *testing.T) {
	var r results
	for i, v := range []float64{10, 20, 40} {
		r.round = i
		r.add("floor", "x", "µs", v)
		if i != 1 {
			r.add("other", "x", "µs", 3*v)
		}
	}
	if f := r.figure("other", "x"); r.ratio(f) != 3 || f.median() != 75 {
		t.Errorf("ratio %v, median %v; want 3 and 75", r.ratio(f), f.median())
	}
}
