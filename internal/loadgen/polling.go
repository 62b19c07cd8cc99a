package loadgen

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"holdfast/engineio"
	"holdfast/wsframe"
)

// polling is the transport of a client that polls: one connection for GETs, each
// of which waits for what the server has to say, and another for the POSTs that
// bring what the client says. Both are kept alive, as browsers do.
//
// Where the target's transport is Upgrade and the server offers it, the client
// moves to a WebSocket in the way of stock clients, and polls meanwhile:
//
//	unasked ──open packet──▶ probing ──3probe──▶ pausing ──poll and post answered──▶ 5, moved
//	   │                        └──── refused, closed, too late ──┴──▶ stays
//	   └── not offered, or not wanted ───────────────────────────────▶ stays
type polling struct {
	client     *client
	poll, post *link
	query      string // credentials; and the session's ID, once it is known
	packets    []engineio.Packet
	bytes      int // in them
	most       int // that a POST may bring; 0: no bound
	stamp      uint64
	move       move
	reading    bool // a poll's packets; what they make the client say goes out together
	leaving    bool
}

type move uint8

const (
	unasked move = iota
	probing
	pausing
	stays
)

// settled says whether the client will not move any more.
func (p *polling) settled() bool { return p.move == stays }

// opened takes the server's open packet.
func (p *polling) opened(o *engineio.OpenPacket) {
	c := p.client
	p.query += "&sid=" + o.SID
	if c.version() == engineio.V4 {
		p.most = int(o.MaxPayload)
	}
	if c.loop.target.Transport != Upgrade || !slices.Contains(o.Upgrades, "websocket") {
		p.move = stays
		return
	}
	p.move = probing
	c.socket = &link{client: c, request: c.loop.target.upgradeRequest(c.loop.host, p.query)}
	c.loop.dial(c.socket)
}

// text takes what comes by the WebSocket before the client has moved.
func (p *polling) text(b []byte) error {
	if p.move != probing || string(b) != "3probe" {
		return fmt.Errorf("%.20q answers the probe", b)
	}
	p.move = pausing
	p.pause()
	return nil
}

// pause moves the client when nothing is under way.
func (p *polling) pause() {
	if p.poll.busy() || p.post.busy() {
		return
	}
	c := p.client
	c.socket.send(wsframe.Text, []byte("5"))
	if c.phase == gone || p.move != pausing { // the WebSocket has failed
		return
	}
	c.polling = nil
	p.close()
	c.loop.stats.Upgraded++
	c.loop.stats.Upgrade.Record(time.Since(c.due))
	for _, packet := range p.packets {
		if packet.Binary {
			c.writeBinary(packet.Data)
		} else {
			c.write(engineio.AppendText(nil, packet))
		}
	}
	if c.joined {
		c.arrived()
	}
}

// stay gives the move up, because of err, and polls on.
func (p *polling) stay(err error) {
	c := p.client
	c.loop.stats.count("upgrade: "+reason(err), 1)
	c.socket.close()
	c.socket = nil
	p.move = stays
	if c.joined {
		c.arrived()
	}
	p.next()
}

// next sends what may be sent: a GET and a POST, one of each at a time.
func (p *polling) next() {
	if p.reading || p.client.phase == gone {
		return
	}
	if p.move == pausing {
		p.pause()
		return
	}
	if !p.poll.busy() && !p.leaving {
		p.ask(&p.poll, pollLink, p.get())
	}
	if len(p.packets) == 0 || p.post.busy() || p.client.phase == gone {
		return
	}
	n, size := 0, 0
	for n < len(p.packets) {
		size += len(p.packets[n].Data) + 2 // a type and a separator
		if p.packets[n].Binary {
			size += len(p.packets[n].Data)/3 + 2 // as base64
		}
		if n > 0 && p.most > 0 && size > p.most {
			break
		}
		n++
	}
	jsonp := p.client.loop.target.Transport == JSONP
	body, octets := engineio.AppendPayload(nil, p.client.version(), p.packets[:n], jsonp)
	content := "text/plain;charset=UTF-8"
	switch {
	case jsonp:
		body, content = form(body), "application/x-www-form-urlencoded"
	case octets:
		content = "application/octet-stream"
	}
	for _, packet := range p.packets[:n] {
		p.bytes -= len(packet.Data)
	}
	p.packets = slices.Delete(p.packets, 0, n)
	p.ask(&p.post, postLink, p.request("POST", content, body))
}

// ask sends a request by a link, which is made anew when the server has closed it.
func (p *polling) ask(by **link, as role, request []byte) {
	k := *by
	if k == nil || k.closed {
		k = &link{client: p.client, role: as, request: request}
		*by = k
		p.client.loop.dial(k)
		return
	}
	k.request = request
	k.push(request)
}

// again sends the request of a link that is gone by a new one.
func (p *polling) again(k *link) {
	request := k.request
	k.close()
	if k.role == pollLink {
		p.ask(&p.poll, pollLink, request)
	} else {
		p.ask(&p.post, postLink, request)
	}
}

func (p *polling) get() []byte { return p.request("GET", "", nil) }

func (p *polling) request(method, content string, body []byte) []byte {
	t := p.client.loop.target
	p.stamp++ // as the clients', against caches
	more := "&t=" + strconv.FormatUint(p.stamp, 36)
	if t.Transport == JSONP {
		more += "&j=0"
	}
	to := t.resource("polling", more+p.query)
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: holdfast-bench\r\nAccept: */*\r\n", method, to, p.client.loop.host)
	if body != nil {
		b = fmt.Appendf(b, "Content-Type: %s\r\nContent-Length: %d\r\n", content, len(body))
	}
	b = append(b, "\r\n"...)
	return append(b, body...)
}

// polled takes the reply to a GET.
func (p *polling) polled(r *reply) {
	c := p.client
	switch {
	case p.leaving:
		return
	case r.status != 200:
		c.end(r.refusal())
		return
	}
	body, err := r.body, error(nil)
	if c.loop.target.Transport == JSONP {
		body, err = script(body)
	}
	if err == nil {
		now := time.Now()
		p.reading = true
		err = engineio.ParsePayload(c.version(), body, r.octets, engineio.Limits{}, func(packet engineio.Packet) error {
			if c.phase == gone {
				return net.ErrClosed
			}
			return c.packet(packet, now)
		})
		p.reading = false
	}
	switch {
	case c.phase == gone:
	case err != nil:
		c.end(err)
	case p.move == unasked:
		c.end(errors.New("the first answer has no open packet"))
	default:
		p.next()
	}
}

// posted takes the reply to a POST.
func (p *polling) posted(r *reply) {
	switch {
	case p.leaving && len(p.packets) == 0:
		p.client.end(nil)
	case r.status != 200:
		p.client.end(r.refusal())
	default:
		p.next()
	}
}

// say queues one text packet.
func (p *polling) say(text []byte) {
	packet, err := engineio.ParseText(p.client.version(), slices.Clone(text))
	if err != nil {
		p.client.end(err)
		return
	}
	p.queue(packet)
}

func (p *polling) queue(packet engineio.Packet) {
	if p.bytes+len(packet.Data) > maxPending {
		p.client.end(errFull)
		return
	}
	p.packets = append(p.packets, packet)
	p.bytes += len(packet.Data)
	p.next()
}

// leave says that the client goes. Its poll stays until that is answered: to close
// it first would be a loss to the server.
func (p *polling) leave() {
	p.leaving = true
	p.packets = append(p.packets, engineio.Packet{Type: engineio.Close})
	p.next()
}

func (p *polling) close() {
	p.poll.close()
	p.post.close()
}
