// Package netpoll lets one goroutine serve many connections. A shard owns an
// Engine and with it every connection in it: it alone polls, writes and closes,
// so a connection needs neither lock nor atomic.
//
//	             Add(nc, handler)
//	net.Conn ─────────────────────▶ Engine ──▶ Conn
//	                                  │
//	shard:   for { Poll(d) ───────────┤ OnData(b)      bytes came
//	               run own inbox      │ OnWritable()   room again after a short Writev
//	         }                        │ OnClosed(err)  the peer is gone; Close is yours
//	others:  Wake() ──────────────────┘
//
// There are two engines behind the same interface. The epoll engine (Linux)
// takes a socket's descriptor out of net's hands and keeps 48 bytes for it; it
// is level-triggered, so a handler that leaves bytes behind loses nothing. It
// serves TLS in the same way, without a goroutine, where the *tls.Conn stands on
// a [Socket] (tls_linux.go). The goroutine engine (everywhere) has one reader
// goroutine for each connection and serves any net.Conn. What the epoll engine
// cannot watch is served inside it by the same pump of goroutines (pump.go): the
// shard cannot tell the difference.
package netpoll

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Engine multiplexes connections for the one goroutine that owns it. Only Wake
// may be called by others.
type Engine interface {
	// Add takes nc over and starts reading: h hears of it from the next Poll on.
	// On success nc belongs to the engine and must not be touched again; on
	// error it is still the caller's, open and unread. It may be called inside a
	// handler.
	Add(nc net.Conn, h Handler) (Conn, error)

	// Poll waits until a connection is ready, Wake was called or d has passed
	// (d < 0: no limit; d == 0: only look), then calls handlers on the calling
	// goroutine. A bounded number of events is handled in one call; what is left
	// makes the next call return at once. A connection's failure goes to its
	// handler, never to Poll's caller: an error of Poll is the engine's own, and
	// the engine is of no more use (net.ErrClosed after Close).
	Poll(d time.Duration) error

	// Wake makes the Poll under way, or else the next one, return. Any goroutine
	// may call it, also after Close. It never blocks, and calls before a Poll has
	// returned count as one.
	Wake()

	// Len is the number of connections that were added and not closed.
	Len() int

	// Close closes every connection without calling a handler, stops the
	// engine's goroutines and waits for them. It is idempotent.
	Close() error
}

// Handler hears what happens to one connection. All of it is called inside Poll.
// A handler may write to, pause and close any connection of its engine, and Add
// new ones; it must not call Poll.
type Handler interface {
	// OnData brings bytes in the order in which the peer sent them, cut anywhere.
	// b is the engine's: it is valid during the call and may be modified in place.
	OnData(b []byte)

	// OnWritable is called once after a Writev that took less than it was given,
	// when another attempt is worthwhile.
	OnWritable()

	// OnClosed says that the peer ended its stream (io.EOF) or that the connection
	// failed. All that was read before has gone to OnData. It is called at most
	// once, nothing is called after it, and never after Close. The connection
	// takes no more output; the handler must still Close it.
	OnClosed(err error)
}

// Conn is the shard's end of one connection. Every method belongs to the
// engine's goroutine.
type Conn interface {
	// Writev takes what the socket takes now of the buffers, in order, and never
	// blocks. n < total with a nil error arms OnWritable; the rest is to be given
	// again then. A non-nil error is final. The buffers stay the caller's and are
	// not modified; their bytes are copied or written before the call returns.
	Writev(bufs [][]byte) (n int, err error)

	// PauseReading stops OnData until ResumeReading, which makes the peer feel the
	// back pressure. The peer's end is seen by reading and waits as well; a write
	// to a peer that is gone fails meanwhile. Both are idempotent.
	PauseReading()
	ResumeReading()

	// Close ends the connection: no handler is called for it any more. Bytes that
	// Writev took are left to the transport, which delivers them if it can; a TLS
	// connection without a goroutine does so while the engine is polled. It is
	// idempotent and may be called inside a handler.
	Close()
}

