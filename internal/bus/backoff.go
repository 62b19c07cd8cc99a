package bus

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// backoff is the pause between attempts while a server is away: it doubles from 20 ms
// to 2 s. Each user of the server has its own.
type backoff struct {
	server, act string // as they are logged
	failures    *atomic.Uint64
	log         *slog.Logger
	pause       time.Duration
}

// failed waits; it returns false when ctx has ended.
func (o *backoff) failed(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	o.failures.Add(1)
	if o.pause == 0 {
		o.log.Warn(o.server+" does not answer the bus, which tries again", "act", o.act, "error", err)
	}
	o.pause = min(max(2*o.pause, 20*time.Millisecond), 2*time.Second)
	return wait(ctx, o.pause)
}

func (o *backoff) worked() {
	if o.pause > 0 {
		o.log.Info(o.server+" answers the bus again", "act", o.act)
	}
	o.pause = 0
}

// wait returns true after d, false when ctx ends before.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
