package session

import (
	"iter"
	"slices"
)

// item is one message that waits for the peer.
type item struct {
	out  *Outgoing
	tail string // the offset that goes with it, "" for none
	at   int64  // since when it waits
}

func (it *item) size() int { return it.out.size() + len(it.tail) + 16 }

// queue is what waits for the peer, in order. An empty one holds no memory of its
// own, and neither does one of a single message, which is what a broadcast to many
// quick sockets makes of all their queues.
type queue struct {
	first item // out is nil: the queue is empty, and so is rest
	rest  *rest
}

// rest is what waits behind the first message; there is none without messages.
type rest struct {
	items []item
	bytes int
}

func (q *queue) empty() bool { return q.first.out == nil }

func (q *queue) len() int {
	switch {
	case q.empty():
		return 0
	case q.rest == nil:
		return 1
	}
	return 1 + len(q.rest.items)
}

func (q *queue) bytes() int {
	switch {
	case q.empty():
		return 0
	case q.rest == nil:
		return q.first.size()
	}
	return q.first.size() + q.rest.bytes
}

// all yields what waits, in order.
func (q *queue) all() iter.Seq[*item] {
	return func(yield func(*item) bool) {
		if q.empty() || !yield(&q.first) || q.rest == nil {
			return
		}
		for i := range q.rest.items {
			if !yield(&q.rest.items[i]) {
				return
			}
		}
	}
}

func (q *queue) push(it item) {
	if q.empty() {
		q.first = it
		return
	}
	if q.rest == nil {
		q.rest = &rest{items: make([]item, 0, 4)}
	}
	q.rest.items = append(q.rest.items, it)
	q.rest.bytes += it.size()
}

// pop takes the first message; the queue must not be empty.
func (q *queue) pop() item {
	it := q.first
	r := q.rest
	if r == nil {
		q.first = item{}
		return it
	}
	q.first, r.items[0] = r.items[0], item{}
	r.items = r.items[1:]
	r.bytes -= q.first.size()
	q.tidy()
	return it
}

// tidy lets go of a rest without messages.
func (q *queue) tidy() {
	if len(q.rest.items) == 0 {
		q.rest = nil
	}
}

func (q *queue) clear() { *q = queue{} }

// oldest returns since when the first message waits.
func (q *queue) oldest() (at int64, ok bool) { return q.first.at, !q.empty() }

// drop removes an unsent message with the given collapse key.
func (q *queue) drop(collapse string) {
	if r := q.rest; r != nil {
		for i, it := range slices.Backward(r.items) {
			if it.out.collapse == collapse {
				r.bytes -= it.size()
				r.items = slices.Delete(r.items, i, i+1)
				q.tidy()
				return
			}
		}
	}
	if !q.empty() && q.first.out.collapse == collapse {
		q.pop()
	}
}
