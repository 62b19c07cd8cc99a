package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrNoWorkers says that all worker numbers are taken.
var ErrNoWorkers = errors.New("all worker numbers are taken")

// Lease is a worker number that belongs to an identity.
type Lease struct {
	Identity string // the node's name, on Kubernetes the pod's
	Worker   uint16
	// Generation grows each time that the identity takes its number; whoever sees
	// a newer one than its own has been replaced.
	Generation uint64
	// Since is when the last ID of that number was made, at the latest; the holder's own
	// are later. Zero: there was none.
	Since time.Time
}

// MemoryWorkers hands out worker numbers among the nodes of one process. Nothing
// expires, since nodes and numbers end together. It is safe for concurrent use.
type MemoryWorkers struct {
	mu         sync.Mutex
	generation uint64 // of the last lease of all
	leases     map[string]Lease
	used       [MaxWorker + 1]bool
}

// NewMemoryWorkers returns a table in which every number is free.
func NewMemoryWorkers() *MemoryWorkers {
	return &MemoryWorkers{leases: make(map[string]Lease)}
}

// Acquire gives an identity its number: the one that it has, in a new generation,
// or the lowest free one. It fails with [ErrNoWorkers].
func (m *MemoryWorkers) Acquire(_ context.Context, identity string) (Lease, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.generation++
	if l, ok := m.leases[identity]; ok {
		l.Generation = m.generation
		m.leases[identity] = l
		return l, nil
	}
	for worker, used := range m.used {
		if used {
			continue
		}
		l := Lease{Identity: identity, Worker: uint16(worker), Generation: m.generation}
		m.used[worker] = true
		m.leases[identity] = l
		return l, nil
	}
	return Lease{}, fmt.Errorf("worker number for %q: %w", identity, ErrNoWorkers)
}

// Renew fails with [ErrFenced] when the number has a newer holder. Nothing is ever
// lost here.
func (m *MemoryWorkers) Renew(_ context.Context, l Lease, _ time.Time, _ About) (Renewed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leases[l.Identity] != l {
		return Renewed{}, fmt.Errorf("renew worker number %d: %w", l.Worker, ErrFenced)
	}
	return Renewed{IDs: true}, nil
}

// Release frees a number, unless a newer generation has taken it over.
func (m *MemoryWorkers) Release(_ context.Context, l Lease, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leases[l.Identity] == l {
		delete(m.leases, l.Identity)
		m.used[l.Worker] = false
	}
	return nil
}
