package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"connectrpc.com/connect"

	"holdfast/internal/message"
)

// calls are the requests to nodes whose answers are awaited.
type calls struct {
	maxCalls, maxAcks, maxAckBytes int

	mu   sync.Mutex
	byID map[string]*call
}

var errTooManyCalls = errors.New("too many calls are waiting for nodes")

// call is one request to some nodes.
type call struct {
	id       string
	wantAcks bool

	mu       sync.Mutex
	nodes    map[string]*nodeAnswer
	waiting  int // nodes that have not finished
	sealed   bool
	acks     []message.AckReply
	ackBytes int
	dropped  uint32 // acks that had no room
	finished chan struct{}
	closed   bool
}

// nodeAnswer is what one node has said so far.
type nodeAnswer struct {
	announced bool // Clients is known
	clients   uint32
	acks      uint32
	done      bool
	gone      bool
	err       string
}

func newCalls(l Limits) *calls {
	return &calls{maxCalls: l.Calls, maxAcks: l.Acks, maxAckBytes: l.AckBytes, byID: make(map[string]*call)}
}

// begin registers a call. The caller ends it with end.
func (c *calls) begin(id string, wantAcks bool) (*call, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.byID) >= c.maxCalls {
		return nil, errTooManyCalls
	}
	k := &call{id: id, wantAcks: wantAcks, nodes: make(map[string]*nodeAnswer), finished: make(chan struct{})}
	c.byID[id] = k
	return k, nil
}

func (c *calls) end(k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byID, k.id)
}

func (c *calls) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byID)
}

// receive takes a node's reply. One to a call that has ended is ignored.
func (c *calls) receive(r *message.Reply) {
	c.mu.Lock()
	k := c.byID[r.Call]
	c.mu.Unlock()
	if k != nil {
		k.receive(r, c.maxAcks, c.maxAckBytes)
	}
}

// ask says that node is about to be asked. It comes before the record is sent,
// for the answer may be there before Send returns.
func (k *call) ask(node string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.nodes[node] == nil {
		k.nodes[node] = &nodeAnswer{}
		k.waiting++
	}
}

// fail says that node could not be asked.
func (k *call) fail(node string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := k.nodes[node]; n != nil && !n.done {
		n.done, n.err = true, err.Error()
		k.waiting--
	}
	k.finish()
}

// absent says that node is gone, and its clients with it.
func (k *call) absent(node string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := k.nodes[node]; n != nil && !n.done {
		n.done, n.announced, n.gone = true, true, true
		k.waiting--
	}
	k.finish()
}

// seal says that no further node will be asked.
func (k *call) seal() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sealed = true
	k.finish()
}

func (k *call) finish() {
	if k.sealed && k.waiting == 0 && !k.closed {
		k.closed = true
		close(k.finished)
	}
}

func (k *call) receive(r *message.Reply, maxAcks, maxBytes int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.nodes[r.Node]
	if r.Ack != nil {
		if size := 64 + r.Ack.Payload.Size(); len(k.acks) < maxAcks && k.ackBytes+size <= maxBytes {
			k.acks = append(k.acks, *r.Ack)
			k.ackBytes += size
		} else {
			k.dropped++
		}
	}
	if n == nil {
		return // a node to which a session has moved answers beside the one asked
	}
	switch {
	case r.Ack != nil:
		n.acks++
	case r.Done || !n.announced || r.Clients > 0:
		// The last word counts: a client that was counted where it was before may have been
		// asked by its new node already, and is one of that node's.
		n.announced, n.clients = true, r.Clients
	}
	if r.Err != "" {
		n.err = r.Err
	}
	complete := r.Done || r.Err != "" || (k.wantAcks && n.announced && n.acks >= n.clients)
	if complete && !n.done {
		n.done = true
		k.waiting--
	}
	k.finish()
}

// wait returns when all nodes have finished or ctx ends.
func (k *call) wait(ctx context.Context) error {
	select {
	case <-k.finished:
		return nil
	default:
	}
	select {
	case <-k.finished:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// outcome is what a call has come to.
type outcome struct {
	clients uint32 // concerned, of the nodes that answered
	acks    []message.AckReply
	silent  []string // nodes that never answered
	gone    int      // nodes that are no more
	failed  []string // nodes that could not be asked or could not do it
	err     string   // of one of those
}

func (k *call) outcome() outcome {
	k.mu.Lock()
	defer k.mu.Unlock()
	o := outcome{acks: k.acks}
	for name, n := range k.nodes {
		switch {
		case n.err != "":
			o.failed = append(o.failed, name)
			o.err = n.err
		case !n.done && !n.announced:
			o.silent = append(o.silent, name)
		}
		o.clients += n.clients
		if n.gone {
			o.gone++
		}
	}
	return o
}

// missing returns how many of those asked have not answered.
func (o *outcome) missing() uint32 {
	if n := uint32(len(o.acks)); n < o.clients {
		return o.clients - n
	}
	return 0
}

// failure says which nodes did not do what they were asked, and nil if all did.
func (o *outcome) failure() error {
	if len(o.failed) > 0 {
		code := connect.CodeUnavailable
		switch {
		case strings.Contains(o.err, message.ErrFull.Error()):
			code = connect.CodeResourceExhausted
		case strings.Contains(o.err, message.ErrTooManyRooms.Error()):
			code = connect.CodeFailedPrecondition
		}
		return connect.NewError(code, fmt.Errorf("%d clients reached; node %s: %s", o.clients, strings.Join(o.failed, ", "), o.err))
	}
	if len(o.silent) > 0 {
		return connect.NewError(connect.CodeDeadlineExceeded,
			fmt.Errorf("%d clients reached; no answer in time from node %s", o.clients, strings.Join(o.silent, ", ")))
	}
	return nil
}
