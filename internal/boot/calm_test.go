package boot

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestLinesThatAreAlike writes more of them than are let through, among others.
func TestLinesThatAreAlike(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1_000_000, 0)
	log := slog.New(newCalm(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}), func() time.Time { return now }))
	lines := func() (n int) {
		defer out.Reset()
		return strings.Count(out.String(), "\n")
	}
	for i := range 10 * alikeMost {
		log.With("part", "a").Info("a client's mistake", "number", i)
	}
	if got := lines(); got != alikeMost {
		t.Errorf("%d lines that are alike were written", got)
	}
	log.Warn("a client's mistake")
	log.WithGroup("g").Info("another", "n", 1)
	for range 2 * alikeMost {
		log.Debug("asked for")
	}
	if got := lines(); got != 2+2*alikeMost {
		t.Errorf("%d lines that are not alike were written", got)
	}
	now = now.Add(alikeTime)
	log.Info("a client's mistake")
	if want := fmt.Sprintf(`"more_since_then":%d`, 9*alikeMost); !strings.Contains(out.String(), want) {
		t.Errorf("%s does not say %s", out.String(), want)
	}
	lines()
	log.Info("a client's mistake")
	if got := out.String(); strings.Contains(got, "more_since_then") {
		t.Errorf("said twice: %s", got)
	}
}

// TestKindsOfLinesAreBounded has a text that is never the same.
func TestKindsOfLinesAreBounded(t *testing.T) {
	k := newCalm(slog.DiscardHandler, time.Now).seen
	for i := range 3 * maxKinds {
		if write, _ := k.note(kind{slog.LevelInfo, fmt.Sprint(i)}); !write {
			t.Fatalf("the first line of kind %d is kept back", i)
		}
	}
	if len(k.of) > maxKinds {
		t.Errorf("%d kinds are remembered", len(k.of))
	}
}
