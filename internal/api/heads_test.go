package api

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/message"
)

// headsBus notes what is told, and when.
type headsBus struct {
	Bus
	mu    sync.Mutex
	began time.Time
	err   error
	got   []toldAt
}

type toldAt struct {
	at    time.Duration
	heads message.Heads
}

func (b *headsBus) Send(_ context.Context, node string, d *message.Down) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d.Heads == nil || node != "n1" {
		return fmt.Errorf("%s got %+v", node, d)
	}
	b.got = append(b.got, toldAt{time.Since(b.began).Round(100 * time.Millisecond), *d.Heads})
	return b.err
}

// take returns what has been told since it was called last.
func (b *headsBus) take() []toldAt {
	b.mu.Lock()
	defer b.mu.Unlock()
	got := b.got
	b.got = nil
	return got
}

// withHeads runs a test inside a bubble with heads that run.
func withHeads(t *testing.T, test func(t *testing.T, h *heads, b *headsBus)) {
	synctest.Test(t, func(t *testing.T) {
		b := &headsBus{began: time.Now()}
		h := newHeads(b, "p")
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { defer close(ended); h.run(ctx) }()
		defer func() { cancel(); <-ended }()
		test(t, h, b)
	})
}

func stampOf(key string, seq uint64) message.Stamp {
	return message.Stamp{Key: message.RoomKey("/", key), Epoch: 7, Seq: seq}
}

// pass lets bubble time pass.
func pass(d time.Duration) { <-time.After(d); synctest.Wait() }

// TestHeads tells a node what it was sent, and again more and more rarely.
func TestHeads(t *testing.T) {
	withHeads(t, func(t *testing.T, h *heads, b *headsBus) {
		pass(time.Minute)
		if got := b.take(); got != nil {
			t.Fatalf("told %v without a record", got)
		}
		b.began = time.Now()
		h.note("n1", []message.Stamp{stampOf("a", 0)}) // volatile
		h.note("n1", []message.Stamp{stampOf("a", 5), stampOf("b", 1)})
		h.note("n1", []message.Stamp{stampOf("a", 4)}) // was overtaken
		pass(31 * time.Second)
		got := b.take()
		const ms = time.Millisecond
		for i, want := range []struct {
			at     time.Duration
			number uint64
			stamps int
		}{{500 * ms, 1, 2}, {1000 * ms, 1, 2}, {2000 * ms, 1, 2}, {4000 * ms, 1, 0}, {8000 * ms, 1, 0}, {16000 * ms, 1, 0}, {26000 * ms, 1, 0}} {
			if i >= len(got) {
				t.Fatalf("told %v", got)
			}
			g := got[i]
			if d := g.at - want.at; d < 0 || d > 700*ms || g.heads.Number != want.number || len(g.heads.Stamps) != want.stamps || g.heads.Producer != "p" {
				t.Errorf("%d: %+v, want %+v", i, g, want)
			}
		}
		for _, s := range got[0].heads.Stamps {
			if s != stampOf("a", 5) && s != stampOf("b", 1) {
				t.Errorf("told of %+v", s)
			}
		}
		b.began = time.Now()
		h.note("n1", []message.Stamp{stampOf("a", 6)})
		pass(700 * ms)
		if got = b.take(); len(got) != 1 || got[0].heads.Number != 2 || len(got[0].heads.Stamps) != 1 || got[0].at > 600*ms {
			t.Errorf("after a rest: %v", got)
		}
	})
}

// TestHeadsSkipNumbers passes numbers over for what a node cannot be told.
func TestHeadsSkipNumbers(t *testing.T) {
	withHeads(t, func(t *testing.T, h *heads, b *headsBus) {
		b.err = message.ErrGone
		h.note("n1", []message.Stamp{stampOf("a", 1)})
		pass(time.Second)
		b.err = nil
		b.take()
		pass(headsRest)
		if got := b.take(); len(got) == 0 || got[0].heads.Number < 2 {
			t.Errorf("a node that was away is told %v", got)
		}
	})
}

// TestHeadsAreBounded forgets nodes, and keeps no more stamps than it may.
func TestHeadsAreBounded(t *testing.T) {
	h := newHeads(&headsBus{}, "p")
	for i := range headsNodes + 10 {
		h.note(fmt.Sprint(i), []message.Stamp{stampOf("a", 1)})
	}
	for i := range headsMax + 10 {
		h.note("full", []message.Stamp{stampOf(fmt.Sprint(i), 1)})
	}
	full := h.nodes["full"]
	if len(h.nodes) > headsNodes || len(full.fresh) != headsMax || !full.over {
		t.Errorf("%d nodes, %d stamps, over: %v", len(h.nodes), len(full.fresh), full.over)
	}
	select {
	case <-h.wake:
	default:
		t.Error("a full list does not wake the sender")
	}
	full.next(time.Now())
	if full.number != 2 {
		t.Errorf("number %d after what was too much", full.number)
	}
	full.gone = time.Now().Add(-2 * headsForget)
	h.sent("full", message.ErrGone)
	if h.nodes["full"] != nil {
		t.Error("a node that is gone for long is kept")
	}
}
