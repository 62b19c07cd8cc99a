package gateway

import (
	"context"
	"net/http"
	"time"

	"holdfast/internal/message"
)

// Registry is who is where, as a node writes it.
type Registry interface {
	// Apply writes changes in order. It returns when all are durable; after an error
	// any number may be, and the same changes are sent again.
	Apply(ctx context.Context, changes []message.Change) error
	// Save keeps what a client needs to come back, for ttl, with some generations
	// before it.
	Save(ctx context.Context, s *message.Saved, ttl time.Duration) error
	// Load returns what Save kept, and the older generations newest first, or
	// message.ErrNotFound.
	Load(ctx context.Context, pid string) (*message.Saved, []message.Saved, error)
	// Take notes that the client is coming back on a node, and returns which attempt had
	// been the last one, or message.ErrNotFound. Numbers grow.
	Take(ctx context.Context, pid, node string) (before message.Claim, number uint64, err error)
	// Forget drops it: the client has left for good.
	Forget(ctx context.Context, pid string) error
}

// Ledger is what the registry has recorded of a node, which the node checks against what
// it holds.
type Ledger interface {
	// Held returns a page of the clients recorded at a node, and the cursor of the next
	// page, "" after the last.
	Held(ctx context.Context, node, cursor string, limit int) (entries []message.Held, next string, err error)
	// Drop removes entries that the node does not hold, unless they were changed since
	// they were read.
	Drop(ctx context.Context, node string, entries []message.Held) error
	// Entered returns some of the keys that the node is recorded to have members of, and
	// the cursor for more, "" when there are none.
	Entered(ctx context.Context, node, cursor string, limit int) (keys []message.Key, next string, err error)
	// Tidy removes from a page of a room's members those that no record belongs to. Of
	// the nodes in the room one does it, for the others it does nothing.
	Tidy(ctx context.Context, node string, key message.Key, cursor string, limit int) (next string, err error)
}

// Log is what was sent to each key, as a node reads it.
type Log interface {
	// Heads returns the position of each key's last record; for a key without a log
	// a position below anything that is appended later.
	Heads(ctx context.Context, keys []message.Key) ([]message.Position, error)
	// Range returns up to limit records after a position. complete is false when some
	// in between are no longer there.
	Range(ctx context.Context, key message.Key, after message.Position, limit int) (records []message.Logged, complete bool, err error)
}

// Bus carries events to ws-api and records to this node.
type Bus interface {
	// Publish hands an event over without blocking; message.ErrFull when there is no
	// room for it now.
	Publish(up *message.Up) error
	// Filled tells how full that room is, from 0 to 1.
	Filled() float64
	// Reply answers a call of the ws-api named to, without blocking.
	Reply(to string, r *message.Reply) error
	// AttachNode has every record to node passed to receive, which does not block,
	// until detach is called.
	AttachNode(node string, receive func(*message.Down) error) (detach func())
}

// Tracer follows some messages. It is called from shards, so it does not wait.
type Tracer interface {
	// Root decides whether the message of this ID is followed, and returns the
	// traceparent of its first span, else "".
	Root(id string) (traceParent string)
	// Child returns the traceparent of a span below another one's.
	Child(parent string) (traceParent string)
	// Span takes a span that is over.
	Span(s *message.Span)
}

// Authenticator tells who a client is.
type Authenticator interface {
	// Authenticate judges what a client has shown. An error that has a method
	// Refusal() (msg string, data []byte) decides what the client is told.
	Authenticate(ctx context.Context, c message.Credentials) (message.Identity, error)
	// RoomPermitted tells whether the client may join a room that it names itself.
	RoomPermitted(id message.Identity, room string) bool
}

// IDs makes identifiers. An error (a clock that ran backwards, a lost lease) is
// answered to the client with 503.
type IDs interface {
	SessionID() (string, error)
	ClientID() (string, error)
	Secret() (string, error)
	// AppendMessageID appends the text of a UUIDv7, some 36 bytes.
	AppendMessageID(dst []byte) ([]byte, error)
}

// Peers is the other nodes, reached over the link between them. What they ask of
// this one comes in by [Gateway.PeerHandler].
type Peers interface {
	// Owner names the living node that made a session's ID, "" when there is none.
	Owner(ctx context.Context, sid string) string
	// Alive tells whether a node is among the living.
	Alive(ctx context.Context, node string) bool
	// Do has a node's PeerHandler serve r, of which path, query, header and body are
	// used, and returns the answer whatever its status. It fails soon when the node
	// cannot be reached, and in any case when r's context ends. The caller closes the
	// answer's body; r's body is not closed.
	Do(node string, r *http.Request) (*http.Response, error)
}
