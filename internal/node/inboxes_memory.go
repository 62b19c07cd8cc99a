package node

import (
	"context"
	"slices"
	"sync"

	"holdfast/internal/message"
)

// MemoryInboxes says which partition of a topic is which node's inbox, among the
// nodes of one process. It is safe for concurrent use.
type MemoryInboxes struct {
	mu    sync.Mutex
	nodes []string // by partition
}

// NewMemoryInboxes returns a table in which every partition is free.
func NewMemoryInboxes() *MemoryInboxes { return &MemoryInboxes{} }

// Claim gives a node its partition: the one that it has, else the lowest below limit
// that is free. It fails with [message.ErrFull]. There is nobody to fight for one that
// is wanted.
func (m *MemoryInboxes) Claim(_ context.Context, node string, limit, _ int32) (int32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := slices.Index(m.nodes, node); p >= 0 {
		return int32(p), nil
	}
	if len(m.nodes) >= int(limit) {
		return 0, message.ErrFull
	}
	m.nodes = append(m.nodes, node)
	return int32(len(m.nodes) - 1), nil
}

// Find returns the partition of a node, or [message.ErrGone].
func (m *MemoryInboxes) Find(_ context.Context, node string) (int32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := slices.Index(m.nodes, node)
	if p < 0 {
		return 0, message.ErrGone
	}
	return int32(p), nil
}
