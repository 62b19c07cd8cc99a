package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"holdfast/internal/boot"
	"holdfast/internal/redis"
)

// wrongKey returns which key of the configuration an error of Redis is about.
func wrongKey(err error) string {
	text := err.Error()
	for _, about := range []struct{ part, key string }{
		{"WRONGPASS", "store.password"},
		{"NOAUTH", "store.password"},
		{"without any password configured", "store.password"},
		{"NOPERM", "store.username"},
		{"DB index", "store.db"},
		{"SELECT is not allowed", "store.db"},
		{"No such master", "store.sentinel.master"},
		{"tls:", "store.tls"},
		{"x509:", "store.tls"},
	} {
		if strings.Contains(text, about.part) {
			return about.key
		}
	}
	return "store.addrs"
}

// The differences of clocks that are told, and that are refused: what is promised of IDs
// after a loss of Redis' data holds up to the first.
const (
	skewWarned  = 2 * time.Second
	skewRefused = time.Minute
)

// checkRedis finds out whether this process can work with what Redis has.
func (s *stores) checkRedis(ctx context.Context, client redis.Client, cfg *boot.Config, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := redis.CheckSchema(ctx, client, cfg.Store.Prefix); errors.Is(err, redis.ErrForeign) {
		return fmt.Errorf("store.prefix: %q: %w; give this one another prefix, or that one", cfg.Store.Prefix, err)
	} else if err != nil {
		return fmt.Errorf("%s: %w", wrongKey(err), err)
	}
	skew, err := redis.Skew(ctx, client)
	if err != nil {
		return fmt.Errorf("%s: %w", wrongKey(err), err)
	}
	return judgeSkew(skew, log)
}

func judgeSkew(skew time.Duration, log *slog.Logger) error {
	switch {
	case skew.Abs() > skewRefused:
		return fmt.Errorf("store.addrs: the clock of redis is %v ahead of this host's: set the wrong one", skew.Round(time.Second))
	case skew.Abs() > skewWarned:
		log.Warn("the clocks of redis and of this host differ: set the wrong one", "key", "store.addrs", "redis_ahead", skew.Round(time.Millisecond))
	}
	return nil
}
