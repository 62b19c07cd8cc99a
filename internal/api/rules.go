package api

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"holdfast/internal/message"
)

// Relay says to whom an event goes without a backend.
type Relay uint8

// RelayOthers leaves the sender out; RelayAll does not.
const (
	RelayNone Relay = iota
	RelayOthers
	RelayAll
)

// AckMode says who answers an event that asks for an acknowledgement.
type AckMode uint8

// The modes.
const (
	// AckDefault is AckBackend for a rule with a backend, AckNone for one that drops,
	// else AckDurable.
	AckDefault AckMode = iota
	// AckDurable answers [] as soon as the event was read from the bus, for what is
	// there survives the death of any one process.
	AckDurable
	// AckBackend answers what the rule's backend replies or, where the rule names
	// none, what a subscriber replies.
	AckBackend
	// AckNone leaves the client without an answer.
	AckNone
)

// Rule says what becomes of some events. The first rule whose Type and Event
// match an event decides; after the last one stands {Event: "*", Ack: AckDurable}.
type Rule struct {
	Type message.EventType // default [message.EventMessage]
	// Event is the name of the events, with * for any run of characters; "" means
	// "*". For messages only.
	Event string

	Backend string // name of a backend; "": none
	// Relay sends the event on to the rooms that the sender is in. Volatile makes
	// it so; Collapse lets a newer one replace an unsent older one of the same
	// name by the same sender.
	Relay    Relay
	Volatile bool
	Collapse bool
	Ack      AckMode
	Drop     bool // nothing at all is done with the event, and no subscriber gets it
}

func (r *Rule) eventType() message.EventType {
	if r.Type == 0 {
		return message.EventMessage
	}
	return r.Type
}

func (r *Rule) validate(backends map[string]bool) error {
	if r.Backend != "" && !backends[r.Backend] {
		return fmt.Errorf("backend: there is no backend %q", r.Backend)
	}
	if r.Drop && (r.Backend != "" || r.Relay != RelayNone) {
		return errors.New("drop: does not go together with backend or relay")
	}
	if r.Drop && r.Ack == AckBackend {
		return errors.New("ack: a dropped event has no backend that could answer")
	}
	if r.Relay == RelayNone && (r.Volatile || r.Collapse) {
		return errors.New("volatile, collapse: are for rules with relay")
	}
	if r.eventType() != message.EventMessage {
		if r.Relay != RelayNone {
			return errors.New("relay: is for messages only")
		}
		if r.Event != "" && r.Event != "*" {
			return errors.New("event: only messages have names")
		}
	}
	return nil
}

// rules is the table that an event is looked up in.
type rules struct {
	list    []Rule
	last    Rule
	matched map[*Rule]*atomic.Uint64 // of list and last; the map itself does not change
}

func newRules(list []Rule) *rules {
	t := &rules{last: Rule{Event: "*", Ack: AckDurable}}
	for _, r := range list {
		if r.Ack == AckDefault {
			switch {
			case r.Drop:
				r.Ack = AckNone
			case r.Backend != "":
				r.Ack = AckBackend
			default:
				r.Ack = AckDurable
			}
		}
		t.list = append(t.list, r)
	}
	t.matched = map[*Rule]*atomic.Uint64{&t.last: new(atomic.Uint64)}
	for i := range t.list {
		t.matched[&t.list[i]] = new(atomic.Uint64)
	}
	return t
}

// count notes that a rule of the table is carried out for an event.
func (t *rules) count(r *Rule) { t.matched[r].Add(1) }

func (t *rules) stats() []RuleStats {
	out := make([]RuleStats, 0, len(t.list)+1)
	for i := range t.list {
		r := &t.list[i]
		out = append(out, RuleStats{Type: r.eventType(), Event: r.Event, Matched: t.matched[r].Load()})
	}
	return append(out, RuleStats{Matched: t.matched[&t.last].Load()})
}

// AckedByTheBus tells which events need no more for their acknowledgement than to
// be on the bus: their rule says durable, no backend can be too full for them, and they are
// not sent on, for which they may have too many attachments. A node whose bus is durable
// when it has taken an event answers those by itself.
func AckedByTheBus(list []Rule) func(event string) bool {
	t := newRules(list)
	return func(name string) bool {
		r := t.match(&message.Up{Type: message.EventMessage, Name: name})
		return r.Ack == AckDurable && r.Backend == "" && r.Relay == RelayNone
	}
}

// match returns the rule for an event.
func (t *rules) match(up *message.Up) *Rule {
	for i := range t.list {
		r := &t.list[i]
		if r.eventType() != up.Type {
			continue
		}
		if up.Type != message.EventMessage || r.Event == "" || glob(r.Event, up.Name) {
			return r
		}
	}
	return &t.last
}

// connectBackend returns the backend that decides who may come in: that of the
// first rule about CONNECTs which has one, "" when there is none.
func (t *rules) connectBackend() string {
	for i := range t.list {
		if r := &t.list[i]; r.eventType() == message.EventConnect && r.Backend != "" {
			return r.Backend
		}
	}
	return ""
}

// glob tells whether s matches pattern, in which * stands for any run of bytes.
// It takes time in proportion to the product of the lengths at worst.
func glob(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// reserved are the names that Socket.IO's clients keep for themselves; a push
// with one of them would break the client's own state.
func reserved(event string) bool {
	switch event {
	case "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener":
		return true
	}
	return false
}
