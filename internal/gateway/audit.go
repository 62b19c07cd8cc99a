package gateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"holdfast/internal/message"
)

// The audit brings the registry back to what the node holds, whatever it was that came
// between: a connect that was written in part, a Cluster's node that lost its data, a
// record that somebody deleted.
//
//	shards ──walk──▶ Mend of each client      what is missing, or says something else
//	ledger ──Held──▶ shards: not here? ──▶ Drop        clients that nobody holds
//	ledger ──Entered──▶ registrar: no members? ──▶ Exit  rooms that the node is not in
//	                    else ──▶ Tidy                    members that nobody ever heard of
//
// It takes its time: it goes at a rate at which it is through in half of the time
// between two audits, and at least at auditRate clients a second.

// auditRate is the least, rewriteRate the most clients that an audit looks at in a
// second.
const auditRate = 50

// auditPage is how many entries of the ledger are looked at together.
const auditPage = 128

// Audit goes over all that the node holds and all that the registry has recorded of it,
// at about rate clients a second (0: as fast as the registry takes it), and mends what
// differs. It returns how many entries it has taken out.
func (g *Gateway) Audit(ctx context.Context, rate int) (dropped int, err error) {
	if err := g.walkAll(ctx, rate); err != nil {
		return 0, err
	}
	pace := pacer{rate: rate}
	for cursor := ""; ; {
		entries, next, err := g.cfg.Ledger.Held(ctx, g.cfg.Node, cursor, auditPage)
		if err != nil {
			return dropped, err
		}
		strangers, err := g.notHere(ctx, entries)
		if err != nil {
			return dropped, err
		}
		if len(strangers) > 0 {
			if err := g.cfg.Ledger.Drop(ctx, g.cfg.Node, strangers); err != nil {
				return dropped, err
			}
			dropped += len(strangers)
		}
		if err := pace.wait(ctx, len(entries)); err != nil {
			return dropped, err
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	for cursor := ""; ; {
		keys, next, err := g.cfg.Ledger.Entered(ctx, g.cfg.Node, cursor, auditPage)
		if err != nil {
			return dropped, err
		}
		dropped += g.registrar.exitFrom(keys)
		for _, key := range keys {
			if err := g.tidy(ctx, key, &pace); err != nil {
				return dropped, err
			}
		}
		if cursor = next; cursor == "" {
			return dropped, nil
		}
	}
}

// tidy looks through the members of one room.
func (g *Gateway) tidy(ctx context.Context, key message.Key, pace *pacer) error {
	for cursor := ""; ; {
		next, err := g.cfg.Ledger.Tidy(ctx, g.cfg.Node, key, cursor, auditPage)
		if err != nil {
			return err
		}
		looked := 1
		if next != "" {
			looked = auditPage
		}
		if err := pace.wait(ctx, looked); err != nil {
			return err
		}
		if cursor = next; cursor == "" {
			return nil
		}
	}
}

// walkAll has every shard write what it holds, and waits for the last one.
func (g *Gateway) walkAll(ctx context.Context, rate int) error {
	pause := int64(0)
	if rate > 0 {
		pause = int64(walkSlice * 1000 * len(g.shards) / rate)
	}
	done := make(chan struct{}, len(g.shards))
	for _, sh := range g.shards {
		w := &walk{pause: pause, done: func() { done <- struct{}{} }}
		if !sh.inbox.post(func() { sh.beginWalk(w) }) {
			return fmt.Errorf("audit: shard %d: %w", sh.index, message.ErrGone)
		}
	}
	for range g.shards {
		select {
		case <-done:
		case <-ctx.Done():
			return fmt.Errorf("audit: %w", ctx.Err())
		}
	}
	return nil
}

// notHere returns the entries of clients that no shard has.
func (g *Gateway) notHere(ctx context.Context, entries []message.Held) ([]message.Held, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	found := make(chan []bool, len(g.shards))
	for _, sh := range g.shards {
		posted := sh.inbox.post(func() {
			have := make([]bool, len(entries))
			for i := range entries {
				id := entries[i].ID
				have[i] = sh.clients[id] != nil || sh.coming[id] != nil || sh.away.byClient[id] != nil
			}
			found <- have
		})
		if !posted {
			return nil, fmt.Errorf("audit: shard %d: %w", sh.index, message.ErrGone)
		}
	}
	here := make([]bool, len(entries))
	for range g.shards {
		select {
		case have := <-found:
			for i, yes := range have {
				here[i] = here[i] || yes
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("audit: %w", ctx.Err())
		}
	}
	var strangers []message.Held
	for i, e := range entries {
		if !here[i] {
			strangers = append(strangers, e)
		}
	}
	return strangers, nil
}

// auditAgain audits until ctx ends. The first time is at random, so that nodes which
// were started together do not all audit at once.
func (g *Gateway) auditAgain(ctx context.Context) {
	wait := time.Duration(rand.Int64N(int64(g.cfg.AuditEvery)))
	for {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		wait = g.cfg.AuditEvery
		rate := int(float64(g.Stats.Clients.Load()) / (g.cfg.AuditEvery.Seconds() / 2))
		dropped, err := g.Audit(ctx, min(max(rate, auditRate), rewriteRate))
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			g.cfg.Logger.Warn("the registry could not be audited, trying again later", "err", err)
		case dropped > 0:
			g.Stats.Strays.Add(int64(dropped))
			g.cfg.Logger.Warn("the registry had entries of this node that nobody holds", "dropped", dropped)
		}
	}
}

// pacer waits so that no more than rate entries are looked at in a second.
type pacer struct {
	rate int
	owed int
}

func (p *pacer) wait(ctx context.Context, n int) error {
	if p.owed += n; p.rate <= 0 || p.owed < auditPage {
		return ctx.Err()
	}
	timer := time.NewTimer(time.Duration(p.owed) * time.Second / time.Duration(p.rate))
	defer timer.Stop()
	p.owed = 0
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("audit: %w", ctx.Err())
	}
}
