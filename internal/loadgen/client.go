package loadgen

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"holdfast/engineio"
	"holdfast/wsframe"
)

// phase is where a client stands.
//
//	coming ──connected, and on the transport that it is to have──▶ up ──▶ gone
//	   │                                                           ├─▶ leaving ─▶ gone
//	   └── refused, timed out ─────────────────────────────────────┴──────────────▶ gone
//
// One that polls says that it leaves, and waits for the answer.
type phase uint8

const (
	coming phase = iota
	up
	leaving
	gone
)

// client is one client. Everything in it belongs to its loop.
type client struct {
	loop    *loop
	attempt *attempt // until it is up or gone
	socket  *link    // its WebSocket; beside polling one that it may move to
	polling *polling // nil: the WebSocket is its transport
	auth    []byte   // the auth object, until it was sent
	due     time.Time
	ping    time.Duration // the client's own heartbeat (Engine.IO 3)
	pingAt  time.Time
	place   int // in loop.clients
	index   int // number in the plan
	source  int // which address it comes from
	phase   phase
	joined  bool // as far as its protocol goes
	lead    bool // the first of its room
}

// refusal is an error that the server told.
type refusal string

func (r refusal) Error() string { return string(r) }

// begin says the first word.
func (c *client) begin(k *link, query string) {
	t := c.loop.target
	if t.Transport == WebSocket {
		c.socket = k
		k.request = t.upgradeRequest(c.loop.host, query)
		return
	}
	c.polling = &polling{client: c, query: query, poll: k}
	k.role = pollLink
	k.request = c.polling.get()
}

// write sends one text message.
func (c *client) write(text []byte) {
	switch {
	case c.phase == gone:
	case c.polling != nil:
		c.polling.say(text)
	default:
		c.socket.send(wsframe.Text, text)
	}
}

// writeBinary sends one binary message, which it does not keep.
func (c *client) writeBinary(data []byte) {
	switch {
	case c.phase == gone:
	case c.polling != nil:
		c.polling.queue(engineio.Packet{Type: engineio.Message, Binary: true, Data: slices.Clone(data)})
	case c.version() == engineio.V3:
		c.socket.send(wsframe.Binary, engineio.AppendBinary(engineio.V3, nil, data))
	default:
		c.socket.send(wsframe.Binary, data)
	}
}

// connected is called when the client has been let in.
func (c *client) connected(now time.Time) {
	if c.joined {
		return
	}
	c.joined, c.auth = true, nil
	c.loop.stats.Connect.Record(now.Sub(c.due))
	if c.polling == nil || c.polling.settled() {
		c.arrived()
	}
}

// arrived is called when nothing is to come any more.
func (c *client) arrived() {
	if c.phase != coming {
		return
	}
	c.phase = up
	delete(c.loop.waiting, c)
	c.loop.stats.Arrived++
	c.loop.up = append(c.loop.up, c)
	c.place = len(c.loop.up) - 1
	if c.lead {
		c.loop.leads = append(c.loop.leads, c)
	}
	c.attempt.finish()
	c.attempt = nil
}

// leave ends the client because it was asked to go.
func (c *client) leave(now time.Time) {
	if c.polling == nil {
		c.end(nil)
		return
	}
	c.down()
	c.phase = leaving
	c.loop.leaving[c] = now.Add(leaveTimeout)
	c.polling.leave()
}

// leaveTimeout is how long a client waits for an answer to its last word.
const leaveTimeout = 5 * time.Second

// down takes the client off the lists of those that are up.
func (c *client) down() {
	l := c.loop
	last := l.up[len(l.up)-1]
	l.up[c.place], last.place = last, c.place
	l.up[len(l.up)-1] = nil
	l.up = l.up[:len(l.up)-1]
	if c.lead {
		l.leads = slices.DeleteFunc(l.leads, func(o *client) bool { return o == c })
	}
}

// end closes the connections, and counts why when the client did not want it (err
// is not nil).
func (c *client) end(err error) {
	l := c.loop
	switch c.phase {
	case gone:
		return
	case up:
		c.down()
		if err != nil {
			l.stats.Lost++
			l.stats.count(reason(err), 1)
		}
	case coming:
		if err != nil {
			l.stats.Failed++
			l.stats.count(reason(err), 1)
		}
		delete(l.waiting, c)
		c.attempt.finish()
		c.attempt = nil
	case leaving: // however that ends
		delete(l.leaving, c)
	}
	c.phase = gone
	c.socket.close()
	if c.polling != nil {
		c.polling.close()
	}
	c.auth = nil
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
