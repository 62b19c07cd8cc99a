package session

import (
	"errors"

	"holdfast/internal/message"
	"holdfast/socketio"
)

// Client is one Socket.IO socket: one namespace of a session.
type Client struct {
	Session   *Session
	Namespace string
	// ID is what the peer knows the client by; set by Accept.
	ID string
	// Owner is the shard's own record of the client. The session does not look at it.
	Owner any

	connected bool
	gone      bool
}

// Connected tells whether the client was accepted and has not left.
func (c *Client) Connected() bool { return c.connected && !c.gone }

// Gone tells whether the client has left or its session is over.
func (c *Client) Gone() bool { return c.gone }

// invalidNamespace is what stock servers say of a namespace that they do not have.
const invalidNamespace = "Invalid namespace"

// Errors that end a session as a parse error. They are for the log: the peer
// learns no more than that its transport closed.
var (
	errTwice        = errors.New("a second CONNECT to a namespace that the session is in")
	errNotIn        = errors.New("a packet for a namespace that the session is not in")
	errManyClients  = errors.New("too many namespaces on one session")
	errFromClient   = errors.New("a packet type that only a server sends")
	errInterleaved  = errors.New("a packet came between another and its attachments")
	errNoBinary     = errors.New("a binary message that no packet announced")
	errUnknownFrame = errors.New("a packet that a client does not send")
)

func (s *Session) client(namespace string) (int, *Client) {
	for i, c := range s.clients {
		if c.Namespace == namespace {
			return i, c
		}
	}
	return -1, nil
}

// ask makes a client for namespace and has the shard decide about it.
func (s *Session) ask(namespace string, auth []byte, acts *Actions) {
	c := &Client{Session: s, Namespace: namespace}
	s.clients = append(s.clients, c)
	acts.add(Action{Kind: Connect, Client: c, Auth: auth})
}

// remove takes a client off the session, which may go on with none.
func (s *Session) remove(c *Client) {
	if i, found := s.client(c.Namespace); found == c {
		s.clients = append(s.clients[:i], s.clients[i+1:]...)
	}
	c.gone = true
}

// packet handles one Socket.IO packet, whole with its attachments.
func (s *Session) packet(p *socketio.Packet, now int64, acts *Actions) error {
	s.spoken = true
	if p.Type == socketio.Connect {
		return s.connectPacket(p, now, acts)
	}
	_, c := s.client(p.Namespace)
	if c == nil {
		return errNotIn
	}
	switch p.Type {
	case socketio.Disconnect:
		s.remove(c)
		acts.add(Action{Kind: Leave, Client: c, Connected: c.connected, Reason: ClientDisconnect})
		return nil
	case socketio.Event, socketio.BinaryEvent:
		if !c.connected {
			return errNotIn
		}
		return s.event(c, p, acts)
	case socketio.Ack, socketio.BinaryAck:
		if !c.connected {
			return errNotIn
		}
		if p.HasID {
			acts.add(Action{
				Kind: Ack, Client: c, AckID: p.ID,
				Payload: message.Payload{JSON: append([]byte(nil), p.Data...), Attachments: own(p.Binary)},
			})
		}
		return nil
	default:
		return errFromClient
	}
}

func (s *Session) connectPacket(p *socketio.Packet, now int64, acts *Actions) error {
	if _, c := s.client(p.Namespace); c != nil {
		return errTwice
	}
	s.connectBy = 0
	namespace, ok := s.cfg.Namespace(p.Namespace)
	if !ok {
		s.sendError(p.Namespace, invalidNamespace, now)
		return nil
	}
	if len(s.clients) >= s.cfg.MaxClients {
		return errManyClients
	}
	auth := p.Data
	if s.hello.Version == 3 {
		auth = []byte(p.Query)
	}
	s.ask(namespace, auth, acts)
	return nil
}

func (s *Session) event(c *Client, p *socketio.Packet, acts *Actions) error {
	name, _, err := socketio.EventName(p.Data)
	if err != nil {
		return err
	}
	args, err := socketio.AppendArgs(make([]byte, 0, len(p.Data)), p.Data)
	if err != nil {
		return err
	}
	acts.add(Action{
		Kind: Event, Client: c, Name: name, WantsAck: p.HasID, AckID: p.ID,
		Payload: message.Payload{JSON: args, Attachments: own(p.Binary)},
	})
	return nil
}

