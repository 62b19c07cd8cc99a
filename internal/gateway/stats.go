package gateway

import (
	"sync/atomic"

	"holdfast/internal/session"
)

// Stats counts what happened on a node since it started. All fields may be read
// at any time.
type Stats struct {
	Sessions, Clients       atomic.Int64 // now
	Blocked, BlockedBytes   atomic.Int64 // sockets that take nothing now, and what was framed for them
	Handshakes, Refused     atomic.Int64
	Upgrades                atomic.Int64
	EventsIn, EventsOut     atomic.Int64
	Dropped                 atomic.Int64 // volatile messages that a client was too slow for
	Overflows               atomic.Int64 // records that a full inbox refused
	Repairs                 atomic.Int64 // gaps fetched from a log
	Holes                   atomic.Int64 // those of which the log did not have all any more
	Surveys                 atomic.Int64 // times that all rooms were compared with their logs
	Recovered, NotRecovered atomic.Int64
	SlowConsumers           atomic.Int64
	Malformed               atomic.Int64 // sessions that ended for what they sent
	Strays                  atomic.Int64 // entries of the registry that an audit took out
	PausedReads             atomic.Int64 // times that a full upstream paused sockets
	CrowdedOut              atomic.Int64 // connections closed for messages that they had begun and not ended
	AcceptPauses            atomic.Int64 // times that no connection was accepted for want of descriptors

	// Of the link between nodes: clients' requests that were passed on to the owners of
	// their sessions, or served here for others, and the bytes of bodies both ways.
	ForwardedOut, ForwardedIn atomic.Int64
	LinkBytesOut, LinkBytesIn atomic.Int64
	MovedOut, MovedIn         atomic.Int64 // sessions that went on to another node, or came from one

	kinds kinds
}

// Queue is how full one of the node's queues is. A bound of 0 is none.
type Queue struct {
	Items, Bytes       int
	MaxItems, MaxBytes int
}

// Queues is a look at what waits on a node.
type Queues struct {
	Inboxes   []Queue // of each shard: records on their way to sockets
	Backlogs  []Queue // of each shard: events that the bus had no room for
	Registrar Queue   // writes to the registry; not counted in bytes

	Unfinished Queue // messages that have not come whole; of MaxItems there is none
}

// Queues returns what waits now. It holds each inbox up for no longer than a look
// takes.
func (g *Gateway) Queues() Queues {
	q := Queues{Inboxes: make([]Queue, len(g.shards)), Backlogs: make([]Queue, len(g.shards))}
	for i, sh := range g.shards {
		q.Inboxes[i] = sh.inbox.look()
		q.Backlogs[i] = Queue{
			Items: int(sh.backlog.items.Load()), Bytes: int(sh.backlog.size.Load()),
			MaxItems: g.cfg.InboxRecords, MaxBytes: g.cfg.InboxBytes,
		}
	}
	q.Unfinished = Queue{Items: int(g.holders.Load()), Bytes: int(g.held.Load()), MaxBytes: g.cfg.UnfinishedBytes}
	q.Registrar = Queue{Items: g.registrar.waiting(), MaxItems: maxOps}
	return q
}

// protocol is what the clients of a session speak.
type protocol uint8

const (
	socketIO4 protocol = iota
	socketIO5
	engineIO3
	engineIO4
)

// What clients speak, and what may carry them.
var (
	protocols  = [...]string{socketIO4: "socket.io/4", socketIO5: "socket.io/5", engineIO3: "engine.io/3", engineIO4: "engine.io/4"}
	transports = [...]string{session.Polling: session.Polling.String(), session.WebSocket: session.WebSocket.String()}
)

func (p protocol) String() string { return protocols[p] }

func protocolOf(s *session.Session) protocol {
	switch raw, old := s.Form() == session.Raw, s.Version() == 3; {
	case raw && old:
		return engineIO3
	case raw:
		return engineIO4
	case old:
		return socketIO4
	}
	return socketIO5
}

// kinds counts clients by protocol and transport.
type kinds [len(protocols)][len(transports)]atomic.Int64

// Kind is how many clients speak a protocol on a transport.
type Kind struct {
	Protocol, Transport string
	Clients             int64
}

// Kinds returns the clients by kind, those without any included.
func (s *Stats) Kinds() []Kind {
	out := make([]Kind, 0, len(protocols)*len(transports))
	for p, protocol := range protocols {
		for t, transport := range transports {
			out = append(out, Kind{protocol, transport, s.kinds[p][t].Load()})
		}
	}
	return out
}

// count notes that n clients of a session have come, or gone where n is negative.
func (s *Stats) count(of *session.Session, n int64) {
	s.Clients.Add(n)
	s.kinds[protocolOf(of)][of.Transport()].Add(n)
}

// upgraded notes that a client which was counted on polling is on the WebSocket now.
func (s *Stats) upgraded(of *session.Session) {
	kinds := &s.kinds[protocolOf(of)]
	kinds[session.Polling].Add(-1)
	kinds[session.WebSocket].Add(1)
}
