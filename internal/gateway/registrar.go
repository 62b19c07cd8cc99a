package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/message"
)

// op is one thing that a shard wants written and read outside.
type op struct {
	changes []message.Change
	heads   []message.Key // whose positions done wants
	learnt  []learnt      // and save; see join.go
	save    *message.Saved
	late    []latePlace
	ttl     time.Duration
	forget  string
	done    func(heads []message.Position) // runs on the registrar's goroutine; nil: nobody waits
}

// registrar writes the node's side of the registry, in the order in which it was
// asked and in batches: what gathers while one batch is on its way makes up the
// next. There is one for a node, for the first member of a room on one shard and
// the last one on another must not overtake each other.
//
// When the store is away it tries again until it is back; clients that are
// connected stay so, and those that wait to come in wait on.
type registrar struct {
	registry Registry
	log      Log
	slog     *slog.Logger
	node     string

	// neverWaits says that the stores answer at once: an op is then carried out by who
	// submits it, which spares two changes of goroutine.
	neverWaits bool

	mayWrite func() bool // nil: always
	disowned atomic.Bool // nothing is written any more

	mu      sync.Mutex
	ops     []op
	working bool                // some that were taken from ops are on their way
	ended   bool                // run has returned: nothing is carried out any more
	nodes   map[message.Key]int // how many shards of this node have members
	wake    chan struct{}
}

// maxOps is how many ops may wait before no handshake is accepted: a store that is
// away for long must not fill the memory with who came and went.
const maxOps = 65_536

// behind tells whether too many ops wait.
func (r *registrar) behind() bool { return r.waiting() >= maxOps }

// waiting returns how many ops wait.
func (r *registrar) waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ops)
}

func newRegistrar(node string, r Registry, l Log, logger *slog.Logger) *registrar {
	return &registrar{
		registry: r, log: l, slog: logger, node: node,
		nodes: make(map[message.Key]int), wake: make(chan struct{}, 1),
	}
}

// shared tells whether the nodes of a key are recorded: those of rooms and of whole
// namespaces. A user's and a client's node stand in the client's own record.
func shared(key message.Key) bool {
	k := key.Kind()
	return k == message.KindRoom || k == message.KindAll
}

// submit queues an op. enter and exit are the keys of which the shard has got its
// first member or lost its last; they become changes where that is so for the
// whole node.
func (r *registrar) submit(o op, enter, exit []message.Key) {
	r.mu.Lock()
	for _, key := range enter {
		if !shared(key) {
			continue
		}
		if r.nodes[key]++; r.nodes[key] == 1 {
			o.changes = append(o.changes, message.Change{Kind: message.ChangeEnter, Node: r.node, Key: key})
		}
	}
	for _, key := range exit {
		if !shared(key) {
			continue
		}
		if r.nodes[key]--; r.nodes[key] == 0 {
			delete(r.nodes, key)
			o.changes = append(o.changes, message.Change{Kind: message.ChangeExit, Node: r.node, Key: key})
		}
	}
	if r.neverWaits && len(r.ops) == 0 && !r.working {
		if heads, err := r.carryOut(&o); err == nil {
			r.mu.Unlock()
			if o.done != nil {
				o.done(heads)
			}
			return
		}
	}
	r.ops = append(r.ops, o)
	r.mu.Unlock()
	r.rouse()
}

// restate queues an op that repeats what the node has written before. keys are those
// that the node enters once more, as far as it has members of them now.
func (r *registrar) restate(o op, keys []message.Key) {
	r.mu.Lock()
	for _, key := range keys {
		if r.nodes[key] > 0 {
			o.changes = append(o.changes, message.Change{Kind: message.ChangeEnter, Node: r.node, Key: key})
		}
	}
	r.ops = append(r.ops, o)
	r.mu.Unlock()
	r.rouse()
}

// exitFrom takes the node out of those keys of which it is recorded to have members and
// has none. It returns how many they are.
func (r *registrar) exitFrom(keys []message.Key) (n int) {
	r.mu.Lock()
	var o op
	for _, key := range keys {
		if r.nodes[key] == 0 {
			o.changes = append(o.changes, message.Change{Kind: message.ChangeExit, Node: r.node, Key: key})
		}
	}
	if len(o.changes) > 0 {
		r.ops = append(r.ops, o)
	}
	r.mu.Unlock()
	r.rouse()
	return len(o.changes)
}

