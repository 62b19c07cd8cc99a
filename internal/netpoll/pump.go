package netpoll

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// pump serves any net.Conn with goroutines, for the shard that owns it.
//
// Each connection has one reader. It reads into its one buffer, hands it over
// and waits until the shard has consumed it, so what is queued is bounded by one
// buffer for each connection and a shard that does not look stops the peer:
//
//	reader: Read ─▶ offer(b) ─▶ queue ─▶ shard: OnData(b) ─▶ release ─▶ Read …
//
// Output goes to the socket at once where that can be tried without blocking
// (tryWritev). The rest, up to PumpWriteBuffer bytes, is copied for a writer
// goroutine that lives until the copy is written.
type pump struct {
	opt    Options
	notify func() // makes the shard look again; called with mu not held

	// Owned by the shard.
	conns  map[*pumpConn]struct{}
	batch  []*pumpConn
	closed bool

	wg sync.WaitGroup // readers, writers and closers

	mu sync.Mutex
	// queue has each connection at most once, so it is bounded by their number.
	queue []*pumpConn
	// lingering are closed connections whose writer still has output.
	lingering map[*pumpConn]struct{}
}

// pumpConn is one connection of a pump.
type pumpConn struct {
	p   *pump
	nc  net.Conn
	raw syscall.RawConn // nil: every byte goes by the writer
	h   Handler

	// next lets the reader go on; closed, it ends the reader.
	next chan struct{}

	// Owned by the shard.
	closed bool // by Close
	ended  bool // OnClosed was called
	paused bool
	held   bool // input waits here for ResumeReading

	// Guarded by p.mu.
	queued   bool
	offered  bool // in and inErr wait for the shard
	in       []byte
	inErr    error
	out      []byte // for the writer to take
	inflight int    // bytes that the writer took and has not finished
	outErr   error
	writing  bool // the writer lives
	armed    bool // a Writev was short
	writable bool // OnWritable is due
	drained  bool // closed: nothing more is to come, the writer closes nc
}

var _ Conn = (*pumpConn)(nil)

func newPump(o Options, notify func()) *pump {
	return &pump{
		opt:       o,
		notify:    notify,
		conns:     make(map[*pumpConn]struct{}),
		lingering: make(map[*pumpConn]struct{}),
	}
}

func (p *pump) len() int { return len(p.conns) }

func (p *pump) add(nc net.Conn, h Handler) (*pumpConn, error) {
	if p.closed {
		return nil, fmt.Errorf("netpoll: add a connection: %w", net.ErrClosed)
	}
	// A deadline that the handshake left behind would look like a failure later.
	if err := nc.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("netpoll: clear the deadline of a new connection: %w", err)
	}
	c := &pumpConn{p: p, nc: nc, raw: rawConn(nc), h: h, next: make(chan struct{}, 1)}
	p.conns[c] = struct{}{}
	p.wg.Go(c.read)
	return c, nil
}

// pending tells whether dispatch has something to do.
func (p *pump) pending() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue) > 0
}

// dispatch calls the handlers of at most Options.Events ready connections. What
// is left stays queued, and the next Poll sees it by pending.
func (p *pump) dispatch() {
	p.mu.Lock()
	n := min(len(p.queue), p.opt.Events)
	p.batch = append(p.batch[:0], p.queue[:n]...)
	rest := copy(p.queue, p.queue[n:])
	clear(p.queue[rest:])
	p.queue = p.queue[:rest]
	for _, c := range p.batch {
		c.queued = false
	}
	p.mu.Unlock()
	for i, c := range p.batch {
		p.batch[i] = nil
		c.dispatch()
	}
}

// enqueue puts c in the queue; p.mu is held. The caller calls notify later.
func (p *pump) enqueue(c *pumpConn) {
	if !c.queued {
		c.queued = true
		p.queue = append(p.queue, c)
	}
}

// close ends every connection at once and waits for all goroutines.
func (p *pump) close() {
	p.closed = true
	for c := range p.conns {
		c.shut(true)
	}
	p.mu.Lock()
	late := make([]*pumpConn, 0, len(p.lingering))
	for c := range p.lingering {
		late = append(late, c)
	}
	p.queue = nil
	p.mu.Unlock()
	for _, c := range late {
		c.cut()
	}
	p.wg.Wait()
}

// read is the reader goroutine.
func (c *pumpConn) read() {
	buf := make([]byte, c.p.opt.PumpReadBuffer)
	for {
		n, err := c.nc.Read(buf)
		if n == 0 && err == nil {
			continue
		}
		c.offer(buf[:n], err)
		if _, ok := <-c.next; !ok || err != nil {
			return
		}
	}
}

// offer hands b and err to the shard, in that order.
func (c *pumpConn) offer(b []byte, err error) {
	c.p.mu.Lock()
	if err != nil && c.outErr != nil {
		err = c.outErr // the writer ended the reader: its reason is the true one
	}
	c.offered, c.in, c.inErr = true, b, err
	c.p.enqueue(c)
	c.p.mu.Unlock()
	c.p.notify()
}

