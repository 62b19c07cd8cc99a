package netpoll

import (
	"net"
	"time"
)

// Socket is what a *tls.Conn is to stand on, so that an engine can take the
// connection over after the handshake:
//
//	l.Accept ─▶ NewSocket ─▶ tls.Server ─▶ handshake, HTTP: as on the socket itself
//	                             │ Add
//	                             ▼
//	           *tls.Conn reads and writes what the shard has for it, never waiting
//
// Before that it hands every call to the socket. Afterwards a Read gives bytes
// that the shard has read from the socket, or an error that is temporary, which
// crypto/tls survives with its partial record kept. A Write always takes
// everything, since for crypto/tls any failed write is final; what the socket
// does not take then waits in the connection, within a bound. Deadlines mean
// nothing any more and are accepted, for the close of a *tls.Conn sets one.
type Socket struct {
	nc    net.Conn // nil: an engine has taken it over
	to    carrier  // the connection in the engine
	hello *hello   // nil: the client's first message has been read
}

var _ net.Conn = (*Socket)(nil)

// carrier is the engine's side of a Socket.
type carrier interface {
	// readSealed returns bytes that came from the peer, or errNoInput.
	readSealed(p []byte) (int, error)
	// writeSealed takes all of p. Its error is final.
	writeSealed(p []byte) (int, error)
}

// NewSocket wraps nc, which belongs to the Socket from then on. Only a TCP or
// Unix stream socket of package net makes a Socket that leaves its goroutine.
//
// What is read first is taken for a hello, if it is one, and cut into pieces.
func NewSocket(nc net.Conn) *Socket { return &Socket{nc: nc, hello: &hello{}} }

// Read implements net.Conn.
func (s *Socket) Read(p []byte) (int, error) {
	if s.to != nil {
		return s.to.readSealed(p)
	}
	if h := s.hello; h != nil {
		n, err := h.read(s.nc, p)
		if h.ended {
			s.hello = nil
		}
		return n, err
	}
	return s.nc.Read(p)
}

// Write implements net.Conn.
func (s *Socket) Write(p []byte) (int, error) {
	if s.to != nil {
		return s.to.writeSealed(p)
	}
	return s.nc.Write(p)
}

// Close implements net.Conn. After the move the engine's connection closes the
// socket, and this does nothing.
func (s *Socket) Close() error {
	if s.to != nil {
		return nil
	}
	return s.nc.Close()
}

// LocalAddr implements net.Conn; after the move it names nothing.
func (s *Socket) LocalAddr() net.Addr {
	if s.to != nil {
		return movedAddr{}
	}
	return s.nc.LocalAddr()
}

// RemoteAddr implements net.Conn; after the move it names nothing.
func (s *Socket) RemoteAddr() net.Addr {
	if s.to != nil {
		return movedAddr{}
	}
	return s.nc.RemoteAddr()
}

// SetDeadline implements net.Conn.
func (s *Socket) SetDeadline(t time.Time) error {
	if s.to != nil {
		return nil
	}
	return s.nc.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (s *Socket) SetReadDeadline(t time.Time) error {
	if s.to != nil {
		return nil
	}
	return s.nc.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (s *Socket) SetWriteDeadline(t time.Time) error {
	if s.to != nil {
		return nil
	}
	return s.nc.SetWriteDeadline(t)
}

// movedAddr stands for addresses that are not kept: a million of them would be
// memory that nobody looks at.
type movedAddr struct{}

func (movedAddr) Network() string { return "tcp" }
func (movedAddr) String() string  { return "moved" }

// errNoInput says that the shard has nothing for a Read now. crypto/tls goes on
// after an error only if that calls itself temporary.
var errNoInput net.Error = noInput{}

type noInput struct{}

func (noInput) Error() string   { return "netpoll: nothing to read at the moment" }
func (noInput) Timeout() bool   { return true }
func (noInput) Temporary() bool { return true }
