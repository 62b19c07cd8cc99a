package api

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"connectrpc.com/connect"
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
	// Answers of more than maxBytes together are not kept, the oldest go first; size
	// tells how large one is. Without it they are all small.
	maxBytes int
	size     func(T) int

	mu    sync.Mutex
	byID  map[string]*list.Element // of *attempt[T]
	used  list.List                // most recently used first
	bytes int
}

type attempt[T any] struct {
	id        string
	messageID string
	begun     time.Time
	done      chan struct{} // closed when the attempt under way has ended
	answered  bool
	since     time.Time // of attempts before that failed, when the first one began; zero: there were none
	answer    T
	err       error
	size      int
}

func newDedup[T any](window time.Duration, limit int, now func() time.Time) *dedup[T] {
	return &dedup[T]{window: window, max: limit, now: now, byID: make(map[string]*list.Element)}
}

var errPanicked = connect.NewError(connect.CodeInternal, errors.New("internal error"))

// at calls f at once.
func at(f func()) { f() }

// do runs f, or returns what it answered before for this id. f gets the message ID to
// use, and when the first of the attempts began that have failed with it. It is called
// by run, which either calls it or has another goroutine do so: then f goes on though ctx
// has ended, and who asks next gets what comes of it. again tells whether the answer is
// an old one.
func (d *dedup[T]) do(ctx context.Context, id, messageID string, run func(func()), f func(messageID string, since time.Time) (T, error)) (answer T, again bool, err error) {
	if id == "" {
		answer, err = f(messageID, time.Time{})
		return answer, false, err
	}
	for {
		a, own := d.enter(id, messageID)
		if own {
			run(func() {
				var answer T
				var err error = errPanicked // unless f returns
				defer func() { d.leave(a, answer, err) }()
				answer, err = f(a.messageID, a.since)
			})
		}
		select {
		case <-a.done:
		default:
			select {
			case <-a.done:
			case <-ctx.Done():
				return answer, false, ctx.Err()
			}
		}
		if own || a.answered {
			return a.answer, !own, a.err
		}
	}
}

// enter returns the attempt at id that has been answered or is under way, else a new
// one, which is the caller's own to make.
func (d *dedup[T]) enter(id, messageID string) (a *attempt[T], own bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var since time.Time
	if el := d.byID[id]; el != nil {
		old := el.Value.(*attempt[T])
		select {
		case <-old.done:
		default:
			return old, false
		}
		if d.now().Sub(old.begun) < d.window {
			if old.answered {
				d.used.MoveToFront(el)
				return old, false
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
	return a, true
}

func (d *dedup[T]) remove(el *list.Element) {
	a := d.used.Remove(el).(*attempt[T])
	delete(d.byID, a.id)
	d.bytes -= a.size
}

func (d *dedup[T]) leave(a *attempt[T], answer T, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a.answered, a.answer, a.err = err == nil, answer, err
	close(a.done)
	own := d.byID[a.id]
	if d.size == nil || err != nil || own == nil || own.Value != a {
		return
	}
	a.size = d.size(answer)
	d.bytes += a.size
	for el := d.used.Back(); el != nil && d.bytes > d.maxBytes; {
		next := el.Prev()
		if el.Value.(*attempt[T]).size > 0 {
			d.remove(el)
		}
		el = next
	}
}
