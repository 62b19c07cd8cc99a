package loadgen

import (
	"strings"
	"testing"
	"time"
)

func TestDoubts(t *testing.T) {
	of := func(took, late time.Duration, busy float64) *Stats {
		st := &Stats{Busy: busy}
		st.RoundTrip.Record(took)
		st.Late.Record(late)
		return st
	}
	for _, tt := range []struct {
		name    string
		st      *Stats
		machine float64
		want    []string
	}{
		{"nothing is wrong", of(20*time.Millisecond, 2*time.Millisecond, .3), .5, nil},
		{"a slow server", of(time.Second, 30*time.Millisecond, .3), .5, nil},
		{"all is quick", of(3*time.Millisecond, 3*time.Millisecond, .3), .5, nil},
		{"late", of(50*time.Millisecond, 40*time.Millisecond, .3), .5, []string{"generator-late.p99 40ms"}},
		{"busy, on a full machine", of(time.Second, 0, .9), .97, []string{"took 90 %", "97 % of this machine"}},
	} {
		got := doubts(tt.st, tt.machine)
		if len(got) != len(tt.want) {
			t.Errorf("%s: %q", tt.name, got)
			continue
		}
		for i, want := range tt.want {
			if !strings.Contains(got[i], want) {
				t.Errorf("%s: %q, want %q", tt.name, got[i], want)
			}
		}
	}
}
