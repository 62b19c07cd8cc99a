package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"holdfast/internal/message"
)

// Directory knows which partition of the inbox topic is a node's. All methods may be
// called concurrently.
type Directory interface {
	// Claim gives a node, which must be alive, its partition: the one that it has, else
	// want where no live node has that (below 0: no wish), else the lowest below limit
	// that no live node has. message.ErrFull: there is none.
	Claim(ctx context.Context, node string, limit, want int32) (partition int32, err error)
	// Find returns a node's partition, or message.ErrGone where a node of that name
	// does not live or has none.
	Find(ctx context.Context, node string) (partition int32, err error)
}

// KafkaOptions names and bounds a [Kafka]. Brokers and Nodes are required, the rest
// takes defaults when zero.
type KafkaOptions struct {
	Brokers            []string // host:port, some of them
	TLS                *tls.Config
	Username, Password string    // SASL; no user: none
	Mechanism          string    // of it: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; default: the last with TLS, else PLAIN
	Nodes              Directory // whose inbox is where

	Prefix       string // of topics and groups; default "holdfast"; all processes of a cluster have the same
	ID           string // of this process, for those who look into Kafka; need not be unique
	Version      string // of this program, for X-Server-Version; default: no such header
	CreateTopics bool   // make what is missing; else PrepareTopics complains of it
	Partitions   int32  // of topics that are made here; default 32
	Replication  int16  // the same; default: the broker's own
	MaxRecord    int32  // bytes of the largest record; default 16 MB

	UpItems    int   // events that wait in this process until Kafka has them; default 65536
	UpBytes    int64 // the sum of their sizes (message.Up.Size); default 64 MiB
	SendItems  int   // records to nodes that wait in this process; default 16384
	SendBytes  int64 // the sum of their sizes; default 64 MiB
	ReplyItems int   // replies that wait in this process; default 16384
	ReplyBytes int64 // the sum of their sizes; default 16 MiB

	// Window is how many events may lie between the oldest one that is not settled and
	// the newest that was handed over; default 131072.
	Window int
	// DeadAfter is for how long a consumer is silent until the others get its
	// partitions; default 6 s, which is the least that brokers take unless told otherwise.
	DeadAfter time.Duration
	// HandOver is for how long a partition that another consumer is to get waits for
	// the events that are in flight here; default 10 s.
	HandOver time.Duration
	Commit   time.Duration // between commits of what is settled; default 200 ms
	Claim    time.Duration // between looks at whether a node's partition is its own; default 1 s
	Timeout  time.Duration // for Kafka to answer; default 5 s

	Log *slog.Logger // told when Kafka goes and comes back; default: nobody
	// Observe is told of each request to a broker: its family (see [KafkaFamilies]), how
	// long the answer took, and whether none came. It must not wait. nil: nobody is.
	Observe func(family string, took time.Duration, failed bool)

	dial func(ctx context.Context, network, host string) (net.Conn, error) // tests cut connections by it
}

