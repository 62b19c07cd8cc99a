package session

import "holdfast/engineio"

// Answer is what the shard does with a request of the polling transport.
type Answer uint8

// The answers to a poll, a post or a probe.
const (
	// Reply: answer now; a poll with AppendPayload, a post with "ok".
	Reply Answer = iota
	// Wait: the poll stays until there is something (Ready) or the session is over.
	Wait
	// Refused: 400, code 3; the session does not mind.
	Refused
	// Conflict: 400 without a body; the session is over, for two polls or two posts
	// at once are what a client never does.
	Conflict
	// Unknown: 400, code 1: the session is over.
	Unknown
)

// Poll takes a GET. With Wait the shard keeps the request.
func (s *Session) Poll(now int64, acts *Actions) Answer {
	switch {
	case s.state == Closed:
		return Unknown
	case s.transport != Polling:
		return Refused
	case s.waiting:
		s.End(TransportError, now, acts)
		return Conflict
	}
	if s.state == Open {
		s.beat.alive(s, now)
		if s.upgrading && s.out.empty() {
			// The client pauses polling as soon as this one is answered.
			s.out.push(item{out: packetNoop, at: now})
		}
	}
	s.waiting = true
	if s.Ready() {
		return Reply
	}
	return Wait
}

// Ready tells whether a waiting poll can be answered.
func (s *Session) Ready() bool { return s.waiting && !s.out.empty() }

// Waiting tells whether a poll waits.
func (s *Session) Waiting() bool { return s.waiting }

// AppendPayload answers the waiting poll with what is queued, up to about limit
// bytes but at least one message, and says whether the body is binary. When nothing
// is queued, which a shard asks for when the session ended under the poll, the body
// is a close packet, or a noop while the session goes on. When the close packet is
// out the session is over.
//
// A close packet goes alone. A stock client looks at the events of a payload only when
// it is through with all of it: after a close packet they would wait for its next
// connection, without their offsets, and be taken for missed ones there.
func (s *Session) AppendPayload(dst []byte, limit int, acts *Actions) (body []byte, binary bool) {
	s.waiting = false
	var packets []engineio.Packet
	for size := 0; !s.out.empty() && (size == 0 || size < limit && s.out.first.out != packetClose); {
		it := s.out.pop()
		packets = it.out.appendPackets(packets, it.tail)
		size += it.size()
	}
	if packets == nil {
		last := packetClose
		if s.state == Open {
			last = packetNoop
		}
		packets = last.appendPackets(packets, "")
	}
	body, binary = engineio.AppendPayload(dst, s.hello.Version, packets, s.hello.Base64)
	if s.state == Closing && s.out.empty() {
		s.finish(acts)
	}
	return body, binary
}

// BeginPost announces a POST whose body is on its way. With Reply the shard calls
// Post or Lost later.
func (s *Session) BeginPost(now int64, acts *Actions) Answer {
	switch {
	case s.state != Open:
		return Unknown
	case s.transport != Polling:
		return Refused
	case s.posting:
		s.fail(TransportError, now, acts)
		return Conflict
	}
	s.posting = true
	s.beat.alive(s, now)
	return Reply
}

// AbandonPost says that a post was refused before its body was read to the end,
// because it is too large. The session goes on.
func (s *Session) AbandonPost() { s.posting = false }

// Post takes a POST's body; octets says that it came as application/octet-stream.
// The error says what was wrong with it; the session is over then.
func (s *Session) Post(body []byte, octets bool, now int64, acts *Actions) error {
	s.posting = false
	if s.state != Open {
		return nil
	}
	var bad error
	err := engineio.ParsePayload(s.hello.Version, body, octets, engineio.Limits{MaxPackets: s.cfg.PollingPackets}, func(p engineio.Packet) error {
		bad = s.feed(p, nil, now, acts) // nil for what follows a close packet
		return bad
	})
	if err != nil && bad == nil {
		s.fail(reasonOf(err), now, acts)
		return err
	}
	// A packet out of place ends the session, but the post itself was readable: the
	// client learns of it by its next poll, as with a stock server.
	return nil
}
