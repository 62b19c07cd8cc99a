package testnet

import (
	"context"
	"sync"
)

// Gate stands before a store: open, shut (callers wait) or broken (they fail). The
// zero Gate is open. It is safe for concurrent use.
type Gate struct {
	mu   sync.Mutex
	shut chan struct{} // closed when the gate opens; nil: open
	err  error
}

// Shut makes callers wait until Open, or the end of their context.
func (g *Gate) Shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

// Break makes callers fail with err until Open.
func (g *Gate) Break(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
}

// Open lets everybody through, also those who wait.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = nil
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

// pass is called by a store before each of its acts.
func (g *Gate) pass(ctx context.Context) error {
	g.mu.Lock()
	shut, err := g.shut, g.err
	g.mu.Unlock()
	if err != nil || shut == nil {
		return err
	}
	select {
	case <-shut:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
