package api

import (
	"context"
	"errors"
	"sync"
	"time"

	"holdfast/internal/message"
)

// clocksApart is how far the clocks of gateways, backends and stores may be apart.
const clocksApart = 2 * time.Second

// triedSince is since when something may be in the logs that was written to the bus at a
// time, by the clock of who wrote it; zero where that is not known.
func triedSince(written time.Time) time.Time {
	if written.IsZero() {
		return written
	}
	return written.Add(-clocksApart)
}

// relayPatience is how long an event waits for a store that is away. It may have been
// acknowledged, and nobody would send it again.
const relayPatience = 10 * time.Minute

// errElsewhere says that an event is another ws-api's.
var errElsewhere = errors.New("another ws-api has the event")

// relaySurely routes the push that relays an event, and tries again until its logs have it
// where one attempt ends without an answer. What is volatile is tried once.
func (s *Server) relaySurely(ctx context.Context, e *event, p *message.Push) error {
	ctx, cancel := context.WithTimeout(ctx, relayPatience)
	defer cancel()
	began := s.cfg.Now()
	var since time.Time
	for first := true; ; first = false {
		until, ok := e.mine()
		if !ok {
			return errElsewhere
		}
		try, cancel := s.tryUntil(ctx, until)
		if first {
			since = s.unrelayed.since(try, e, p)
		}
		_, err := s.routeAgain(try, p, since)
		if errors.Is(err, message.ErrForgotten) { // rather twice than not at all
			_, err = s.routeAgain(try, p, time.Time{})
		}
		cancel()
		if err == nil || p.Volatile {
			return err
		}
		if since.IsZero() {
			since = triedSince(began)
		}
		select {
		case <-time.After(ackAgain):
		case <-s.patient.Done():
			e.left.Store(true)
			return err
		case <-ctx.Done():
			return err
		}
	}
}

// tryUntil bounds one attempt, which ends at a time at the latest; zero for none.
func (s *Server) tryUntil(ctx context.Context, until time.Time) (context.Context, context.CancelFunc) {
	if limit := time.Now().Add(s.limits.CallTimeout); until.IsZero() || limit.Before(until) {
		until = limit
	}
	return context.WithDeadline(ctx, until)
}

// unrelayed are sessions whose events have come again although they were not relayed. A
// ws-api relays the events of a session one after the other, so the logs need not be asked
// about those that follow.
//
// That is forgotten before another ws-api can have had the session meanwhile and be taken
// for dead. Full, all of it is.
type unrelayed struct {
	s *Server

	mu    sync.Mutex
	until map[string]time.Time // by session
}

const (
	unrelayedFor = 5 * time.Second
	maxUnrelayed = 10_000
)

// since returns since when the logs may have the push that relays an event; zero: they do
// not have it.
func (u *unrelayed) since(ctx context.Context, e *event, p *message.Push) time.Time {
	since := triedSince(e.up.Enqueued)
	if !e.up.Again || p.Volatile || since.IsZero() || u.has(e.session()) {
		return time.Time{}
	}
	known := true
	for _, key := range p.Targets {
		_, err := u.s.cfg.Log.Find(ctx, key, p.ID, since)
		switch {
		case errors.Is(err, message.ErrForgotten):
			known = false
		case !errors.Is(err, message.ErrNotFound):
			return since
		}
	}
	if known {
		u.add(e.session())
	}
	return time.Time{}
}

func (u *unrelayed) has(session string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.s.cfg.Now().Before(u.until[session])
}

func (u *unrelayed) add(session string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.until == nil || len(u.until) >= maxUnrelayed {
		u.until = make(map[string]time.Time)
	}
	u.until[session] = u.s.cfg.Now().Add(unrelayedFor)
}
