package netpoll

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const haveEpoll = true

// epollEngine is the readiness engine.
//
// The epoll descriptor is itself registered with Go's own poller, for an epoll
// descriptor is readable when it has events. A shard with nothing to do waits
// there like any goroutine that reads from a socket, and holds no thread and no
// scheduler slot, which a blocking epoll_wait does: that was measured to delay
// everything else in the process by milliseconds.
type epollEngine struct {
	// Immutable.
	opt  Options
	fd   int                // of the epoll instance
	file *os.File           // owns fd
	raw  syscall.RawConn    // of file
	look func(uintptr) bool // collects events; false: wait for more
	bell *os.File           // an eventfd; its data in events is bellSlot
	rope syscall.RawConn    // of bell
	hear int                // the descriptor of bell, for the shard
	ring func(uintptr)      // rings the bell that has this descriptor

	// Owned by the shard.
	table       slotTable
	serving     *slot      // in dispatch, which updates the kernel at its end; else nil
	pump        *pump      // for what is neither a plain socket nor TLS on one
	accepting   *accepting // the listening socket, nil: none
	tls         tlsShare
	events      []unix.EpollEvent
	found       int   // by look
	unrested    int   // events since the shard last slept, or gave way
	lookErr     error // by look
	buf         []byte
	gather      gather
	failed      []failure
	hasDeadline bool
	closed      bool

	// Any goroutine. Wake sets woken and then looks at sleeping; the shard sets
	// sleeping and then looks at woken. Whichever comes second sees the other, so
	// a shard never sleeps through a Wake, and the bell, a system call, is rung
	// only for a shard that may be asleep.
	woken    atomic.Bool
	sleeping atomic.Bool
}

// failure is a connection that failed outside Poll; the next Poll reports it.
type failure struct {
	conn *epollConn
	err  error
}

var _ Engine = (*epollEngine)(nil)

// bellSlot and listenSlot mark the events of the bell and of the listening socket: no
// table grows that large.
const (
	bellSlot   = ^uint32(0)
	listenSlot = bellSlot - 1
)

func newEpoll(o Options) (Engine, error) {
	e := &epollEngine{
		opt:    o,
		events: make([]unix.EpollEvent, o.Events),
		buf:    make([]byte, o.ReadBuffer),
	}
	one := binary.NativeEndian.AppendUint64(nil, 1)
	e.ring = func(fd uintptr) { _, _ = directWrite(int(fd), one) } // fails after Close only, when nobody sleeps
	e.pump = newPump(o, e.Wake)
	if err := e.open(); err != nil {
		if e.file != nil {
			_ = e.file.Close()
		}
		if e.bell != nil {
			_ = e.bell.Close()
		}
		return nil, fmt.Errorf("netpoll: make an epoll engine: %w", err)
	}
	e.look = func(fd uintptr) bool {
		e.found, e.lookErr = e.collect(int(fd))
		return e.found > 0 || e.lookErr != nil
	}
	return e, nil
}

func (e *epollEngine) open() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("epoll_create1: %w", err)
	}
	// os.NewFile gives a descriptor to Go's poller when it is non-blocking.
	err = unix.SetNonblock(fd, true)
	e.fd, e.file = fd, os.NewFile(uintptr(fd), "epoll")
	if err != nil {
		return fmt.Errorf("set the epoll descriptor non-blocking: %w", err)
	}
	if err := e.file.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("park the epoll descriptor in the runtime's poller: %w", err)
	}
	if e.raw, err = e.file.SyscallConn(); err != nil {
		return fmt.Errorf("reach the epoll descriptor: %w", err)
	}
	// The bell stays blocking, so that os.File does not register it as well: a
	// write blocks only at 2^64-1, and it is read only after it was announced.
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	e.bell = os.NewFile(uintptr(bell), "eventfd")
	e.hear = bell
	if e.rope, err = e.bell.SyscallConn(); err != nil {
		return fmt.Errorf("reach the eventfd: %w", err)
	}
	if err := e.control(unix.EPOLL_CTL_ADD, bell, unix.EPOLLIN, bellSlot, 0); err != nil {
		return fmt.Errorf("watch the eventfd: %w", err)
	}
	return nil
}

// control is epoll_ctl. Slot and generation travel in the event's 64 bits.
func (e *epollEngine) control(op, fd int, events, slot, gen uint32) error {
	return epollControl(e.fd, op, fd, &unix.EpollEvent{Events: events, Fd: int32(slot), Pad: int32(gen)})
}

// Wake rings the bell through its os.File, whose lock keeps a late Wake from
// writing into whatever has got the descriptor's number after Close.
func (e *epollEngine) Wake() {
	if !e.woken.Swap(true) && e.sleeping.Load() {
		_ = e.rope.Control(e.ring)
	}
}

func (e *epollEngine) Len() int { return e.table.len - e.tls.lingerers + e.pump.len() }

