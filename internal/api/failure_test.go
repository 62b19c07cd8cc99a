package api

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestBurstTellsKindsApart shows that an error is logged although another one has been a
// moment ago, and that many alike are counted.
func TestBurstTellsKindsApart(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	now := time.Unix(1700000000, 0)
	b := burst{now: func() time.Time { return now }, every: 10 * time.Second}
	lines := func() []string {
		defer out.Reset()
		return strings.Split(strings.TrimSpace(out.String()), "\n")
	}
	for range 1000 {
		b.warn(log, "timeout", "slow")
	}
	b.warn(log, "typo", "an answer is not valid")
	if got := lines(); len(got) != 2 || !strings.Contains(got[0], "slow") || !strings.Contains(got[1], "not valid") {
		t.Errorf("logged %q", got)
	}
	now = now.Add(11 * time.Second)
	b.warn(log, "timeout", "slow")
	if got := lines(); len(got) != 1 || !strings.Contains(got[0], "more_since_then=999") {
		t.Errorf("logged %q", got)
	}
	// Whatever comes, there are few lines and little is kept.
	for i := range 1000 {
		b.warn(log, fmt.Sprint("kind ", i), "another")
	}
	if n := len(lines()); n > maxKinds+1 || len(b.kinds) > maxKinds+1 {
		t.Errorf("%d lines and %d kinds", n, len(b.kinds))
	}
}

func TestFailuresAreAlike(t *testing.T) {
	reset := func(port int) *failure {
		return &failure{codeUnavailable, "backend app broke off the call", fmt.Errorf("read tcp 127.0.0.1:%d: %w", port, errors.New("reset"))}
	}
	if reset(1).kind() != reset(2).kind() {
		t.Error("failures of one kind are told apart by a port")
	}
	wrong := func(field, begins string) *failure {
		return &failure{codeInternal, "not valid", fmt.Errorf("read: %w; it begins %s", errors.New(field), begins)}
	}
	if wrong("a", "1").kind() != wrong("a", "2").kind() || wrong("a", "1").kind() == wrong("b", "1").kind() {
		t.Error("what is wrong with an answer does not make its kind")
	}
}
