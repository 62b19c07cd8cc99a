package session

import (
	"holdfast/engineio"
	"holdfast/internal/message"
	"holdfast/socketio"
)

// State is where a session is in its life; see the package's table.
type State uint8

// The states.
const (
	Open State = iota
	Closing
	Closed
)

// Transport is what carries a session at the moment.
type Transport uint8

// The transports.
const (
	Polling Transport = iota
	WebSocket
)

func (t Transport) String() string {
	if t == WebSocket {
		return "websocket"
	}
	return "polling"
}

// Config is what the sessions of an endpoint share. Times are in milliseconds.
// The zero value of each limit is its default.
type Config struct {
	// Raw endpoints speak Engine.IO alone: each message is an event without a name.
	Raw bool
	// Msgpack3 speaks to Engine.IO 3 clients in the MessagePack form; there the server
	// speaks first, so it cannot tell from what the client sends. Others are recognised.
	Msgpack3 bool
	// PollingOnly tells clients that there is no WebSocket to go on to.
	PollingOnly bool
	// PingInterval and PingTimeout are what the handshake advertises; they are also
	// the cap of an adaptive heartbeat. Defaults 25 000 and 20 000.
	PingInterval, PingTimeout int64
	// PingFloor is where an adaptive heartbeat begins and falls back to, PingStep
	// what it grows by after PingRounds answered pings. Floor 0: fixed interval.
	PingFloor, PingStep int64
	PingRounds          int
	// ConnectTimeout closes a protocol 5 session that asks for no namespace. Default 45 000.
	ConnectTimeout int64
	// MaxPayload bounds a message from the client, in bytes. Default 1 000 000.
	MaxPayload int64
	// Packet has the bounds of one Socket.IO packet.
	Packet socketio.Limits
	// AttachmentTime bounds the time from a packet to the last of its attachments. Default 10 000.
	AttachmentTime int64
	// PollingPackets bounds the packets of one post. Default engineio.DefaultMaxPackets.
	PollingPackets int
	// MaxClients bounds the namespaces of one session. Default 32.
	MaxClients int
	// OutputBytes, OutputItems and OutputAge bound what waits for the peer; past
	// them the session ends as a slow consumer, from which the client may come back
	// and recover. Defaults 4 MiB, 16 384 and 30 000.
	OutputBytes, OutputItems int
	OutputAge                int64
	// Namespace tells whether a namespace exists and returns one copy of its name for
	// all sessions. nil: only "/".
	Namespace func(name string) (interned string, ok bool)
}

// WithDefaults returns c with its zero fields filled in.
func (c Config) WithDefaults() Config {
	set := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.PingInterval, 25_000)
	set(&c.PingTimeout, 20_000)
	set(&c.ConnectTimeout, 45_000)
	set(&c.MaxPayload, 1_000_000)
	set(&c.AttachmentTime, 10_000)
	set(&c.OutputAge, 30_000)
	if c.MaxClients == 0 {
		c.MaxClients = 32
	}
	if c.OutputBytes == 0 {
		c.OutputBytes = 4 << 20
	}
	if c.OutputItems == 0 {
		c.OutputItems = 16_384
	}
	if c.Namespace == nil {
		c.Namespace = func(name string) (string, bool) { return "/", name == "/" }
	}
	return c
}

// closingTime is how long a closed polling session waits for the poll that takes
// its close packet, in milliseconds.
const closingTime = 30_000

// Hello is what a handshake says of a session.
type Hello struct {
	ID        string // the secret session ID
	Version   engineio.Version
	Transport Transport
	Base64    bool // the client cannot take binary (b64=1, or JSONP)
	// PingInterval is what an Engine.IO 3 client is told instead of Config.PingInterval, in
	// ms; 0: that one. It is never longer.
	PingInterval int32
}

// Session is one Engine.IO session. Its zero value is not ready; call Init.
type Session struct {
	// Immutable.
	cfg   *Config
	hello Hello

	state     State
	transport Transport
	upgrading bool // a probe has been answered
	waiting   bool // a poll waits for something to carry
	posting   bool // a post is under way
	msgpack   bool // packets are MessagePack (recognised by the first one, or as configured)
	spoken    bool // a packet of Socket.IO has come
	slow      bool // something did not fit into out

	beat      heartbeat
	connectBy int64 // until when a protocol 5 client must have asked for a namespace; 0: it has

	clients *Client  // the first of them, in the order in which they came
	pending *pending // a packet whose attachments are on their way
	few     *few     // nil for most
	out     queue
}

// few is what few sessions have at a time, apart so that the others need no room
// for it.
type few struct {
	asked   asked             // CONNECTs but the first packet
	kicked  []string          // namespaces that this side has ended, from which packets may be on their way
	early   []message.Payload // what a raw client has said before it was let in
	reason  Reason            // why the session is over
	closeBy int64             // Closing: until when a poll may fetch the close packet
}

// set returns what few sessions have, making it of the session that is to have it.
func (s *Session) set() *few {
	if s.few == nil {
		s.few = &few{}
	}
	return s.few
}

// get returns the same to be looked at.
func (s *Session) get() few {
	if s.few == nil {
		return few{}
	}
	return *s.few
}

