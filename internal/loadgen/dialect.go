package loadgen

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"holdfast/engineio"
	"holdfast/socketio"
	"holdfast/wsframe"
)

// upgraded is called when the WebSocket stands: who speaks first?
func (c *client) upgraded() {
	if c.polling != nil {
		c.socket.send(wsframe.Text, []byte("2probe"))
		return
	}
	switch c.loop.target.Protocol {
	case Bare:
		c.connected(time.Now())
	case Centrifugo:
		c.write([]byte(`{"id":1,"connect":{}}`))
	case SocketIO5, SocketIO4: // the server
	}
}

// text takes one text message of the WebSocket.
func (c *client) text(b []byte) error {
	if c.polling != nil {
		return c.polling.text(b)
	}
	now := time.Now()
	switch c.loop.target.Protocol {
	case Bare:
		if len(b) > 0 && b[0] == bareEcho {
			c.echo(b, now)
		} else {
			c.message(b, now)
		}
		return nil
	case Centrifugo:
		return c.centrifugo(b, now)
	case SocketIO5, SocketIO4:
	}
	p, err := engineio.ParseText(c.version(), b)
	if err != nil {
		return err
	}
	return c.packet(p, now)
}

// binary takes one binary message of the WebSocket.
func (c *client) binary(b []byte) error {
	if !c.loop.target.Msgpack || c.polling != nil {
		c.loop.stats.Other++
		return nil
	}
	p, err := engineio.ParseBinary(c.version(), b)
	if err != nil {
		return err
	}
	return c.packet(p, time.Now())
}

// packet takes one packet of Engine.IO.
func (c *client) packet(p engineio.Packet, now time.Time) error {
	switch p.Type {
	case engineio.Open:
		return c.open(p, now)
	case engineio.Ping:
		c.loop.stats.Pings++
		c.write([]byte("3"))
	case engineio.Pong:
		c.loop.stats.Pings++
	case engineio.Message:
		switch {
		case c.loop.target.Msgpack:
			return c.msgpack(p, now)
		case p.Binary:
			c.loop.stats.Other++
			return nil
		}
		return c.socketIO(p.Data, now)
	case engineio.Close:
		return refusal("Engine.IO close")
	case engineio.Upgrade, engineio.Noop:
	}
	return nil
}

func (c *client) version() engineio.Version {
	if c.loop.target.Protocol == SocketIO4 {
		return engineio.V3
	}
	return engineio.V4
}

func (c *client) open(packet engineio.Packet, now time.Time) error {
	o, err := engineio.ParseOpen(engineio.AppendText(nil, packet))
	if err != nil {
		return err
	}
	if c.polling != nil {
		c.polling.opened(&o)
	}
	if c.loop.target.Protocol == SocketIO4 {
		c.ping = time.Duration(o.PingInterval) * time.Millisecond
		c.pingAt = now.Add(c.ping)
		return nil // the server connects the client to /
	}
	if c.loop.target.Msgpack {
		return c.say(socketio.Connect, 0, false, c.auth)
	}
	c.write(append([]byte("40"), c.auth...))
	return nil
}

// socketIO takes one packet of Socket.IO, in the only forms that this client's
// servers send: / and no attachments.
func (c *client) socketIO(b []byte, now time.Time) error {
	if len(b) == 0 {
		return refusal("an empty Socket.IO packet")
	}
	t, rest := socketio.PacketType(b[0]-'0'), b[1:]
	n := digits(rest)
	if n == 0 {
		return c.take(t, 0, false, rest, now)
	}
	id, err := strconv.ParseUint(string(rest[:n]), 10, 64)
	if err != nil {
		return fmt.Errorf("read the ID of an ack: %w", err)
	}
	return c.take(t, id, true, rest[n:], now)
}

// take takes what a packet says, however it was encoded.
func (c *client) take(t socketio.PacketType, id uint64, hasID bool, data []byte, now time.Time) error {
	switch t {
	case socketio.Connect:
		c.connected(now)
	case socketio.Disconnect:
		return refusal("Socket.IO disconnect")
	case socketio.Event:
		c.message(data, now)
		if hasID { // the server asks for an ack
			c.loop.stats.Acked++
			return c.answer(id)
		}
	case socketio.Ack:
		c.acked(id, data, now)
	case socketio.ConnectError:
		return connectError(data)
	case socketio.BinaryEvent, socketio.BinaryAck:
		fallthrough
	default:
		c.loop.stats.Other++
	}
	return nil
}

// connectError is what a server says to a client that it does not let in: a message
// alone, or an object with one.
func connectError(data []byte) refusal {
	var said struct {
		Message string `json:"message"`
		Code    string `json:"code"`
		Data    struct {
			Code string `json:"code"`
		} `json:"data"`
	}
	if json.Unmarshal(data, &said.Message) != nil {
		_ = json.Unmarshal(data, &said) // data may be of another kind; the message is read nevertheless
	}
	if said.Message == "" {
		said.Message = string(data)
	}
	text := fmt.Sprintf("CONNECT_ERROR %.80s", said.Message)
	if code := cmp.Or(said.Code, said.Data.Code); code != "" {
		text += fmt.Sprintf(" (%.40s)", code)
	}
	return refusal(text)
}

