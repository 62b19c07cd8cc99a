package message

import "time"

// EventType is the kind of an event from a client (X-Event).
type EventType uint8

// The event types.
const (
	EventConnect EventType = iota + 1
	EventMessage
	EventDisconnect
)

func (t EventType) String() string {
	switch t {
	case EventConnect:
		return "Connect"
	case EventMessage:
		return "Message"
	case EventDisconnect:
		return "Disconnect"
	}
	return "Unknown"
}

// Up is an event on its way from a node to ws-api. It is immutable once published.
type Up struct {
	ID     string // UUIDv7
	Type   EventType
	Client *Client
	// Order is the partition key: the session's guid at CONNECT, else its uid, else
	// the client ID; fixed for the session's life. Session is the session's public
	// ID: events with the same Session are handed to a backend one at a time.
	Order   string
	Session string

	Name     string  // of a Message; "" for raw Engine.IO
	Payload  Payload // of a Message; JSON is "[]" when there are no arguments
	AckID    uint64  // with WantsAck: what an Ack must echo
	WantsAck bool
	Acked    bool     // the node has answered already: the rule asks for no more than the bus has
	Rooms    []string // of the client at that moment, for relay rules

	// Of a Connect.
	Auth        []byte // JSON object, "{}" when absent
	WantVerdict bool   // the node waits for a Verdict before it answers the client
	Recovered   bool   // the client came back within the window

	// Of a Connect, and of every other event of the client as well.
	Query       map[string]string // of the handshake, shared by a session's events
	HTTPHeaders map[string]string // of the handshake, by the allow-list

	Reason string // of a Disconnect, Socket.IO's strings

	// Again says that the bus may have handed the event to a ws-api before, which has not
	// said that it is done with it. It is the bus', and in no record.
	Again bool

	// Hold tells how the consumer stands to the event now; nil: nobody else can have it. It
	// is the bus', and in no record.
	Hold func() Hold

	TraceID     string // X-Trace-ID
	TraceParent string // W3C
	Received    time.Time
	Enqueued    time.Time
}

// Size returns the event's bytes, for bounds.
func (u *Up) Size() int {
	return 256 + len(u.Name) + len(u.Auth) + u.Payload.Size()
}

// Hold is how a consumer stands to an event that the bus has handed to it. One that stands
// still, or is cut off, is taken for dead, and what it has not done with is another's.
type Hold struct {
	// Until is when another consumer may have the event at the earliest. When it has passed,
	// nothing is known until the bus has heard more.
	Until time.Time
	Lost  bool // another consumer has it
	Again bool // another consumer may have had it in between
}
