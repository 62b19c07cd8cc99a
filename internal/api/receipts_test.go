package api

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"holdfast/internal/message"
)

// sharedReceipts is what several ws-apis share.
type sharedReceipts struct {
	mu    sync.Mutex
	noted map[string]*noted
	err   error
	asked int
}

type noted struct {
	message.Receipt
	attempt string // "": nobody is at it
	claimed time.Time
}

func (r *sharedReceipts) Claim(_ context.Context, id, messageID, attempt string, lease, _ time.Duration) (message.Receipt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	if r.err != nil {
		return message.Receipt{}, r.err
	}
	n, now := r.noted[id], time.Now()
	switch {
	case n == nil:
		n = &noted{Receipt: message.Receipt{MessageID: messageID, Begun: now}}
		r.noted[id] = n
	case n.Done:
		return n.Receipt, nil
	case n.attempt != "" && now.Sub(n.claimed) < lease:
		busy := n.Receipt
		busy.Busy, busy.Tried = true, false
		return busy, nil
	default:
		n.Tried = true
	}
	n.attempt, n.claimed = attempt, now
	return n.Receipt, nil
}

func (r *sharedReceipts) Settle(_ context.Context, id, attempt string, nodes uint32, _ time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.noted[id]; n != nil && n.attempt == attempt && r.err == nil {
		n.Done, n.Nodes, n.Tried = true, nodes, false
	}
	return r.err
}

func (r *sharedReceipts) Fail(_ context.Context, id, attempt string, _ time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.noted[id]; n != nil && n.attempt == attempt {
		n.attempt = ""
	}
	return r.err
}

// Find lets the world's logs be searched.
func (w *world) Find(_ context.Context, key message.Key, messageID string, _ time.Time) (message.Appended, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.finds++
	i := slices.IndexFunc(w.logged[key], func(p *message.Push) bool { return p.ID == messageID })
	if i < 0 {
		return message.Appended{}, w.notFound
	}
	return message.Appended{Position: message.Position{Epoch: 7, Seq: uint64(1001 + i)}, Prev: uint64(1000 + i)}, nil
}

// TestDedupAcrossAPIs repeats a request at another ws-api.
func TestDedupAcrossAPIs(t *testing.T) {
	a, b := message.RoomKey("/", "a"), message.RoomKey("/", "b")
	type attempts struct {
		w    *world
		r    *sharedReceipts
		push func(api int) (string, error)
	}
	tests := []struct {
		name   string
		first  func(t *testing.T, at *attempts) // what happened before
		want   string                           // the message's ID
		waited time.Duration                    // by the second one
		err    error
	}{
		{name: "after an answer", first: func(t *testing.T, at *attempts) {
			if _, err := at.push(0); err != nil {
				t.Error(err)
			}
		}, want: "m0"},
		{name: "after a failure", first: func(t *testing.T, at *attempts) {
			at.w.failLog = errors.New("away")
			if _, err := at.push(0); err == nil {
				t.Error("no error")
			}
			at.w.failLog = nil
		}, want: "m0"},
		{name: "the first died before it did anything", first: func(t *testing.T, at *attempts) {
			at.r.Claim(t.Context(), "x", "m", "dead", claimLease, 0)
		}, want: "m", waited: claimLease},
		{name: "the first died half way", first: func(t *testing.T, at *attempts) {
			at.r.Claim(t.Context(), "x", "m", "dead", claimLease, 0)
			if _, err := at.w.Append(t.Context(), a, &message.Push{ID: "m"}); err != nil {
				t.Error(err)
			}
		}, want: "m", waited: claimLease},
		{name: "the first died and the logs have forgotten", first: func(t *testing.T, at *attempts) {
			at.r.Claim(t.Context(), "x", "m", "dead", claimLease, 0)
			at.w.notFound = message.ErrForgotten
		}, waited: claimLease, err: message.ErrForgotten},
		{name: "the first takes a while", first: func(t *testing.T, at *attempts) {
			at.r.Claim(t.Context(), "x", "m", "slow", claimLease, 0)
			go func() {
				<-time.After(time.Second - claimEvery/2)
				for _, key := range []message.Key{a, b} {
					at.w.Append(t.Context(), key, &message.Push{ID: "m"})
				}
				at.r.Settle(t.Context(), "x", "slow", 1, 0)
			}()
		}, want: "m", waited: time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.add("n1", "ann1", "ann", "a", "b")
				r := &sharedReceipts{noted: make(map[string]*noted)}
				apis := []*Server{w.server(Config{Receipts: r}), w.server(Config{Receipts: r})}
				push := func(api int) (string, error) {
					id := []string{"m0", "m1"}[api]
					resp, err := apis[api].pushAs(t.Context(), &message.Push{Targets: []message.Key{a, b}}, once{dedupID: "x", messageID: id, receipts: r})
					return resp.GetMessageId(), err
				}
				tt.first(t, &attempts{w, r, push})
				began := time.Now()
				again, err := push(1)
				if !errors.Is(err, tt.err) || again != tt.want {
					t.Errorf("the message is %q, %v, want %q", again, err, tt.want)
				}
				if waited := time.Since(began); waited != tt.waited {
					t.Errorf("it took %v, want %v", waited, tt.waited)
				}
				if tt.err != nil {
					return
				}
				if n := r.noted["x"]; !n.Done || n.Nodes != 1 || n.MessageID != again {
					t.Errorf("noted is %+v", n)
				}
				for _, key := range []message.Key{a, b} {
					if log := w.logged[key]; len(log) != 1 || log[0].ID != again {
						t.Errorf("%s has %d messages, %v", key, len(log), log)
					}
				}
			})
		})
	}
}