// answer sends an ack without arguments.
func (c *client) answer(id uint64) error {
	if c.loop.target.Msgpack {
		return c.say(socketio.Ack, id, true, []byte("[]"))
	}
	c.write(append(strconv.AppendUint([]byte("43"), id, 10), "[]"...))
	return nil
}

// msgpack takes one packet in the form of socket.io-msgpack-parser.
func (c *client) msgpack(p engineio.Packet, now time.Time) error {
	if !p.Binary { // as the parser of clients 2 has some
		var said struct {
			Type *socketio.PacketType `json:"type"`
			Data json.RawMessage      `json:"data"`
		}
		if json.Unmarshal(p.Data, &said) != nil || said.Type == nil {
			return refusal("the server does not speak MessagePack")
		}
		return c.take(*said.Type, 0, false, said.Data, now)
	}
	packet, err := socketio.ParseMsgpack(p.Data, socketio.Limits{})
	if err != nil {
		return err
	}
	return c.take(packet.Type, packet.ID, packet.HasID, packet.Data, now)
}

// say sends one packet in that form; data is JSON.
func (c *client) say(t socketio.PacketType, id uint64, hasID bool, data []byte) (err error) {
	var raw []byte
	if len(data) > 0 {
		if raw, err = socketio.JSONToMsgpack(nil, data, nil); err != nil {
			return err
		}
	}
	c.writeBinary(socketio.AppendMsgpackPacket(nil, t, "/", id, hasID, raw))
	return nil
}

func digits(b []byte) (n int) {
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	return n
}

// acked takes the answer to a message of a Load. An answer that says "error" is
// none.
func (c *client) acked(id uint64, data []byte, now time.Time) {
	l := c.loop
	due, ok := l.asked[id]
	if !ok {
		l.stats.Other++
		return
	}
	delete(l.asked, id)
	if bytes.Contains(data, []byte(`{"error":`)) {
		l.stats.count("ack "+string(data[:min(len(data), 80)]), 1)
		return
	}
	l.stats.Answered++
	l.stats.RoundTrip.Record(now.Sub(due))
}

// bareEcho begins what a bare server sends back to its sender.
const bareEcho = 'e'

func (c *client) echo(b []byte, now time.Time) {
	due, ok := dueTime(b)
	if !ok {
		c.loop.stats.Other++
		return
	}
	c.loop.stats.Answered++
	c.loop.stats.RoundTrip.Record(now.Sub(due))
}

// centrifugo takes what one frame of Centrifugo brings: one JSON object a line.
func (c *client) centrifugo(b []byte, now time.Time) error {
	for line := range bytes.Lines(b) {
		line = bytes.TrimSpace(line)
		switch {
		case string(line) == "{}":
			c.loop.stats.Pings++
			c.write([]byte("{}"))
		case bytes.HasPrefix(line, []byte(`{"push":`)):
			c.message(line, now)
		default:
			if err := c.centrifugoReply(line, now); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *client) centrifugoReply(line []byte, now time.Time) error {
	var reply struct {
		ID    int             `json:"id"`
		Error json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(line, &reply); err != nil {
		return fmt.Errorf("read a reply: %w", err)
	}
	if reply.Error != nil {
		return refusal("reply " + string(reply.Error))
	}
	switch reply.ID {
	case 1:
		c.write([]byte(`{"id":2,"subscribe":{"channel":"` + CentrifugoChannel + `"}}`))
	case 2:
		c.connected(now)
	}
	return nil
}

// CentrifugoChannel is what every client of Centrifugo subscribes to.
const CentrifugoChannel = "bench"

// Argument is a JSON object that makes the message 42["name",{…}] of Socket.IO
// size bytes long, or a little longer when that is too short for it, with the due
// time in it.
func Argument(name string, size int, due time.Time) string {
	head := `{` + timeMark + strconv.FormatInt(due.UnixNano(), 10) + `,"pad":"`
	pad := size - len(`42["",]`) - len(name) - len(head) - len(`"}`)
	return head + strings.Repeat("x", max(pad, 0)) + `"}`
}

// EventText is that message.
func EventText(name string, size int, due time.Time) string {
	return `42["` + name + `",` + Argument(name, size, due) + `]`
}

// load sends one message of a Load.
func (c *client) load(l *Load, due time.Time) {
	arg := Argument(l.Event, l.Size, due)
	buf := c.loop.message[:0]
	switch c.loop.target.Protocol {
	case Bare:
		buf = append(buf, bareEcho, ' ')
		buf = append(buf, arg...)
	case SocketIO5, SocketIO4:
		if l.Ack {
			c.loop.lastAsk++
			c.loop.asked[c.loop.lastAsk] = due
		}
		if c.loop.target.Msgpack {
			c.loop.stats.Sent++
			if err := c.say(socketio.Event, c.loop.lastAsk, l.Ack, []byte(`["`+l.Event+`",`+arg+`]`)); err != nil {
				c.end(err)
			}
			return
		}
		buf = append(buf, '4', '2')
		if l.Ack {
			buf = strconv.AppendUint(buf, c.loop.lastAsk, 10)
		}
		buf = append(buf, `["`...)
		buf = append(buf, l.Event...)
		buf = append(buf, `",`...)
		buf = append(buf, arg...)
		buf = append(buf, ']')
	case Centrifugo:
		return // it echoes nothing
	}
	c.loop.message = buf
	c.loop.stats.Sent++
	c.write(buf)
}
