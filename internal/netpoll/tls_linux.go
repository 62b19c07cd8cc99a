package netpoll

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// tlsConn is a TLS connection without a goroutine. It sits between the socket's
// epollConn, whose handler it is, and the handler of the connection, and runs
// crypto/tls in turns that never wait:
//
//	socket ─▶ epollConn ─OnData─▶ in ─Socket.Read─▶ tls.Conn ─Read──▶ OnData
//	socket ◀─ epollConn ◀─Writev─ out ◀Socket.Write─ tls.Conn ◀Write─ Writev
//
// in and out are empty between turns, unless the handler paused in the middle of
// what one read of the socket brought, or the socket took less than all.
type tlsConn struct {
	inner *epollConn
	t     *tls.Conn
	h     Handler // nil: closed

	// in is ciphertext that crypto/tls has yet to read.
	in []byte
	// out is ciphertext that the socket has yet to take: one Writev's piece of at
	// most PumpWriteBuffer bytes of plaintext, or what crypto/tls wrote by itself
	// (answers to key updates, alerts), within sealedLimit.
	out []byte
	// last is why no input is to come any more.
	last error

	paused   bool
	queued   bool // in the engine's list of those to run without readiness
	ended    bool // OnClosed was called
	armed    bool // a Writev was short
	repeated bool // the first byte of the next Writev has been taken already
	flooded  bool // the peer made crypto/tls write more than is kept
	lingers  bool // closed, with output to deliver
}

var (
	_ Conn    = (*tlsConn)(nil)
	_ Handler = (*tlsConn)(nil)
	_ carrier = (*tlsConn)(nil)
)

// tlsShare is what the TLS connections of an engine share. A turn of one
// connection leaves the buffers empty.
type tlsShare struct {
	plain  []byte // what OnData is given
	joined []byte // the pieces of a Writev
	sealed []byte // ciphertext on its way to the socket
	pair   [2][]byte

	again     []*tlsConn // to run in the next Poll, ready or not
	lingering []linger   // in the order of their ends
	lingerers int
	alarm     *time.Timer // wakes the shard for the first of them
}

type linger struct {
	conn *tlsConn
	end  time.Time
}

// sealedSlack is what may wait beyond PumpWriteBuffer: the records' overhead, and
// what crypto/tls says by itself, in bytes.
const sealedSlack = 32 << 10

// errFlooded ends a connection whose peer has TLS itself talk and does not listen.
var errFlooded = errors.New("netpoll: the peer does not read what its TLS messages are answered with")

// errOutputWaits keeps a connection from ending its side before all is said.
var errOutputWaits = errors.New("netpoll: end the output: some of it waits")

// tlsOnSocket returns the Socket below nc when nc is a TLS connection, past its
// handshake, on a socket that an engine can take; nil for anything else.
func tlsOnSocket(nc net.Conn) (*tls.Conn, *Socket) {
	t, ok := nc.(*tls.Conn)
	if !ok {
		return nil, nil
	}
	s, ok := t.NetConn().(*Socket)
	if !ok || s.nc == nil || !plainStream(s.nc) || !t.ConnectionState().HandshakeComplete {
		return nil, nil
	}
	return t, s
}

// move lets c serve the Socket; its own net.Conn has been given up.
func (s *Socket) move(c carrier) { s.nc, s.to = nil, c }

// addTLS takes over a TLS connection that stands on s.
func (e *epollEngine) addTLS(t *tls.Conn, s *Socket, h Handler) (Conn, error) {
	if e.tls.plain == nil {
		e.tls.plain = make([]byte, e.opt.ReadBuffer)
		e.tls.joined = make([]byte, e.opt.PumpWriteBuffer)
	}
	c := &tlsConn{t: t, h: h}
	inner, err := e.addStream(s.nc, c)
	if err != nil {
		return nil, err
	}
	c.inner = inner
	s.move(c)
	// crypto/tls may have read more than net/http asked for; the socket does not
	// become readable for that.
	c.runAgain()
	return c, nil
}

// runAgain has the next Poll look at c.
func (c *tlsConn) runAgain() {
	if !c.queued {
		c.queued = true
		c.inner.e.tls.again = append(c.inner.e.tls.again, c)
	}
}

// turnTLS runs what waits for no readiness, and gives up those that lingered too
// long.
func (e *epollEngine) turnTLS() {
	again := e.tls.again
	e.tls.again = nil
	for _, c := range again {
		c.queued = false
		c.drain()
	}
	if len(e.tls.lingering) == 0 {
		return
	}
	for now := time.Now(); len(e.tls.lingering) > 0; e.tls.lingering = e.tls.lingering[1:] {
		l := e.tls.lingering[0]
		if l.conn.lingers && now.Before(l.end) {
			e.tls.alarm.Reset(l.end.Sub(now))
			return
		}
		l.conn.give()
	}
	e.tls.lingering = nil
}

