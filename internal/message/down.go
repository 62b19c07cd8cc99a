package message

import (
	"time"
)

// Down is one record to a node's inbox. Exactly one of the pointers is set.
type Down struct {
	Push       *Delivery
	Ack        *Ack
	Verdict    *Verdict
	Join       *Membership
	Leave      *Membership
	Disconnect *Disconnect
	Heads      *Heads
	// Call names the request that this record makes; ReplyTo is the ws-api that
	// waits. A node answers every record that has one with Replies until Done.
	Call    string
	ReplyTo string
	Expires time.Time // a node drops a call that it gets after this
}

// Push is a message as it was accepted: what a log keeps. Immutable.
type Push struct {
	ID          string // UUIDv7
	Targets     []Key
	Event       string
	Payload     Payload
	Filter      *Filter // nil: everybody
	Volatile    bool
	CollapseKey string
	TraceID     string
	TraceParent string
	Received    time.Time // by ws-api
	Sender      string    // client ID of a relayed event
}

// Size returns the push's bytes, for bounds.
func (p *Push) Size() int { return 256 + len(p.Event) + p.Payload.Size() }

// Filter narrows a push down. The zero Filter lets everybody pass.
type Filter struct {
	ExceptClients    []string // public IDs
	AuthTypes        []string
	Locales          []string
	MinClientVersion string // semantic version
}

// Delivery is a push addressed to one node: the stamps of those of its keys that
// have (or, for users and clients, may have) members there.
type Delivery struct {
	*Push
	Stamps []Stamp
	// WantAcks asks the node to send the event with an ack ID to each client and to
	// pass the answers on as Replies: first one with Clients (how many were asked),
	// then one for each ack. Acks are awaited until the record expires.
	WantAcks bool
	Pushed   time.Time
}

// Ack answers a client's event that asked for an acknowledgement.
type Ack struct {
	Client  string // public ID
	AckID   uint64
	Payload Payload

	TraceParent string // W3C; "" when the event is not followed
}

// Verdict answers a Connect with WantVerdict. Reject is nil when the client may
// come in. The node replies (Done) when the client has its answer, so that the
// backend's pushes can follow it.
type Verdict struct {
	Client    string
	Reject    *Reject
	UID       string
	Profile   string
	JoinRooms []string
}

// Reject refuses a CONNECT.
type Reject struct {
	Message string
	Data    []byte // JSON, nil when none
}

// Membership adds the clients behind a key to rooms, or takes them out.
// The node replies (Done) with the number of clients concerned.
type Membership struct {
	To    Key
	Rooms []string
}

// Disconnect closes the clients behind a key. With AllowReconnect the transport
// is closed, from which a stock client comes back; without, the client gets a
// Socket.IO DISCONNECT and stays away. The node replies (Done) with a count.
type Disconnect struct {
	To             Key
	AllowReconnect bool
	Reason         string
}

// Heads tells a node what a ws-api has lately sent to it, so that what the bus has
// lost of that is noticed although nothing follows it.
type Heads struct {
	Producer string // the life of a ws-api
	// Number counts the producer's Heads to this node. One that is repeated for want of
	// news keeps its number, and its stamps at first.
	Number uint64
	Stamps []Stamp // the last one sent of each key, since the number before
}

// Reply is one part of a node's answer to a call.
type Reply struct {
	Call    string
	Node    string
	Clients uint32    // how many clients the call concerned
	Ack     *AckReply // one client's acknowledgement
	Done    bool      // nothing more follows from this node
	Err     string    // the node could not do it: overloaded, unknown client …
	Peer    *Peer     // not a node's answer but another ws-api's word; the rest is zero then
}

// AckReply is what one client answered to a push.
type AckReply struct {
	Client  string
	Payload Payload
}
