package api

import (
	"math"
	"time"
)

// limiter learns how many calls a backend takes at once. It looks at windows of
// answers: their average time is compared with the long-term one.
//
//	overloaded answers in the window      limit × 0.7
//	answers take more than twice as long  limit shrinks in proportion, at most by half
//	else, and the limit was in use        limit + √limit, smoothed
//
// The averages are over all events, so a backend that is slow for some of them is
// not mistaken for one that is overloaded. It has no lock.
type limiter struct {
	limit    float64
	min, max float64

	began    time.Time // of the window; zero: none yet
	answers  int
	overload int
	sum      time.Duration
	busiest  int     // most calls under way in the window
	usual    float64 // long-term average, seconds
}

const (
	firstLimit      = 20
	windowAnswers   = 10
	windowTime      = 100 * time.Millisecond
	overloadFactor  = 0.7
	toleratedFactor = 2 // times the usual
	usualWeight     = 0.05
	smoothing       = 0.3
)

func newLimiter(most int) *limiter {
	return &limiter{limit: min(firstLimit, float64(most)), min: 1, max: float64(most)}
}

// allowed returns how many calls may be under way.
func (l *limiter) allowed() int { return int(l.limit) }

// answer takes one answer into account. inFlight includes the call it answers.
func (l *limiter) answer(now time.Time, took time.Duration, overloaded bool, inFlight int) {
	if l.began.IsZero() {
		l.began = now
	}
	l.answers++
	l.sum += took
	l.busiest = max(l.busiest, inFlight)
	if overloaded {
		l.overload++
	}
	// Overload is answered at once; one window's answers count as one sign, since all
	// of them were under way when it began.
	if l.overload == 0 && (l.answers < windowAnswers || now.Sub(l.began) < windowTime) {
		return
	}
	if l.overload > 0 && l.answers < min(windowAnswers, l.busiest) {
		return
	}
	l.adjust()
	l.began, l.answers, l.overload, l.sum, l.busiest = now, 0, 0, 0, 0
}

func (l *limiter) adjust() {
	average := l.sum.Seconds() / float64(l.answers)
	if l.overload > 0 {
		l.limit = max(l.min, l.limit*overloadFactor)
		return
	}
	if l.usual == 0 {
		l.usual = average
	}
	gradient := 1.0
	if average > 0 {
		gradient = max(0.5, min(1, toleratedFactor*l.usual/average))
	}
	l.usual += usualWeight * (average - l.usual)
	if gradient == 1 && float64(l.busiest) < l.limit/2 {
		return // nothing is known about more than was tried
	}
	next := l.limit * gradient
	if gradient == 1 {
		next += math.Sqrt(l.limit)
	}
	l.limit = max(l.min, min(l.max, l.limit+smoothing*(next-l.limit)))
}
