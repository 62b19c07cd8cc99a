package session

import (
	"fmt"
	"slices"

	"holdfast/internal/message"
	"holdfast/socketio"
)

// Accept lets a client in as id. pid is its private ID where recovery is on, else
// "". Protocol 4 knows no such answer: its clients compute their ID. What a raw
// client has sent meanwhile comes as actions of the next call; [Session.Deadline]
// asks for a Tick at once.
func (s *Session) Accept(c *Client, id, pid string, now int64) {
	if c.gone || c.connected {
		return
	}
	c.connected = true
	if s.cfg.Raw {
		return
	}
	var data []byte
	if s.hello.Version != 3 {
		data = append(data, `{"sid":`...)
		data = socketio.AppendString(data, id)
		if pid != "" {
			data = append(data, `,"pid":`...)
			data = socketio.AppendString(data, pid)
		}
		data = append(data, '}')
	}
	_ = s.sendPacket(&Outgoing{}, socketio.Packet{Type: socketio.Connect, Namespace: c.Namespace, Data: data}, now)
}

// Refuse turns a client that was not accepted away with a message and data (JSON,
// nil for none). There is no Leave for it. The session goes on: the peer may ask
// again, or for another namespace. A raw session has nothing else and ends.
func (s *Session) Refuse(c *Client, msg string, data []byte, now int64, acts *Actions) {
	if c.gone || c.connected {
		return
	}
	s.remove(c)
	if s.cfg.Raw {
		s.End(ForcedServer, now, acts)
		return
	}
	var body []byte
	switch {
	case s.hello.Version != 3:
		body = append(body, `{"message":`...)
		body = socketio.AppendString(body, msg)
		if len(data) > 0 {
			body = append(body, `,"data":`...)
			body = append(body, data...)
		}
		body = append(body, '}')
	case len(data) > 0 && !s.controlText() && data[0] != '-' && (data[0] < '0' || data[0] > '9'):
		body = data
	default:
		// A bare number would read as an ack ID, and a client of the MessagePack parser
		// takes nothing but a string.
		body = socketio.AppendString(nil, msg)
	}
	if err := s.sendPacket(&Outgoing{}, socketio.Packet{Type: socketio.ConnectError, Namespace: c.Namespace, Data: body}, now); err != nil {
		s.sendError(c.Namespace, msg, now) // the data is no JSON; the message alone always goes
	}
	if s.connectBy == 0 && s.clients == nil && s.hello.Version != 3 {
		s.connectBy = now + s.cfg.ConnectTimeout
	}
}

// sendError refuses a namespace that does not exist, in the one form that all
// protocols share.
func (s *Session) sendError(namespace, msg string, now int64) {
	body := socketio.AppendString(nil, msg)
	if !s.controlText() {
		body = append(append([]byte(`{"message":`), body...), '}')
	}
	_ = s.sendPacket(&Outgoing{}, socketio.Packet{Type: socketio.ConnectError, Namespace: namespace, Data: body}, now)
}

// Kick ends a client with a Socket.IO DISCONNECT, from which a stock client does
// not come back by itself. The session goes on, and what the client has sent before
// it learns of this is let go.
func (s *Session) Kick(c *Client, why Reason, now int64, acts *Actions) {
	if c.gone {
		return
	}
	s.releaseEarly(acts)
	s.remove(c)
	acts.add(Action{Kind: Leave, Client: c, Connected: c.connected, Reason: why})
	if s.cfg.Raw {
		s.End(why, now, acts)
		return
	}
	// A client may come and go in many namespaces whose names it chooses.
	f := s.set()
	if len(f.kicked) >= s.cfg.MaxClients {
		f.kicked = slices.Delete(f.kicked, 0, 1)
	}
	f.kicked = append(f.kicked, c.Namespace)
	_ = s.sendPacket(&Outgoing{}, socketio.Packet{Type: socketio.Disconnect, Namespace: c.Namespace}, now)
}

// SendAck answers an event of c that asked for an acknowledgement. An error says
// that p cannot be written in the client's form; nothing is sent then.
func (s *Session) SendAck(c *Client, id uint64, p *message.Payload, now int64, acts *Actions) error {
	if !c.Connected() || s.state != Open {
		return nil
	}
	ack := socketio.Packet{Type: socketio.Ack, Namespace: c.Namespace, HasID: true, ID: id}
	if p.Msgpack != nil && s.msgpack {
		ack.Msgpack = p.Msgpack
		return s.sendPacket(acts.outgoing(), ack, now)
	}
	var err error
	if ack.Data, ack.Binary, err = jsonOf(p); err != nil {
		return fmt.Errorf("write the acknowledgement as JSON: %w", err)
	}
	if len(ack.Data) == 0 {
		ack.Data = []byte("[]")
	}
	if ack.Attachments = len(ack.Binary); ack.Attachments > 0 {
		ack.Type = socketio.BinaryAck
	}
	return s.sendPacket(acts.outgoing(), ack, now)
}

// controlText tells whether CONNECT, DISCONNECT and ERROR are JSON text beside events
// in the MessagePack form, which is how that parser has it for protocol 4.
func (s *Session) controlText() bool { return s.msgpack && s.hello.Version == 3 }

// sendPacket queues a packet that is this session's alone as o, which is empty. It fails
// only when the packet's data cannot be written in the session's form, so never for data
// that this package has made.
func (s *Session) sendPacket(o *Outgoing, p socketio.Packet, now int64) error {
	if s.state != Open {
		return nil
	}
	switch {
	case s.controlText() && (p.Type == socketio.Connect || p.Type == socketio.Disconnect || p.Type == socketio.ConnectError):
		o.text = socketio.AppendMsgpackControl(append(o.text, '4'), p)
	case s.msgpack:
		b, err := socketio.AppendMsgpack(nil, p)
		if err != nil {
			return fmt.Errorf("write a packet as MessagePack: %w", err)
		}
		o.text, o.attachments = nil, [][]byte{b} // without memory for a text: that would be an empty one
	default:
		o.text, o.attachments = socketio.Append(append(o.text, '4'), p), p.Binary
	}
	s.push(item{out: o, at: now})
	return nil
}

// PublicName names a namespace's client of protocol 4, as the client computes it.
func PublicName(namespace, sid string) string {
	if namespace == "/" {
		return sid
	}
	return namespace + "#" + sid
}
