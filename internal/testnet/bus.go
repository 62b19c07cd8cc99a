package testnet

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"

	"holdfast/internal/message"
)

// Loss is what a bus does to pushes and heads, each as a probability between 0 and 1. Calls
// are not touched: whoever calls sees that no answer comes.
type Loss struct {
	Drop, Repeat, Delay float64
}

// Bus is the bus as nodes and tests see it.
type Bus struct {
	up   chan *message.Up
	full atomic.Bool

	mu      sync.Mutex
	nodes   map[string]func(*message.Down) error
	random  *rand.Rand
	loss    Loss
	delayed []delayed

	callMu sync.Mutex // apart from mu: a node may answer while it is given the call
	calls  map[string]*Call
	serial int
}

// delayed is a record that waits until others have overtaken it.
type delayed struct {
	node  string
	d     *message.Down
	turns int
}

// NewBus returns a bus that has room for room events; seed decides what it does to
// records.
func NewBus(room int, seed uint64) *Bus {
	return &Bus{
		up: make(chan *message.Up, room), random: rand.New(rand.NewPCG(seed, seed)),
		nodes: make(map[string]func(*message.Down) error), calls: make(map[string]*Call),
	}
}

// SetFull makes the bus refuse events, or take them again.
func (b *Bus) SetFull(full bool) { b.full.Store(full) }

// SetLoss says what happens to the pushes that are sent from now on.
func (b *Bus) SetLoss(l Loss) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loss = l
}

// Publish is the node's side.
func (b *Bus) Publish(up *message.Up) error {
	if b.full.Load() {
		return message.ErrFull
	}
	select {
	case b.up <- up:
		return nil
	default:
		return message.ErrFull
	}
}

// Filled is the node's side.
func (b *Bus) Filled() float64 {
	if b.full.Load() {
		return 1
	}
	return float64(len(b.up)) / float64(cap(b.up))
}

// Up returns the next event, or ctx's error.
func (b *Bus) Up(ctx context.Context) (*message.Up, error) {
	select {
	case up := <-b.up:
		return up, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// AttachNode is the node's side. A second node of the same name takes the place of
// the first.
func (b *Bus) AttachNode(node string, receive func(*message.Down) error) (detach func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nodes[node] = receive
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.nodes, node)
	}
}

// Send brings a record to a node, or does to it what SetLoss says. The error is the
// node's; of a push that is lost or late there is none.
func (b *Bus) Send(node string, d *message.Down) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.turn()
	if d.Heads == nil && (d.Push == nil || d.Push.WantAcks) {
		return b.pass(node, d)
	}
	if b.random.Float64() < b.loss.Repeat {
		b.delay(node, d)
	}
	switch {
	case b.random.Float64() < b.loss.Drop:
		return nil
	case b.random.Float64() < b.loss.Delay:
		b.delay(node, d)
		return nil
	}
	return b.pass(node, d)
}

func (b *Bus) delay(node string, d *message.Down) {
	b.delayed = append(b.delayed, delayed{node: node, d: d, turns: 1 + b.random.IntN(8)})
}

// turn passes on what has been overtaken often enough; mu is held.
func (b *Bus) turn() {
	kept := b.delayed[:0]
	for _, x := range b.delayed {
		if x.turns--; x.turns > 0 {
			kept = append(kept, x)
		} else {
			_ = b.pass(x.node, x.d) // the log knows what a full node refuses
		}
	}
	b.delayed = kept
}

// pass gives a record to a node, which never blocks; mu is held.
func (b *Bus) pass(node string, d *message.Down) error {
	receive := b.nodes[node]
	if receive == nil {
		return message.ErrGone
	}
	return receive(d)
}

// Call is what has been answered to one call.
type Call struct {
	mu      sync.Mutex
	replies []message.Reply
	news    chan struct{}
}

// Call sends a record that makes a call.
func (b *Bus) Call(node string, d *message.Down) (*Call, error) {
	b.callMu.Lock()
	b.serial++
	d.Call, d.ReplyTo = "call-"+strconv.Itoa(b.serial), "api"
	c := &Call{news: make(chan struct{}, 1)}
	b.calls[d.Call] = c
	b.callMu.Unlock()
	return c, b.Send(node, d)
}

// Reply is the node's side.
func (b *Bus) Reply(_ string, r *message.Reply) error {
	b.callMu.Lock()
	c := b.calls[r.Call]
	b.callMu.Unlock()
	if c == nil {
		return message.ErrGone
	}
	c.mu.Lock()
	c.replies = append(c.replies, *r)
	c.mu.Unlock()
	select {
	case c.news <- struct{}{}:
	default:
	}
	return nil
}

// Wait returns the answers when enough says so of them, or those that came until
// ctx ended.
func (c *Call) Wait(ctx context.Context, enough func([]message.Reply) bool) ([]message.Reply, error) {
	for {
		if got := c.Replies(); enough(got) {
			return got, nil
		}
		select {
		case <-c.news:
		case <-ctx.Done():
			return c.Replies(), ctx.Err()
		}
	}
}

// Replies returns the answers so far.
func (c *Call) Replies() []message.Reply {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]message.Reply(nil), c.replies...)
}

// Done tells whether an answer says that nothing more follows.
func Done(replies []message.Reply) bool {
	for i := range replies {
		if replies[i].Done {
			return true
		}
	}
	return false
}