func (o *KafkaOptions) setDefaults() {
	setDefault(&o.Prefix, "holdfast")
	setDefault(&o.ID, "bus")
	setDefault(&o.Partitions, 32)
	setDefault(&o.Replication, -1)
	setDefault(&o.MaxRecord, 16e6)
	setDefault(&o.UpItems, defaultUpItems)
	setDefault(&o.UpBytes, defaultUpBytes)
	setDefault(&o.SendItems, 16384)
	setDefault(&o.SendBytes, 64<<20)
	setDefault(&o.ReplyItems, 16384)
	setDefault(&o.ReplyBytes, 16<<20)
	setDefault(&o.Window, 1<<17)
	setDefault(&o.DeadAfter, 6*time.Second)
	setDefault(&o.HandOver, 10*time.Second)
	setDefault(&o.Commit, 200*time.Millisecond)
	setDefault(&o.Claim, time.Second)
	setDefault(&o.Timeout, 5*time.Second)
	if o.Mechanism == "" {
		o.Mechanism = "PLAIN"
		if o.TLS != nil {
			o.Mechanism = "SCRAM-SHA-512"
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// KafkaStats is what a [Kafka] has counted. Of Stats, UpItems and UpBytes are what
// waits in this process, SendFailed is what Kafka or a node did not take; ReplyGone
// is not known.
type KafkaStats struct {
	Stats
	Written    uint64 // events that Kafka has
	UpLost     uint64 // events that Kafka refused for good: larger than a topic permits
	InFlight   int    // events handed to this process' consumer and not settled
	Partitions int    // of the upstream topic that this process has
	ReplyLost  uint64 // replies that Kafka did not take
	Malformed  uint64 // records that could not be read, and were dropped
	Strays     uint64 // records in an inbox that were for its former owner, and were dropped
	Failures   uint64 // what failed and was tried again
	Sends      Waiting
	Replies    Waiting
}

// Waiting is what is on its way to Kafka, and its bounds.
type Waiting struct {
	Items, MaxItems int
	Bytes, MaxBytes int64
}

// Kafka is the bus of many processes; see the package's comment for its topics. It
// is safe for concurrent use. [Kafka.Close] ends its goroutines.
type Kafka struct {
	opts    KafkaOptions
	common  []kgo.Opt   // of all clients
	events  *kgo.Client // writes events: each until Kafka has it
	records *kgo.Client // writes the rest: each as long as somebody waits for it
	places  places

	up      upQueue       // events on their way
	sends   budget        // records to nodes on their way
	replies budget        // replies on their way
	written chan struct{} // closed when the writer of events has ended

	lifetime
	members sync.WaitGroup // those of groups that have not left, who are a part of work

	inboxes      atomic.Int32 // partitions of the inbox topic; 0: not known yet
	knownInboxes atomic.Int32 // of them, from the first, those that the client knows

	member *member // guarded by mu: the upstream's, for Stats; nil while nobody consumes

	unreachable atomic.Bool

	handled, sent, sendGone, sendFailed, upWritten, upLost atomic.Uint64
	replied, replyLost, malformed, strays, failures        atomic.Uint64
}

// NewKafka returns a bus over brokers. It asks nothing of them yet: that is what
// [Kafka.Reach] and [Kafka.PrepareTopics] do. The error says what is wrong with the
// options.
func NewKafka(opts KafkaOptions) (*Kafka, error) {
	opts.setDefaults()
	if opts.mechanism() == nil {
		return nil, fmt.Errorf("%q is no mechanism of SASL that is known here", opts.Mechanism)
	}
	b := &Kafka{
		opts: opts, places: places{dir: opts.Nodes, known: make(map[string]place)},
		sends:   budget{maxItems: opts.SendItems, maxBytes: opts.SendBytes},
		replies: budget{maxItems: opts.ReplyItems, maxBytes: opts.ReplyBytes},
		written: make(chan struct{}),
	}
	b.up.init(opts.UpItems, opts.UpBytes)
	b.common = b.commonOptions()
	producer := []kgo.Opt{
		// The queues before the clients have the bounds, by which nobody is ever blocked.
		kgo.MaxBufferedRecords(math.MaxInt32), kgo.UnknownTopicRetries(-1),
		kgo.ProducerLinger(0), kgo.ProduceRequestTimeout(opts.Timeout), kgo.ProducerBatchMaxBytes(opts.MaxRecord),
		// Not every client library that reads the topics has the codecs.
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	}
	var err error
	if b.events, err = b.client(append(producer, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))...); err != nil {
		return nil, err
	}
	if b.records, err = b.client(append(producer, kgo.RecordPartitioner(kgo.ManualPartitioner()))...); err != nil {
		b.events.Close()
		return nil, err
	}
	b.begin()
	b.work.Go(b.writeEvents)
	return b, nil
}

func (b *Kafka) commonOptions() []kgo.Opt {
	o := &b.opts
	opts := []kgo.Opt{
		kgo.SeedBrokers(o.Brokers...), kgo.ClientID("holdfast-" + o.ID), kgo.WithHooks(connectHook{b}),
		kgo.DialTimeout(min(o.Timeout, 3*time.Second)), kgo.RequestTimeoutOverhead(o.Timeout),
		kgo.MetadataMinAge(100 * time.Millisecond), // so that a topic just made is found soon
		kgo.DisableClientMetrics(),
		kgo.RetryBackoffFn(func(try int) time.Duration {
			return min(20*time.Millisecond<<min(try, 10), time.Second)
		}),
	}
	if o.Observe != nil {
		opts = append(opts, kgo.WithHooks(callHook{o.Observe}))
	}
	if o.TLS != nil {
		opts = append(opts, kgo.DialTLSConfig(o.TLS))
	}
	if o.dial != nil {
		opts = append(opts, kgo.Dialer(o.dial))
	}
	if o.Username != "" {
		opts = append(opts, kgo.SASL(o.mechanism()))
	}
	return opts
}

// mechanism returns how the user is shown to be who it is; nil for one that is not
// known.
func (o *KafkaOptions) mechanism() sasl.Mechanism {
	asked := scram.Auth{User: o.Username, Pass: o.Password}
	switch o.Mechanism {
	case "PLAIN":
		return plain.Auth{User: o.Username, Pass: o.Password}.AsMechanism()
	case "SCRAM-SHA-256":
		return asked.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		return asked.AsSha512Mechanism()
	}
	return nil
}

func (b *Kafka) client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(opts, b.common...)...)
}

// Reach fails when no broker answers within a few seconds, with the reason.
func (b *Kafka) Reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	if err := b.records.Ping(ctx); err != nil {
		return fmt.Errorf("no broker of %v answers: %w", b.opts.Brokers, err)
	}
	return nil
}

