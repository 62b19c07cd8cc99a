package api

import (
	"testing"

	"holdfast/internal/message"
)

// TestCallOfOneWhoMoves has two nodes answer for a client whose session moves from the
// first to the second: it is counted once, and nobody is missing.
func TestCallOfOneWhoMoves(t *testing.T) {
	ack := func(node string) message.Reply { return message.Reply{Node: node, Ack: &message.AckReply{Client: "c"}} }
	count := func(node string, n uint32) message.Reply { return message.Reply{Node: node, Clients: n} }
	done := func(node string, n uint32) message.Reply { return message.Reply{Node: node, Clients: n, Done: true} }
	for _, tt := range []struct {
		name    string
		replies []message.Reply
	}{
		{"the new one asks first", []message.Reply{count("new", 1), ack("new"), done("new", 1), count("old", 1), done("old", 0)}},
		{"the old one counts first", []message.Reply{count("old", 1), count("new", 1), ack("new"), done("old", 0), done("new", 1)}},
		{"the old one passes it on first", []message.Reply{count("old", 1), count("new", 0), ack("old"), done("old", 1), done("new", 0)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCalls(Limits{Calls: 1, Acks: 10, AckBytes: 1000})
			k, err := c.begin("call", true)
			if err != nil {
				t.Fatal(err)
			}
			k.ask("old")
			k.ask("new")
			k.seal()
			for _, r := range tt.replies {
				r.Call = "call"
				c.receive(&r)
			}
			if err := k.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if o := k.outcome(); len(o.acks) != 1 || o.missing() != 0 || o.clients != 1 {
				t.Errorf("%d clients, %d missing, %d acknowledgements", o.clients, o.missing(), len(o.acks))
			}
		})
	}
}
