package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/gateway"
	"holdfast/internal/message"
	"holdfast/internal/node"
)

// holder has a worker number as long as it may be used. A node past its lease makes
// no IDs and keeps its connections; it leaves only when somebody else has the number.
type holder struct {
	lease node.Lease
	start time.Time
	until atomic.Int64 // since start; 0: for ever
	about func() node.About
	ids   *node.Snowflake
	freed sync.Once
}

var errLease = errors.New("the lease of the worker number could not be renewed")

func (h *holder) check() error {
	if until := h.until.Load(); until != 0 && int64(time.Since(h.start)) > until {
		return errLease
	}
	return nil
}

// renew shows that the holder lives and has its lease prolonged. lost is true when the
// stores may have lost what this node has written.
func (s *stores) renew(ctx context.Context, h *holder) (lost bool, err error) {
	began := time.Now()
	until := began.Add(node.LeaseTime)
	got, err := s.workers.Renew(ctx, h.lease, until, h.about())
	if err != nil {
		return false, err
	}
	h.until.Store(int64(began.Sub(h.start) + node.LeaseTime))
	if got.IDs {
		h.ids.Reserve(until)
	}
	return got.Lost, nil
}

// acquire takes the worker number of this process's identity, and clears away what a
// process of the same identity that died has left behind. The other nodes are told of
// about with each renewal.
func (s *stores) acquire(ctx context.Context, about func() node.About, log *slog.Logger) (*holder, error) {
	lease, err := s.workers.Acquire(ctx, s.identity)
	if err != nil {
		return nil, fmt.Errorf("take a worker number for node.identity %q: %w", s.identity, err)
	}
	h := &holder{lease: lease, start: time.Now(), about: about}
	if s.shared == nil {
		h.ids, err = node.New(lease.Worker, time.Now)
		return h, err
	}
	if h.ids, err = node.NewLeased(lease, time.Now); err != nil {
		return nil, fmt.Errorf("make the node's IDs: %w", err)
	}
	s.closers = append(s.closers, func(ctx context.Context) error { return s.release(ctx, h) }) // where keep never ran
	// Its time counts from here: the acquisition may have waited longer than it lasts.
	if _, err := s.renew(ctx, h); err != nil {
		return nil, fmt.Errorf("take a worker number for node.identity %q: %w", s.identity, err)
	}
	if err := s.inherit(ctx, log); err != nil {
		return nil, err
	}
	if err := h.begin(ctx); err != nil {
		return nil, fmt.Errorf("take a worker number for node.identity %q: %w", s.identity, err)
	}
	if _, err := s.renew(ctx, h); err != nil {
		return nil, fmt.Errorf("take a worker number for node.identity %q: %w", s.identity, err)
	}
	return h, nil
}

// maxWait is how long a node waits until the time of its predecessor's IDs is over. That
// is a lease and what clocks differ, unless one of them is plainly wrong.
const maxWait = node.LeaseTime + 5*time.Second

