package main

import (
	"context"
	"reflect"
	"testing"
	"time"

	"holdfast/internal/message"
)

// TestReturns has a node come back that was taken for dead: of its clients those are told
// of that it still has, each once, and not those who have come back by themselves.
func TestReturns(t *testing.T) {
	began := time.Unix(1_700_000_000, 0)
	info := func(id string, connected time.Time) message.ClientInfo {
		return message.ClientInfo{Client: message.Client{ID: id, ConnectedAt: connected}}
	}
	known := map[string]message.ClientInfo{}
	var told []string
	r := returns{
		lookUp: func(_ context.Context, id string) (message.ClientInfo, error) {
			if c, ok := known[id]; ok {
				return c, nil
			}
			return message.ClientInfo{}, message.ErrNotFound
		},
		tell: func(c message.ClientInfo) { told = append(told, c.ID) },
	}
	look := func(after time.Duration, want ...string) {
		t.Helper()
		told = nil
		r.alive(t.Context(), "a", began.Add(after))
		if !reflect.DeepEqual(told, want) {
			t.Errorf("after %v: told of %v, want %v", after, told, want)
		}
	}
	r.buried("a", []message.ClientInfo{info("stays", began), info("recovers", began), info("late", began), info("gone", began)})
	r.alive(t.Context(), "b", began) // another one
	look(0)
	known["stays"], known["recovers"] = info("stays", began), info("recovers", began.Add(time.Second))
	look(time.Second, "stays")
	known["late"] = info("late", began)
	look(2*time.Second, "late")
	look(3 * time.Second)
	if r.kept != 1 {
		t.Errorf("%d are waited for", r.kept)
	}
	look(2 * returnTime)
	known["gone"] = info("gone", began)
	look(2*returnTime + time.Second)
	if r.kept != 0 || len(r.nodes) != 0 {
		t.Errorf("%d are kept, of %d nodes", r.kept, len(r.nodes))
	}
}
