package main

import (
	"context"
	"slices"
	"time"

	"holdfast/internal/message"
)

// returns looks for clients whose node was taken for dead and is not: it only stood
// still. Rooms were told that they have left, so they are told that they are back, when
// the node has written them once more.
type returns struct {
	lookUp func(ctx context.Context, id string) (message.ClientInfo, error)
	tell   func(message.ClientInfo)

	nodes map[string]*deadNode
	kept  int // clients of all of them
}

type deadNode struct {
	clients []message.ClientInfo
	next    int       // the one to look for next
	back    time.Time // when the node was first seen alive again; zero: it was not
}

const (
	// A node writes what it holds within a minute, as a rule.
	returnTime = time.Minute
	// What is kept, and what is looked up at a time; clients beyond that are told of when
	// the next one comes or goes.
	maxReturns  = 100_000
	returnsEach = 500
)

// buried notes whom a dead node had.
func (r *returns) buried(node string, clients []message.ClientInfo) {
	clients = clients[:min(len(clients), maxReturns-r.kept)]
	if len(clients) == 0 {
		return
	}
	if r.nodes == nil {
		r.nodes = make(map[string]*deadNode)
	}
	if r.nodes[node] == nil {
		r.nodes[node] = &deadNode{}
	}
	d := r.nodes[node]
	d.clients, d.back = append(d.clients, clients...), time.Time{}
	r.kept += len(clients)
}

// alive looks for some of a node's clients, once the node lives again. Who has come back
// by themselves has connected later, and was told of then.
func (r *returns) alive(ctx context.Context, node string, now time.Time) {
	d := r.nodes[node]
	switch {
	case d == nil:
		return
	case d.back.IsZero():
		d.back = now
	case now.Sub(d.back) > returnTime:
		r.kept -= len(d.clients)
		delete(r.nodes, node)
		return
	}
	for range min(returnsEach, len(d.clients)) {
		d.next %= len(d.clients)
		was := &d.clients[d.next]
		c, err := r.lookUp(ctx, was.ID)
		if err != nil {
			d.next++ // not yet, or never
			continue
		}
		if c.ConnectedAt.Equal(was.ConnectedAt) {
			r.tell(c)
		}
		d.clients = slices.Delete(d.clients, d.next, d.next+1)
		r.kept--
	}
	if len(d.clients) == 0 {
		delete(r.nodes, node)
	}
}