// rouse has what is queued carried out.
func (r *registrar) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// flush waits until all that has been submitted so far is carried out. It fails when the
// node stops before.
func (r *registrar) flush(ctx context.Context) error {
	r.mu.Lock()
	ended := r.ended
	r.mu.Unlock()
	if ended {
		return message.ErrGone
	}
	done := make(chan struct{})
	r.submit(op{done: func([]message.Position) { close(done) }}, nil, nil)
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// carryOut does one op at once, on stores that never wait.
func (r *registrar) carryOut(o *op) (heads []message.Position, err error) {
	ctx := context.Background()
	if len(o.changes) > 0 {
		err = r.registry.Apply(ctx, o.changes)
	}
	if err == nil && len(o.heads) > 0 {
		heads, err = r.log.Heads(ctx, o.heads)
	}
	o.learn(heads)
	if err == nil && o.save != nil {
		err = r.registry.Save(ctx, o.save, o.ttl)
	}
	if err == nil && o.forget != "" {
		err = r.registry.Forget(ctx, o.forget)
	}
	return heads, err
}

// run works until stop is closed, and then through what is queued, until ctx ends.
// Whoever waits for an op that was not carried out then is told as if it had been:
// the node is going, and its clients with it.
func (r *registrar) run(ctx context.Context, stop <-chan struct{}) {
	for stopped := false; !stopped; {
		select {
		case <-r.wake:
		case <-stop:
			stopped = true
		case <-ctx.Done():
			stopped = true
		}
		for _, o := range r.work(ctx) {
			if o.done != nil {
				o.done(nil)
			}
		}
	}
	r.mu.Lock()
	late := r.ops
	r.ops, r.ended = nil, true
	r.mu.Unlock()
	for _, o := range late {
		if o.done != nil {
			o.done(nil)
		}
	}
}

// work carries out what is queued. It returns the ops that it has not, which is so
// only when ctx has ended.
func (r *registrar) work(ctx context.Context) (undone []op) {
	for {
		r.mu.Lock()
		batch := r.ops
		r.ops = nil
		r.working = len(batch) > 0
		r.mu.Unlock()
		if len(batch) == 0 {
			return nil
		}
		var (
			changes []message.Change
			keys    []message.Key
			heads   []message.Position
		)
		for i := range batch {
			changes = append(changes, batch[i].changes...)
			keys = append(keys, batch[i].heads...)
		}
		if len(changes) > 0 && !r.persist(ctx, "write to the registry", func() error { return r.apply(ctx, changes) }) {
			return batch
		}
		// The heads are read after the memberships were written: what was appended
		// before is below them, what comes later is sent here.
		if len(keys) > 0 && !r.persist(ctx, "read the logs' heads", func() (err error) {
			heads, err = r.log.Heads(ctx, keys)
			return err
		}) {
			return batch
		}
		left := heads
		for i := range batch {
			n := len(batch[i].heads)
			batch[i].learn(left[:n])
			left = left[n:]
		}
		if !r.keepSaves(ctx, batch) {
			return batch
		}
		for i := range batch {
			o := &batch[i]
			n := len(o.heads)
			if o.done != nil {
				o.done(heads[:n:n])
			}
			heads = heads[n:]
		}
	}
}

// savesAtOnce is how many saves are on their way together: the store takes many at the
// price of one wait.
const savesAtOnce = 64

// keepSaves carries out the saves of a batch and what is to be forgotten, those of one
// session in their order; false when ctx ended first.
func (r *registrar) keepSaves(ctx context.Context, batch []op) bool {
	var round []*op
	seen := make(map[string]bool)
	for i := range batch {
		o := &batch[i]
		pid := o.forget
		if o.save != nil {
			pid = o.save.PID
		}
		if pid == "" {
			continue
		}
		if seen[pid] || len(round) == savesAtOnce {
			if !r.keepRound(ctx, round) {
				return false
			}
			round = round[:0]
			clear(seen)
		}
		seen[pid] = true
		round = append(round, o)
	}
	return len(round) == 0 || r.keepRound(ctx, round)
}

// keepRound carries out the saves of different sessions, until all are done.
func (r *registrar) keepRound(ctx context.Context, round []*op) bool {
	left := round
	return r.persist(ctx, "save sessions", func() error {
		errs := make([]error, len(left))
		var all sync.WaitGroup
		for i, o := range left {
			all.Go(func() {
				if o.save != nil {
					errs[i] = r.registry.Save(ctx, o.save, o.ttl)
				}
				if o.forget != "" && errs[i] == nil {
					errs[i] = r.registry.Forget(ctx, o.forget)
				}
			})
		}
		all.Wait()
		var failed []*op
		for i, err := range errs {
			if err != nil {
				failed = append(failed, left[i])
			}
		}
		left = failed
		return errors.Join(errs...)
	})
}

// errNotHeld says that the node's name may be another process's by now.
var errNotHeld = errors.New("the node's lease is over and could not be renewed yet")

// apply writes changes, unless they are no longer this process's to write: they stand
// under the node's name, and a process that has taken that over has its own to say
// about the same rooms.
func (r *registrar) apply(ctx context.Context, changes []message.Change) error {
	switch {
	case r.disowned.Load():
		return nil
	case r.mayWrite != nil && !r.mayWrite():
		return errNotHeld
	}
	return r.registry.Apply(ctx, changes)
}

// persist does act until it succeeds; false when ctx ended first.
func (r *registrar) persist(ctx context.Context, what string, act func() error) bool {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := act()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			r.slog.Warn("the node stops with writes undone", "act", what, "err", err)
			return false
		}
		r.slog.Warn("registry is away, trying again", "act", what, "err", err, "in", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return false
		}
	}
}
