package loadgen

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"holdfast/internal/netpoll"
	"holdfast/wsframe"
)

// phase is where a client stands.
//
//	upgrading ──101──▶ joining ──answer to CONNECT──▶ up ──▶ gone
//	    └─────────────────┴──── refused, timed out ──────────▶ gone
type phase uint8

const (
	upgrading phase = iota
	joining
	up
	gone
)

// client is one connection. Everything in it belongs to its loop.
type client struct {
	loop    *loop
	conn    netpoll.Conn
	attempt *attempt // until it is up or gone
	reader  wsframe.Reader
	head    []byte // of the server's answer, until it is whole
	out     []byte // what the socket did not take yet
	auth    []byte // the auth object, until it was sent
	due     time.Time
	ping    time.Duration // the client's own heartbeat (Engine.IO 3)
	pingAt  time.Time
	place   int // in loop.clients
	index   int // number in the plan
	phase   phase
	lead    bool // the first of its room
}

var _ netpoll.Handler = (*client)(nil)

// refusal is an error that the server told.
type refusal string

func (r refusal) Error() string { return string(r) }

// OnData reads the answer to the handshake, then frames.
func (c *client) OnData(b []byte) {
	if c.phase == gone {
		return
	}
	c.loop.stats.Bytes += int64(len(b))
	if c.phase == upgrading {
		rest, err := c.answer(b)
		if err != nil {
			c.end(err)
			return
		}
		if b = rest; len(b) == 0 {
			return
		}
	}
	c.loop.current = c
	if err := c.reader.Feed(&c.loop.reading, b, c.loop.emit); err != nil {
		c.end(err)
	}
}

// maxHead bounds the answer to the handshake.
const maxHead = 16 << 10

// answer reads on in the HTTP answer and returns what follows it.
func (c *client) answer(b []byte) (rest []byte, err error) {
	c.head = append(c.head, b...)
	head, rest, whole := bytes.Cut(c.head, []byte("\r\n\r\n"))
	switch {
	case !whole && len(c.head) > maxHead:
		return nil, errors.New("the answer to the handshake is too long")
	case !whole:
		return nil, nil
	}
	status, _, _ := bytes.Cut(head, []byte("\r\n"))
	f := bytes.Fields(status)
	switch {
	case len(f) < 2 || !bytes.HasPrefix(f[0], []byte("HTTP/1.1")):
		return nil, errors.New("the answer to the handshake is not HTTP")
	case string(f[1]) != "101":
		return nil, refusal("HTTP " + string(f[1]))
	case !bytes.Contains(head, []byte(upgradeAnswer)):
		return nil, errors.New("the answer to the handshake has a wrong Sec-WebSocket-Accept")
	}
	c.head = nil
	c.phase = joining
	c.upgraded()
	return rest, nil
}

// frame is called for each message and control frame.
func (c *client) frame(op wsframe.Opcode, payload []byte) error {
	switch op {
	case wsframe.Text:
		return c.text(payload)
	case wsframe.Ping:
		c.send(wsframe.Pong, payload)
		c.loop.stats.Pings++
	case wsframe.Close:
		code, reason, err := wsframe.ParseClose(payload)
		if err != nil {
			return err
		}
		return refusal(fmt.Sprintf("close %d %s", code, reason))
	case wsframe.Binary:
		c.loop.stats.Other++
	case wsframe.Pong, wsframe.Continuation:
	}
	return nil
}

// OnWritable sends what is left.
func (c *client) OnWritable() { c.flush() }

// OnClosed ends the client.
func (c *client) OnClosed(err error) {
	if errors.Is(err, io.EOF) {
		err = refusal("closed by the server")
	}
	c.end(err)
}

// write sends one text message.
func (c *client) write(text []byte) { c.send(wsframe.Text, text) }

// maxPending bounds what waits for a server that does not read.
const maxPending = 1 << 20

func (c *client) send(op wsframe.Opcode, payload []byte) {
	if c.phase == gone {
		return
	}
	if len(c.out)+len(payload) > maxPending {
		c.end(errors.New("the server does not read"))
		return
	}
	var mask [4]byte
	m := rand.Uint32()
	mask[0], mask[1], mask[2], mask[3] = byte(m), byte(m>>8), byte(m>>16), byte(m>>24)
	if len(c.out) > 0 {
		c.out = wsframe.AppendMaskedFrame(c.out, op, false, mask, payload)
		return
	}
	c.loop.scratch = wsframe.AppendMaskedFrame(c.loop.scratch[:0], op, false, mask, payload)
	c.push(c.loop.scratch)
}

// push gives b to the socket and keeps a copy of what it does not take.
func (c *client) push(b []byte) {
	n, err := c.conn.Writev([][]byte{b})
	if err != nil {
		c.end(err)
		return
	}
	if n < len(b) {
		c.out = append(c.out, b[n:]...)
	}
}

func (c *client) flush() {
	if c.phase == gone || len(c.out) == 0 {
		return
	}
	n, err := c.conn.Writev([][]byte{c.out})
	switch {
	case err != nil:
		c.end(err)
	case n == len(c.out):
		c.out = nil
	default:
		c.out = c.out[n:]
	}
}

// arrived is called when the client is connected as far as its protocol goes.
func (c *client) arrived(now time.Time) {
	if c.phase == up {
		return
	}
	c.phase = up
	c.auth = nil
	delete(c.loop.waiting, c)
	c.loop.stats.Arrived++
	c.loop.stats.Connect.Record(now.Sub(c.due))
	c.loop.up = append(c.loop.up, c)
	c.place = len(c.loop.up) - 1
	if c.lead {
		c.loop.leads = append(c.loop.leads, c)
	}
	c.attempt.finish()
	c.attempt = nil
}

// end closes the connection, and counts why when the client did not want it (err
// is not nil).
func (c *client) end(err error) {
	if c.phase == gone {
		return
	}
	l := c.loop
	if c.phase == up {
		last := l.up[len(l.up)-1]
		l.up[c.place], last.place = last, c.place
		l.up[len(l.up)-1] = nil
		l.up = l.up[:len(l.up)-1]
		if c.lead {
			l.leads = slices.DeleteFunc(l.leads, func(o *client) bool { return o == c })
		}
	}
	if err != nil {
		l.stats.count(reason(err), 1)
		if c.phase == up {
			l.stats.Lost++
		} else {
			l.stats.Failed++
		}
	}
	delete(l.waiting, c)
	c.phase = gone
	c.conn.Close()
	c.out, c.head, c.auth = nil, nil, nil
	if c.attempt != nil {
		c.attempt.finish()
		c.attempt = nil
	}
}

// timeMark stands before the due time, in nanoseconds since 1970, of what is sent
// to be measured.
const timeMark = `"at":`

// dueTime finds it.
func dueTime(text []byte) (time.Time, bool) {
	at := bytes.Index(text, []byte(timeMark))
	if at < 0 {
		return time.Time{}, false
	}
	digits := text[at+len(timeMark):]
	n := 0
	for n < len(digits) && digits[n] >= '0' && digits[n] <= '9' {
		n++
	}
	ns, err := strconv.ParseInt(string(digits[:n]), 10, 64)
	return time.Unix(0, ns), err == nil
}

// message counts what was pushed to the client.
func (c *client) message(text []byte, now time.Time) {
	due, ok := dueTime(text)
	if !ok {
		c.loop.stats.Other++
		return
	}
	c.loop.stats.Received++
	c.loop.stats.Delivery.Record(now.Sub(due))
}