// own copies attachments that alias a transport's buffer.
func own(bin [][]byte) [][]byte {
	if len(bin) == 0 {
		return nil
	}
	out := make([][]byte, len(bin))
	for i, b := range bin {
		out[i] = append([]byte{}, b...)
	}
	return out
}

// Accept lets a client in as id. pid is its private ID where recovery is on, else
// "". Protocol 4 knows no such answer: its clients compute their ID.
func (s *Session) Accept(c *Client, id, pid string, now int64) {
	if c.gone {
		return
	}
	c.ID = id
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
	s.sendPacket(socketio.Packet{Type: socketio.Connect, Namespace: c.Namespace, Data: data}, now)
}

// Refuse turns a client away with a message and data (JSON, nil for none). The
// session goes on: the peer may ask again, or for another namespace.
func (s *Session) Refuse(c *Client, msg string, data []byte, now int64, acts *Actions) {
	if c.gone {
		return
	}
	if s.cfg.Raw {
		s.End(ForcedServer, now, acts)
		return
	}
	s.remove(c)
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
	case len(data) > 0 && data[0] != '-' && (data[0] < '0' || data[0] > '9'):
		body = data
	default:
		// A bare number would read as an ack ID.
		body = socketio.AppendString(nil, msg)
	}
	s.sendPacket(socketio.Packet{Type: socketio.ConnectError, Namespace: c.Namespace, Data: body}, now)
	if s.connectBy == 0 && len(s.clients) == 0 && s.hello.Version != 3 {
		s.connectBy = now + s.cfg.ConnectTimeout
	}
}

// sendError refuses a namespace that does not exist, in the one form that all
// protocols share.
func (s *Session) sendError(namespace, msg string, now int64) {
	body := append([]byte(`{"message":`), socketio.AppendString(nil, msg)...)
	s.sendPacket(socketio.Packet{Type: socketio.ConnectError, Namespace: namespace, Data: append(body, '}')}, now)
}

// Kick ends a client with a Socket.IO DISCONNECT, from which a stock client does
// not come back by itself. The session goes on.
func (s *Session) Kick(c *Client, why Reason, now int64, acts *Actions) {
	if c.gone {
		return
	}
	s.remove(c)
	if s.cfg.Raw {
		acts.add(Action{Kind: Leave, Client: c, Connected: c.connected, Reason: why})
		s.End(why, now, acts)
		return
	}
	s.sendPacket(socketio.Packet{Type: socketio.Disconnect, Namespace: c.Namespace}, now)
	acts.add(Action{Kind: Leave, Client: c, Connected: c.connected, Reason: why})
}

// SendAck answers an event of c that asked for an acknowledgement.
func (s *Session) SendAck(c *Client, id uint64, p *message.Payload, now int64) error {
	if !c.Connected() || s.state != Open {
		return nil
	}
	data := p.JSON
	if p.Msgpack != nil && data == nil {
		text, bin, err := socketio.MsgpackToJSON(p.Msgpack)
		if err != nil {
			return err
		}
		data, p = text, &message.Payload{JSON: text, Attachments: bin}
	}
	if len(data) == 0 {
		data = []byte("[]")
	}
	t := socketio.Ack
	if len(p.Attachments) > 0 {
		t = socketio.BinaryAck
	}
	s.sendPacket(socketio.Packet{
		Type: t, Namespace: c.Namespace, HasID: true, ID: id, Data: data,
		Attachments: len(p.Attachments), Binary: p.Attachments,
	}, now)
	return nil
}

// sendPacket queues a packet that is this session's alone.
func (s *Session) sendPacket(p socketio.Packet, now int64) {
	if s.state != Open {
		return
	}
	o := &Outgoing{attachments: p.Binary}
	if s.msgpack {
		b, err := socketio.AppendMsgpack(nil, p)
		if err != nil {
			return // only a payload that is no JSON gets here, and those are checked at the API
		}
		o.binary, o.attachments = b, nil
	} else {
		o.text = socketio.Append([]byte{'4'}, p)
	}
	s.out.push(item{out: o, at: now})
}

// PublicName names a namespace's client of protocol 4, as the client computes it.
func PublicName(namespace, sid string) string {
	if namespace == "/" {
		return sid
	}
	return namespace + "#" + sid
}
