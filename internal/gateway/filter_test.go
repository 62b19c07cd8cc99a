package gateway

import (
	"testing"

	"holdfast/internal/message"
)

func TestFilterByVersion(t *testing.T) {
	for _, c := range []struct {
		least, has string
		passes     bool
	}{
		{"2.10.0", "2.9.1", false},
		{"2.10.0", "2.10.0", true},
		{"2.10.0", "v3", true},
		{"2.10", "2.10", true},
		{"2.10.1", "2.10", false},
		{"2.10.0", "2.10.0+build.7", true},
		{"2.10.0", "2.10.0 (build 7)", true},
		{"2.10.0", "2.10.0.4", true},
		// A pre-release is below its release, and pre-releases have an order.
		{"2.0.0", "2.0.0-rc.1", false},
		{"2.0.0-rc.1", "2.0.0", true},
		{"2.0.0-rc.2", "2.0.0-rc.10", true},
		{"2.0.0-rc.10", "2.0.0-rc.2", false},
		{"2.0.0-beta.1", "2.0.0-alpha.9", false},
		{"2.0.0-alpha.1", "2.0.0-alpha", false},
		{"2.0.0-alpha.beta", "2.0.0-alpha.1", false},
		{"2.0.0-rc.1", "2.0.0-rc.1", true},
		// Who told none is left out, whatever is asked for.
		{"0", "", false},
		{"0.0.0", "new", false},
		{"0", "0.0.1", true},
	} {
		f := newFilter(&message.Push{Filter: &message.Filter{MinClientVersion: c.least}})
		cl := &client{traits: traits{clientVersion: c.has}.keep()}
		if got := f.passes(cl); got != c.passes {
			t.Errorf("at least %s, has %q: %v", c.least, c.has, got)
		}
	}
}