// close ends what outlives a turn; the connections are closed by the table.
func (s *tlsShare) close() {
	if s.alarm != nil {
		s.alarm.Stop()
	}
	s.again, s.lingering, s.lingerers = nil, nil, 0
}

// OnData implements Handler for the socket: ciphertext came.
func (c *tlsConn) OnData(b []byte) {
	if c.ended || c.closed() {
		return
	}
	kept := len(c.in) > 0
	if kept {
		b = append(c.in, b...)
	}
	c.in = b
	c.drain()
	switch {
	case len(c.in) == 0:
		c.in = nil
	case !kept:
		c.in = bytes.Clone(c.in) // b is the engine's
	}
}

// OnClosed implements Handler for the socket: no ciphertext comes any more.
func (c *tlsConn) OnClosed(err error) {
	if c.lingers {
		c.give()
		return
	}
	c.last = err
	c.drain()
}

// OnWritable implements Handler for the socket.
func (c *tlsConn) OnWritable() {
	err := c.flush()
	if err == nil && len(c.out) > 0 {
		return
	}
	switch {
	case c.lingers:
		c.give()
	case c.armed && !c.ended && !c.closed():
		// After an error the handler's attempt fails and tells it so.
		c.armed = false
		c.h.OnWritable()
	}
}

// closed tells whether the connection, or the engine with all of them, was closed.
func (c *tlsConn) closed() bool { return c.h == nil || c.inner.fd < 0 }

// drain decrypts what there is and hands it on, until the handler pauses.
func (c *tlsConn) drain() {
	for !c.paused && !c.ended && !c.closed() {
		plain := c.inner.e.tls.plain
		n, err := c.decrypt(plain)
		c.answer()
		if n > 0 {
			c.h.OnData(plain[:n])
		}
		switch {
		case c.closed():
			return
		case err == nil:
			continue // there may be more
		case c.flooded:
			err = errFlooded
		case errors.Is(err, errNoInput):
			if err = c.last; err == nil {
				return
			}
		default:
			err = readError(err)
		}
		// What ends a connection waits like data while the handler is paused. Not
		// every error of crypto/tls is given a second time.
		c.last = err
		c.in = nil
		if !c.paused {
			c.end(err)
		}
		return
	}
}

// answer sends what crypto/tls wrote while it read. Behind older output it waits
// for OnWritable, of which the handler may have to hear.
func (c *tlsConn) answer() {
	share := &c.inner.e.tls
	switch {
	case len(share.sealed) == 0:
	case len(c.out) > 0:
		c.out = append(c.out, share.sealed...)
		share.sealed = share.sealed[:0]
	default:
		_ = c.flush() // an error shows in the next read, or in the handler's next write
	}
}

// decrypt fills b until there is no more or b is full; nil in the latter case.
func (c *tlsConn) decrypt(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = c.t.Read(b[n:])
		n += m
	}
	return n, err
}

func readError(err error) error {
	if err == net.ErrClosed { //nolint:errorlint // crypto/tls returns it bare
		return err
	}
	return fmt.Errorf("netpoll: read: %w", err)
}

// end tells the handler that this is over. The socket is watched for room only,
// for output that was taken before.
func (c *tlsConn) end(err error) {
	c.ended = true
	c.inner.PauseReading()
	c.h.OnClosed(err)
}

// readSealed implements carrier.
func (c *tlsConn) readSealed(p []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, errNoInput
	}
	n := copy(p, c.in)
	c.in = c.in[n:]
	return n, nil
}

// writeSealed implements carrier. Whoever called into crypto/tls flushes.
func (c *tlsConn) writeSealed(p []byte) (int, error) {
	e := c.inner.e
	if len(c.out)+len(e.tls.sealed)+len(p) > e.opt.PumpWriteBuffer+sealedSlack {
		c.flooded = true
		return 0, errFlooded
	}
	e.tls.sealed = append(e.tls.sealed, p...)
	return len(p), nil
}

// flush offers the socket what waits and keeps what it does not take.
func (c *tlsConn) flush() error {
	share := &c.inner.e.tls
	if len(c.out)+len(share.sealed) == 0 {
		return nil
	}
	share.pair = [2][]byte{c.out, share.sealed}
	n, err := c.inner.Writev(share.pair[:])
	if err == nil {
		var rest []byte
		if n < len(c.out) {
			rest = append(c.out[n:], share.sealed...)
		} else if left := share.sealed[n-len(c.out):]; len(left) > 0 {
			rest = bytes.Clone(left)
		}
		c.out = rest
	} else {
		c.out = nil // nobody will take it
	}
	share.pair = [2][]byte{}
	share.sealed = share.sealed[:0]
	return err
}

