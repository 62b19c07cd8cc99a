package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/boot"
	"holdfast/internal/bus"
	"holdfast/internal/gateway"
	"holdfast/internal/node"
	"holdfast/internal/registry"
	"holdfast/internal/roomlog"
)

// stores is what gateway and ws-api meet through, in the kinds that the
// configuration names.
type stores struct {
	registry interface {
		gateway.Registry
		api.Registry
	}
	log interface {
		gateway.Log
		api.Log
	}
	bus interface {
		gateway.Bus
		api.Bus
	}
	workers interface {
		Acquire(ctx context.Context, identity string) (node.Lease, error)
		Release(ctx context.Context, l node.Lease) error
	}

	identity string // of this process among the gateways
	inMemory bool   // the stores never wait, and what the bus takes is as durable as it gets
	sweepers []func()
	export   func(boot.Metrics) // registers what the stores tell of themselves
}

// openStores makes the stores.
func openStores(cfg *boot.Config) (*stores, error) {
	if cfg.Store.Kind != "memory" {
		return nil, fmt.Errorf("store.kind: %q is not in this version yet; use memory", cfg.Store.Kind)
	}
	if cfg.Bus.Kind != "memory" {
		return nil, fmt.Errorf("bus.kind: %q is not in this version yet; use memory", cfg.Bus.Kind)
	}
	s := &stores{identity: cfg.Node.Identity, export: func(boot.Metrics) {}}
	if s.identity == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("node.identity: not set, and the host has no name: %w", err)
		}
		s.identity = host
	}
	s.openMemory(cfg)
	return s, nil
}

// logWindow is how long a room's log keeps a message. A client is away before its
// node knows: as long as the heartbeat and its output may take.
func logWindow(cfg *boot.Config) time.Duration {
	return cfg.Recovery.Window + cfg.Heartbeat.Interval + cfg.Heartbeat.Timeout + cfg.Limits.OutputAge
}

// openMemory keeps everything in this process.
func (s *stores) openMemory(cfg *boot.Config) {
	reg := registry.NewMemory(registry.Options{})
	log := roomlog.NewMemory(roomlog.Options{
		Count: cfg.Recovery.Messages,
		Bytes: int64(cfg.Recovery.Bytes), TotalBytes: int64(cfg.Recovery.TotalBytes),
		Window: logWindow(cfg), Version: reg.Version,
	})
	s.registry, s.log = reg, log
	s.bus = bus.NewMemory(bus.Options{UpItems: cfg.Limits.UpstreamEvents, UpBytes: int64(cfg.Limits.UpstreamBytes)})
	s.workers = node.NewMemoryWorkers()
	s.inMemory = true
	s.sweepers = append(s.sweepers, reg.Sweep, log.Sweep)
	s.export = func(m boot.Metrics) { registerMemory(m, reg, log) }
}

// sweep drops what has expired in the stores while nobody uses them.
func (s *stores) sweep(ctx context.Context, ready func()) error {
	ready()
	every := time.NewTicker(5 * time.Second)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			for _, sweep := range s.sweepers {
				sweep()
			}
		case <-ctx.Done():
			return nil
		}
	}
}
