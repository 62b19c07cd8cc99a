package api

import (
	"testing"
	"time"
)

// simulate runs a backend for a time, with as many calls under way as the limiter
// allows, and returns the limit.
func simulate(l *limiter, now *time.Time, long time.Duration, answer func(inFlight int) (time.Duration, bool)) int {
	for end := now.Add(long); now.Before(end); {
		n := l.allowed()
		took, overloaded := answer(n)
		*now = now.Add(took / time.Duration(n))
		l.answer(*now, took, overloaded, n)
	}
	return l.allowed()
}

func TestLimiter(t *testing.T) {
	now := time.Unix(0, 0)
	l := newLimiter(256)
	if got := simulate(l, &now, 40*time.Second, func(int) (time.Duration, bool) { return 10 * time.Millisecond, false }); got != 256 {
		t.Errorf("a fast backend is given %d at once", got)
	}
	if got := simulate(l, &now, time.Minute, func(int) (time.Duration, bool) { return time.Second, true }); got != 1 {
		t.Errorf("one that fails is given %d", got)
	}
	l = newLimiter(256)
	// Eight at once take 10 ms; beyond that they queue up inside.
	queueing := func(n int) (time.Duration, bool) {
		return 10 * time.Millisecond * time.Duration(max(8, n)) / 8, false
	}
	if got := simulate(l, &now, 10*time.Minute, queueing); got < 8 || got > 20 {
		t.Errorf("one that takes eight is given %d", got)
	}
	l = newLimiter(256)
	for range 1000 {
		now = now.Add(time.Second)
		l.answer(now, time.Millisecond, false, 1)
	}
	if got := l.allowed(); got != firstLimit {
		t.Errorf("a backend that was never tried is given %d", got)
	}
	if got := newLimiter(3).allowed(); got != 3 {
		t.Errorf("at most 3, but %d", got)
	}
}
