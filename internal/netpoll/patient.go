package netpoll

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// acceptAgain is how long a listener waits when the process has no file descriptor for
// another connection, for which the kernel would report readiness without end.
const acceptAgain = 100 * time.Millisecond

// Patient is a listener that goes on when there is no file descriptor or memory for
// another connection: it says so in the log, counts it, and tries again a little later.
// Meanwhile connections wait in the kernel. It is for what net serves; a [Receiver] does
// the same by itself.
type Patient struct {
	net.Listener
	key     string
	limit   int
	log     *slog.Logger
	closing chan struct{}
	close   sync.Once
	pauses  atomic.Int64
}

// NewPatient accepts from l, which came from the named key. limit is how many
// descriptors of the process may be in use for that, so that some are left for what the
// process itself has to connect to; 0: all.
func NewPatient(l net.Listener, key string, limit int, log *slog.Logger) *Patient {
	return &Patient{Listener: l, key: key, limit: limit, log: log, closing: make(chan struct{})}
}

// Accept implements net.Listener.
func (p *Patient) Accept() (net.Conn, error) {
	for {
		nc, err := p.Listener.Accept()
		if err == nil && p.limit > 0 && descriptor(nc) >= p.limit {
			_ = nc.Close()
			err = ErrDescriptors
		}
		if err == nil || !passing(err) {
			return nc, err
		}
		p.pauses.Add(1)
		p.log.Warn("connections wait to be accepted, trying again: if this lasts, raise the limit of open files (ulimit -n)",
			"listener", p.key, "err", err)
		select {
		case <-time.After(acceptAgain):
		case <-p.closing:
			return nil, net.ErrClosed
		}
	}
}

// Close implements net.Listener.
func (p *Patient) Close() error {
	p.close.Do(func() { close(p.closing) })
	return p.Listener.Close()
}

// Pauses is how often no connection was accepted so far.
func (p *Patient) Pauses() int64 { return p.pauses.Load() }

// passing tells whether an error of Accept is about what the process, or the system,
// has none of at the moment.
func passing(err error) bool {
	for _, want := range []error{ErrDescriptors, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}

// descriptor returns a connection's file descriptor, -1 when it is not to be had. As the
// system gives the lowest number that is free, that many are in use.
func descriptor(nc net.Conn) int {
	c, ok := nc.(syscall.Conn)
	if !ok {
		return -1
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return -1
	}
	n := -1
	if err := raw.Control(func(fd uintptr) { n = int(fd) }); err != nil {
		return -1
	}
	return n
}
