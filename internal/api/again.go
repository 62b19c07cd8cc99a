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
