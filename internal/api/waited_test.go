package api

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
)

// sharedAnswers is what several ws-apis share.
type sharedAnswers struct {
	mu     sync.Mutex
	noted  map[string]*notedAnswer
	err    error // of Ask and what follows it
	before func()
}

type notedAnswer struct {
	message.Receipt
	attempt string // "": nobody is at it
	over    time.Time
	asked   bool
}

var _ Answers = (*sharedAnswers)(nil)

func (a *sharedAnswers) Claim(_ context.Context, id, messageID, attempt string, lease, _ time.Duration) (message.Receipt, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.noted[id]
	if n == nil {
		n = &notedAnswer{Receipt: message.Receipt{MessageID: messageID}}
		a.noted[id] = n
	}
	switch r := n.Receipt; {
	case n.Done || n.Lost:
		return r, nil
	case n.attempt != "" && time.Now().Before(n.over):
		r.Busy = true
		return r, nil
	case n.asked:
		r.Lost = true
		return r, nil
	}
	n.attempt, n.over = attempt, time.Now().Add(lease)
	return n.Receipt, nil
}

// held calls f when the attempt has the claim.
func (a *sharedAnswers) held(id, attempt string, f func(n *notedAnswer)) (bool, error) {
	if a.before != nil {
		a.before()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.noted[id]
	if n == nil || n.attempt != attempt || a.err != nil {
		return false, a.err
	}
	f(n)
	return true, nil
}

func (a *sharedAnswers) Ask(_ context.Context, id, attempt string, within, _ time.Duration) (bool, error) {
	return a.held(id, attempt, func(n *notedAnswer) { n.asked, n.over = true, time.Now().Add(within) })
}

func (a *sharedAnswers) Settle(_ context.Context, id, attempt string, answer []byte, _ time.Duration) error {
	_, err := a.held(id, attempt, func(n *notedAnswer) { n.Done, n.Lost, n.Answer = len(answer) > 0, len(answer) == 0, string(answer) })
	return err
}

func (a *sharedAnswers) Fail(_ context.Context, id, attempt string, _ time.Duration) error {
	_, err := a.held(id, attempt, func(n *notedAnswer) { n.attempt, n.asked = "", false })
	return err
}

// waiting is two ws-apis over one world, of which a test asks one after the other.
type waiting struct {
	*world
	a    *sharedAnswers
	apis []*Server
}

func newWaiting(t *testing.T) *waiting {
	w := &waiting{world: newWorld(t), a: &sharedAnswers{noted: make(map[string]*notedAnswer)}}
	w.add("n1", "ann1", "ann", "doc")
	for _, id := range []string{"api-1", "api-2"} {
		s := w.server(Config{ID: id, Answers: w.a})
		w.AttachAPI(id, s.receive)
		w.apis = append(w.apis, s)
	}
	return w
}

const waitedTime = 5 * time.Second

func (w *waiting) ask(ctx context.Context, api int) (*pb.PushAndWaitResponse, error) {
	return w.apis[api].pushWait(ctx, &message.Push{Targets: []message.Key{message.RoomKey("/", "doc")}}, waitedTime, "x")
}

// answers has ann acknowledge what she was asked first.
func (w *waiting) answers(text string) {
	d := w.sent()[0].d
	w.mu.Lock()
	reply := w.world.apis[d.ReplyTo]
	w.mu.Unlock()
	reply(&message.Reply{Call: d.Call, Node: "n1", Ack: &message.AckReply{Client: "ann1", Payload: message.Payload{JSON: []byte(text)}}})
}

// TestWaitIsRepeatedElsewhere repeats a PushAndWait at another ws-api.
func TestWaitIsRepeatedElsewhere(t *testing.T) {
	tests := []struct {
		name   string
		first  func(t *testing.T, w *waiting)
		id     string        // of the message that the second one is told of
		waited time.Duration // by the second one
		pushes int           // in all
		err    error
	}{
		{name: "after an answer", first: func(t *testing.T, w *waiting) {
			w.answer = func(string, *message.Push) *message.Payload { return &message.Payload{JSON: []byte(`["yes"]`)} }
			if _, err := w.ask(t.Context(), 0); err != nil {
				t.Error(err)
			}
		}, pushes: 1},
		{name: "while clients think", first: func(t *testing.T, w *waiting) {
			go w.ask(t.Context(), 0)
			synctest.Wait()
			time.AfterFunc(250*time.Millisecond, func() { w.answers(`["yes"]`) })
		}, waited: 300 * time.Millisecond, pushes: 1},
		{name: "when its caller has gone", first: func(t *testing.T, w *waiting) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			if _, err := w.ask(ctx, 0); !errors.Is(err, context.Canceled) {
				t.Errorf("who gives up gets %v", err)
			}
			time.AfterFunc(250*time.Millisecond, func() { w.answers(`["yes"]`) })
		}, waited: 300 * time.Millisecond, pushes: 1},
		{name: "after a failure", first: func(t *testing.T, w *waiting) {
			w.full["n1"] = true
			if _, err := w.ask(t.Context(), 0); connect.CodeOf(err) != connect.CodeResourceExhausted {
				t.Errorf("got %v", err)
			}
			w.full["n1"] = false
			w.answer = func(string, *message.Push) *message.Payload { return &message.Payload{JSON: []byte(`["yes"]`)} }
		}, pushes: 1},
		{name: "the first died before it asked", first: func(t *testing.T, w *waiting) {
			w.a.Claim(t.Context(), "x", "m", "dead", claimLease, 0)
			w.answer = func(string, *message.Push) *message.Payload { return &message.Payload{JSON: []byte(`["yes"]`)} }
		}, id: "m", waited: 4500 * time.Millisecond, pushes: 1},
		{name: "the first died after it asked", first: func(t *testing.T, w *waiting) {
			w.a.Claim(t.Context(), "x", "m", "dead", claimLease, 0)
			w.a.Ask(t.Context(), "x", "dead", waitedTime+answerGrace, 0)
		}, waited: 9500 * time.Millisecond, err: errLost},
		{name: "the first was ended", first: func(t *testing.T, w *waiting) {
			go w.ask(t.Context(), 0)
			synctest.Wait()
			w.apis[0].stop()
			synctest.Wait()
		}, pushes: 1, err: errLost},
		{name: "answers too large for a receipt", first: func(t *testing.T, w *waiting) {
			w.answer = func(string, *message.Push) *message.Payload {
				return &message.Payload{JSON: []byte(`["` + strings.Repeat("x", maxAnswer) + `"]`)}
			}
			for range 2 { // this ws-api knows them
				if resp, err := w.ask(t.Context(), 0); err != nil || len(resp.GetAcks()) != 1 {
					t.Errorf("%d answers, %v", len(resp.GetAcks()), err)
				}
			}
		}, pushes: 1, err: errLost},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWaiting(t)
				tt.first(t, w)
				began := time.Now()
				resp, err := w.ask(t.Context(), 1)
				if !errors.Is(err, tt.err) {
					t.Fatalf("got %v, %v", resp, err)
				}
				if waited := time.Since(began).Round(10 * time.Millisecond); waited != tt.waited {
					t.Errorf("it took %v, want %v", waited, tt.waited)
				}
				if err == nil && (len(resp.GetAcks()) != 1 || resp.GetAcks()[0].GetPayload().GetJson() != `["yes"]`) {
					t.Errorf("answered with %v", resp)
				}
				if tt.id != "" && resp.GetMessageId() != tt.id {
					t.Errorf("the message is %s", resp.GetMessageId())
				}
				pushes := w.sent()
				if len(pushes) != tt.pushes {
					t.Errorf("clients were asked %d times, want %d", len(pushes), tt.pushes)
				}
				if err == nil && pushes[0].d.Push.ID != resp.GetMessageId() {
					t.Errorf("asked by %s, answered as %s", pushes[0].d.Push.ID, resp.GetMessageId())
				}
				if code := connect.CodeOf(rpcError(err)); err != nil && code != connect.CodeAborted {
					t.Errorf("the caller is told %v", code)
				}
			})
		})
	}
}