// Init makes s a new session and queues its open packet. For protocol 4 it also
// asks for the namespace "/", where such a client expects to be without asking.
func (s *Session) Init(cfg *Config, hello Hello, now int64, acts *Actions) {
	*s = Session{cfg: cfg, hello: hello, transport: hello.Transport}
	var upgrades []string
	if hello.Transport == Polling && !cfg.PollingOnly {
		upgrades = []string{"websocket"}
	}
	s.beat.start(s, now)
	interval := cfg.PingInterval
	if hello.Version == 3 {
		interval = int64(s.beat.interval)
	}
	s.out.push(item{out: &Outgoing{text: engineio.AppendOpen(nil, engineio.OpenPacket{
		SID: hello.ID, Upgrades: upgrades,
		PingInterval: interval, PingTimeout: cfg.PingTimeout, MaxPayload: cfg.MaxPayload,
	})}, at: now})
	switch {
	case cfg.Raw:
		s.ask("/", nil, acts)
	case hello.Version == 3:
		s.spoken, s.msgpack = true, cfg.Msgpack3
		if nsp, ok := cfg.Namespace("/"); ok {
			s.ask(nsp, nil, acts)
		} else {
			s.sendError("/", invalidNamespace, now)
		}
	default:
		s.connectBy = now + cfg.ConnectTimeout
	}
}

// ID returns the secret session ID.
func (s *Session) ID() string { return s.hello.ID }

// Version returns the Engine.IO version that the client speaks.
func (s *Session) Version() engineio.Version { return s.hello.Version }

// Transport returns what carries the session now.
func (s *Session) Transport() Transport { return s.transport }

// State returns where the session is in its life.
func (s *Session) State() State { return s.state }

// Upgrading tells whether a probe has been answered and not yet decided.
func (s *Session) Upgrading() bool { return s.upgrading }

// Clients returns the session's clients, in a slice of the caller's.
func (s *Session) Clients() []*Client {
	var all []*Client
	for c := s.clients; c != nil; c = c.next {
		all = append(all, c)
	}
	return all
}

// Alive notes that bytes came from the peer which are no whole packet yet, or a
// control frame. Packets, polls and posts count by themselves.
func (s *Session) Alive(now int64) {
	if s.state == Open {
		s.beat.alive(s, now)
	}
}

// Deadline returns when Tick wants to be called next, on the scale of now; 0 when
// the session is Closed.
func (s *Session) Deadline() int64 {
	if s.state != Open {
		return s.get().closeBy
	}
	if s.slow || s.earlyReady() {
		return s.beat.lastSeen // at once
	}
	at := s.beat.deadline(s)
	if s.connectBy != 0 {
		at = min(at, s.connectBy)
	}
	if s.pending != nil {
		at = min(at, s.pending.until)
	}
	if oldest, ok := s.out.oldest(); ok {
		at = min(at, oldest+s.cfg.OutputAge)
	}
	return at
}

// Tick does what is due at now.
func (s *Session) Tick(now int64, acts *Actions) {
	if s.state != Open {
		if s.state == Closing && now >= s.get().closeBy {
			s.Lost(s.get().reason, acts)
		}
		return
	}
	s.releaseEarly(acts)
	oldest, queued := s.out.oldest()
	switch {
	case s.slow:
		s.endSlow(now, acts)
	case s.connectBy != 0 && now >= s.connectBy:
		s.End(TransportClose, now, acts)
	case s.pending != nil && now >= s.pending.until:
		s.End(ParseError, now, acts)
	case !s.beat.tick(s, now):
		s.fail(PingTimeout, now, acts)
	case s.slow, // the ping did not fit
		queued && now >= oldest+s.cfg.OutputAge:
		s.endSlow(now, acts)
	}
}

// End closes the session from this side. On polling it stays in Closing until a
// poll has fetched the close packet.
func (s *Session) End(why Reason, now int64, acts *Actions) {
	if s.state != Open {
		return
	}
	s.leaveAll(why, acts)
	s.set().reason = why
	s.state = Closing
	if s.transport == WebSocket {
		s.finish(acts)
		return
	}
	s.out.push(item{out: packetClose, at: now})
	s.set().closeBy = now + closingTime
}

// fail ends a session whose transport is broken: who has a poll waiting is told, a
// later one finds the session unknown, as with a stock server.
func (s *Session) fail(why Reason, now int64, acts *Actions) {
	if s.transport == Polling && !s.waiting {
		s.Lost(why, acts)
		return
	}
	s.End(why, now, acts)
}

// Lost says that the transport is gone: the socket was closed, a poll or a post
// aborted. Nothing can be told to the peer any more.
func (s *Session) Lost(why Reason, acts *Actions) {
	if s.state == Closed {
		return
	}
	if s.state == Open {
		s.leaveAll(why, acts)
		s.set().reason = why
	}
	s.out.clear()
	s.finish(acts)
}

func (s *Session) finish(acts *Actions) {
	s.state = Closed
	why := s.get().reason
	s.few = nil
	acts.add(Action{Kind: Ended, Reason: why})
}

func (s *Session) leaveAll(why Reason, acts *Actions) {
	s.releaseEarly(acts)
	for c := s.clients; c != nil; c = c.next {
		acts.add(Action{Kind: Leave, Client: c, Connected: c.connected, Reason: why})
		c.gone = true
	}
	s.clients, s.pending, s.few = nil, nil, nil
	s.upgrading = false
}
