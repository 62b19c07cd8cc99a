package session

import "holdfast/internal/message"

// ActionKind is what a session asks its shard to do.
type ActionKind uint8

// The kinds of action.
const (
	// Connect: Client asks to come into its namespace. The shard finds out who it is
	// and calls Accept or Refuse, now or later. Auth has what the packet carried.
	Connect ActionKind = iota + 1
	// Event: Client emitted Name with Payload; WantsAck asks for an answer to AckID.
	Event
	// Ack: Client answers the push that bore AckID.
	Ack
	// Leave: Client, whose CONNECT was seen and not refused, is over for Reason.
	// Connected tells whether it had been accepted. There is one for each client.
	Leave
	// Ended: the session is over for Reason. It comes once, and nothing after it. On a WebSocket the shard writes what
	// Next still gives, then a close frame, and closes.
	Ended
)

// Action is one thing to do. The bytes in it belong to the receiver, except Auth,
// which is valid until the next call of the session.
type Action struct {
	Kind      ActionKind
	Client    *Client
	Connected bool
	WantsAck  bool
	AckID     uint64
	Name      string
	Payload   message.Payload
	Auth      []byte // JSON object (protocol 5) or query string (protocol 4), nil when absent
	Reason    Reason
}

// Actions collects what calls of sessions ask for, and has the memory that they work
// with. A shard owns one and uses it again and again for all of its sessions; the zero
// Actions is ready.
type Actions struct {
	list   []Action
	bodies pieces
	spare  []*Outgoing // see Reuse
}

func (a *Actions) add(x Action) { a.list = append(a.list, x) }

// Empty tells whether there is nothing to do.
func (a *Actions) Empty() bool { return len(a.list) == 0 }

// Take hands over what there is to do, in order. What comes while that is done is
// collected anew. Done takes the slice back.
func (a *Actions) Take() []Action {
	list := a.list
	a.list = nil
	return list
}

// Done says that a list of Take's is done with, so that its memory may be used again.
func (a *Actions) Done(list []Action) {
	if a.list == nil {
		clear(list)
		a.list = list[:0]
	}
}
