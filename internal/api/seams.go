package api

import (
	"context"
	"time"

	"holdfast/internal/message"
)

// Registry tells who is where. All methods may be called concurrently. Its errors say what
// failed for which key.
type Registry interface {
	// Nodes returns the nodes that have members of key, and the version of the key's
	// membership that this list belongs to (both read at one moment). The version
	// grows whenever a node gets its first member. For keys of users and clients
	// the nodes are those that hold them, and the version has no meaning. No
	// members: no nodes and no error.
	Nodes(ctx context.Context, key message.Key) (nodes []string, version uint64, err error)
	// Client returns one client by either form of its ID, or [message.ErrNotFound].
	Client(ctx context.Context, id string) (message.ClientInfo, error)
	// List returns up to limit clients of key in the order of their IDs, beginning
	// after cursor, and the cursor of the next page, "" after the last. Clients that
	// come and go meanwhile do not make others be left out or come twice.
	List(ctx context.Context, key message.Key, cursor string, limit int) (clients []message.ClientInfo, next string, err error)
	// ListNode does the same for the clients that a node holds.
	ListNode(ctx context.Context, node, cursor string, limit int) (clients []message.ClientInfo, next string, err error)
	// Count returns how many clients are behind key, and how many different uids they
	// have; clients without one do not count among those. O(1).
	Count(ctx context.Context, key message.Key) (clients, users uint64, err error)
}

// Log keeps the recoverable messages of each key, in order and bounded. Its errors say what
// failed for which key.
type Log interface {
	// Append adds p to the log of key and returns its place there together with
	// the version of the key's membership at that moment (0: not known). When it
	// returns nil, the message survives what the log survives.
	Append(ctx context.Context, key message.Key, p *message.Push) (message.Appended, error)
	// Find returns the place of the message with that ID in the log of key, with the
	// version 0, or [message.ErrNotFound]. If it was appended, then after since;
	// [message.ErrForgotten]: what the log has dropped since then might be it.
	Find(ctx context.Context, key message.Key, messageID string, since time.Time) (message.Appended, error)
}

// Receipts remembers pushes by their dedup_id for all ws-apis together.
type Receipts interface {
	// Claim asks for the push of a dedup_id: the caller is to make it, unless the receipt
	// says that it is done or that another attempt is at it, which it is taken to be for
	// lease. messageID is the message's ID if nobody has tried before; attempt is a name
	// that no other attempt has. What is noted is kept for ttl.
	Claim(ctx context.Context, id, messageID, attempt string, lease, ttl time.Duration) (message.Receipt, error)
	// Settle notes that an attempt has sent the push to so many nodes, unless another one
	// has the claim by now.
	Settle(ctx context.Context, id, attempt string, nodes uint32, ttl time.Duration) error
	// Fail notes that an attempt has failed, so that the next one need not wait.
	Fail(ctx context.Context, id, attempt string, ttl time.Duration) error
}

// Answers remembers, for all ws-apis together, the pushes that wait for clients' answers,
// by their dedup_id. Whom an attempt has asked is in no log, so such a push is not tried
// again once an attempt may have asked somebody.
type Answers interface {
	// Claim is that of [Receipts]; a receipt that is Done has the Answer. One is Lost after
	// an attempt that had noted that it asks, and did not settle in its time.
	Claim(ctx context.Context, id, messageID, attempt string, lease, ttl time.Duration) (message.Receipt, error)
	// Ask notes that an attempt is about to ask clients, and will settle within a time.
	// false: another attempt has the claim, and this one must not ask.
	Ask(ctx context.Context, id, attempt string, within, ttl time.Duration) (bool, error)
	// Settle notes what an attempt was answered; nothing: that this is lost.
	Settle(ctx context.Context, id, attempt string, answer []byte, ttl time.Duration) error
	// Fail notes that an attempt has failed, and that it may be made again.
	Fail(ctx context.Context, id, attempt string, ttl time.Duration) error
}

// Bus carries records between nodes and ws-api.
type Bus interface {
	// Send puts d into a node's inbox. [message.ErrGone]: nobody is attached there;
	// [message.ErrFull]: the inbox has no room. It may be called concurrently; two
	// calls after one another from one goroutine arrive in that order.
	Send(ctx context.Context, node string, d *message.Down) error
	// Consume calls handle for the clients' events, in the order of publishing, from
	// one goroutine, until ctx ends; it returns nil then. handle may block, which is
	// the backpressure.
	Consume(ctx context.Context, handle func(*message.Up)) error
	// AttachAPI lets Replies to calls with this ReplyTo arrive at receive, which
	// never blocks, until detach is called.
	AttachAPI(id string, receive func(*message.Reply)) (detach func())
}

// SettlingBus is a [Bus] that remembers events until they are done with, so that
// those which a killed ws-api had consumed but not handed on are consumed again.
// The server prefers it to Consume where the bus has it.
type SettlingBus interface {
	Bus
	// ConsumeSettled is Consume with a function for each event that is called once,
	// from any goroutine, when nothing more remains to be done for it.
	ConsumeSettled(ctx context.Context, handle func(up *message.Up, settled func())) error
}

// PushSource is a [Bus] to which backends can write pushes by themselves. The server
// consumes them where the bus has them.
type PushSource interface {
	Bus
	// ConsumePushes calls handle for each record, from one goroutine, until ctx ends; it
	// returns nil then. handle may block. settled is called from any goroutine when the
	// record is done with; one for which it is not comes again.
	ConsumePushes(ctx context.Context, handle func(p message.PushRecord, settled func())) error
}

// Members tells the ws-apis that share a bus of one another.
type Members interface {
	// Beat shows that this ws-api lives, tells the others of it, and returns those that
	// live, itself left out. self.Version grows with each change of self.
	Beat(ctx context.Context, self message.Member) ([]message.Member, error)
	// Leave takes it out at once.
	Leave(ctx context.Context, id string) error
}

// PeerBus is a [Bus] by which ws-apis reach one another.
type PeerBus interface {
	Bus
	// Reply puts r into the inbox of another ws-api, see AttachAPI. It does not block:
	// [message.ErrFull] says that there is no room. What it takes may be lost.
	Reply(to string, r *message.Reply) error
}
