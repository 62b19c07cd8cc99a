package boot

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Lines that are alike, which is of one level and with the same text, are written up
// to alikeMost times in alikeTime; what is beyond is counted, and the next line of the
// kind that is written says how many there were. Clients decide how often something
// happens that is worth a line, and a log that they can fill costs disk and time.
const (
	alikeMost = 50
	alikeTime = 10 * time.Second
)

// maxKinds bounds the kinds of lines that are told apart. Texts are words of this
// program, so there are some dozens; past the bound all are forgotten.
const maxKinds = 1024

// calm is a slog.Handler that keeps lines back which are alike. Those below info are
// all written: whoever asks for them wants each.
type calm struct {
	slog.Handler
	seen *lines
}

var _ slog.Handler = calm{}

// newCalm returns a handler in front of h. now is the clock.
func newCalm(h slog.Handler, now func() time.Time) calm {
	return calm{h, &lines{now: now, of: make(map[kind]*alike)}}
}

// Handle implements slog.Handler.
func (c calm) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo {
		return c.Handler.Handle(ctx, r)
	}
	write, more := c.seen.note(kind{r.Level, r.Message})
	if !write {
		return nil
	}
	if more > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("more_since_then", more))
	}
	return c.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (c calm) WithAttrs(attrs []slog.Attr) slog.Handler {
	return calm{c.Handler.WithAttrs(attrs), c.seen}
}

// WithGroup implements slog.Handler.
func (c calm) WithGroup(name string) slog.Handler { return calm{c.Handler.WithGroup(name), c.seen} }

// kind is what lines that are alike have in common.
type kind struct {
	level slog.Level
	text  string
}

// alike is what is known of the lines of one kind.
type alike struct {
	since   time.Time // when the first of them was written
	written int       // from then on
	more    int       // were kept back
}

// lines is what has been written lately. It is safe for concurrent use.
type lines struct {
	now func() time.Time

	mu sync.Mutex
	of map[kind]*alike
}

// note tells whether a line is to be written, and how many of its kind were kept back
// before it that no line has told of.
func (k *lines) note(what kind) (write bool, more int) {
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.of[what]
	if a == nil {
		if len(k.of) >= maxKinds {
			clear(k.of)
		}
		a = &alike{since: now}
		k.of[what] = a
	}
	if now.Sub(a.since) >= alikeTime {
		more = a.more
		*a = alike{since: now}
	}
	if a.written == alikeMost {
		a.more++
		return false, 0
	}
	a.written++
	return true, more
}
