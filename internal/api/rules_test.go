package api

import (
	"path"
	"strings"
	"testing"

	"holdfast/internal/message"
)

func TestFirstRuleWins(t *testing.T) {
	table := newRules([]Rule{
		{Type: message.EventConnect, Drop: true},
		{Type: message.EventConnect, Backend: "gate"},
		{Event: "cursor", Relay: RelayOthers, Volatile: true},
		{Event: "doc:*:save", Backend: "docs"},
		{Event: "noise*", Drop: true},
		{Event: "", Backend: "rest", Ack: AckNone},
	})
	for _, c := range []struct {
		typ     message.EventType
		name    string
		backend string
		ack     AckMode
	}{
		{message.EventMessage, "cursor", "", AckDurable},
		{message.EventMessage, "doc:7:save", "docs", AckBackend},
		{message.EventMessage, "doc:7:load", "rest", AckNone},
		{message.EventMessage, "noise", "", AckNone},
		{message.EventMessage, "", "rest", AckNone},
		{message.EventDisconnect, "", "", AckDurable},
	} {
		r := table.match(&message.Up{Type: c.typ, Name: c.name})
		if r.Backend != c.backend || r.Ack != c.ack {
			t.Errorf("%v %q: backend %q, ack %d; want %q, %d", c.typ, c.name, r.Backend, r.Ack, c.backend, c.ack)
		}
	}
	if b := table.connectBackend(); b != "gate" {
		t.Errorf("CONNECTs are decided by %q", b)
	}
	last := newRules(nil).match(&message.Up{Type: message.EventMessage, Name: "x"})
	if last.Ack != AckDurable || last.Backend != "" || last.Drop {
		t.Errorf("the last rule is %+v", last)
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true},
		{"*", "anything", true},
		{"a", "a", true},
		{"a", "ab", false},
		{"a*", "a", true},
		{"*a", "bba", true},
		{"a*c*e", "abcde", true},
		{"a*c*e", "abcdef", false},
		{"**", "x", true},
		{"a**b", "ab", true},
		{"", "", true},
		{"", "a", false},
		{"*aab", "aaaaaaab", true},
	} {
		if got := glob(c.pattern, c.s); got != c.want {
			t.Errorf("glob(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}

func TestAckedByTheBus(t *testing.T) {
	acked := AckedByTheBus([]Rule{
		{Event: "relay", Relay: RelayOthers},
		{Event: "backend", Backend: "app", Ack: AckDurable},
		{Event: "silent", Ack: AckNone},
		{Event: "asked", Ack: AckBackend},
		{Event: "dropped", Drop: true, Ack: AckDurable},
	})
	for name, want := range map[string]bool{
		"relay": false, "backend": false, "silent": false, "asked": false, "dropped": true, "any other": true,
	} {
		if acked(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

// FuzzGlob compares with path.Match, where both have the same rules.
func FuzzGlob(f *testing.F) {
	f.Add("a*b", "axb")
	f.Add("*", "")
	f.Add("**a", "ba")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		got := glob(pattern, s)
		if strings.ContainsAny(pattern+s, `?[]\/`) || strings.ToValidUTF8(pattern+s, "") != pattern+s || len(pattern) > 50 || len(s) > 50 {
			return
		}
		if want, err := path.Match(pattern, s); err == nil && got != want {
			t.Errorf("glob(%q, %q) = %v, path.Match says %v", pattern, s, got, want)
		}
	})
}
