package gateway

import (
	"container/list"
	"errors"
	"io"

	"holdfast/internal/session"
	"holdfast/wsframe"
)

// unfinished is what a shard holds of messages that have not come whole: parts of large
// ones, and packets without their last attachments. Each connection may have as much as
// one message, which is more than a node has memory for when very many begin one and
// never end it. So all of a node's together are bounded, and each in time:
//
//	a read leaves much behind ──▶ in order ── whole, or the connection is gone ──▶ out
//	                                 │ the node holds too much: the oldest of the shard
//	                                 │ its message takes too long
//	                                 └──▶ the connection is closed
//
// The oldest goes, for who means to finish a message does so sooner or later, and who
// does not has it for longest. What is small is not counted.
type unfinished struct {
	of    map[holder]*list.Element
	order list.List // of *held, the oldest first
}

// holder is who has a message that is not whole.
type holder interface {
	// giveUp closes the connection, or ends the session.
	giveUp(sh *shard, reason string)
}

var (
	_ holder = (*socket)(nil)
	_ holder = (*conn)(nil)
)

type held struct {
	who   holder
	bytes int
	since int64 // when the message began, or the last one before it was whole
}

// leastHeld is what a holder may hold without being counted, in bytes.
const leastHeld = 4 << 10

// holds notes how much who holds now; whole says that a message of it has come whole.
func (sh *shard) holds(who holder, bytes int, whole bool) {
	u := &sh.unfinished
	el := u.of[who]
	switch {
	case bytes < leastHeld:
		if el != nil {
			sh.unhold(el)
		}
		return
	case el == nil:
		if u.of == nil {
			u.of = make(map[holder]*list.Element)
		}
		el = u.order.PushBack(&held{who: who, since: sh.now})
		u.of[who] = el
		sh.g.holders.Add(1)
	case whole:
		u.order.MoveToBack(el)
		el.Value.(*held).since = sh.now
	}
	h := el.Value.(*held)
	total := sh.g.held.Add(int64(bytes - h.bytes))
	h.bytes = bytes
	for total > int64(sh.g.cfg.UnfinishedBytes) && u.order.Len() > 0 {
		sh.crowdOut(u.order.Front(), "too much is being received at the moment")
		total = sh.g.held.Load()
	}
}

// unhold forgets what is held.
func (sh *shard) unhold(el *list.Element) {
	h := sh.unfinished.order.Remove(el).(*held)
	delete(sh.unfinished.of, h.who)
	sh.g.held.Add(-int64(h.bytes))
	sh.g.holders.Add(-1)
}

// crowdOut gives somebody up.
func (sh *shard) crowdOut(el *list.Element, reason string) {
	who := el.Value.(*held).who
	sh.unhold(el)
	sh.g.Stats.CrowdedOut.Add(1)
	who.giveUp(sh, reason)
}

// sweepUnfinished gives up what takes too long.
func (sh *shard) sweepUnfinished() {
	for el := sh.unfinished.order.Front(); el != nil; el = sh.unfinished.order.Front() {
		if sh.now-el.Value.(*held).since < sh.g.cfg.MessageTime.Milliseconds() {
			return
		}
		sh.crowdOut(el, "the message did not come in time")
	}
}

// noteHeld notes what one read of a socket has left behind.
func (s *socket) noteHeld() {
	if s.closed {
		return
	}
	bytes := s.reader.Buffered()
	if !s.probe {
		bytes += s.conn.session.Held()
	}
	if bytes >= leastHeld || len(s.sh.unfinished.of) > 0 {
		s.sh.holds(s, bytes, s.sh.whole)
	}
}

// giveUp implements holder.
func (s *socket) giveUp(sh *shard, reason string) {
	if s.probe {
		s.fail(wsframe.TryAgainLater, reason)
		return
	}
	s.conn.giveUp(sh, reason)
}

// giveUp implements holder; it is also for a session whose packets come in posts.
func (c *conn) giveUp(sh *shard, reason string) {
	sh.g.cfg.Logger.Info("a session is ended for what it has begun to send", "reason", reason, "remote", c.remote)
	why := session.LimitExceeded
	why.Code = uint16(wsframe.TryAgainLater)
	c.session.End(why, sh.now, &sh.acts)
	sh.settle(c)
}

// errCrowded says that the bodies of posts take too much at the moment.
var errCrowded = errors.New("too much is being received at the moment")

// largeBody is what of each body is not counted, in bytes: most posts are small, and go
// on when others are refused.
const largeBody = 64 << 10

// countedBody reads a body and counts it among those that are being read.
type countedBody struct {
	io.Reader
	g       *Gateway
	read    int64
	counted int64
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.read += int64(n)
	if more := b.read - largeBody - b.counted; more > 0 {
		b.counted += more
		if b.g.posted.Add(more) > int64(b.g.cfg.UnfinishedBytes) {
			return n, errCrowded
		}
	}
	return n, err
}

// done says that the body is not held any more.
func (b *countedBody) done() { b.g.posted.Add(-b.counted) }
