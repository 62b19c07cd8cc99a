package api

import (
	"time"
)

// consumer is one stream, or another ws-api for its streams. Its fields are guarded by
// its group's mu.
type consumer struct {
	group   *group
	peer    string // the other ws-api; "": a stream
	max     int
	rests   time.Time         // it had no room, and is given nothing until then
	holding map[string]*entry // by event ID
	out     []delivery        // of a stream: assigned and not yet sent; at most max
	wake    chan struct{}     // has room for one
}

// delivery is an event to send to a consumer.
type delivery struct {
	ev      *event
	attempt uint32
}

// take returns what is to be sent to the consumer now.
func (c *consumer) take() []delivery {
	c.group.mu.Lock()
	defer c.group.mu.Unlock()
	out := c.out
	c.out = nil
	return out
}

// ack takes note that the consumer has dealt with an event, which is done with when
// done is called. nil: the consumer does not hold it (any more).
func (c *consumer) ack(id string) *entry {
	g := c.group
	g.mu.Lock()
	defer g.mu.Unlock()
	en := c.holding[id]
	if en == nil || en.held == nil {
		return nil
	}
	en.among.Remove(en.held) // no deadline any more
	en.held = nil
	return en
}

// done ends what ack began: the session's next event may come.
func (c *consumer) done(en *entry) {
	g := c.group
	g.mu.Lock()
	c.drop(en)
	g.lineupOf(en).done(en)
	g.pump()
	g.mu.Unlock()
	g.of.s.count.groupAcks.Add(1)
	en.ev.release()
}

// drop forgets that the consumer holds an entry. It may hold another one of the same event,
// which has come a second time. g.mu is held.
func (c *consumer) drop(en *entry) {
	if id := en.ev.up.ID; c.holding[id] == en {
		delete(c.holding, id)
	}
}
