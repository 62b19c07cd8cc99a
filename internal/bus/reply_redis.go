package bus

import (
	"context"
	"sync"

	"github.com/redis/rueidis"

	"holdfast/internal/message"
)

// replyBatch is how many replies travel together.
const replyBatch = 128

// replyQueue is replies on their way to Redis, bounded in items and bytes.
type replyQueue struct {
	maxItems int
	maxBytes int64
	wake     chan struct{} // holds at most one: the queue is no longer empty
	drained  chan struct{} // closed when the writer has ended

	mu    sync.Mutex
	queue []addressed
	bytes int64
}

type addressed struct {
	to    string
	reply *message.Reply
}

func (a addressed) size() int64 { return int64(a.reply.Size()) }

func (q *replyQueue) init(items int, bytes int64) {
	q.maxItems, q.maxBytes = items, bytes
	q.wake, q.drained = make(chan struct{}, 1), make(chan struct{})
}

func (q *replyQueue) put(a addressed) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) > 0 && (len(q.queue) >= q.maxItems || q.bytes+a.size() > q.maxBytes) {
		return message.ErrFull
	}
	q.queue = append(q.queue, a)
	q.bytes += a.size()
	signal(q.wake)
	return nil
}

func (q *replyQueue) waiting() (items int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.queue), q.bytes
}

func (q *replyQueue) take(limit int) []addressed {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(limit, len(q.queue))
	if n == 0 {
		q.queue = nil
		return nil
	}
	batch := q.queue[:n:n]
	for _, a := range batch {
		q.bytes -= a.size()
	}
	q.queue = q.queue[n:]
	return batch
}

// Reply queues a node's answer for the ws-api that asked. It never blocks: without
// room it fails with [message.ErrFull]. Whether that ws-api is there is known only
// later, and counted. An answer that Redis does not take is not sent again, for it
// might then arrive twice and be counted twice; the call that waits for it has a
// deadline.
func (b *Redis) Reply(to string, r *message.Reply) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return ErrClosed
	}
	return b.replies.put(addressed{to, r})
}

func (b *Redis) writeReplies() {
	q := &b.replies
	defer close(q.drained)
	again := b.backoff("send replies")
	for {
		batch := q.take(replyBatch)
		if len(batch) == 0 {
			select {
			case <-q.wake:
				continue
			case <-b.base.Done():
				return
			case <-b.closing:
			}
			if batch = q.take(replyBatch); len(batch) == 0 {
				return
			}
		}
		if err := b.sendReplies(b.base, batch); err != nil {
			if !again.failed(b.base, err) {
				return
			}
			continue
		}
		again.worked()
	}
}

// sendReplies returns the last error of those that were not taken.
func (b *Redis) sendReplies(ctx context.Context, batch []addressed) (failed error) {
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	cmds := make(rueidis.Commands, len(batch))
	for i, a := range batch {
		_, headers, body := a.reply.Record()
		cmds[i] = b.put(inboxAPI, a.to, headers, body)
	}
	for _, reply := range b.client.DoMulti(ctx, cmds...) {
		switch err := reply.Error(); {
		case err == nil:
			b.replied.Add(1)
		case rueidis.IsRedisNil(err):
			b.replyGone.Add(1)
		default:
			b.replyLost.Add(1)
			failed = err
		}
	}
	return failed
}