// begin waits until IDs can be made: those of a process that has had the number before,
// and may only seem to be dead, have times of their own.
func (h *holder) begin(ctx context.Context) error {
	wait := time.Until(h.lease.Since)
	if wait <= 0 {
		return nil
	}
	if wait > maxWait {
		return fmt.Errorf("worker number %d has IDs that are %v ahead of this host's clock: set the clock, or give this process another node.identity", h.lease.Worker, wait.Round(time.Second))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// inherit clears away what a process of the same identity has left behind.
func (s *stores) inherit(ctx context.Context, log *slog.Logger) error {
	left, err := s.shared.registry.Bury(ctx, s.identity)
	if err != nil {
		return fmt.Errorf("clear what node.identity %q has left in the registry: %w", s.identity, err)
	}
	if len(left) > 0 {
		log.Info("clients of this node's life before are gone", "clients", len(left))
	}
	for i := range left {
		c := &left[i]
		up := &message.Up{
			ID: "gone-" + c.ID, TraceID: "gone-" + c.ID, Type: message.EventDisconnect, Client: &c.Client,
			Order: c.ID, Session: c.ID, Rooms: c.Rooms, Reason: "transport close", Received: time.Now(),
		}
		if err := s.bus.Publish(up); err != nil {
			return fmt.Errorf("tell that the clients of node.identity %q are gone: %w", s.identity, err)
		}
	}
	return nil
}

// keep renews the lease until ctx ends, and gives it back then. It fails when the
// number has a new holder, upon which the process drains and ends. g is told
// of that, and when what it has written to the stores may be lost.
func (s *stores) keep(ctx context.Context, ready func(), h *holder, g *gateway.Gateway, log *slog.Logger) error {
	ready()
	if s.shared == nil {
		<-ctx.Done()
		return s.release(ctx, h)
	}
	every := time.NewTicker(node.RenewEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-ctx.Done():
			return s.release(ctx, h)
		}
		renew, cancel := context.WithTimeout(ctx, node.LeaseTime)
		lost, err := s.renew(renew, h)
		cancel()
		switch {
		case err == nil && lost:
			log.Warn("redis has lost what this node wrote, or took it for dead; the node writes all of it again")
			g.Rewrite()
		case err == nil:
		case errors.Is(err, node.ErrFenced):
			g.Disown()
			return fmt.Errorf("node.identity %q: another process has taken it over: %w", s.identity, err)
		case ctx.Err() == nil:
			log.Warn("the worker number cannot be renewed at the moment; connections stay", "err", err)
		}
	}
}

// watch has g write all that it holds once more when one server of a Cluster has lost its
// data, until ctx ends. The lease shows that of the one that has the leases only.
func (s *stores) watch(ctx context.Context, ready func(), g *gateway.Gateway, log *slog.Logger) error {
	ready()
	if s.shared == nil {
		<-ctx.Done()
		return nil
	}
	every := time.NewTicker(node.RenewEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-ctx.Done():
			return nil
		}
		lost, err := s.shared.marks.Count(ctx)
		if lost {
			log.Warn("a server of the Redis Cluster has lost what this node wrote; the node writes all of it again")
			g.Rewrite()
		}
		if err != nil && ctx.Err() == nil {
			log.Debug("not all servers of the Redis Cluster answer", "err", err)
		}
	}
}

// release gives the lease back, once.
func (s *stores) release(ctx context.Context, h *holder) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	h.freed.Do(func() { err = s.workers.Release(ctx, h.lease, h.ids.Last()) })
	return err
}

// bury looks for nodes that have died and clears away what they have left; buried is
// told of their clients, and returned of those whose node was not dead after all. Every
// ws-api does so, and each client is told of once.
func (s *stores) bury(
	ctx context.Context, ready func(), buried func([]message.ClientInfo), returned func(message.ClientInfo), log *slog.Logger,
) error {
	ready()
	if s.shared == nil {
		<-ctx.Done()
		return nil
	}
	// Twice in a beat, so that presence is right within 10 s of a death.
	every := time.NewTicker(node.RenewEvery / 2)
	defer every.Stop()
	back := returns{lookUp: s.shared.registry.Client, tell: returned}
	for {
		select {
		case <-every.C:
		case <-ctx.Done():
			return nil
		}
		sightings, err := s.shared.workers.Observe(ctx)
		if err != nil {
			continue // while Redis is away nobody is dead
		}
		for _, seen := range sightings {
			if !seen.Dead {
				back.alive(ctx, seen.Identity, time.Now())
				continue
			}
			seen, ok, err := s.shared.workers.Condemn(ctx, seen)
			if err != nil || !ok {
				continue // it lives after all, or another ws-api is at it
			}
			clients, err := s.shared.registry.Bury(ctx, seen.Identity)
			if len(clients) > 0 {
				log.Warn("a node has died", "node", seen.Identity, "clients", len(clients))
				buried(clients)
				back.buried(seen.Identity, clients)
			}
			if err == nil {
				_, err = s.shared.workers.Bury(ctx, seen)
			}
			if err != nil && ctx.Err() == nil {
				log.Warn("a dead node cannot be cleared away yet", "node", seen.Identity, "err", err)
			}
		}
	}
}