// dispatch calls what is due of c's handler.
func (c *pumpConn) dispatch() {
	c.p.mu.Lock()
	offered, in, err := c.offered, c.in, c.inErr
	if offered && !c.paused {
		c.offered, c.in = false, nil
	}
	writable := c.writable
	c.writable = false
	c.p.mu.Unlock()

	if c.closed || c.ended {
		return
	}
	switch {
	case offered && c.paused:
		c.held = true
	case offered:
		c.input(in, err)
	}
	if writable && !c.closed && !c.ended {
		c.h.OnWritable()
	}
}

func (c *pumpConn) input(in []byte, err error) {
	if len(in) > 0 {
		c.h.OnData(in)
		if c.closed {
			return
		}
	}
	switch {
	case err == nil:
		c.next <- struct{}{}
	case c.paused:
		c.p.mu.Lock()
		c.offered = true // inErr still stands
		c.p.mu.Unlock()
		c.held = true
	default:
		c.ended = true
		c.h.OnClosed(err)
	}
}

func (c *pumpConn) PauseReading() { c.paused = true }

func (c *pumpConn) ResumeReading() {
	c.paused = false
	if c.held && !c.closed && !c.ended {
		c.held = false
		c.p.mu.Lock()
		c.p.enqueue(c)
		c.p.mu.Unlock()
		c.p.notify()
	}
}

func (c *pumpConn) Writev(bufs [][]byte) (int, error) {
	if c.closed || c.ended {
		return 0, fmt.Errorf("netpoll: write: %w", net.ErrClosed)
	}
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	if c.outErr != nil {
		return 0, c.outErr
	}
	n := 0
	// While the writer lives it may hold the socket's write lock, on which a
	// direct attempt would wait, and its bytes are to go first anyway.
	if c.raw != nil && !c.writing {
		var err error
		if n, err = tryWritev(c.raw, bufs); err != nil {
			c.outErr = fmt.Errorf("netpoll: write: %w", err)
			return n, c.outErr
		}
	}
	total := 0
	for _, b := range bufs {
		total += len(b)
	}
	n += c.take(bufs, n)
	c.armed = n < total
	if len(c.out) > 0 && !c.writing {
		c.writing = true
		c.p.wg.Go(c.write)
	}
	return n, nil
}

// take copies what fits of bufs beyond their first skip bytes for the writer;
// p.mu is held.
func (c *pumpConn) take(bufs [][]byte, skip int) int {
	free := c.p.opt.PumpWriteBuffer - len(c.out) - c.inflight
	n := 0
	for _, b := range bufs {
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		b = b[skip:]
		skip = 0
		if len(b) > free-n {
			b = b[:free-n]
		}
		c.out = append(c.out, b...)
		if n += len(b); n == free {
			break
		}
	}
	return n
}

// write is the writer goroutine: it ends when there is nothing left to write.
func (c *pumpConn) write() {
	p := c.p
	for {
		p.mu.Lock()
		b := c.out
		c.out, c.inflight = nil, len(b)
		if len(b) == 0 || c.outErr != nil {
			c.finish()
			return
		}
		p.mu.Unlock()
		_, err := c.nc.Write(b)
		if err != nil {
			p.mu.Lock()
			c.outErr = fmt.Errorf("netpoll: write: %w", err)
			p.mu.Unlock()
			// The reader need not notice a failed write by itself. Its next read
			// fails after this, and the handler hears outErr in the order of input.
			_ = c.nc.SetReadDeadline(time.Unix(1, 0))
		}
	}
}

// finish ends the writer; p.mu is held and released.
func (c *pumpConn) finish() {
	p := c.p
	c.writing, c.out, c.inflight = false, nil, 0
	drained := c.drained
	due := c.armed && !drained
	if due {
		c.armed, c.writable = false, true
		p.enqueue(c)
	}
	p.mu.Unlock()
	if due {
		p.notify()
	}
	if drained {
		_ = c.nc.Close() // the connection is given up: nobody is left to tell
		p.mu.Lock()
		delete(p.lingering, c)
		p.mu.Unlock()
	}
}

func (c *pumpConn) Close() { c.shut(false) }

// shut closes c; with hard set, output that the writer holds is dropped.
func (c *pumpConn) shut(hard bool) {
	if c.closed {
		return
	}
	c.closed = true
	delete(c.p.conns, c)
	close(c.next)

	c.p.mu.Lock()
	c.in, c.writable = nil, false
	linger := c.writing && !hard
	if linger {
		c.drained = true
		c.p.lingering[c] = struct{}{}
	}
	c.p.mu.Unlock()
	c.h = closedHandler{}

	switch {
	case hard:
		c.cut()
	case linger:
		_ = c.nc.SetWriteDeadline(time.Now().Add(c.p.opt.Linger))
	case c.raw != nil:
		_ = c.nc.Close()
	default:
		// Close of a *tls.Conn writes an alert and may wait for the peer.
		c.p.wg.Go(func() { _ = c.nc.Close() })
	}
}

// cut closes the transport without a word, which never waits.
func (c *pumpConn) cut() {
	if t, ok := c.nc.(*tls.Conn); ok {
		_ = t.NetConn().Close()
		return
	}
	_ = c.nc.Close()
}

// closedHandler replaces the handler of a closed connection, so that a reader
// that has yet to end does not keep a session alive.
type closedHandler struct{}

func (closedHandler) OnData([]byte)  {}
func (closedHandler) OnWritable()    {}
func (closedHandler) OnClosed(error) {}
