package session

import "errors"

// ErrSlow says that more waits for the peer than the bounds allow. The session is
// over when Send returns it.
var ErrSlow = errors.New("more waits for the peer than is allowed")

// Send queues a message with its tail, which a message that takes none goes
// without. A volatile one is dropped (false) when blocked says that the socket
// takes nothing at the moment, or no poll waits to carry it. ErrSlow ends the
// session.
func (s *Session) Send(o *Outgoing, tail string, blocked bool, now int64, acts *Actions) (sent bool, err error) {
	if s.state != Open {
		return false, nil
	}
	// Several volatile messages in one turn of the shard leave together, so what the
	// same turn has queued does not count.
	if o.volatile && (blocked || s.transport == Polling && !s.waiting) {
		return false, nil
	}
	if o.collapse != "" {
		s.out.drop(o.collapse)
	}
	if !o.open {
		tail = ""
	}
	if s.push(item{out: o, tail: tail, at: now}); s.slow {
		s.endSlow(now, acts)
		return false, ErrSlow
	}
	return true, nil
}

// push queues a message within the bounds. Past them the message is gone and the
// session is marked: whoever has an Actions at hand ends it, which is Tick for the
// calls that have none. A message alone in the queue may be of any size.
func (s *Session) push(it item) {
	if !s.out.empty() && (s.out.len() >= s.cfg.OutputItems || s.out.bytes()+it.size() > s.cfg.OutputBytes) {
		s.slow = true
		return
	}
	s.out.push(it)
}

// endSlow ends a session that does not take what it is sent. What waits is let go
// at once: it is what the bounds are for, and the client recovers it.
func (s *Session) endSlow(now int64, acts *Actions) {
	s.out.clear()
	s.End(SlowConsumer, now, acts)
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
