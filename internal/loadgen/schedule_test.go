package loadgen

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestScheduleIsFixedBeforehand(t *testing.T) {
	start := time.Unix(1000, 0)
	s := Schedule{Start: start, Rate: 250}
	for i, want := range map[int]time.Duration{0: 0, 1: 4 * time.Millisecond, 250: time.Second, 1_000_000: 4000 * time.Second} {
		if got := s.At(i).Sub(start); got != want {
			t.Errorf("number %d is due after %s, want %s", i, got, want)
		}
	}
	for after, want := range map[time.Duration]int{-1: 0, 0: 1, 3 * time.Millisecond: 1, 5 * time.Millisecond: 2, time.Second + 1: 251} {
		if got := s.Due(start.Add(after)); got != want {
			t.Errorf("after %s %d are due, want %d", after, got, want)
		}
	}
	if at := (Schedule{Start: start}).At(7); !at.Equal(start) {
		t.Errorf("without a rate number 7 is due at %s", at)
	}
}

// What is late is sent at once and its latency counts from its due time: a stall of
// a second shows in everything that was due in it.
func TestStallShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := Schedule{Start: time.Now(), Rate: 100}
		var h Histogram
		for i := range 200 {
			if err := sleepUntil(t.Context(), s.At(i)); err != nil {
				t.Fatal(err)
			}
			if i == 50 {
				if err := Sleep(t.Context(), time.Second); err != nil { // the server's
					t.Fatal(err)
				}
			}
			h.Record(time.Since(s.At(i)))
		}
		// A hundred were due in that second, the first of them a second late.
		if got := h.Quantile(.5); got != 0 {
			t.Errorf("half of them had no stall, but the median is %s", got)
		}
		if got := h.Quantile(.75); got < 450*time.Millisecond || got > 550*time.Millisecond {
			t.Errorf("a quarter was at least half a second late, but the upper quartile is %s", got)
		}
		if h.Max() != time.Second {
			t.Errorf("the longest is %s, want 1s", h.Max())
		}
	})
}

func TestSleepEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
