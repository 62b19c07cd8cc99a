package gateway

import (
	"net/http"

	"holdfast/engineio"
	"holdfast/internal/message"
	"holdfast/internal/session"
)

// The way of a session that is upgraded on another node than its own:
//
//	client            node b (new)                            node a (owner)
//	GET sid, Upgrade ─▶ /session/probe ──────────────────────▶ is it here, may it be tried?
//	          ◀─ 101
//	2probe ──────────▶ /session/ping ────────────────────────▶ a poll that waits is answered
//	          ◀─ 3probe
//	5 ───────────────▶ /session/take ────────────────────────▶ freeze, when nothing is under way;
//	                   session, clients, seats, memberships ◀─ what it has said is outside
//	                   /session/taken ───────────────────────▶ a tombstone is left: a → b
//	                   what its rooms had meanwhile, from the logs
//	          ◀─ …     what the client has sent since its 5
//
// Up to the freeze any failure leaves the session with a, where polling goes on. A
// frozen session that b does not confirm in time goes on at a too. After that b is
// all that it needs. The tombstone answers late polls with code 3, and passes on what
// is addressed to the client here, until the session ends.

// passage is what only a session has that changes its transport or its node, and one
// that has come from another.
type passage struct {
	probing *socket // tries to take the session over
	visit   *visit  // another node tries to

	// Of a session that came from another node.
	from  string               // which keeps a tombstone
	acks  map[askedAt]bool     // pushes that the client has been asked there to acknowledge
	later []func()             // calls that came before it was through
	hand  map[*client]struct{} // clients that are not through
}

// askedAt is one client's part in a push that waits for acknowledgements.
type askedAt struct {
	cl *client
	id uint64
}

// visit is a WebSocket on another node that tries to take a session over.
type visit struct {
	node, id string
	deadline int64
}

func (c *conn) probing() *socket {
	if c.passage == nil {
		return nil
	}
	return c.passage.probing
}

func (c *conn) setProbing(s *socket) {
	if c.passage == nil {
		if s == nil {
			return
		}
		c.passage = &passage{}
	}
	c.passage.probing = s
	c.tidyPassage()
}

func (c *conn) visit() *visit {
	if c.passage == nil {
		return nil
	}
	return c.passage.visit
}

func (c *conn) setVisit(v *visit) {
	if c.passage == nil {
		c.passage = &passage{}
	}
	c.passage.visit = v
	c.tidyPassage()
}

// tidyPassage lets what is no longer needed go.
func (c *conn) tidyPassage() {
	if p := c.passage; p != nil && p.probing == nil && p.visit == nil && p.from == "" && p.hand == nil {
		c.passage = nil
	}
}

// mayBeProbed tells whether a second socket may try to take the session over.
func (c *conn) mayBeProbed() bool {
	return c.session.BeginProbe() && c.probing() == nil && c.visit() == nil
}

// absent is the answer to a request for a session that is not on this shard.
func (sh *shard) absent(sid string) httpAnswer {
	if sh.departure(sid) != nil {
		return httpAnswer{code: engineio.BadRequest} // a WebSocket carries it, as after any upgrade
	}
	return httpAnswer{code: engineio.UnknownSession, absent: true}
}

// runOn has f called on the shard and returns what it does; false when the shard has
// stopped.
func runOn[T any](sh *shard, f func() T) (result T, ok bool) {
	answer := make(chan T, 1)
	if !sh.inbox.post(func() { answer <- f() }) {
		return result, false
	}
	select {
	case result = <-answer:
		return result, true
	case <-sh.done:
		return result, false
	}
}

// handover is a session on its way from one node to another: plain data.
type handover struct {
	Path    string // of the endpoint
	Session session.Snapshot
	Remote  string
	Query   map[string]string `json:",omitempty"`
	Headers map[string]string `json:",omitempty"`
	Auth    map[string]string `json:",omitempty"`
	Order   string
	Clients []handedClient // in the session's order
}

type handedClient struct {
	Info    message.Client
	Rooms   []string `json:",omitempty"`
	Asked   bool     `json:",omitempty"`
	Seats   []message.Place
	Recent  []string        `json:",omitempty"` // pushes to several keys that it has had by some of them, oldest first
	Acks    []uint64        `json:",omitempty"` // pushes that wait for it
	Lately  []string        `json:",omitempty"` // what has come to it in the last moments and is in no log
	Recover *handedRecovery `json:",omitempty"`
}

type handedRecovery struct {
	PID, Tag, UID string
	Gen           uint32
	Claim         uint64 `json:",omitempty"`
	Returned      bool
	Places        []message.Place // as last saved
	Had           []string        `json:",omitempty"` // the same
}

// hand writes down what a client is.
func (sh *shard) hand(cl *client) handedClient {
	h := handedClient{Info: sh.describe(cl), Rooms: cl.appendRooms(nil), Asked: cl.asked}
	for i := range cl.seats {
		room := cl.seats[i].Room
		h.Seats = append(h.Seats, message.Place{
			Key: room.Key, Position: message.Position{Epoch: room.Log.Epoch, Seq: cl.seats[i].Seq},
		})
	}
	h.Recent = cl.recent.all()
	if r := cl.recover; r != nil {
		h.Recover = &handedRecovery{PID: r.pid, Tag: r.tag, UID: r.uid, Gen: r.gen, Claim: r.claim, Returned: r.returned, Had: r.had}
		for _, p := range r.places {
			h.Recover.Places = append(h.Recover.Places, message.Place{Key: p.room.Key, Position: p.Position})
		}
	}
	return h
}

// handshake returns what the handshake told, shared with those that told the same.
func (h *handover) handshake(g *Gateway) *handshake {
	header := make(http.Header, len(h.Headers))
	for name, value := range h.Headers {
		header[name] = []string{value}
	}
	o := g.told.pick(header, g.cfg.HTTPHeaders)
	if len(h.Query) > 0 {
		o = &handshake{query: h.Query, headers: o.headers}
	}
	if h.Auth != nil {
		o = &handshake{query: o.query, headers: o.headers, auth: h.Auth, later: o}
	}
	return o
}
