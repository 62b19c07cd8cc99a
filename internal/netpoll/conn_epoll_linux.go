package netpoll

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// epollConn is a connection's 32 bytes; its slot has the other 16. It is never
// used again for another connection, so whoever keeps it too long holds a
// closed one and nothing else.
type epollConn struct {
	e    *epollEngine
	h    Handler
	fd   int32 // -1: closed
	slot uint32
}

var (
	_ Conn       = (*epollConn)(nil)
	_ HalfCloser = (*epollConn)(nil)
)

// errPeerGone is for a socket that reports a hang-up and tells no reason.
var errPeerGone = errors.New("netpoll: the peer hung up")

func (c *epollConn) state() *slot { return c.e.table.at(c.slot) }

// ready serves the events of one turn: at most one read of its share of the engine's
// buffer, so that a loud peer gets no more of the shard than others. Level triggering
// brings the rest in the next turn.
func (c *epollConn) ready(s *slot, events uint32) {
	const gone = unix.EPOLLERR | unix.EPOLLHUP
	if s.want&reads != 0 && events&(unix.EPOLLIN|unix.EPOLLRDHUP|gone) != 0 {
		c.read(events&gone != 0)
		if c.fd < 0 || s.ended {
			return
		}
	}
	// With a peer that is gone, the handler's attempt fails and tells it so.
	if s.want&writes != 0 && events&(unix.EPOLLOUT|gone) != 0 {
		s.want &^= writes
		c.h.OnWritable()
	}
}

func (c *epollConn) read(gone bool) {
	s := c.state()
	buf := c.e.buf[:s.share.of(len(c.e.buf))]
	n, err := directRead(int(c.fd), buf)
	switch {
	case err == nil && n == len(buf):
		began := time.Now()
		c.h.OnData(buf)
		if s.conn == c {
			s.share = s.share.after(time.Since(began))
		}
	case err == nil && n > 0:
		c.h.OnData(buf[:n])
	case err == nil:
		c.end(io.EOF)
	case !errors.Is(err, unix.EAGAIN):
		c.end(fmt.Errorf("netpoll: read: %w", err))
	case gone:
		// There is nothing to read and yet the socket failed.
		c.end(c.reason())
	}
}

func (c *epollConn) reason() error {
	if no, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR); err == nil && no != 0 {
		return fmt.Errorf("netpoll: read: %w", unix.Errno(no))
	}
	return errPeerGone
}

// end tells the handler that this is over. A hang-up cannot be masked and would
// be reported for ever, so the socket leaves epoll here.
func (c *epollConn) end(err error) {
	s := c.state()
	if s.ended {
		return
	}
	s.ended = true
	_ = c.e.control(unix.EPOLL_CTL_DEL, int(c.fd), 0, 0, 0)
	c.h.OnClosed(err)
}

func (c *epollConn) Writev(bufs [][]byte) (int, error) {
	if c.fd < 0 || c.state().ended {
		return 0, fmt.Errorf("netpoll: write: %w", net.ErrClosed)
	}
	n, whole, err := c.e.gather.write(int(c.fd), bufs)
	if err != nil {
		return n, fmt.Errorf("netpoll: write: %w", err)
	}
	s := c.state()
	if whole {
		s.want &^= writes
	} else {
		s.want |= writes
	}
	c.e.update(s)
	return n, nil
}

func (c *epollConn) PauseReading() {
	if c.fd >= 0 {
		s := c.state()
		s.want &^= reads
		c.e.update(s)
	}
}

func (c *epollConn) ResumeReading() {
	if c.fd >= 0 {
		s := c.state()
		s.want |= reads
		c.e.update(s)
	}
}

// CloseWrite implements HalfCloser.
func (c *epollConn) CloseWrite() error {
	if c.fd < 0 || c.state().ended {
		return fmt.Errorf("netpoll: end the output: %w", net.ErrClosed)
	}
	if err := unix.Shutdown(int(c.fd), unix.SHUT_WR); err != nil {
		return fmt.Errorf("netpoll: end the output: %w", err)
	}
	return nil
}

// Close is the one place where a connection's descriptor is closed.
func (c *epollConn) Close() {
	if c.fd >= 0 {
		_ = unix.Close(c.unwatch()) // the socket is given up: nobody is left to tell
	}
}

// unwatch takes the descriptor out of the engine and returns it.
func (c *epollConn) unwatch() (fd int) {
	if !c.state().ended {
		// close(2) alone does not end the registration while another descriptor of
		// the same socket lives, in a child between fork and exec for instance.
		_ = c.e.control(unix.EPOLL_CTL_DEL, int(c.fd), 0, 0, 0)
	}
	c.e.table.release(c.slot)
	fd = int(c.fd)
	c.fd, c.h = -1, nil
	return fd
}