// Writev implements Conn. The bytes are encrypted in pieces, and the next piece
// only after the socket has taken the one before, so what is kept is bounded.
//
// Bytes that were encrypted cannot be left to the caller again. But it is to know
// that the socket takes no more: it drops volatile messages then and replaces
// others. So the last byte of a piece of which the socket left something is not
// counted, and passed over when it is given again.
func (c *tlsConn) Writev(bufs [][]byte) (int, error) {
	if c.closed() || c.ended {
		return 0, fmt.Errorf("netpoll: write: %w", net.ErrClosed)
	}
	total := 0
	for _, b := range bufs {
		total += len(b)
	}
	done := 0
	if c.repeated && total > 0 && len(c.out) == 0 {
		done, c.repeated = 1, false
	}
	for done < total && len(c.out) == 0 {
		piece := c.piece(bufs, done)
		if _, err := c.t.Write(piece); err != nil {
			c.inner.e.tls.sealed = c.inner.e.tls.sealed[:0]
			return done, fmt.Errorf("netpoll: write: %w", err)
		}
		if err := c.flush(); err != nil {
			return done, err
		}
		done += len(piece)
		if len(c.out) > 0 {
			c.repeated = true
			done--
			break
		}
	}
	c.armed = done < total
	return done, nil
}

// piece returns up to PumpWriteBuffer bytes of bufs beyond their first skip ones:
// in place where they lie in one buffer, else joined, for each call of crypto/tls
// makes a record.
func (c *tlsConn) piece(bufs [][]byte, skip int) []byte {
	limit := c.inner.e.opt.PumpWriteBuffer
	joined := c.inner.e.tls.joined[:0]
	for i, b := range bufs {
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		b = b[skip:]
		skip = 0
		if len(joined) == 0 && (len(b) >= limit || i == len(bufs)-1) {
			return b[:min(len(b), limit)]
		}
		joined = append(joined, b[:min(len(b), limit-len(joined))]...)
		if len(joined) == limit {
			break
		}
	}
	return joined
}

// PauseReading implements Conn.
func (c *tlsConn) PauseReading() {
	if !c.closed() && !c.ended {
		c.paused = true
		c.inner.PauseReading()
	}
}

// ResumeReading implements Conn.
func (c *tlsConn) ResumeReading() {
	if !c.paused || c.closed() {
		return
	}
	c.paused = false
	if c.last == nil {
		c.inner.ResumeReading()
	}
	// What was decrypted or read already makes no socket ready.
	c.runAgain()
}

// CloseWrite implements HalfCloser. The peer is told by a close_notify.
func (c *tlsConn) CloseWrite() error {
	if c.closed() || c.ended {
		return fmt.Errorf("netpoll: end the output: %w", net.ErrClosed)
	}
	if err := c.t.CloseWrite(); err != nil {
		return fmt.Errorf("netpoll: end the output: %w", err)
	}
	if err := c.flush(); err != nil {
		return err
	}
	if len(c.out) > 0 {
		return errOutputWaits
	}
	return c.inner.CloseWrite()
}

// Close implements Conn. The peer is told by a close_notify if the socket takes
// that. Output that was taken before may be delivered for as long as Linger.
func (c *tlsConn) Close() {
	if c.h == nil {
		return
	}
	c.h, c.in = nil, nil
	if c.inner.fd < 0 { // the engine is closed
		return
	}
	_ = c.t.Close()
	if err := c.flush(); err != nil || len(c.out) == 0 {
		c.inner.Close()
		return
	}
	c.lingers = true
	c.inner.PauseReading()
	e := c.inner.e
	e.tls.lingerers++
	e.tls.lingering = append(e.tls.lingering, linger{c, time.Now().Add(e.opt.Linger)})
	switch {
	case e.tls.alarm == nil:
		e.tls.alarm = time.AfterFunc(e.opt.Linger, e.Wake)
	case len(e.tls.lingering) == 1:
		e.tls.alarm.Reset(e.opt.Linger)
	}
}

// give gives up a connection that lingers: all is delivered, or it has had its time.
func (c *tlsConn) give() {
	if c.lingers {
		c.lingers, c.out = false, nil
		c.inner.e.tls.lingerers--
		c.inner.Close()
	}
}