// TestWaitThatLostItsClaim stalls before it asks for longer than its claim lasts: it does
// not ask any more, and tells what the one that did was answered.
func TestWaitThatLostItsClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWaiting(t)
		var stalled atomic.Bool
		w.a.before = func() {
			if !stalled.Swap(true) {
				<-time.After(time.Minute)
			}
		}
		w.answer = func(string, *message.Push) *message.Payload { return &message.Payload{JSON: []byte(`["yes"]`)} }
		first := make(chan *pb.PushAndWaitResponse)
		go func() {
			resp, err := w.ask(t.Context(), 0)
			if err != nil {
				t.Error(err)
			}
			first <- resp
		}()
		synctest.Wait()
		second, err := w.ask(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if resp := <-first; resp.GetMessageId() != second.GetMessageId() || len(resp.GetAcks()) != 1 {
			t.Errorf("the slow one: %v", resp)
		}
		if n := len(w.sent()); n != 1 {
			t.Errorf("clients were asked %d times", n)
		}
	})
}

// TestAnswersAway asks nobody as long as nobody knows whether they were asked.
func TestAnswersAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWaiting(t)
		w.a.err = errors.New("away")
		_, err := w.ask(t.Context(), 0)
		if connect.CodeOf(rpcError(err)) != connect.CodeUnavailable || len(w.sent()) > 0 {
			t.Errorf("got %v, asked %d times", err, len(w.sent()))
		}
		w.a.err = nil
		w.answer = func(string, *message.Push) *message.Payload { return &message.Payload{JSON: []byte(`["yes"]`)} }
		if resp, err := w.ask(t.Context(), 0); err != nil || len(resp.GetAcks()) != 1 {
			t.Errorf("when they are back: %v, %v", resp, err)
		}
	})
}

