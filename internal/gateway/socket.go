package gateway

import (
	"errors"
	"net"

	"holdfast/internal/netpoll"
	"holdfast/internal/session"
	"holdfast/wsframe"
)

// socket is one WebSocket: the one that carries a session, or one that tries to.
// It belongs to the session's shard.
type socket struct {
	sh      *shard
	conn    *conn
	nc      netpoll.Conn
	reader  wsframe.Reader
	rest    *unsent  // nil: the kernel has taken all
	arrival *arrival // while it tries to take over a session of another node
	deflate bool
	probe   bool // polling still carries the session
	closed  bool
}

var _ netpoll.Handler = (*socket)(nil)

// errStop ends the reading of a socket that the session has closed meanwhile.
var errStop = errors.New("the session is over")

// attach has the shard's poller serve nc, whose first bytes have been read already.
func (sh *shard) attach(s *socket, nc net.Conn, first []byte) error {
	pc, err := sh.engine.Add(nc, s)
	if err != nil {
		return err
	}
	s.nc = pc
	if len(first) > 0 {
		s.OnData(first)
	}
	return nil
}

// OnData implements netpoll.Handler.
func (s *socket) OnData(b []byte) {
	if s.closed {
		return
	}
	if !s.probe {
		// Bytes count before they make a packet: a large message on a slow line is no silence.
		s.conn.session.Alive(s.sh.now)
	}
	opts := &s.sh.g.readers[0]
	if s.deflate {
		opts = &s.sh.g.readers[1]
	}
	s.sh.whole = false
	err := s.reader.Feed(opts, b, s.frame)
	s.pong()
	s.noteHeld()
	if err == nil || errors.Is(err, errStop) {
		return
	}
	var bad *wsframe.Error
	if !errors.As(err, &bad) {
		return // the session is over and has said why
	}
	s.fault(bad)
}

// fault ends what broke RFC 6455 or a bound.
func (s *socket) fault(bad *wsframe.Error) {
	if s.probe {
		s.fail(bad.Code, bad.Reason)
		return
	}
	c := s.conn
	s.sh.malformed(c, bad)
	why := session.ParseError
	if bad.Code == wsframe.MessageTooBig {
		why = session.TooLarge
	}
	why.Code = uint16(bad.Code)
	c.session.End(why, s.sh.now, &s.sh.acts)
	s.sh.settle(c)
}

// frame takes one message or control frame.
func (s *socket) frame(op wsframe.Opcode, payload []byte) error {
	if s.closed {
		return errStop
	}
	switch op {
	case wsframe.Ping:
		s.sh.ping = append(s.sh.ping[:0], payload...)
		s.sh.pinged = true
		return nil
	case wsframe.Pong:
		return nil
	case wsframe.Close:
		s.peerClosed(payload)
		return errStop
	}
	s.sh.whole = true
	if s.probe {
		return s.probeFrame(op, payload)
	}
	c, sh := s.conn, s.sh
	if op == wsframe.Oversized {
		if !c.session.Oversize(payload, sh.now, &sh.acts) {
			return &wsframe.Error{Code: wsframe.MessageTooBig, Reason: "message is too big"}
		}
		sh.settle(c)
		return nil
	}
	var err error
	if op == wsframe.Text {
		err = c.session.Text(payload, sh.now, &sh.acts)
	} else {
		err = c.session.Binary(payload, sh.now, &sh.acts)
	}
	if err != nil {
		sh.malformed(c, err)
	}
	sh.settle(c)
	if s.closed {
		return errStop
	}
	return nil
}

func (s *socket) probeFrame(op wsframe.Opcode, payload []byte) error {
	if s.arrival != nil {
		return s.arrivalFrame(op, payload)
	}
	c, sh := s.conn, s.sh
	answer := session.ProbeFailed
	if op == wsframe.Text {
		answer = c.session.Probe(payload, sh.now)
	}
	switch answer {
	case session.ProbePong:
		s.write(whole(wsframe.AppendFrame(nil, wsframe.Text, false, []byte("3probe"))))
		sh.settle(c)
		return nil
	case session.ProbeUpgraded:
		s.probe = false
		delete(sh.probes, s)
		c.sock = s
		sh.g.Stats.Upgrades.Add(1)
		if c.poll != nil {
			// The client has said that no poll is under way; one that is gets a noop.
			c.poll <- httpAnswer{ok: true, body: noopPayload(c.session.Version())}
			c.poll = nil
		}
		sh.holds(c, 0, false) // the socket does from here on
		c.upgraded(&sh.g.Stats)
		sh.settle(c)
		return nil
	default:
		s.fail(wsframe.PolicyViolation, "not an upgrade")
		return errStop
	}
}

// fail closes a probe; polling goes on.
func (s *socket) fail(code wsframe.CloseCode, reason string) {
	if s.closed {
		return
	}
	delete(s.sh.probes, s)
	if s.arrival != nil {
		s.sh.lostArrival(s)
	} else {
		s.conn.setProbing(nil)
		s.conn.session.ProbeLost()
	}
	s.close(code, reason)
}

// peerClosed answers a close frame and ends the session.
func (s *socket) peerClosed(payload []byte) {
	code, _, err := wsframe.ParseClose(payload)
	if err != nil || !code.Sendable() {
		code = wsframe.NormalClosure
	}
	s.gone(session.TransportClose, code)
}

