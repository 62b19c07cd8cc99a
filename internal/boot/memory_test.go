package boot

import "testing"

func TestStormIsOverOnceAfterIt(t *testing.T) {
	for name, tt := range map[string]struct {
		work []int64
		over []int // indices of looks at which it is over
	}{
		"nothing happens":            {work: []int64{0, 0, 0, 0, 0}},
		"a trickle":                  {work: []int64{5, 9, 3, 0, 0, 0, 0}},
		"one storm":                  {work: []int64{900, 4000, 300, 10, 0, 0}, over: []int{4}},
		"a lull is not the end":      {work: []int64{4000, 0, 0, 4000, 0, 0, 0, 0}, over: []int{6}},
		"a steady rate never ends":   {work: []int64{500, 500, 500, 500, 500, 500}},
		"steady rate after the peak": {work: []int64{9000, 100, 100, 100, 100}, over: []int{3}},
		"two storms":                 {work: []int64{900, 0, 0, 0, 900, 0, 0, 0}, over: []int{3, 7}},
	} {
		var s storm
		var over []int
		for i, w := range tt.work {
			if s.over(w) {
				over = append(over, i)
			}
		}
		if len(over) != len(tt.over) {
			t.Errorf("%s: over at %v, want %v", name, over, tt.over)
			continue
		}
		for i := range over {
			if over[i] != tt.over[i] {
				t.Errorf("%s: over at %v, want %v", name, over, tt.over)
			}
		}
	}
}

func TestCollectorsTarget(t *testing.T) {
	for live, want := range map[uint64]int{0: 800, 1 << 20: 800, 16 << 20: 200, 32 << 20: 100, 64 << 20: 50, 1 << 30: 50} {
		if got := gcTarget(live); got != want {
			t.Errorf("%d MiB: %d, want %d", live>>20, got, want)
		}
	}
}