// HalfCloser is a Conn that can end its own side alone. A connection that is closed
// while input for it waits, or comes, is reset, and its peer may lose what it has not
// read yet; one that ends its side first and closes after the peer has done the same
// loses nothing.
type HalfCloser interface {
	// CloseWrite ends the output: the peer reads all that Writev took, and the end
	// behind it. Input and OnClosed still come. An error says that this cannot be done
	// now, for instance while output waits; Close is left.
	CloseWrite() error
}

// Receiver is an engine that can serve a connection from its first byte, before
// anybody knows what is spoken on it. The epoll engine is one.
type Receiver interface {
	// Accept has Poll accept l's connections and call take with each descriptor, which
	// is take's own and does not block, and with the peer's address. l stays the
	// caller's and open, and must not accept any itself. A failure (too many open
	// files, or [ErrDescriptors]) goes to fail, and is tried again.
	// errors.ErrUnsupported: not of this l.
	Accept(l net.Listener, take func(fd int, peer netip.Addr), fail func(error)) error
	// StopAccepting ends that.
	StopAccepting()
	// Receive takes over the descriptor of a connected stream socket that does not
	// block and starts reading. On error the descriptor is still the caller's.
	Receive(fd int, h Handler) (Received, error)
}

// ErrDescriptors says that what is left of the file descriptors is for others than the
// connections that are accepted; see [Options].
var ErrDescriptors = errors.New("as many file descriptors are in use as connections may take")

// Received is a connection that came by Receive. Both methods may be called inside a
// handler.
type Received interface {
	Conn
	// Pass has h hear of the connection from here on.
	Pass(h Handler)
	// Return gives the connection up for one of net's own, for others to serve. The
	// Conn is closed then, also after an error, which loses the connection.
	Return() (net.Conn, error)
}

// Kind names an engine.
type Kind uint8

const (
	// Auto is Epoll where there is one, else Goroutines.
	Auto Kind = iota
	// Epoll is the readiness engine of Linux.
	Epoll
	// Goroutines is the portable engine.
	Goroutines
)

func (k Kind) String() string {
	switch k {
	case Auto:
		return "auto"
	case Epoll:
		return "epoll"
	case Goroutines:
		return "goroutines"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Options tunes an engine. The zero value is good.
type Options struct {
	// ReadBuffer is the size in bytes of the epoll engine's one read buffer (with
	// TLS there is a second one for what is decrypted), and so the most that one
	// OnData brings. Default 64 KiB.
	ReadBuffer int

	// PumpReadBuffer is the size in bytes of the buffer that each connection
	// served by goroutines holds. Default 4 KiB.
	PumpReadBuffer int

	// PumpWriteBuffer bounds in bytes the output that a connection served by
	// goroutines, or one with TLS, holds beyond what its socket took; Writev takes
	// no more than this. The memory is held while output is pending only. Default
	// 16 KiB.
	PumpWriteBuffer int

	// Linger is how long such a connection may go on delivering that output after
	// Close, as the kernel does for a socket. Default 5 s.
	Linger time.Duration

	// Events is the number of ready connections handled in one Poll. More cost
	// the shard's other work latency. Default 256.
	Events int

	// Descriptors is how many of the process's file descriptors may be in use for
	// Accept to go on accepting; past it, as without any left, it pauses and tries
	// again. 0: no limit.
	Descriptors int
}

func (o Options) withDefaults() Options {
	if o.ReadBuffer <= 0 {
		o.ReadBuffer = 64 << 10
	}
	if o.PumpReadBuffer <= 0 {
		o.PumpReadBuffer = 4 << 10
	}
	if o.PumpWriteBuffer <= 0 {
		o.PumpWriteBuffer = 16 << 10
	}
	if o.Linger <= 0 {
		o.Linger = 5 * time.Second
	}
	if o.Events <= 0 {
		o.Events = 256
	}
	return o
}

// New makes an engine. Epoll away from Linux is an error that wraps
// errors.ErrUnsupported.
func New(kind Kind, o Options) (Engine, error) {
	o = o.withDefaults()
	switch kind {
	case Auto:
		if haveEpoll {
			return newEpoll(o)
		}
		return newGoroutines(o), nil
	case Epoll:
		return newEpoll(o)
	case Goroutines:
		return newGoroutines(o), nil
	}
	return nil, fmt.Errorf("netpoll: no engine of %v", kind)
}
