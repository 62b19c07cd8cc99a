package loadgen

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"

	"holdfast/internal/netpoll"
	"holdfast/wsframe"
)

// role is what a link is for.
type role uint8

const (
	socketLink role = iota // a WebSocket
	pollLink               // a client's GETs, one after the other
	postLink               // its POSTs
)

// link is one TCP connection of a client. All of it belongs to the client's loop.
type link struct {
	client *client
	conn   netpoll.Conn // nil while it is dialled
	out    []byte       // what the socket did not take yet
	reply  replyReader

	// Of a WebSocket.
	frames wsframe.Reader
	open   bool // the handshake is over

	// Of one that carries requests. The one under way is kept until its reply is
	// whole.
	request []byte
	used    bool // it has brought a reply

	role   role
	closed bool
}

var _ netpoll.Handler = (*link)(nil)

// busy says whether a request is under way.
func (k *link) busy() bool { return k != nil && k.request != nil }

// dialled is called with the connection, or with why there is none.
func (k *link) dialled(nc net.Conn, err error) {
	if err == nil && (k.closed || k.client.loop.stop) {
		_ = nc.Close()
		return
	}
	if err == nil {
		if err = k.attach(nc); err != nil {
			_ = nc.Close()
		}
	}
	if err != nil {
		k.fail(err)
	}
}

// attach gives the connection to the loop's engine and sends the first request.
func (k *link) attach(nc net.Conn) (err error) {
	if k.conn, err = k.client.loop.engine.Add(nc, k); err == nil {
		k.push(k.request)
	}
	return err
}

// OnData reads replies, or frames.
func (k *link) OnData(b []byte) {
	if k.closed {
		return
	}
	k.client.loop.stats.Bytes += int64(len(b))
	for len(b) > 0 && !k.closed {
		if k.open {
			k.readFrames(b)
			return
		}
		rest, whole, err := k.reply.feed(b)
		if err != nil {
			k.fail(err)
			return
		}
		if b = rest; whole {
			k.replied()
		}
	}
}

func (k *link) readFrames(b []byte) {
	l := k.client.loop
	l.current = k
	if err := k.frames.Feed(&l.reading, b, l.emit); err != nil {
		k.fail(err)
	}
}

// replied looks at a whole reply.
func (k *link) replied() {
	r := k.reply.reply
	switch {
	case k.role == socketLink:
		switch {
		case r.status != 101:
			k.fail(r.refusal())
		case r.accept != upgradeAnswer:
			k.fail(errors.New("the answer to the handshake has a wrong Sec-WebSocket-Accept"))
		default:
			k.open, k.request = true, nil
			k.client.upgraded()
		}
		return
	case !k.busy():
		k.close() // a word at parting, such as 408
		return
	}
	k.request, k.used = nil, true
	if r.closes {
		k.close()
	}
	k.client.loop.stats.Requests++
	if k.role == pollLink {
		k.client.polling.polled(&r)
	} else {
		k.client.polling.posted(&r)
	}
}

// OnWritable sends what is left.
func (k *link) OnWritable() {
	if k.closed || len(k.out) == 0 {
		return
	}
	n, err := k.conn.Writev([][]byte{k.out})
	switch {
	case err != nil:
		k.fail(err)
	case n == len(k.out):
		k.out = nil
	default:
		k.out = k.out[n:]
	}
}

// OnClosed hears that the server has closed the connection, or that it failed.
func (k *link) OnClosed(err error) {
	begun := k.reply.begun()
	switch {
	case k.closed:
	case k.open:
		k.fail(closedByServer(err))
	case k.busy() && k.reply.ended():
		k.replied()
	case k.busy() && k.used && !begun:
		// The server had closed a connection that was at rest when the request
		// came; browsers ask again by another.
		k.client.polling.again(k)
	case k.busy():
		k.fail(closedByServer(err))
	default:
		k.close()
	}
}

func closedByServer(err error) error {
	if errors.Is(err, io.EOF) {
		return refusal("closed by the server")
	}
	return err
}

// send sends one frame.
func (k *link) send(op wsframe.Opcode, payload []byte) {
	if k.closed {
		return
	}
	if len(k.out)+len(payload) > maxPending {
		k.fail(errFull)
		return
	}
	var mask [4]byte
	m := rand.Uint32()
	mask[0], mask[1], mask[2], mask[3] = byte(m), byte(m>>8), byte(m>>16), byte(m>>24)
	if len(k.out) > 0 {
		k.out = wsframe.AppendMaskedFrame(k.out, op, false, mask, payload)
		return
	}
	l := k.client.loop
	l.scratch = wsframe.AppendMaskedFrame(l.scratch[:0], op, false, mask, payload)
	k.push(l.scratch)
}

// maxPending bounds what waits for a server that does not read.
const maxPending = 1 << 20

var errFull = errors.New("the server does not read")

// push gives b to the socket and keeps a copy of what it does not take.
func (k *link) push(b []byte) {
	n, err := k.conn.Writev([][]byte{b})
	switch {
	case err != nil:
		k.OnClosed(err) // as if the read had been faster to tell
	case n < len(b):
		k.out = append(k.out, b[n:]...)
	}
}

// frame is called for each message and control frame of a WebSocket.
func (k *link) frame(op wsframe.Opcode, payload []byte) error {
	switch op {
	case wsframe.Text:
		return k.client.text(payload)
	case wsframe.Ping:
		k.send(wsframe.Pong, payload)
		k.client.loop.stats.Pings++
	case wsframe.Close:
		code, reason, err := wsframe.ParseClose(payload)
		if err != nil {
			return err
		}
		if code == wsframe.NoStatusReceived {
			return refusal("closed by the server without a code")
		}
		return refusal(strings.TrimSpace(fmt.Sprintf("closed by the server with %d %s", code, reason)))
	case wsframe.Binary:
		return k.client.binary(payload)
	case wsframe.Pong, wsframe.Continuation:
	}
	return nil
}

// fail is called when the link is of no more use. That ends the client, but for a
// WebSocket to which it has not moved yet.
func (k *link) fail(err error) {
	if k.closed {
		return
	}
	if k.role == socketLink && k.client.polling != nil {
		k.client.polling.stay(err)
		return
	}
	k.client.end(err)
}

func (k *link) close() {
	if k == nil || k.closed {
		return
	}
	k.closed, k.out, k.request = true, nil, nil
	if k.conn != nil {
		k.conn.Close()
	}
}
