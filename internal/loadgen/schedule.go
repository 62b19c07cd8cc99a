package loadgen

import (
	"context"
	"time"
)

// Schedule fixes beforehand when each of a row of things is due. It never looks
// at how the earlier ones went: that is what makes a stall show.
type Schedule struct {
	Start time.Time
	Rate  float64 // a second; 0 or less: all of them at Start
}

// At is when the thing number i (from 0) is due.
func (s Schedule) At(i int) time.Time {
	if s.Rate <= 0 {
		return s.Start
	}
	return s.Start.Add(time.Duration(float64(i) / s.Rate * float64(time.Second)))
}

// Due is how many things are due at now.
func (s Schedule) Due(now time.Time) int {
	if now.Before(s.Start) {
		return 0
	}
	if s.Rate <= 0 {
		return int(^uint(0) >> 1)
	}
	return int(now.Sub(s.Start).Seconds()*s.Rate) + 1
}

// sleepUntil waits for t, or for the context's end, which is its error.
func sleepUntil(ctx context.Context, t time.Time) error {
	d := time.Until(t)
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Sleep waits, or returns the context's error at its end.
func Sleep(ctx context.Context, d time.Duration) error { return sleepUntil(ctx, time.Now().Add(d)) }
