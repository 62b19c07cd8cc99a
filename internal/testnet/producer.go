package testnet

import (
	"maps"
	"slices"
	"sync"

	"holdfast/internal/message"
)

// Producer is the side of a ws-api that sends pushes to nodes and tells them what it has
// sent. Its zero value but for the fields is ready; it is safe for concurrent use.
type Producer struct {
	Name string
	Bus  *Bus

	mu    sync.Mutex
	nodes map[string]*sentTo
}

type sentTo struct {
	number uint64
	fresh  map[message.Key]message.Stamp
	last   []message.Stamp
}

// Send sends a push with these stamps to a node.
func (p *Producer) Send(node string, push *message.Push, stamps []message.Stamp) {
	_ = p.Bus.Send(node, &message.Down{Push: &message.Delivery{Push: push, Stamps: stamps}}) // the log knows
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.nodes == nil {
		p.nodes = make(map[string]*sentTo)
	}
	t := p.nodes[node]
	if t == nil {
		t = &sentTo{fresh: make(map[message.Key]message.Stamp)}
		p.nodes[node] = t
	}
	for _, s := range stamps {
		if s.Seq > t.fresh[s.Key].Seq {
			t.fresh[s.Key] = s
		}
	}
}

// Tell sends each node its heads: those of what is new, else the last ones again.
func (p *Producer) Tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for node, t := range p.nodes {
		if len(t.fresh) > 0 {
			t.number++
			t.last = slices.Collect(maps.Values(t.fresh))
			clear(t.fresh)
		}
		if t.number > 0 {
			_ = p.Bus.Send(node, &message.Down{Heads: &message.Heads{Producer: p.Name, Number: t.number, Stamps: t.last}})
		}
	}
}
