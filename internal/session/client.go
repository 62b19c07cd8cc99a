package session

import (
	"bytes"
	"slices"
	"strings"

	"holdfast/internal/message"
	"holdfast/socketio"
)

// Client is one Socket.IO socket: one namespace of a session.
type Client struct {
	Session   *Session
	Namespace string
	// Owner is the shard's own record of the client. The session does not look at it.
	Owner any

	next      *Client // of the same session
	lastEvent *string // name of its last event, as clients mostly repeat themselves; nil: none is kept
	connected bool
	gone      bool
}

// Connected tells whether the client was accepted and has not left.
func (c *Client) Connected() bool { return c.connected && !c.gone }

// Gone tells whether the client has left or its session is over.
func (c *Client) Gone() bool { return c.gone }

// maxKeptName is the longest name of an event that a client keeps, in bytes.
const maxKeptName = 64

// invalidNamespace is what stock servers say of a namespace that they do not have.
const invalidNamespace = "Invalid namespace"

func (s *Session) client(namespace string) *Client {
	for c := s.clients; c != nil; c = c.next {
		if c.Namespace == namespace {
			return c
		}
	}
	return nil
}

// ask makes a client for namespace and has the shard decide about it.
func (s *Session) ask(namespace string, auth []byte, acts *Actions) {
	c := &Client{Session: s, Namespace: namespace}
	end := &s.clients
	for *end != nil {
		end = &(*end).next
	}
	*end = c
	acts.add(Action{Kind: Connect, Client: c, Auth: auth})
}

// full tells whether the session has as many clients as it may.
func (s *Session) full() bool {
	n := 0
	for c := s.clients; c != nil; c = c.next {
		n++
	}
	return n >= s.cfg.MaxClients
}

// remove takes a client off the session, which may go on with none.
func (s *Session) remove(c *Client) {
	for at := &s.clients; *at != nil; at = &(*at).next {
		if *at == c {
			*at, c.next = c.next, nil
			break
		}
	}
	c.gone = true
}

// speaker finds who sent a packet: nil without an error means that the packet is to
// be let go, since it was on its way when this side ended its client.
func (s *Session) speaker(p *socketio.Packet) (*Client, error) {
	c := s.client(p.Namespace)
	switch {
	case c == nil && slices.Contains(s.get().kicked, p.Namespace):
		return nil, nil
	case c == nil, !c.connected && p.Type != socketio.Disconnect:
		return nil, errNotIn
	}
	return c, nil
}

// packet handles one Socket.IO packet, whole with its attachments. owned says that
// those are the receiver's already.
func (s *Session) packet(p *socketio.Packet, owned bool, acts *Actions, now int64) error {
	first := !s.spoken
	s.spoken = true
	if p.Type == socketio.Connect {
		if !first && !s.set().asked.again(now, s.cfg.MaxClients+connectsAtOnce) {
			return errManyConnects
		}
		return s.connectPacket(p, now, acts)
	}
	c, err := s.speaker(p)
	if c == nil {
		return err
	}
	switch p.Type {
	case socketio.Disconnect:
		s.remove(c)
		acts.add(Action{Kind: Leave, Client: c, Connected: c.connected, Reason: ClientDisconnect})
		return nil
	case socketio.Event, socketio.BinaryEvent:
		return s.event(c, p, owned, acts)
	case socketio.Ack, socketio.BinaryAck:
		if p.HasID {
			acts.add(Action{
				Kind: Ack, Client: c, AckID: p.ID,
				Payload: message.Payload{JSON: acts.bodies.clone(p.Data), Attachments: own(p.Binary, owned)},
			})
		}
		return nil
	default:
		return errFromClient
	}
}

// A session may ask for each of its namespaces at once, and some more often; from then
// on so many milliseconds apart. Each CONNECT has somebody look at a token, and tells the
// registry, a backend and rooms, so who comes and goes without end would cost others
// much.
const (
	connectsAtOnce = 16
	connectEvery   = 100
)

// asked counts the CONNECTs of a session.
type asked struct {
	n  int   // so many more than time has made up for
	at int64 // up to when it has
}

// again counts another one; false when there are more than most.
func (a *asked) again(now int64, most int) bool {
	gone := (now - a.at) / connectEvery
	a.at += gone * connectEvery
	a.n = int(max(0, int64(a.n)-gone))
	if a.n >= most {
		return false
	}
	a.n++
	return true
}

func (s *Session) connectPacket(p *socketio.Packet, now int64, acts *Actions) error {
	name := p.Namespace
	if s.hello.Version != 3 && p.Query != "" {
		// Only protocol 4 has a query there. To others it is a part of the name, and they
		// would not know the answer to another one as theirs.
		name += "?" + p.Query
	}
	if s.client(name) != nil {
		return errTwice
	}
	namespace, ok := s.cfg.Namespace(name)
	if !ok {
		s.sendError(name, invalidNamespace, now)
		return nil
	}
	if s.full() {
		return errManyClients
	}
	s.connectBy = 0
	if f := s.few; f != nil {
		f.kicked = slices.DeleteFunc(f.kicked, func(x string) bool { return x == namespace })
	}
	auth := p.Data
	if s.hello.Version == 3 {
		auth = []byte(p.Query)
	}
	s.ask(namespace, auth, acts)
	return nil
}

func (s *Session) event(c *Client, p *socketio.Packet, owned bool, acts *Actions) error {
	name, err := c.eventName(p.Data)
	if err != nil {
		return err
	}
	args, err := socketio.AppendArgs(acts.bodies.take(len(p.Data)), p.Data)
	if err != nil {
		return err
	}
	acts.add(Action{
		Kind: Event, Client: c, Name: name, WantsAck: p.HasID, AckID: p.ID,
		Payload: message.Payload{JSON: args, Attachments: own(p.Binary, owned)},
	})
	return nil
}

// eventName is the name in an event's data that has passed the parser. A name that
// the client has just used, and that needs no unescaping, costs no allocation.
func (c *Client) eventName(data []byte) (string, error) {
	if raw, ok := bytes.CutPrefix(data, []byte(`["`)); ok {
		if end := bytes.IndexByte(raw, '"'); end > 0 && c.lastEvent != nil && string(raw[:end]) == *c.lastEvent {
			return *c.lastEvent, nil
		}
	}
	name, _, err := socketio.EventName(data)
	if err != nil {
		return "", err
	}
	// One with a backslash could be taken for the beginning of an escaped one.
	if len(name) <= maxKeptName && strings.IndexByte(name, '\\') < 0 {
		kept := name // name itself is to stay off the heap
		c.lastEvent = &kept
	}
	return name, nil
}

// own copies attachments that alias a transport's buffer.
func own(bin [][]byte, owned bool) [][]byte {
	if len(bin) == 0 || owned {
		return bin
	}
	out := make([][]byte, len(bin))
	for i, b := range bin {
		out[i] = append([]byte{}, b...)
	}
	return out
}