func (e *epollEngine) Add(nc net.Conn, h Handler) (Conn, error) {
	if e.closed {
		return nil, fmt.Errorf("netpoll: add a connection: %w", net.ErrClosed)
	}
	if plainStream(nc) {
		c, err := e.addStream(nc, h)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	if t, s := tlsOnSocket(nc); t != nil {
		return e.addTLS(t, s, h)
	}
	c, err := e.pump.add(nc, h)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// addStream takes the descriptor of a plain socket over.
func (e *epollEngine) addStream(nc net.Conn, h Handler) (*epollConn, error) {
	fd, err := duplicate(nc)
	if err != nil {
		return nil, fmt.Errorf("netpoll: take over a connection: %w", err)
	}
	c, err := e.watch(fd, h)
	if err != nil {
		_ = unix.Close(fd) // the connection lives on in nc
		return nil, err
	}
	// net closes its own descriptor and forgets the connection; ours keeps the
	// socket. No shutdown is sent, and an error could only mean that nc was closed
	// already, which the next read will show.
	_ = nc.Close()
	return c, nil
}

// watch has the engine serve a descriptor, which is its own on success.
func (e *epollEngine) watch(fd int, h Handler) (*epollConn, error) {
	c := &epollConn{e: e, h: h, fd: int32(fd)}
	s := e.table.take(c)
	s.want, s.have = reads, reads
	if err := e.control(unix.EPOLL_CTL_ADD, fd, s.want.events(), c.slot, s.gen); err != nil {
		e.table.release(c.slot)
		return nil, fmt.Errorf("netpoll: watch a connection: %w", err)
	}
	return c, nil
}

// duplicate makes a descriptor of our own for the socket of nc, one of net's types.
func duplicate(nc any) (int, error) {
	raw, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var dupErr error
	if err := raw.Control(func(s uintptr) {
		fd, dupErr = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return -1, err
	}
	return fd, dupErr
}

func (e *epollEngine) Poll(d time.Duration) error {
	if e.closed {
		return net.ErrClosed
	}
	if e.woken.Swap(false) || len(e.failed) > 0 || len(e.tls.again) > 0 || e.pump.pending() {
		d = 0
	}
	if err := e.wait(e.acceptLater(d)); err != nil {
		return fmt.Errorf("netpoll: wait for events: %w", err)
	}
	for _, ev := range e.events[:e.found] {
		if e.closed { // by a handler
			return nil
		}
		e.dispatch(ev)
	}
	e.reportFailed()
	e.turnTLS()
	e.pump.dispatch()
	return nil
}

// giveWayAfter is how many events a shard that never sleeps handles before it lets
// other goroutines go first. None of its system calls does that for it (direct_linux.go),
// and Go's scheduler would only after 10 ms: by then whoever serves a request, or brings
// the next message, has waited that long for one of a few processors.
const giveWayAfter = 64

// wait fills events[:found].
func (e *epollEngine) wait(d time.Duration) error {
	if e.unrested >= giveWayAfter {
		e.unrested = 0
		runtime.Gosched()
	}
	// A busy shard finds events here and is spared the deadline.
	if e.look(uintptr(e.fd)) || d == 0 {
		e.unrested += e.found
		return e.lookErr
	}
	if d > 0 || e.hasDeadline {
		var t time.Time
		if d > 0 {
			t = time.Now().Add(d)
		}
		if err := e.file.SetReadDeadline(t); err != nil {
			return err
		}
		e.hasDeadline = d > 0
	}
	e.sleeping.Store(true)
	e.unrested = 0
	var err error
	if !e.woken.Load() {
		err = e.raw.Read(e.look)
	}
	e.sleeping.Store(false)
	// A Wake up to here is answered by this Poll's return.
	e.woken.Store(false)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return e.lookErr
}

// collect is epoll_wait that does not wait.
func (e *epollEngine) collect(fd int) (int, error) {
	n, err := epollLook(fd, e.events)
	if err != nil {
		return 0, os.NewSyscallError("epoll_wait", err)
	}
	return n, nil
}

// dispatch serves one event, if it is of a connection that is still there.
func (e *epollEngine) dispatch(ev unix.EpollEvent) {
	switch uint32(ev.Fd) {
	case bellSlot:
		var count [8]byte
		_, _ = directRead(e.hear, count[:]) // its news is that Poll returns
		return
	case listenSlot:
		e.accept()
		return
	}
	s := e.table.find(uint32(ev.Fd), uint32(ev.Pad))
	if s == nil {
		return // closed by a handler after epoll_wait had returned its event
	}
	c := s.conn
	e.serving = s
	c.ready(s, ev.Events)
	e.serving = nil
	if s.conn == c {
		e.update(s)
	}
}

// update tells the kernel what s wants now. While c's handler runs it waits, so
// that what a handler undoes again costs no system call.
func (e *epollEngine) update(s *slot) {
	if s == e.serving || s.ended || s.want == s.have {
		return
	}
	c := s.conn
	if err := e.control(unix.EPOLL_CTL_MOD, int(c.fd), s.want.events(), c.slot, s.gen); err != nil {
		e.failed = append(e.failed, failure{c, fmt.Errorf("netpoll: watch a connection: %w", err)})
	}
	s.have = s.want
}

func (e *epollEngine) reportFailed() {
	failed := e.failed
	e.failed = nil
	for _, f := range failed {
		if f.conn.fd >= 0 {
			f.conn.end(f.err)
		}
	}
}

func (e *epollEngine) Close() error {
	if e.closed {
		return nil
	}
	e.closed = true
	e.StopAccepting()
	for c := range e.table.all() {
		c.Close()
	}
	e.tls.close()
	e.pump.close()
	return errors.Join(e.bell.Close(), e.file.Close())
}
