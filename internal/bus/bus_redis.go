package bus

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"holdfast/internal/message"
)

// ErrClosed says that the bus was closed.
var ErrClosed = errors.New("bus is closed")

// RedisOptions names and bounds a [Redis]. The zero RedisOptions takes the defaults.
type RedisOptions struct {
	Prefix string // of all keys; default "ws"; all processes of a cluster have the same
	ID     string // of this process, for those who look into Redis; need not be unique

	UpItems     int   // events that wait in this process until Redis has them; default 65536
	UpBytes     int64 // the sum of their sizes (message.Up.Size); default 64 MiB
	StreamItems int   // events in each of the 16 partitions that are not settled; default 65536

	InboxItems int   // records kept for a node or ws-api that does not read, about; default 8192
	ReplyItems int   // replies that wait in this process until Redis has them; default 16384
	ReplyBytes int64 // the sum of their sizes; default 16 MiB

	InboxTTL time.Duration // an inbox whose reader is silent for so long is gone; default 15 s
	Beat     time.Duration // between signs of life of a consumer; default 1 s
	// DeadAfter is for how long a consumer's beat stands still, while Redis answers,
	// until the others share its partitions among themselves. Default 8 beats.
	DeadAfter time.Duration
	Timeout   time.Duration // for Redis to answer; default 5 s

	Log *slog.Logger // told when Redis goes and comes back; default: nobody
}

