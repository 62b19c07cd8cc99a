package session

import (
	"holdfast/engineio"
	"holdfast/internal/message"
	"holdfast/socketio"
)

// Snapshot is an open session as plain data, with which another shard goes on where
// this one stopped. Times are in milliseconds, relative to the moment when it was
// made, for each node has a clock of its own. It can be written as JSON.
type Snapshot struct {
	ID        string
	Version   engineio.Version
	Base64    bool `json:",omitempty"`
	Transport Transport
	Upgrading bool `json:",omitempty"`
	Msgpack   bool `json:",omitempty"`
	Spoken    bool `json:",omitempty"`

	Seen         int64             // since the last sign of life
	NextPing     int64             // until the next ping
	PingInterval int32             // at present
	GoodPings    uint16            `json:",omitempty"`
	PingOut      *int64            `json:",omitempty"` // since the oldest unanswered ping
	ConnectIn    *int64            `json:",omitempty"` // until a namespace must have been asked for
	Clients      []SnapshotClient  // in their order
	Kicked       []string          `json:",omitempty"`
	Early        []message.Payload `json:",omitempty"`
	Pending      *SnapshotPacket   `json:",omitempty"`
	Out          []SnapshotItem    `json:",omitempty"` // what waits for the peer, in order
}

// SnapshotClient is a client of a [Snapshot].
type SnapshotClient struct {
	Namespace string
	Connected bool
}

// SnapshotPacket is a packet of which attachments are still to come.
type SnapshotPacket struct {
	Packet socketio.Packet
	Until  int64
}

// SnapshotItem is a message that waits for the peer.
type SnapshotItem struct {
	Text        []byte   `json:",omitempty"`
	HasText     bool     `json:",omitempty"`
	Attachments [][]byte `json:",omitempty"`
	Open        bool     `json:",omitempty"` // takes a tail
	Volatile    bool     `json:",omitempty"`
	Collapse    string   `json:",omitempty"`
	Packed      *Packed  `json:",omitempty"`
	Tail        string   `json:",omitempty"`
	Age         int64
}

// Packed is an event in the MessagePack form, before it has got its tail.
type Packed struct {
	Namespace string
	ID        uint64 `json:",omitempty"`
	HasID     bool   `json:",omitempty"`
	Count     int
	Elements  []byte
}

// Snapshot returns the session as it is at now. It is false for one that is over, and
// while a poll or a post is under way, which somebody here waits for. The bytes in it
// are shared with the session.
func (s *Session) Snapshot(now int64) (snap Snapshot, ok bool) {
	if s.state != Open || s.waiting || s.posting || s.slow {
		return snap, false
	}
	snap = Snapshot{
		ID: s.hello.ID, Version: s.hello.Version, Base64: s.hello.Base64, Transport: s.transport,
		Upgrading: s.upgrading, Msgpack: s.msgpack, Spoken: s.spoken,
		Seen: now - s.beat.lastSeen, NextPing: s.beat.nextPing - now,
		PingInterval: s.beat.interval, GoodPings: s.beat.good,
	}
	if s.beat.pingAt != 0 {
		snap.PingOut = ptr(now - s.beat.pingAt)
	}
	if s.connectBy != 0 {
		snap.ConnectIn = ptr(s.connectBy - now)
	}
	for c := s.clients; c != nil; c = c.next {
		snap.Clients = append(snap.Clients, SnapshotClient{Namespace: c.Namespace, Connected: c.connected})
	}
	few := s.get()
	snap.Kicked, snap.Early = few.kicked, few.early
	if s.pending != nil {
		snap.Pending = &SnapshotPacket{Packet: s.pending.Packet(), Until: s.pending.until - now}
	}
	for it := range s.out.all() {
		snap.Out = append(snap.Out, it.snapshot(now))
	}
	return snap, true
}

func ptr(v int64) *int64 { return &v }

func (it *item) snapshot(now int64) SnapshotItem {
	o := it.out
	x := SnapshotItem{
		Text: o.text, HasText: o.text != nil, Attachments: o.attachments, Open: o.open,
		Volatile: o.volatile, Collapse: o.collapse, Tail: it.tail, Age: now - it.at,
	}
	if p := o.packed; p != nil {
		x.Packed = &Packed{Namespace: p.namespace, ID: p.id, HasID: p.hasID, Count: p.count, Elements: p.elements}
	}
	return x
}

func (x *SnapshotItem) item(now int64) item {
	o := &Outgoing{text: x.Text, attachments: x.Attachments, open: x.Open, volatile: x.Volatile, collapse: x.Collapse}
	if x.HasText && o.text == nil {
		o.text = []byte{}
	}
	if p := x.Packed; p != nil {
		o.packed = &packed{namespace: p.Namespace, id: p.ID, hasID: p.HasID, count: p.Count, elements: p.Elements}
	}
	return item{out: o, tail: x.Tail, at: now - x.Age}
}

// Restore makes s the session of a snapshot, at now of another clock. Its clients are
// there without their Owner. It fails, and s is not ready, where the snapshot has a
// namespace that cfg does not know, or a packet that does not parse.
func (s *Session) Restore(cfg *Config, snap *Snapshot, now int64) error {
	*s = Session{
		cfg:       cfg,
		hello:     Hello{ID: snap.ID, Version: snap.Version, Transport: snap.Transport, Base64: snap.Base64},
		transport: snap.Transport, upgrading: snap.Upgrading, msgpack: snap.Msgpack, spoken: snap.Spoken,
		beat: heartbeat{
			lastSeen: now - snap.Seen, nextPing: now + snap.NextPing, interval: snap.PingInterval, good: snap.GoodPings,
		},
	}
	if snap.PingOut != nil {
		s.beat.pingAt = notZero(now - *snap.PingOut)
	}
	if snap.ConnectIn != nil {
		s.connectBy = notZero(now + *snap.ConnectIn)
	}
	end := &s.clients
	for _, c := range snap.Clients {
		namespace, ok := cfg.Namespace(c.Namespace)
		if !ok {
			return errNotIn
		}
		*end = &Client{Session: s, Namespace: namespace, connected: c.Connected}
		end = &(*end).next
	}
	if len(snap.Kicked) > 0 || len(snap.Early) > 0 {
		f := s.set()
		f.kicked, f.early = snap.Kicked, snap.Early
	}
	if p := snap.Pending; p != nil {
		held := &pending{until: now + p.Until}
		if err := held.Start(p.Packet, cfg.Packet); err != nil {
			return err
		}
		for _, b := range p.Packet.Binary {
			if _, err := held.Add(b); err != nil {
				return err
			}
		}
		s.pending = held
	}
	for i := range snap.Out {
		s.out.push(snap.Out[i].item(now))
	}
	return nil
}

// notZero keeps a time apart from 0, which stands for none.
func notZero(t int64) int64 {
	if t == 0 {
		return 1
	}
	return t
}

// Settings returns what the session was made with.
func (s *Session) Settings() *Config { return s.cfg }

// Moved says that another shard has gone on with the session's snapshot: here it is
// over, without an action.
func (s *Session) Moved() {
	for c := s.clients; c != nil; c = c.next {
		c.gone = true
	}
	s.clients, s.pending, s.few = nil, nil, nil
	s.upgrading = false
	s.out.clear()
	s.state = Closed
}