// OnClosed implements netpoll.Handler: the peer is gone.
func (s *socket) OnClosed(err error) {
	_ = err // every way of going is a transport that closed
	if s.closed {
		s.part()
		return
	}
	s.gone(session.TransportClose, 0)
}

func (s *socket) gone(why session.Reason, code wsframe.CloseCode) {
	if s.probe {
		s.fail(code, "")
		return
	}
	c := s.conn
	c.sock = nil
	s.say(code, "")
	s.part()
	c.session.Lost(why, &s.sh.acts)
	s.sh.settle(c)
}

// OnWritable implements netpoll.Handler: the kernel takes more.
func (s *socket) OnWritable() {
	if s.closed {
		return
	}
	rest := s.rest
	s.keep(nil)
	if rest != nil && !s.write(rest.parts) {
		return
	}
	if !s.probe && s.conn.sock == s {
		s.sh.flushSocket(s.conn, s)
	}
}

// whole is bytes that are the socket's from here on.
func whole(b []byte) []part { return []part{{b: b, lasts: true}} }

// write offers bytes to the kernel and keeps what it does not take; true when it
// took all. Nothing may be offered while something is kept.
func (s *socket) write(parts []part) bool {
	size := 0
	bufs := s.sh.bufs[:0]
	for i := range parts {
		bufs = append(bufs, parts[i].b)
		size += len(parts[i].b)
	}
	n, err := s.nc.Writev(bufs)
	clear(bufs)
	s.sh.bufs = bufs
	if err != nil {
		return false // OnClosed follows
	}
	if n < size {
		s.keep(leftOver(parts, n))
		return false
	}
	return true
}

// keep notes what the kernel has not taken, nil when it has taken all.
func (s *socket) keep(rest *unsent) {
	stats := &s.sh.g.Stats
	if s.rest != nil {
		stats.Blocked.Add(-1)
		stats.BlockedBytes.Add(-int64(s.rest.size))
	}
	if rest != nil {
		stats.Blocked.Add(1)
		stats.BlockedBytes.Add(int64(rest.size))
	}
	s.rest = rest
}

// pong answers the last of the pings that one read has brought, which stands for those
// before it (RFC 6455 section 5.5.3): thousands fit into a read, and a write for each
// would hold up everybody else on the shard. One that cannot be written at once is left
// out, since the peer shows by not reading that it does not wait for it.
func (s *socket) pong() {
	if !s.sh.pinged {
		return
	}
	s.sh.pinged = false
	if !s.closed && !s.blocked() {
		s.write(whole(wsframe.AppendFrame(nil, wsframe.Pong, false, s.sh.ping)))
	}
}

// A socket on which this side has said its last is read for another moment, and what
// comes is let go: the peer may be sending, and a socket that is closed under its bytes
// is reset, by which the peer loses the close frame and what stands before it. Only so
// many wait for that; further ones are closed at once.
const (
	partingTime = 2000 // milliseconds
	maxParting  = 4096 // sockets of a shard
)

// close writes a close frame if it can (code 0: none) and lets the socket go.
func (s *socket) close(code wsframe.CloseCode, reason string) {
	if s.closed {
		return
	}
	said := s.say(code, reason)
	half, ok := s.nc.(netpoll.HalfCloser)
	if !said || !ok || len(s.sh.parting) >= maxParting || half.CloseWrite() != nil {
		s.part()
		return
	}
	s.sh.parting[s] = s.sh.now + partingTime
	s.nc.ResumeReading()
}

// say writes the last frame of a socket, code 0 for none; false when the peer does not
// get one.
func (s *socket) say(code wsframe.CloseCode, reason string) bool {
	s.closed = true
	s.sh.holds(s, 0, false)
	if code == 0 || s.blocked() {
		s.keep(nil)
		return false
	}
	s.sh.bufs = append(s.sh.bufs[:0], wsframe.AppendFrame(nil, wsframe.Close, false, wsframe.AppendClose(nil, code, reason)))
	n, err := s.nc.Writev(s.sh.bufs)
	return err == nil && n == len(s.sh.bufs[0])
}

// part closes the connection of a socket that is not to be used any more.
func (s *socket) part() {
	delete(s.sh.parting, s)
	s.nc.Close()
}

// blocked tells whether the kernel takes nothing at the moment.
func (s *socket) blocked() bool { return s.rest != nil }

// flushSocket frames what waits and writes it, as much in one call as fits.
func (sh *shard) flushSocket(c *conn, s *socket) {
	for !s.closed && !s.blocked() && c.session.Pending() {
		if !sh.writeFrames(c, s, nil) {
			return
		}
	}
}

// writeFrames writes before, and after it what waits as far as that fits into one
// call; true when the kernel took all of it.
func (sh *shard) writeFrames(c *conn, s *socket, before []byte) bool {
	o := &sh.output
	defer o.reset()
	o.copied = append(o.copied, before...)
	for o.size() < flushBytes {
		out, tail := c.session.Next()
		if out == nil {
			break
		}
		o.frame(c, s, out, tail)
		sh.acts.Reuse(out)
	}
	return s.write(o.all())
}