func (o *RedisOptions) setDefaults() {
	setDefault(&o.Prefix, "ws")
	setDefault(&o.ID, "bus")
	setDefault(&o.UpItems, defaultUpItems)
	setDefault(&o.UpBytes, defaultUpBytes)
	setDefault(&o.StreamItems, 65536)
	setDefault(&o.InboxItems, 8192)
	setDefault(&o.ReplyItems, 16384)
	setDefault(&o.ReplyBytes, 16<<20)
	setDefault(&o.InboxTTL, 15*time.Second)
	setDefault(&o.Beat, time.Second)
	setDefault(&o.DeadAfter, 8*o.Beat)
	setDefault(&o.Timeout, 5*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// RedisStats is what a [Redis] has counted. Of Stats, UpItems and UpBytes are what
// waits in this process, SendFailed is what Redis did not take.
type RedisStats struct {
	Stats
	Written    uint64 // events that Redis has
	InFlight   int    // events handed to this process' consumer and not settled
	Partitions int    // that this process owns
	ReplyLost  uint64 // replies that Redis did not take
	ReplyItems int    // replies that wait in this process
	ReplyBytes int64  // the same in bytes
	Malformed  uint64 // records that could not be read, and were dropped
	Failures   uint64 // commands that failed and were tried again
	// The bounds of the replies.
	MaxReplyItems int
	MaxReplyBytes int64
}

// Redis is the bus of many processes; see the package's comment for its keys. It is
// safe for concurrent use. [Redis.Close] ends its goroutines.
type Redis struct {
	client  rueidis.Client
	opts    RedisOptions
	self    string // this life of this process: ID and a random part
	scripts scripts

	up      upstream      // events on their way to Redis, its one consumer is the writer
	number  uint64        // owned by the writer: of the last event that Redis has
	written chan struct{} // closed when the writer has ended
	replies replyQueue
	claims  claims

	lifetime
	keeping bool // guarded by mu: the claims' goroutines run

	handled, sent, sendGone, sendFailed atomic.Uint64
	replied, replyGone, replyLost       atomic.Uint64
	malformed, failures                 atomic.Uint64
}

// NewRedis returns a bus over client, which stays the caller's and outlives the bus.
// It needs Redis 6.2 or newer. It asks nothing of Redis yet: a bus made while Redis
// is away works as soon as it is there.
func NewRedis(client rueidis.Client, opts RedisOptions) *Redis {
	opts.setDefaults()
	b := &Redis{
		client: client, opts: opts, self: opts.ID + "-" + rand.Text(), scripts: newScripts(),
		written: make(chan struct{}),
	}
	b.begin()
	b.up.init(Options{UpItems: opts.UpItems, UpBytes: opts.UpBytes})
	b.replies.init(opts.ReplyItems, opts.ReplyBytes)
	b.claims.init(b.base)
	b.work.Go(b.writeEvents)
	b.work.Go(b.writeReplies)
	return b
}

// Close lets Redis have what waits, gives this process' partitions and inboxes up,
// and ends. Whatever is not done when ctx ends is left undone, and the error says
// so: events that wait here are lost, events that were not settled come again to
// another consumer.
func (b *Redis) Close(ctx context.Context) error {
	if !b.beginEnd() {
		return nil
	}
	var failed error
	for _, done := range []<-chan struct{}{b.written, b.replies.drained, b.claims.settledAll()} {
		select {
		case <-done:
		case <-ctx.Done():
			failed = fmt.Errorf("flush the bus: %w", ctx.Err())
		}
	}
	b.stopClaiming(ctx)
	b.end()
	b.leave(ctx)
	return failed
}

// backoff is for one user of Redis and one act.
func (b *Redis) backoff(act string) backoff {
	return backoff{server: "Redis", act: act, failures: &b.failures, log: b.opts.Log}
}

// Stats returns the counters as they are now.
func (b *Redis) Stats() RedisStats {
	up := b.up.stats()
	s := RedisStats{
		Stats: Stats{
			UpItems: up.UpItems, UpBytes: up.UpBytes, MaxUpItems: up.MaxUpItems, MaxUpBytes: up.MaxUpBytes,
			Published: up.Published, Handled: b.handled.Load(), UpFull: up.UpFull,
			Sent: b.sent.Load(), SendGone: b.sendGone.Load(), SendFailed: b.sendFailed.Load(),
			Replied: b.replied.Load(), ReplyGone: b.replyGone.Load(),
		},
		Written:   up.Handled,
		ReplyLost: b.replyLost.Load(), Malformed: b.malformed.Load(), Failures: b.failures.Load(),
	}
	s.InFlight, s.Partitions = b.claims.count()
	s.ReplyItems, s.ReplyBytes = b.replies.waiting()
	s.MaxReplyItems, s.MaxReplyBytes = b.replies.maxItems, b.replies.maxBytes
	return s
}

// The keys. All of upstream is in one slot, each inbox in its own.

func (b *Redis) upKey(name string) string { return b.opts.Prefix + ":{up}:" + name }

func (b *Redis) inboxKeys(kind, name string) (stream, owner string) {
	tag := b.opts.Prefix + ":" + kind + ":{" + url.QueryEscape(name) + "}:"
	return tag + "inbox", tag + "reader"
}

// fields returns a record as the fields and values of a stream's entry.
func fields(headers []message.Header, body []byte) []string {
	out := make([]string, 0, 2*len(headers)+2)
	for _, h := range headers {
		out = append(out, h.Name, h.Value)
	}
	return append(out, bodyField, rueidis.BinaryString(body))
}

// bodyField is the field of an entry that holds the body; headers have their own.
const bodyField = "body"

// record is the reverse of fields.
func record(entry []rueidis.XRangeFieldValue) (headers []message.Header, body []byte) {
	headers = make([]message.Header, 0, len(entry))
	for _, f := range entry {
		if f.Field == bodyField {
			body = []byte(f.Value)
			continue
		}
		headers = append(headers, message.Header{Name: f.Field, Value: f.Value})
	}
	return headers, body
}

type scripts struct{ append, beat, swap, attach, detach *rueidis.Lua }

//go:embed append_redis.lua
var appendScript string

//go:embed beat_redis.lua
var beatScript string

//go:embed swap_redis.lua
var swapScript string

//go:embed attach_redis.lua
var attachScript string

//go:embed detach_redis.lua
var detachScript string

func newScripts() scripts {
	return scripts{
		append: rueidis.NewLuaScript(appendScript), beat: rueidis.NewLuaScript(beatScript),
		swap: rueidis.NewLuaScript(swapScript), attach: rueidis.NewLuaScript(attachScript),
		detach: rueidis.NewLuaScript(detachScript),
	}
}
