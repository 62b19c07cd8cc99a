package message

// ChangeKind is what a [Change] does to the registry.
type ChangeKind uint8

// The kinds of change. Enter and Exit say that a node has got its first member of
// a key, or lost its last one; the others are about one client.
const (
	ChangeConnect    ChangeKind = iota + 1 // Client, Rooms
	ChangeJoin                             // Client, Rooms
	ChangeLeave                            // Client, Rooms
	ChangeDisconnect                       // Client: leaves all that it is in
	ChangeEnter                            // Node, Key
	ChangeExit                             // Node, Key
	ChangeMend                             // Client, Rooms: a Connect of whoever has it still
)

// Change is one write of a node to the registry. Each is idempotent, so that a
// batch of which nobody knows whether it arrived can be sent again.
type Change struct {
	Kind   ChangeKind
	Client *Client
	Rooms  []string
	Node   string
	Key    Key
}
