package gateway

import (
	"sync/atomic"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/session"
)

// backlog is the events that a full upstream has refused, in order. While there are
// any, the sockets that add to it are not read and the posts that did so are not
// answered, which bounds it by what is in flight. As one read of a socket may hold
// thousands of small events, it has bounds of its own as well (those of the inbox):
// past them the session that adds an event is closed, and no handshake is accepted.
type backlog struct {
	events  []*message.Up
	bytes   int
	paused  []*conn
	posts   map[*conn]chan httpAnswer // whose events are among these
	retryAt int64
	over    atomic.Bool // read by handshakes

	items, size atomic.Int64 // what events and bytes are, for those who look from outside
}

func (b *backlog) show() {
	b.items.Store(int64(len(b.events)))
	b.size.Store(int64(b.bytes))
}

func (b *backlog) pending() bool { return len(b.events) > 0 }

// publish hands an event of c's (nil: of nobody who could be held up) to the bus;
// false when it has to wait for room there.
func (sh *shard) publish(c *conn, up *message.Up) (taken bool) {
	if c != nil && up.Type == message.EventMessage {
		defer sh.charge(c, up.Size())
	}
	up.Enqueued = time.Now()
	b := &sh.backlog
	if !b.pending() {
		if err := sh.g.cfg.Bus.Publish(up); err == nil {
			sh.g.enqueued(up)
			return true
		}
		b.retryAt = sh.now + retryEvery
	}
	if over := len(b.events) >= sh.g.cfg.InboxRecords || b.bytes >= sh.g.cfg.InboxBytes; over {
		b.over.Store(true)
		if c != nil && up.Type == message.EventMessage {
			sh.g.Stats.Overflows.Add(1)
			c.session.End(session.LimitExceeded, sh.now, &sh.acts)
			return false
		}
	}
	up.Acked = false // that is for ws-api, when it gets the event
	b.events = append(b.events, up)
	b.bytes += up.Size()
	b.show()
	if c != nil && !c.paused && !c.dropped {
		c.paused = true
		b.paused = append(b.paused, c)
		sh.g.Stats.PausedReads.Add(1)
		c.pauseReading()
	}
	return false
}

func (c *conn) pauseReading() {
	if c.sock != nil && c.sock.nc != nil {
		c.sock.nc.PauseReading()
	}
}

func (sh *shard) retryBacklog() {
	b := &sh.backlog
	b.retryAt = sh.now + retryEvery
	sent := 0
	for _, up := range b.events {
		up.Enqueued = time.Now()
		if err := sh.g.cfg.Bus.Publish(up); err != nil {
			break
		}
		sh.g.enqueued(up)
		b.bytes -= up.Size()
		sent++
	}
	rest := append(b.events[:0], b.events[sent:]...)
	clear(b.events[len(rest):])
	b.events = rest
	b.show()
	if len(rest) > 0 {
		return
	}
	b.events = nil
	b.over.Store(false)
	paused := b.paused
	b.paused = nil
	sh.readAgain(paused)
}

// answerPost answers a post that waits, if there is one.
func (sh *shard) answerPost(c *conn, a httpAnswer) {
	if post := sh.backlog.posts[c]; post != nil {
		delete(sh.backlog.posts, c)
		post <- a
	}
}

// hold keeps the answer to a post of c's until its events have found room.
func (b *backlog) hold(c *conn, answer chan httpAnswer) {
	if b.posts == nil {
		b.posts = make(map[*conn]chan httpAnswer)
	}
	b.posts[c] = answer
}
