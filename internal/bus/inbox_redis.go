package bus

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"holdfast/internal/message"
)

// The kinds of inbox, as their keys have them.
const (
	inboxNode = "node"
	inboxAPI  = "api"
)

// attachField is the field of an entry that says whose the records after it are.
const attachField = "attach"

// reader is one attached inbox.
type reader struct {
	b       *Redis
	stream  string
	owner   string
	token   string
	receive func(headers []message.Header, body []byte) error

	// Owned by the goroutine.
	cursor string // ID of the last record read; "" before the first attachment
	kept   time.Time
}

// AttachNode makes receive the inbox of a node, in place of one attached before, in
// whatever process. It is called from one goroutine and must not block; an error says
// that it did not take the record, which is counted. AttachNode returns when Redis
// knows of the inbox, but waits no longer than RedisOptions.Timeout: it is attached
// later then, as soon as Redis answers. detach returns when no call of receive runs
// any more, so receive must not call it.
func (b *Redis) AttachNode(node string, receive func(*message.Down) error) (detach func()) {
	return b.attach(inboxNode, node, func(headers []message.Header, body []byte) error {
		d, err := message.ParseDown(headers, body)
		if err != nil {
			return err
		}
		if err := receive(d); err != nil {
			b.sendFailed.Add(1)
		}
		return nil
	})
}

// AttachAPI makes receive the inbox of a ws-api, as [Redis.AttachNode] does for a
// node.
func (b *Redis) AttachAPI(id string, receive func(*message.Reply)) (detach func()) {
	return b.attach(inboxAPI, id, func(headers []message.Header, body []byte) error {
		r, err := message.ParseReply(headers, body)
		if err == nil {
			receive(r)
		}
		return err
	})
}

func (b *Redis) attach(kind, name string, receive func([]message.Header, []byte) error) (detach func()) {
	r := &reader{b: b, token: rand.Text(), receive: receive}
	r.stream, r.owner = b.inboxKeys(kind, name)
	return b.lifetime.attach(b.opts.Timeout, r.run, r.remove)
}

// remove removes the inbox, if it is still this reader's.
func (r *reader) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), r.b.opts.Timeout)
	defer cancel()
	if err := r.b.scripts.detach.Exec(ctx, r.b.client, []string{r.stream, r.owner}, []string{r.token}).Error(); err != nil {
		r.b.opts.Log.Warn("an inbox could not be removed and goes when its time is over", "inbox", r.stream, "error", err)
	}
}

// run attaches, closes attached, and reads until ctx ends or another reader has taken
// the inbox over.
func (r *reader) run(ctx context.Context, attached chan struct{}) {
	again := r.b.backoff("read " + r.stream)
	for first := true; ctx.Err() == nil; {
		mine, err := r.step(ctx)
		if err != nil {
			again.failed(ctx, err)
			continue
		}
		again.worked()
		if first {
			close(attached)
			first = false
		}
		if !mine {
			r.b.opts.Log.Info("an inbox has another reader now", "inbox", r.stream)
			return
		}
	}
}

// step keeps the inbox when that is due, else it reads once.
func (r *reader) step(ctx context.Context) (mine bool, err error) {
	if r.cursor == "" || time.Since(r.kept) >= r.b.opts.InboxTTL/5 {
		return r.keep(ctx)
	}
	block := min(r.b.opts.InboxTTL/5, time.Second)
	cmd := r.b.client.B().Arbitrary("XREAD", "COUNT", strconv.Itoa(readItems), "BLOCK", strconv.FormatInt(block.Milliseconds(), 10), "STREAMS").
		Keys(r.stream).Args(r.cursor).Blocking()
	entries, err := r.b.read(ctx, cmd)
	if err != nil {
		// Redis may have lost the inbox: ask for it first when it is back.
		r.kept = time.Time{}
		return true, err
	}
	for _, entry := range entries[r.stream] {
		if ctx.Err() != nil {
			return true, nil
		}
		r.cursor = entry.ID
		if f := entry.FieldValues; len(f) == 1 && f[0].Field == attachField {
			if f[0].Value != r.token {
				return false, nil
			}
			continue
		}
		if err := r.receive(record(entry.FieldValues)); err != nil {
			r.b.malformed.Add(1)
			r.b.opts.Log.Warn("a record in an inbox is malformed and was dropped", "inbox", r.stream, "error", err)
		}
	}
	return true, nil
}

func (r *reader) keep(ctx context.Context) (mine bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.b.opts.Timeout)
	defer cancel()
	now := time.Now()
	answer, err := r.b.scripts.attach.Exec(ctx, r.b.client, []string{r.stream, r.owner},
		[]string{r.token, strconv.FormatInt(r.b.opts.InboxTTL.Milliseconds(), 10), r.cursor}).ToString()
	if err != nil {
		return true, err
	}
	r.kept = now
	switch {
	case answer == "-":
		return false, nil
	case answer != "":
		// Anew, or again after the inbox had expired or was lost, which makes it empty.
		r.cursor = answer
	}
	return true, nil
}

// Send puts a record into a node's inbox. It fails with [message.ErrGone] when the
// node has none, that is when nobody has read it for RedisOptions.InboxTTL. What a
// node refuses later, the sender does not learn. A record to a node that reads too
// slowly pushes the oldest one out.
func (b *Redis) Send(ctx context.Context, node string, d *message.Down) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.isClosed() {
		return ErrClosed
	}
	_, headers, body := d.Record()
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	err := b.client.Do(ctx, b.put(inboxNode, node, headers, body)).Error()
	switch {
	case rueidis.IsRedisNil(err):
		b.sendGone.Add(1)
		return message.ErrGone
	case err != nil:
		b.sendFailed.Add(1)
		return fmt.Errorf("send to node %s: %w", node, err)
	}
	b.sent.Add(1)
	return nil
}

// put returns the command that adds a record to an inbox which exists.
func (b *Redis) put(kind, name string, headers []message.Header, body []byte) rueidis.Completed {
	stream, _ := b.inboxKeys(kind, name)
	return b.client.B().Arbitrary("XADD").Keys(stream).
		Args("NOMKSTREAM", "MAXLEN", "~", strconv.Itoa(b.opts.InboxItems), "*").
		Args(fields(headers, body)...).Build()
}