// Close lets Kafka have what waits, commits what is settled, gives this process'
// partitions and inboxes up, and ends. Whatever is not done when ctx ends is left
// undone, and the error says so: events that wait here are lost, events that were not
// settled come again to another consumer.
func (b *Kafka) Close(ctx context.Context) error {
	if !b.beginEnd() {
		return nil
	}
	left := make(chan struct{})
	b.work.Go(func() {
		b.members.Wait()
		close(left)
	})

	var failed error
	select {
	case <-b.written:
	case <-ctx.Done():
		failed = ctx.Err()
	}
	failed = errors.Join(failed, b.events.Flush(ctx), b.records.Flush(ctx))
	select {
	case <-left:
	case <-ctx.Done():
		failed = errors.Join(failed, ctx.Err())
	}
	b.end()
	b.events.Close()
	b.records.Close()
	if failed != nil {
		return fmt.Errorf("flush the bus: %w", failed)
	}
	return nil
}

// Stats returns the counters as they are now.
func (b *Kafka) Stats() KafkaStats {
	s := KafkaStats{
		Stats: Stats{
			Handled: b.handled.Load(),
			Sent:    b.sent.Load(), SendGone: b.sendGone.Load(), SendFailed: b.sendFailed.Load(), Replied: b.replied.Load(),
		},
		Written: b.upWritten.Load(), UpLost: b.upLost.Load(), ReplyLost: b.replyLost.Load(),
		Malformed: b.malformed.Load(), Strays: b.strays.Load(), Failures: b.failures.Load(),
	}
	b.up.stats(&s.Stats)
	s.Sends, s.Replies = b.sends.waiting(), b.replies.waiting()
	b.mu.RLock()
	m := b.member
	b.mu.RUnlock()
	if m != nil {
		s.InFlight, s.Partitions = m.count()
	}
	return s
}

// backoff is for one user of Kafka and one act.
func (b *Kafka) backoff(act string) backoff {
	return backoff{server: "Kafka", act: act, failures: &b.failures, log: b.opts.Log}
}

// budget bounds what is on its way in items and bytes.
type budget struct {
	maxItems int
	maxBytes int64

	mu    sync.Mutex
	items int
	bytes int64
}

// take is false when there is no room. One that is larger than the whole bound is
// taken alone, since it would find no room ever.
func (u *budget) take(size int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.items > 0 && (u.items >= u.maxItems || u.bytes+int64(size) > u.maxBytes) {
		return false
	}
	u.items++
	u.bytes += int64(size)
	return true
}

func (u *budget) release(size int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.items--
	u.bytes -= int64(size)
}

func (u *budget) waiting() Waiting {
	u.mu.Lock()
	defer u.mu.Unlock()
	return Waiting{Items: u.items, MaxItems: u.maxItems, Bytes: u.bytes, MaxBytes: u.maxBytes}
}

// versionHeader tells which version of this program wrote a record.
const versionHeader = "X-Server-Version"

// signed adds what every record that is written here has beside its own headers.
func (b *Kafka) signed(headers []message.Header) []message.Header {
	if b.opts.Version == "" {
		return headers
	}
	return append(headers, message.Header{Name: versionHeader, Value: b.opts.Version})
}

// kafkaRecord makes a record for a topic.
func kafkaRecord(topic, key string, headers []message.Header, body []byte) *kgo.Record {
	r := &kgo.Record{Topic: topic, Key: []byte(key), Value: body, Headers: make([]kgo.RecordHeader, len(headers))}
	size := 0
	for _, h := range headers {
		size += len(h.Value)
	}
	values := make([]byte, 0, size) // one piece of memory for all of them
	for i, h := range headers {
		at := len(values)
		values = append(values, h.Value...)
		r.Headers[i] = kgo.RecordHeader{Key: h.Name, Value: values[at:len(values):len(values)]}
	}
	return r
}

// sizeOf is about what a record takes of a bound.
func sizeOf(r *kgo.Record) int {
	n := 128 + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// fromKafka is the reverse of kafkaRecord. What it returns shares nothing with the
// record, behind which is a batch of up to a megabyte.
func fromKafka(r *kgo.Record) (headers []message.Header, body []byte) {
	headers = make([]message.Header, len(r.Headers))
	for i, h := range r.Headers {
		headers[i] = message.Header{Name: h.Key, Value: string(h.Value)}
	}
	return headers, append([]byte(nil), r.Value...)
}

// headerOf returns the value of a record's header, "" without one.
func headerOf(r *kgo.Record, name string) string {
	for i := range r.Headers {
		if r.Headers[i].Key == name {
			return string(r.Headers[i].Value)
		}
	}
	return ""
}

// connectHook notices when brokers cannot be reached, and when they can again.
type connectHook struct{ b *Kafka }

// OnBrokerConnect is called after each attempt to connect.
func (h connectHook) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	b := h.b
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return
		}
		b.failures.Add(1)
		if !b.unreachable.Swap(true) {
			b.opts.Log.Warn("Kafka cannot be reached by the bus, which tries again", "broker", meta.Host, "port", meta.Port, "error", err)
		}
		return
	}
	if b.unreachable.Swap(false) {
		b.opts.Log.Info("Kafka can be reached again by the bus", "broker", meta.Host, "port", meta.Port)
	}
}
