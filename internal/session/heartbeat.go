package session

import "math"

// heartbeat decides whether the peer is alive. Any packet from it counts.
//
// Engine.IO 4: this side pings. A client gives up when no ping came for
// interval + timeout, whatever else comes, so a busy session is pinged too. The
// interval grows from a floor by a step after some answered pings up to what the
// handshake advertised, and falls back to the floor when a ping is still
// unanswered at the time of the next one.
//
// Engine.IO 3: the client pings, at the interval that the handshake told it. Its pings
// are counted, for whoever chooses the interval of its next session.
type heartbeat struct {
	lastSeen int64
	nextPing int64 // version 4
	pingAt   int64 // of the oldest unanswered ping; 0: none
	interval int32
	good     uint16
}

func (h *heartbeat) start(s *Session, now int64) {
	h.lastSeen = now
	h.interval = int32(s.cfg.PingInterval)
	if s.hello.Version == 3 {
		if told := s.hello.PingInterval; told > 0 && told < h.interval {
			h.interval = told
		}
		return
	}
	if f := s.cfg.PingFloor; f > 0 && f < s.cfg.PingInterval {
		h.interval = int32(f)
	}
	h.nextPing = now + int64(h.interval)
}

// ping counts a ping of an Engine.IO 3 client.
func (h *heartbeat) ping() {
	if h.good < math.MaxUint16 {
		h.good++
	}
}

// Pings returns how many pings an Engine.IO 3 client has sent, as far as 65,535.
func (s *Session) Pings() int { return int(s.beat.good) }

// alive notes a sign of life.
func (h *heartbeat) alive(s *Session, now int64) {
	h.lastSeen = now
	if h.pingAt == 0 {
		return
	}
	h.pingAt = 0
	if s.cfg.PingFloor == 0 {
		return
	}
	if h.good++; int(h.good) >= max(1, s.cfg.PingRounds) {
		h.good = 0
		h.interval = int32(min(int64(h.interval)+s.cfg.PingStep, s.cfg.PingInterval))
	}
}

func (h *heartbeat) deadline(s *Session) int64 {
	if s.hello.Version == 3 {
		return h.lastSeen + int64(h.interval) + s.cfg.PingTimeout
	}
	if h.pingAt != 0 {
		return min(h.nextPing, h.pingAt+s.cfg.PingTimeout)
	}
	return h.nextPing
}

// tick pings when it is time; false: the peer is dead.
func (h *heartbeat) tick(s *Session, now int64) bool {
	if s.hello.Version == 3 {
		return now < h.deadline(s)
	}
	if h.pingAt != 0 && now >= h.pingAt+s.cfg.PingTimeout {
		return false
	}
	if now < h.nextPing {
		return true
	}
	if h.pingAt != 0 && s.cfg.PingFloor > 0 {
		h.good = 0
		h.interval = int32(min(s.cfg.PingFloor, s.cfg.PingInterval))
	}
	if h.pingAt == 0 {
		h.pingAt = now
	}
	h.nextPing = now + int64(h.interval)
	s.push(item{out: packetPing, at: now})
	return true
}
