package api

import (
	"sync/atomic"

	"holdfast/internal/message"
)

// counters grow from the start of the process.
type counters struct {
	pushes, pushesAgain, pushErrors         atomic.Uint64
	pushRecordsBad                          atomic.Uint64
	sent, sendFull, sendGone, sendFailed    atomic.Uint64
	events, eventsDropped                   atomic.Uint64
	relayed, relayErrors                    atomic.Uint64
	acks, ackErrors                         atomic.Uint64
	accepted, rejected                      atomic.Uint64
	replyErrors                             atomic.Uint64
	unanswered                              atomic.Uint64
	groupDropped, groupAgain, groupAcks     atomic.Uint64
	groupGiven, peerLost                    atomic.Uint64
	presenceSent, presenceLost, presenceErr atomic.Uint64
}

// Stats is a look at a server: what it has done since it began, and what waits.
type Stats struct {
	Pushes      uint64 // routed, whoever asked for them
	PushesAgain uint64 // made before, by dedup_id
	PushErrors  uint64 // that were valid and could not be routed
	// PushRecordsBad counts records of the push topic that were no pushes.
	PushRecordsBad uint64

	Sent       uint64 // records to nodes
	SendFull   uint64 // inboxes without room
	SendGone   uint64 // nodes that were not there
	SendFailed uint64 // for another reason

	Events        uint64 // consumed
	EventsDropped uint64 // by a rule
	EventsWaiting int    // in the intake's lanes
	IntakeBytes   int    // of those, and of the ones that the lanes are at
	IntakeMax     int    // bound of IntakeBytes
	Relayed       uint64
	RelayErrors   uint64
	Acks          uint64 // sent to clients that asked for one
	AckErrors     uint64 // of those, acks that tell of an error
	Unanswered    uint64 // acks that no node took
	Accepted      uint64 // CONNECTs that a backend let in
	Rejected      uint64 // and those that it, or its failure, kept out
	ReplyErrors   uint64 // pushes and rooms of replies that could not be carried out
	CallsWaiting  int

	Backends map[string]BackendStats
	Rules    []RuleStats // in their order; the last one, of no type, is for what no other matched

	Groups       int
	Consumers    int
	GroupWaiting int    // events in all groups, those with a consumer included
	GroupBytes   int    // the same in bytes
	GroupDropped uint64 // for want of room, or because the group was given up
	GroupAgain   uint64 // events given again
	GroupAcks    uint64 // events acknowledged
	GroupGiven   uint64 // events given to other ws-apis, for subscribers there
	Peers        int    // other ws-apis
	PeerLost     uint64 // what another ws-api was not told

	PresenceRooms int    // with changes not yet announced
	PresenceSent  uint64 // messages
	PresenceLost  uint64 // changes that had no room
	PresenceErrs  uint64 // announcements that failed
}

// BackendStats is the state of one backend's queue.
type BackendStats struct {
	Calls    uint64 // answered, well or not
	Errors   uint64
	Refused  uint64 // events that found the queue full
	Dropped  uint64 // DISCONNECTs that found theirs full
	InFlight int
	Limit    int // how many may be in flight, as learnt
	Waiting  int // events, DISCONNECTs included, in flight or not
	Bytes    int
	Low      int // of those, DISCONNECTs
	LowBytes int
	MaxItems int // bound of each kind, DISCONNECTs and others
	MaxBytes int
}

// RuleStats is how often a rule applied.
type RuleStats struct {
	Type    message.EventType
	Event   string // the rule's pattern
	Matched uint64
}

// Stats returns the counters as they are now.
func (s *Server) Stats() Stats {
	c := &s.count
	st := Stats{
		Pushes: c.pushes.Load(), PushesAgain: c.pushesAgain.Load(), PushErrors: c.pushErrors.Load(),
		PushRecordsBad: c.pushRecordsBad.Load(),
		Sent:           c.sent.Load(), SendFull: c.sendFull.Load(), SendGone: c.sendGone.Load(), SendFailed: c.sendFailed.Load(),
		Events: c.events.Load(), EventsDropped: c.eventsDropped.Load(), EventsWaiting: s.intake.waiting(),
		Relayed: c.relayed.Load(), RelayErrors: c.relayErrors.Load(),
		Acks: c.acks.Load(), AckErrors: c.ackErrors.Load(), Unanswered: c.unanswered.Load(),
		Accepted: c.accepted.Load(), Rejected: c.rejected.Load(), ReplyErrors: c.replyErrors.Load(),
		CallsWaiting: s.calls.len(),
		IntakeBytes:  int(s.intake.held.Load()), IntakeMax: s.limits.IntakeBytes,
		Rules:        s.rules.stats(),
		Backends:     make(map[string]BackendStats, len(s.backends)),
		GroupDropped: c.groupDropped.Load(), GroupAgain: c.groupAgain.Load(), GroupAcks: c.groupAcks.Load(),
		PresenceSent: c.presenceSent.Load(), PresenceLost: c.presenceLost.Load(), PresenceErrs: c.presenceErr.Load(),
	}
	for name, d := range s.backends {
		st.Backends[name] = d.stats()
	}
	st.Groups, st.Consumers, st.GroupWaiting, st.GroupBytes = s.groups.sizes()
	st.GroupGiven, st.PeerLost, st.Peers = c.groupGiven.Load(), c.peerLost.Load(), s.peers.len()
	if s.presence != nil {
		st.PresenceRooms = s.presence.rooms()
	}
	return st
}
