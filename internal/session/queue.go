package session

import "slices"

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
	rest  []item
	bytes int
}

func (q *queue) empty() bool { return q.first.out == nil }

func (q *queue) len() int {
	if q.empty() {
		return 0
	}
	return 1 + len(q.rest)
}

func (q *queue) push(it item) {
	q.bytes += it.size()
	if q.empty() {
		q.first = it
		return
	}
	q.rest = append(q.rest, it)
}

// pop takes the first message; the queue must not be empty.
func (q *queue) pop() item {
	it := q.first
	q.bytes -= it.size()
	if len(q.rest) == 0 {
		*q = queue{}
		return it
	}
	q.first, q.rest[0] = q.rest[0], item{}
	if q.rest = q.rest[1:]; len(q.rest) == 0 {
		q.rest = nil
	}
	return it
}

func (q *queue) clear() { *q = queue{} }

// oldest returns since when the first message waits.
func (q *queue) oldest() (at int64, ok bool) { return q.first.at, !q.empty() }

// drop removes an unsent message with the given collapse key.
func (q *queue) drop(collapse string) {
	for i := len(q.rest) - 1; i >= 0; i-- {
		if q.rest[i].out.collapse == collapse {
			q.bytes -= q.rest[i].size()
			if q.rest = slices.Delete(q.rest, i, i+1); len(q.rest) == 0 {
				q.rest = nil
			}
			return
		}
	}
	if !q.empty() && q.first.out.collapse == collapse {
		q.pop()
	}
}
