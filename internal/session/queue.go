package session

import "errors"

// item is one message that waits for the peer.
type item struct {
	out  *Outgoing
	tail string // the offset that goes with it, "" for none
	at   int64  // since when it waits
}

func (it *item) size() int { return it.out.size() + len(it.tail) + 16 }

// queue is what waits for the peer, in order. An empty one holds no memory.
type queue struct {
	items []item
	head  int
	bytes int
}

func (q *queue) empty() bool { return q.head == len(q.items) }

func (q *queue) len() int { return len(q.items) - q.head }

func (q *queue) push(it item) {
	q.items = append(q.items, it)
	q.bytes += it.size()
}

func (q *queue) pop() item {
	it := q.items[q.head]
	q.items[q.head] = item{}
	q.head++
	q.bytes -= it.size()
	switch {
	case q.empty():
		q.clear()
	case q.head > 64 && q.head*2 > len(q.items):
		q.items = append(q.items[:0], q.items[q.head:]...)
		q.head = 0
	}
	return it
}

func (q *queue) clear() { *q = queue{} }

// oldest returns since when the first message waits.
func (q *queue) oldest() (at int64, ok bool) {
	if q.empty() {
		return 0, false
	}
	return q.items[q.head].at, true
}

// drop removes an unsent message with the given collapse key.
func (q *queue) drop(collapse string) {
	for i := len(q.items) - 1; i >= q.head; i-- {
		if q.items[i].out.collapse == collapse {
			q.bytes -= q.items[i].size()
			q.items = append(q.items[:i], q.items[i+1:]...)
			if q.empty() {
				q.clear()
			}
			return
		}
	}
}

// ErrSlow says that more waits for the peer than the bounds allow. The session is
// over when Send returns it.
var ErrSlow = errors.New("more waits for the peer than is allowed")

// Writable tells whether a message sent now leaves at once: on polling when a poll
// waits, on a WebSocket when nothing is queued. The shard knows whether the socket
// itself is blocked.
func (s *Session) Writable() bool {
	if s.state != Open {
		return false
	}
	if s.transport == Polling {
		return s.waiting && s.out.empty()
	}
	return s.out.empty()
}

// Send queues a message with its tail. Volatile ones are dropped (false) when
// blocked says that the socket takes nothing at the moment, or nothing waits to
// carry them. ErrSlow ends the session.
func (s *Session) Send(o *Outgoing, tail string, blocked bool, now int64, acts *Actions) (sent bool, err error) {
	if s.state != Open {
		return false, nil
	}
	if o.volatile && (blocked || !s.volatileReady()) {
		return false, nil
	}
	if o.collapse != "" {
		s.out.drop(o.collapse)
	}
	it := item{out: o, tail: tail, at: now}
	if s.out.len() > 0 && (s.out.len() >= s.cfg.OutputItems || s.out.bytes+it.size() > s.cfg.OutputBytes) {
		s.End(SlowConsumer, now, acts)
		return false, ErrSlow
	}
	s.out.push(it)
	return true, nil
}

// volatileReady is looser than Writable: several volatile messages in one turn of
// the shard leave together, so what the same turn has queued does not count.
func (s *Session) volatileReady() bool {
	return s.transport == WebSocket || s.waiting
}

// Pending tells whether anything waits for the peer.
func (s *Session) Pending() bool { return !s.out.empty() }

// Next gives the next message for the WebSocket, nil when nothing waits.
func (s *Session) Next() (o *Outgoing, tail string) {
	if s.out.empty() {
		return nil, ""
	}
	it := s.out.pop()
	return it.out, it.tail
}
