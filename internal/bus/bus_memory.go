package bus

import (
	"context"
	"sync"
	"sync/atomic"

	"holdfast/internal/message"
)

// Options bounds a [Memory]. The zero Options takes the defaults.
type Options struct {
	UpItems int   // events that wait for ws-api or are being handled; default 65536
	UpBytes int64 // the sum of their sizes (message.Up.Size); default 64 MiB
}

const (
	defaultUpItems = 65536
	defaultUpBytes = 64 << 20
)

// Stats is what a bus has counted since it was made, and what waits now.
type Stats struct {
	UpItems int   // waiting or being handled now
	UpBytes int64 // the same in bytes
	// The bounds of both.
	MaxUpItems int
	MaxUpBytes int64

	Published  uint64 // events accepted
	Handled    uint64 // events that a handler has returned from
	UpFull     uint64 // events refused for want of room
	Sent       uint64 // records that a node took
	SendGone   uint64 // records to a node that is not attached
	SendFailed uint64 // records that a node refused, for want of room as a rule
	Replied    uint64 // replies handed over
	ReplyGone  uint64 // replies to a ws-api that is not attached
}

// Memory is the bus of one process. It starts no goroutine: Send and Reply call
// the receiver on the caller's goroutine, Consume runs on its caller's. It is safe
// for concurrent use.
type Memory struct {
	up    upstream
	nodes inboxes[func(*message.Down) error]
	apis  inboxes[func(*message.Reply)]

	sent, sendGone, sendFailed, replied, replyGone atomic.Uint64
}

// NewMemory returns an empty bus.
func NewMemory(opts Options) *Memory {
	if opts.UpItems <= 0 {
		opts.UpItems = defaultUpItems
	}
	if opts.UpBytes <= 0 {
		opts.UpBytes = defaultUpBytes
	}
	m := &Memory{}
	m.up.init(opts)
	return m
}

// Publish queues an event for ws-api. It never blocks: without room it fails with
// [message.ErrFull] and keeps nothing. An event larger than the whole bound is
// taken by an empty queue, since it would find no room ever. The event must not be
// changed afterwards.
func (m *Memory) Publish(up *message.Up) error { return m.up.publish(up) }

// Filled tells how full the room for events is, from 0 to 1.
func (m *Memory) Filled() float64 { return m.up.filled() }

// Consume hands events to handle, one at a time and in the order of publishing,
// until ctx ends, and then returns nil. handle may block; that is the
// backpressure. An event that handle has returned from is done with; what it has
// not been given stays queued for the next Consume. While another Consume runs, it
// waits for that one's end.
func (m *Memory) Consume(ctx context.Context, handle func(*message.Up)) error {
	m.up.consume(ctx, handle)
	return nil
}

// AttachNode makes receive the inbox of a node, in place of one attached before.
// It is called from several goroutines at once and must not block; an error says
// that it did not take the record. detach returns when no call of receive runs any
// more, so receive must not call it.
func (m *Memory) AttachNode(node string, receive func(*message.Down) error) (detach func()) {
	return m.nodes.attach(node, receive)
}

// Send hands a record to a node. It fails with [message.ErrGone] when the node is
// not attached, and with the node's own error, [message.ErrFull] as a rule, when
// it does not take the record.
func (m *Memory) Send(ctx context.Context, node string, d *message.Down) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	in := m.nodes.enter(node)
	if in == nil {
		m.sendGone.Add(1)
		return message.ErrGone
	}
	defer in.leave()
	if err := in.receive(d); err != nil {
		m.sendFailed.Add(1)
		return err
	}
	m.sent.Add(1)
	return nil
}

// AttachAPI makes receive the inbox of a ws-api, as [Memory.AttachNode] does for a
// node.
func (m *Memory) AttachAPI(id string, receive func(*message.Reply)) (detach func()) {
	return m.apis.attach(id, receive)
}

// Reply hands a node's answer to the ws-api that asked. It never blocks. It fails
// with [message.ErrGone] when that is not attached.
func (m *Memory) Reply(to string, r *message.Reply) error {
	in := m.apis.enter(to)
	if in == nil {
		m.replyGone.Add(1)
		return message.ErrGone
	}
	defer in.leave()
	in.receive(r)
	m.replied.Add(1)
	return nil
}

// Stats returns the counters as they are now.
func (m *Memory) Stats() Stats {
	s := m.up.stats()
	s.Sent = m.sent.Load()
	s.SendGone = m.sendGone.Load()
	s.SendFailed = m.sendFailed.Load()
	s.Replied = m.replied.Load()
	s.ReplyGone = m.replyGone.Load()
	return s
}

// inboxes maps a name to a receiver.
type inboxes[F any] struct {
	mu     sync.RWMutex
	byName map[string]*inbox[F]
}

func (b *inboxes[F]) attach(name string, receive F) (detach func()) {
	in := &inbox[F]{receive: receive, idle: make(chan struct{})}
	b.mu.Lock()
	if b.byName == nil {
		b.byName = make(map[string]*inbox[F])
	}
	b.byName[name] = in
	b.mu.Unlock()
	return func() {
		b.mu.Lock()
		if b.byName[name] == in { // else somebody else has taken the name over
			delete(b.byName, name)
		}
		b.mu.Unlock()
		in.close()
	}
}

// enter returns the inbox of that name, on which the caller must call leave when
// its call of receive has returned, or nil.
func (b *inboxes[F]) enter(name string) *inbox[F] {
	b.mu.RLock()
	in := b.byName[name]
	b.mu.RUnlock()
	if in == nil || !in.enter() {
		return nil
	}
	return in
}

// inbox counts the calls of receive that run, so that a detach can wait for their
// end. It is no RWMutex, for a receiver may well send to itself, and a read lock
// taken twice hangs as soon as a writer waits in between.
type inbox[F any] struct {
	receive F

	mu     sync.Mutex
	calls  int
	closed bool
	idle   chan struct{} // closed when closed and calls == 0
}

func (in *inbox[F]) enter() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return false
	}
	in.calls++
	return true
}

func (in *inbox[F]) leave() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.calls--
	if in.closed && in.calls == 0 {
		close(in.idle)
	}
}

// close lets no further call in and waits for those that run. It may be called
// more than once.
func (in *inbox[F]) close() {
	in.mu.Lock()
	if !in.closed {
		in.closed = true
		if in.calls == 0 {
			close(in.idle)
		}
	}
	in.mu.Unlock()
	<-in.idle
}