// TestWaitOutlivesItsCaller asks again, at a ws-api that knows no other.
func TestWaitOutlivesItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWaiting(t)
		w.apis[0].cfg.Answers = nil
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		if _, err := w.ask(ctx, 0); !errors.Is(err, context.Canceled) {
			t.Errorf("who gives up gets %v", err)
		}
		time.AfterFunc(time.Second, func() { w.answers(`["yes"]`) })
		if resp, err := w.ask(t.Context(), 0); err != nil || len(resp.GetAcks()) != 1 || len(w.sent()) != 1 {
			t.Errorf("got %v, %v; asked %d times", resp, err, len(w.sent()))
		}
	})
}

// TestDrainWaitsForAnswers has a ws-api end while clients think.
func TestDrainWaitsForAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWaiting(t)
		go w.ask(t.Context(), 0)
		synctest.Wait()
		time.AfterFunc(time.Second, func() { w.answers(`["yes"]`) })
		began := time.Now()
		w.apis[0].drain()
		if took := time.Since(began); took != time.Second {
			t.Errorf("drained after %v", took)
		}
		if resp, err := w.ask(t.Context(), 1); err != nil || len(resp.GetAcks()) != 1 {
			t.Errorf("the other one tells %v, %v", resp, err)
		}
	})
}

// TestWaitThatPanics costs those who wait for it an error, and nobody else anything.
func TestWaitThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWaiting(t)
		var panicked atomic.Bool
		w.a.before = func() {
			if !panicked.Swap(true) {
				<-time.After(time.Second)
				panic("as a mistake would")
			}
		}
		w.answer = func(string, *message.Push) *message.Payload { return &message.Payload{JSON: []byte(`["yes"]`)} }
		first := make(chan error)
		go func() {
			_, err := w.ask(t.Context(), 0)
			first <- err
		}()
		synctest.Wait()
		resp, err := w.ask(t.Context(), 0) // it waits for the first, and then tries itself
		if err := <-first; connect.CodeOf(rpcError(err)) != connect.CodeInternal {
			t.Errorf("the first: %v", err)
		}
		if err != nil || len(resp.GetAcks()) != 1 {
			t.Errorf("the second: %v, %v", resp, err)
		}
	})
}
