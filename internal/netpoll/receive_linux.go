package netpoll

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var (
	_ Receiver = (*epollEngine)(nil)
	_ Received = (*epollConn)(nil)
)

// accepting is the listening socket that an engine watches.
type accepting struct {
	fd   int // a duplicate
	take func(fd int, peer netip.Addr)
	fail func(error)
	at   time.Time // when it is watched again after a failure; zero: it is
}

const (
	acceptSilent = 1  // seconds until a connection without a byte is accepted after all
	acceptBurst  = 64 // connections accepted in one turn
)

// Accept implements Receiver.
func (e *epollEngine) Accept(l net.Listener, take func(fd int, peer netip.Addr), fail func(error)) error {
	t, ok := l.(*net.TCPListener)
	if !ok || e.closed || e.accepting != nil {
		return fmt.Errorf("netpoll: accept from a %T: %w", l, errors.ErrUnsupported)
	}
	fd, err := duplicate(t)
	if err != nil {
		return fmt.Errorf("netpoll: duplicate the listening socket: %w", err)
	}
	if err := e.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN, listenSlot, 0); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("netpoll: watch the listening socket: %w", err)
	}
	// Both only spare work, so that a kernel without them is no failure. Accepted
	// sockets inherit the first. By the second the kernel holds a connection back
	// until its first bytes are there: the engine wakes up once for the two, and a
	// peer that says nothing costs it nothing, until the kernel gives up waiting.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, acceptSilent)
	e.accepting = &accepting{fd: fd, take: take, fail: fail}
	return nil
}

// StopAccepting implements Receiver.
func (e *epollEngine) StopAccepting() {
	a := e.accepting
	if a == nil {
		return
	}
	e.accepting = nil
	if a.at.IsZero() {
		_ = e.control(unix.EPOLL_CTL_DEL, a.fd, 0, 0, 0)
	}
	_ = unix.Close(a.fd)
}

// accept takes what waits at the listening socket.
func (e *epollEngine) accept() {
	for range acceptBurst {
		a := e.accepting
		if a == nil {
			return
		}
		fd, peer, err := directAccept(a.fd)
		// The kernel gives the lowest number that is free, so that many are in use.
		if limit := e.opt.Descriptors; err == nil && limit > 0 && fd >= limit {
			_ = unix.Close(fd)
			err = ErrDescriptors
		}
		switch {
		case err == nil:
			a.take(fd, peer)
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, unix.ECONNABORTED):
		default: // too many open files, for instance
			_ = e.control(unix.EPOLL_CTL_DEL, a.fd, 0, 0, 0)
			a.at = time.Now().Add(acceptAgain)
			a.fail(fmt.Errorf("netpoll: accept: %w", err))
			return
		}
	}
}

// acceptLater watches a listening socket again whose time has come, and returns how
// long a Poll of d may wait.
func (e *epollEngine) acceptLater(d time.Duration) time.Duration {
	a := e.accepting
	if a == nil || a.at.IsZero() {
		return d
	}
	left := time.Until(a.at)
	if left <= 0 {
		if err := e.control(unix.EPOLL_CTL_ADD, a.fd, unix.EPOLLIN, listenSlot, 0); err == nil {
			a.at = time.Time{}
			return d
		}
		left = acceptAgain
		a.at = time.Now().Add(left)
	}
	if d < 0 || left < d {
		return left
	}
	return d
}

// Receive implements Receiver.
func (e *epollEngine) Receive(fd int, h Handler) (Received, error) {
	if e.closed {
		return nil, fmt.Errorf("netpoll: receive a connection: %w", net.ErrClosed)
	}
	c, err := e.watch(fd, h)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Pass implements Received.
func (c *epollConn) Pass(h Handler) { c.h = h }

// Return implements Received.
func (c *epollConn) Return() (net.Conn, error) {
	if c.fd < 0 {
		return nil, fmt.Errorf("netpoll: give a connection back: %w", net.ErrClosed)
	}
	f := os.NewFile(uintptr(c.unwatch()), "socket")
	nc, err := net.FileConn(f) // with a descriptor of its own
	_ = f.Close()
	if err != nil {
		return nil, fmt.Errorf("netpoll: give a connection back: %w", err)
	}
	return nc, nil
}

// CloseDescriptor closes a descriptor that no engine has received.
func CloseDescriptor(fd int) { _ = syscall.Close(fd) }
