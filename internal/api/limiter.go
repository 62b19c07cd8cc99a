package api

import (
	"math"
	"time"
)

// limiter learns how many calls a backend takes at once. It looks at windows of
// answers and compares their average time with the usual one:
//
//	overloaded answers in the window       limit × 0.7, down to 1
//	answers take longer than 1.5 × usual   limit shrinks in proportion, down to 10
//	else, and the limit was in use         limit + √limit, smoothed
//
// What is usual is measured once a minute, in a window with half the limit: were it
// the average of all windows, a queue that grows inside the backend would soon
// count as usual. With a limit beyond what the backend really does at once, half of
// it takes half as long, and so the limit comes down by a quarter a minute until it
// fits. The averages are over all events, and time alone never takes away the last
// ten calls, for it may be the events that have become heavier. It has no lock.
type limiter struct {
	limit    float64
	min, max float64
	usual    float64 // seconds
	measured time.Time
	probing  float64 // the limit to return to; 0: not measuring

	// Of the window.
	began    time.Time
	answers  int
	overload int
	sum      time.Duration
	busiest  int // most calls under way
}

const (
	firstLimit     = 20
	slowFloor      = 10
	windowAnswers  = 20
	windowTime     = 100 * time.Millisecond
	measureEvery   = time.Minute
	overloadFactor = 0.7
	tolerated      = 1.5 // times the usual
	betterWeight   = 0.2
	smoothing      = 0.3
)

func newLimiter(most int) *limiter {
	return &limiter{limit: min(firstLimit, float64(most)), min: 1, max: float64(most)}
}

// allowed returns how many calls may be under way.
func (l *limiter) allowed() int { return int(l.limit) }

// answer takes one answer into account. inFlight includes the call it answers.
func (l *limiter) answer(now time.Time, took time.Duration, overloaded bool, inFlight int) {
	if l.began.IsZero() {
		l.began, l.measured = now, now
	}
	l.answers++
	l.sum += took
	l.busiest = max(l.busiest, inFlight)
	if overloaded {
		l.overload++
	}
	if l.overload > 0 {
		// Answered soon; but one window's overload is one sign, since all of its calls
		// were under way when it began.
		if l.answers < min(windowAnswers, l.busiest) {
			return
		}
	} else if l.answers < windowAnswers || now.Sub(l.began) < windowTime {
		return
	}
	l.adjust(now)
	l.began, l.answers, l.overload, l.sum, l.busiest = now, 0, 0, 0, 0
}

func (l *limiter) adjust(now time.Time) {
	average := l.sum.Seconds() / float64(l.answers)
	switch {
	case l.overload > 0:
		l.limit, l.probing = max(l.min, l.limit*overloadFactor), 0
	case l.probing > 0:
		l.usual, l.measured = average, now
		l.limit, l.probing = l.probing, 0
	case now.Sub(l.measured) >= measureEvery:
		l.probing = l.limit
		l.limit = max(l.min, l.limit/2)
	default:
		l.follow(average)
	}
}

// follow moves the limit by what a normal window has shown.
func (l *limiter) follow(average float64) {
	if l.usual == 0 {
		l.usual = average
	}
	if average < l.usual {
		l.usual += betterWeight * (average - l.usual)
	}
	if slower := average / (tolerated * l.usual); slower > 1 {
		next := l.limit * max(0.5, 1/slower)
		next = l.limit + smoothing*(next-l.limit)
		l.limit = max(l.min, next, min(l.limit, slowFloor))
		return
	}
	if float64(l.busiest) >= l.limit/2 { // else nothing is known about more
		l.limit = min(l.max, l.limit+smoothing*math.Sqrt(l.limit))
	}
}
