package bus

import (
	"context"
	"testing"
	"time"
)

// A process that was cut off has an event in flight whose partition another one takes, and
// gives back.
func TestHoldOfAnEvent(t *testing.T) {
	var c claims
	c.init(context.Background())
	defer c.stop()
	c.consuming, c.leaseEnd = true, time.Now().Add(time.Hour)
	owned := func(by string) {
		beats := map[string]string{"me": "1 1", "other": "1 1"}
		c.plan("me", []string{"me"}, beats, nil, map[string]string{"0": by}, 1)
	}
	owned("me")
	life := c.parts[0].life
	if got := c.hand(reading{partition: 0, life: life}, "1-0"); got != handIt {
		t.Fatalf("it is not handed out: %v", got)
	}
	if h := c.hold(0, life); h.Lost || h.Again || h.Until != c.leaseEnd {
		t.Errorf("of an owner: %+v", h)
	}
	owned("") // as after a loss of Redis' data
	if h := c.hold(0, life); h.Lost || !h.Until.IsZero() {
		t.Errorf("while nobody is known to own it: %+v", h)
	}
	owned("other")
	if h := c.hold(0, life); !h.Lost {
		t.Errorf("when another one owns it: %+v", h)
	}
	c.settle(0, "1-0")
	if len(c.settled) != 0 || len(c.parts[0].inflight) != 0 {
		t.Errorf("another's event is removed: %v, or still in flight: %v", c.settled, c.parts[0].inflight)
	}
	owned("me")
	if h := c.hold(0, life); h.Lost || !h.Again {
		t.Errorf("when it is owned again: %+v", h)
	}
	c.settle(0, "2-0")
	if len(c.settled) != 1 {
		t.Errorf("to be removed: %v", c.settled)
	}
}
