package testnet

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"holdfast/internal/message"
)

// Registry notes what nodes write. Its zero value is empty.
type Registry struct {
	Gate Gate

	mu      sync.Mutex
	clients map[string]*message.Client
	nodes   map[message.Key]map[string]bool
	saved   map[string][]message.Saved // newest first
	claims  map[string]message.Claim
}

// Apply is the node's side.
func (r *Registry) Apply(ctx context.Context, changes []message.Change) error {
	if err := r.Gate.pass(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.clients == nil {
		r.clients = make(map[string]*message.Client)
		r.nodes = make(map[message.Key]map[string]bool)
	}
	for i := range changes {
		switch c := &changes[i]; c.Kind {
		case message.ChangeConnect, message.ChangeMend:
			r.clients[c.Client.ID] = c.Client
		case message.ChangeDisconnect:
			if now := r.clients[c.Client.ID]; now != nil && now.Node == c.Client.Node {
				delete(r.clients, c.Client.ID)
			}
		case message.ChangeEnter:
			if r.nodes[c.Key] == nil {
				r.nodes[c.Key] = make(map[string]bool)
			}
			r.nodes[c.Key][c.Node] = true
		case message.ChangeExit:
			if delete(r.nodes[c.Key], c.Node); len(r.nodes[c.Key]) == 0 {
				delete(r.nodes, c.Key)
			}
		}
	}
	return nil
}

// Save is the node's side; the time to live is not looked at.
func (r *Registry) Save(ctx context.Context, s *message.Saved, _ time.Duration) error {
	if err := r.Gate.pass(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.saved == nil {
		r.saved = make(map[string][]message.Saved)
	}
	older := r.saved[s.PID]
	switch {
	case len(older) > 0 && s.Tag == older[0].Tag && s.Gen < older[0].Gen:
		return nil
	case len(older) > 0 && s.Tag == older[0].Tag && s.Gen == older[0].Gen:
		older = older[1:]
	}
	r.saved[s.PID] = append([]message.Saved{*s}, older[:min(len(older), 4)]...)
	return nil
}

// Load is the node's side.
func (r *Registry) Load(ctx context.Context, pid string) (*message.Saved, []message.Saved, error) {
	if err := r.Gate.pass(ctx); err != nil {
		return nil, nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.saved[pid]
	if len(all) == 0 {
		return nil, nil, message.ErrNotFound
	}
	newest := all[0]
	newest.Claim = r.claims[pid]
	return &newest, slices.Clone(all[1:]), nil
}

// Take is the node's side.
func (r *Registry) Take(ctx context.Context, pid, node string) (before message.Claim, number uint64, err error) {
	if err := r.Gate.pass(ctx); err != nil {
		return before, 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.saved[pid]) == 0 {
		return before, 0, message.ErrNotFound
	}
	if r.claims == nil {
		r.claims = make(map[string]message.Claim)
	}
	before = r.claims[pid]
	r.claims[pid] = message.Claim{Number: before.Number + 1, Node: node}
	return before, before.Number + 1, nil
}

// Forget is the node's side.
func (r *Registry) Forget(ctx context.Context, pid string) error {
	if err := r.Gate.pass(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.saved, pid)
	return nil
}

// Wipe loses all that was written.
func (r *Registry) Wipe() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.clients)
	clear(r.nodes)
	clear(r.saved)
}

// Nodes returns the nodes that a record for key must reach, sorted.
func (r *Registry) Nodes(key message.Key) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := maps.Clone(r.nodes[key])
	if found == nil {
		found = make(map[string]bool)
	}
	for _, c := range r.clients {
		if key == message.ClientKey(c.Namespace, c.ID) || key == message.UserKey(c.Namespace, c.UID) {
			found[c.Node] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// Client returns what is written of a client.
func (r *Registry) Client(id string) (c *message.Client, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, known = r.clients[id]
	return c, known
}

// Left returns what is still written of clients, keys and saved sessions.
func (r *Registry) Left() (clients, keys, saved int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.clients), len(r.nodes), len(r.saved)
}