// TestRetriesAtAllAPIs asks many ws-apis at once after the first has died.
func TestRetriesAtAllAPIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("n1", "ann1", "ann", "a")
		r := &sharedReceipts{noted: make(map[string]*noted)}
		r.Claim(t.Context(), "x", "m", "dead", claimLease, 0)
		var all sync.WaitGroup
		for range 5 {
			s := w.server(Config{Receipts: r})
			for range 3 {
				all.Go(func() {
					resp, err := s.push(t.Context(), &message.Push{Targets: []message.Key{message.RoomKey("/", "a")}}, "x")
					if err != nil || resp.GetMessageId() != "m" {
						t.Errorf("%v, %v", resp, err)
					}
				})
			}
		}
		all.Wait()
		if n := len(w.logged[message.RoomKey("/", "a")]); n != 1 {
			t.Errorf("the log has it %d times", n)
		}
	})
}

// TestReceiptsAway has nobody know whether a push was made before.
func TestReceiptsAway(t *testing.T) {
	w := newWorld(t)
	r := &sharedReceipts{err: errors.New("away"), noted: make(map[string]*noted)}
	s := w.server(Config{Receipts: r})
	p := &message.Push{Targets: []message.Key{message.RoomKey("/", "a")}}
	_, err := s.push(t.Context(), p, "x")
	if err == nil || len(w.logged) > 0 {
		t.Errorf("a push was made without knowing: %v", err)
	}
	if code := connect.CodeOf(rpcError(err)); code != connect.CodeUnavailable {
		t.Errorf("the caller is told %v: %v", code, err)
	}
	asked := r.asked
	if _, err := s.push(t.Context(), p, ""); err != nil || r.asked != asked {
		t.Errorf("without dedup_id: %v, asked %d times", err, r.asked-asked)
	}
	r.err = nil
	if _, err := s.push(t.Context(), p, "x"); err != nil {
		t.Errorf("when they are back: %v", err)
	}
}

// TestForgottenIsAborted has the caller decide about a push that nobody knows of.
func TestForgottenIsAborted(t *testing.T) {
	w := newWorld(t)
	w.failLog = message.ErrForgotten
	s := w.server(Config{})
	_, err := s.push(t.Context(), &message.Push{Targets: []message.Key{message.RoomKey("/", "a")}}, "x")
	if code := connect.CodeOf(rpcError(err)); code != connect.CodeAborted {
		t.Errorf("%v: %v", code, err)
	}
}

// TestReceiptsOfTheTopic routes records. Only what may be repeated by somebody else is
// noted, and nothing is left out for want of knowledge.
func TestReceiptsOfTheTopic(t *testing.T) {
	w := newWorld(t)
	w.add("n1", "ann1", "ann", "a")
	r := &sharedReceipts{noted: make(map[string]*noted)}
	topic := &pushTopic{s: w.server(Config{Receipts: r}), ctx: t.Context()}
	rec := &message.PushRecord{ID: "push-0-1"}
	route := func(dedupID string) {
		t.Helper()
		if !topic.route(&message.Push{Targets: []message.Key{message.RoomKey("/", "a")}}, dedupID, rec) {
			t.Errorf("%s was not routed", dedupID)
		}
	}
	route(rec.ID)
	if r.asked != 0 {
		t.Errorf("receipts were asked for %d times about a record without a dedup_id", r.asked)
	}
	rec.Again, rec.Written = true, time.Now()
	topic.s = w.server(Config{Receipts: r}) // another ws-api, which gets the record after the first has died
	route(rec.ID)
	route("own")
	route("own")
	r.noted["lost"] = &noted{Receipt: message.Receipt{MessageID: "m"}}
	w.notFound = message.ErrForgotten
	route("lost")
	if n := len(w.logged[message.RoomKey("/", "a")]); n != 3 {
		t.Errorf("%d messages, want 3", n)
	}
}
