package session

// ProbeAnswer is what the shard does with the socket on which a client tries the
// WebSocket transport.
type ProbeAnswer uint8

// The answers to a frame on a probe socket.
const (
	// ProbeFailed: close the socket; polling goes on.
	ProbeFailed ProbeAnswer = iota
	// ProbePong: send 3probe on it. A waiting poll is ready now.
	ProbePong
	// ProbeUpgraded: the socket carries the session from here. A poll that waits
	// nevertheless gets a noop from the shard.
	ProbeUpgraded
)

// BeginProbe tells whether a second socket may try to take the session over.
func (s *Session) BeginProbe() bool {
	return s.state == Open && s.transport == Polling && !s.upgrading
}

// Probe takes a text frame from the probe socket.
func (s *Session) Probe(b []byte, now int64) ProbeAnswer {
	switch {
	case s.state != Open || s.transport != Polling:
		return ProbeFailed
	case !s.upgrading && string(b) == "2probe":
		s.upgrading = true
		s.beat.alive(s, now)
		if s.waiting && s.out.empty() {
			s.out.push(item{out: packetNoop, at: now})
		}
		return ProbePong
	case s.upgrading && string(b) == "5":
		s.upgrading, s.waiting = false, false
		s.transport = WebSocket
		s.beat.alive(s, now)
		return ProbeUpgraded
	}
	return ProbeFailed
}

// ProbeLost says that the probe socket is gone; polling goes on.
func (s *Session) ProbeLost() { s.upgrading = false }
