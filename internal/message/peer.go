package message

import (
	"fmt"
	"time"
)

// Peer is what one ws-api tells another one. It travels as a [Reply], in the inbox that
// a ws-api has for those.
type Peer struct {
	Kind PeerKind
	From string // the ws-api that tells it

	Group string // whose event it is; of Give, Took and Back
	ID    string // of the event; the same
	// Of Give: the event, how often it has been given, and what has become of it so far.
	Event    *Up
	Attempt  uint32
	Trace    string // traceparent for what is done about it
	Dequeued time.Time
	Routed   time.Time
	// Of Took: the EventReply of holdfast.v1, encoded; nil: there is none.
	Reply []byte
	// Of Back: a subscriber has had the event.
	Had bool
	// Of Seen: what is known of the receiver.
	Version uint64
}

// PeerKind says what a [Peer] is about.
type PeerKind string

// The kinds.
const (
	PeerGive PeerKind = "give" // an event for one of your subscribers
	PeerTook PeerKind = "took" // a subscriber has acknowledged it
	PeerBack PeerKind = "back" // none has, and I have it no more
	PeerLook PeerKind = "look" // what I tell of myself has changed
	PeerSeen PeerKind = "seen" // I have read what you tell of yourself
)

// Size returns the bytes of it, for bounds.
func (p *Peer) Size() int {
	n := 256 + len(p.Reply)
	if p.Event != nil {
		n += p.Event.Size()
	}
	return n
}

// Size returns the reply's bytes, for bounds.
func (r *Reply) Size() int {
	n := 128 + len(r.Err)
	if r.Ack != nil {
		n += r.Ack.Payload.Size()
	}
	if r.Peer != nil {
		n += r.Peer.Size()
	}
	return n
}

const (
	headerPeer         = "X-Peer"
	headerPeerFrom     = "X-Peer-From"
	headerPeerGroup    = "X-Peer-Group"
	headerPeerID       = "X-Peer-ID"
	headerPeerAttempt  = "X-Peer-Attempt"
	headerPeerTrace    = "X-Peer-Trace"
	headerPeerDequeued = "X-Time-Dequeued"
	headerPeerRouted   = "X-Time-Routed"
	headerPeerReply    = "X-Peer-Reply"
	headerPeerHad      = "X-Peer-Had"
	headerPeerVersion  = "X-Peer-Version"
)

// record is the record of a reply that is this; an event's headers and body are in it as
// they are on the bus.
func (p *Peer) record() (key string, headers []Header, body []byte) {
	w := newRecordWriter(0)
	w.text(headerPeer, string(p.Kind))
	w.text(headerPeerFrom, p.From)
	w.text(headerPeerGroup, p.Group)
	w.text(headerPeerID, p.ID)
	w.number(headerPeerAttempt, uint64(p.Attempt))
	w.text(headerPeerTrace, p.Trace)
	w.time(headerPeerDequeued, p.Dequeued)
	w.time(headerPeerRouted, p.Routed)
	w.flag(headerPeerReply, p.Reply != nil)
	w.flag(headerPeerHad, p.Had)
	w.number(headerPeerVersion, p.Version)
	if p.Event == nil {
		w.part(partData, p.Reply)
		headers, body = w.record()
		return p.Group, headers, body
	}
	_, event, body := p.Event.Record()
	return p.Group, append(w.headers, event...), body
}

func parsePeer(headers []Header, body []byte) (*Peer, error) {
	var r recordReader
	p, parts, reply := &Peer{}, "", false
	for _, h := range headers {
		switch h.Name {
		case headerPeer:
			if p.Kind = PeerKind(h.Value); p.Kind == "" {
				r.fail(h, "is empty")
			}
		case headerPeerFrom:
			p.From = h.Value
		case headerPeerGroup:
			p.Group = h.Value
		case headerPeerID:
			p.ID = h.Value
		case headerPeerAttempt:
			p.Attempt = r.number32(h)
		case headerPeerTrace:
			p.Trace = h.Value
		case headerPeerDequeued:
			p.Dequeued = r.time(h)
		case headerPeerRouted:
			p.Routed = r.time(h)
		case headerPeerReply:
			reply = r.flag(h)
		case headerPeerHad:
			p.Had = r.flag(h)
		case headerPeerVersion:
			p.Version = r.number(h)
		case headerParts:
			parts = h.Value
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	if p.Kind != PeerGive {
		b, err := readBody(parts, body)
		if err != nil {
			return nil, err
		}
		if reply {
			p.Reply = b.data
		}
		return p, nil
	}
	var err error
	if p.Event, err = ParseUp(headers, body); err != nil {
		return nil, fmt.Errorf("the event of another ws-api: %w", err)
	}
	return p, nil
}

// Member is a ws-api as the others know it.
type Member struct {
	ID      string
	Version uint64 // of what follows: grows with each change of it
	Groups  []Group
	About   About         `json:"-"` // as it is now; no change of it counts
	Silent  time.Duration `json:"-"` // for how long nothing was heard of it
}

// About is what a ws-api tells of itself for people to see.
type About struct {
	Name    string // of its host, as a rule
	Program string // the version of it
	CPU     int64  // thousandths of a core that the process takes
	Since   time.Time
}

// Group is a group of subscribers as a ws-api knows it.
type Group struct {
	Key     string // of all groups; that of a stream without a group is its own
	Private bool   // the group of one stream
	Events  []string
	Types   []EventType
	// Chosen is when the subscriber came whose choice Events and Types are; the newest
	// choice holds.
	Chosen time.Time
	// Credit is how many events the subscribers on this ws-api may have at once; 0: there
	// are none on it.
	Credit int
	// Left is since when there are none anywhere, as far as this ws-api knows.
	Left time.Time
}
