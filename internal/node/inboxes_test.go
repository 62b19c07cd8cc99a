package node

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"holdfast/internal/message"
)

func TestRedisInboxes(t *testing.T) { testRedisInboxes(t, startRedis(t)) }

func testRedisInboxes(t *testing.T, client rueidis.Client) {
	t.Helper()
	workers, inboxes := NewRedisWorkers(client, "in"), NewRedisInboxes(client, "in")
	workers.settle = 0
	ctx := t.Context()
	lease := func(identity string) Lease {
		t.Helper()
		l, err := workers.Acquire(ctx, identity)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	claim := func(node string, limit, want, got int32, failed error) {
		t.Helper()
		p, err := inboxes.Claim(ctx, node, limit, want)
		if !errors.Is(err, failed) || err == nil && p != got {
			t.Errorf("claim for %s: %d, %v; want %d, %v", node, p, err, got, failed)
		}
	}
	find := func(node string, got int32, failed error) {
		t.Helper()
		p, err := inboxes.Find(ctx, node)
		if !errors.Is(err, failed) || err == nil && p != got {
			t.Errorf("find %s: %d, %v; want %d, %v", node, p, err, got, failed)
		}
	}
	claim("a", 3, -1, 0, message.ErrGone) // it has no lease
	find("a", 0, message.ErrGone)
	a, b := lease("a"), lease("b")
	find("a", 0, message.ErrGone) // it has not claimed one yet
	claim("a", 3, -1, 0, nil)
	claim("b", 3, -1, 1, nil)
	claim("a", 3, 2, 0, nil) // it has one, whatever it wants
	find("b", 1, nil)

	// One that has gone leaves its partition to itself as long as there are others.
	if err := workers.Release(ctx, a, time.Time{}); err != nil {
		t.Fatal(err)
	}
	find("a", 0, message.ErrGone)
	lease("c")
	claim("c", 3, -1, 2, nil)
	lease("a")
	find("a", 0, nil)
	claim("a", 3, -1, 0, nil)
	lease("d")
	claim("d", 3, -1, 0, message.ErrFull)
	if err := workers.Release(ctx, b, time.Time{}); err != nil {
		t.Fatal(err)
	}
	claim("d", 3, -1, 1, nil)
	lease("b")
	find("b", 0, message.ErrGone)
	claim("b", 3, -1, 0, message.ErrFull)
	claim("b", 4, -1, 3, nil)

	// Redis has lost all of it: each reclaims what it reads.
	if err := client.Do(ctx, client.B().Del().Key("in:{workers}:inboxes").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	find("d", 0, message.ErrGone)
	claim("d", 4, 1, 1, nil)
	claim("a", 4, 0, 0, nil)
	claim("c", 4, 1, 2, nil) // somebody has that
}

func TestMemoryInboxes(t *testing.T) {
	m, ctx := NewMemoryInboxes(), context.Background()
	if _, err := m.Find(ctx, "a"); !errors.Is(err, message.ErrGone) {
		t.Error(err)
	}
	for range 2 {
		if p, err := m.Claim(ctx, "a", 2, -1); p != 0 || err != nil {
			t.Error(p, err)
		}
		if p, err := m.Claim(ctx, "b", 2, -1); p != 1 || err != nil {
			t.Error(p, err)
		}
	}
	if _, err := m.Claim(ctx, "c", 2, -1); !errors.Is(err, message.ErrFull) {
		t.Error(err)
	}
	if p, err := m.Find(ctx, "b"); p != 1 || err != nil {
		t.Error(p, err)
	}
}
