package api

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// dedup answers a request that was answered before within a window with the same
// answer. A second one that comes while the first is under way waits for it. A
// request that failed may be tried again, and has the message ID of the first
// attempt then: where that one had reached some of the targets, clients recognise
// the message.
type dedup[T any] struct {
	window time.Duration
	max    int
	now    func() time.Time

	mu   sync.Mutex
	byID map[string]*list.Element // of *attempt[T]
	used list.List                // most recently used first
}

type attempt[T any] struct {
	id        string
	messageID string
	begun     time.Time
	done      chan struct{} // closed when the attempt under way has ended
	answered  bool
	since     time.Time // of attempts before that failed, when the first one began; zero: there were none
	answer    T
}

func newDedup[T any](window time.Duration, limit int, now func() time.Time) *dedup[T] {
	return &dedup[T]{window: window, max: limit, now: now, byID: make(map[string]*list.Element)}
}

// do runs f, or returns what it answered before for this id. f gets the message ID to
// use, and when the first of the attempts began that have failed with it. again tells
// whether the answer is an old one.
func (d *dedup[T]) do(ctx context.Context, id, messageID string, f func(messageID string, since time.Time) (T, error)) (answer T, again bool, err error) {
	if id == "" {
		answer, err = f(messageID, time.Time{})
		return answer, false, err
	}
	for {
		a, wait := d.enter(id, messageID)
		if wait == nil {
			if a.answered {
				return a.answer, true, nil
			}
			answer, err = f(a.messageID, a.since)
			d.leave(a, answer, err)
			return answer, false, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return answer, false, ctx.Err()
		}
	}
}

// enter returns the attempt that the caller makes, or an answered one, or a
// channel to wait on.
func (d *dedup[T]) enter(id, messageID string) (a *attempt[T], wait <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var since time.Time
	if el := d.byID[id]; el != nil {
		old := el.Value.(*attempt[T])
		select {
		case <-old.done:
		default:
			return nil, old.done
		}
		if d.now().Sub(old.begun) < d.window {
			d.used.MoveToFront(el)
			if old.answered {
				return old, nil
			}
			messageID, since = old.messageID, old.since
			if since.IsZero() {
				since = old.begun
			}
		}
		d.remove(el)
	}
	a = &attempt[T]{id: id, messageID: messageID, since: since, begun: d.now(), done: make(chan struct{})}
	d.byID[id] = d.used.PushFront(a)
	for d.used.Len() > d.max {
		d.remove(d.used.Back())
	}
	return a, nil
}

func (d *dedup[T]) remove(el *list.Element) {
	d.used.Remove(el)
	delete(d.byID, el.Value.(*attempt[T]).id)
}

func (d *dedup[T]) leave(a *attempt[T], answer T, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a.answered, a.answer = err == nil, answer
	close(a.done)
}
