package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"holdfast/internal/message"
)

// The headers that the bus itself puts on records in inboxes.
const (
	inboxHeader  = "X-Inbox"  // whose the record is: a partition may have had another owner
	attachHeader = "X-Attach" // the record is no message: whose reader reads from here on
)

// places remembers where nodes have their inboxes, so that not every record asks the
// directory. It may be out of date for placeTime; a record that went astray is told
// by its inboxHeader.
type places struct {
	dir Directory

	mu    sync.Mutex
	known map[string]place // no more than there are live nodes
}

type place struct {
	partition int32
	asked     time.Time
}

const placeTime = time.Second

// find returns a node's partition. While the directory does not answer, what it last
// said is used.
func (p *places) find(ctx context.Context, node string) (int32, error) {
	p.mu.Lock()
	at, ok := p.known[node]
	if ok && time.Since(at.asked) < placeTime {
		p.mu.Unlock()
		return at.partition, nil
	}
	if ok { // the others go on with it while this one asks
		at.asked = time.Now()
		p.known[node] = at
		ctx2, cancel := context.WithTimeout(ctx, placeTime)
		defer cancel()
		ctx = ctx2
	}
	p.mu.Unlock()
	partition, err := p.dir.Find(ctx, node)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.known[node] = place{partition, time.Now()}
		return partition, nil
	case errors.Is(err, message.ErrGone):
		delete(p.known, node)
		return 0, message.ErrGone
	case ok:
		return at.partition, nil
	}
	return 0, fmt.Errorf("find the inbox of node %s: %w", node, err)
}

func (p *places) forget(node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.known, node)
}

// kafkaReader is one attached inbox.
type kafkaReader struct {
	b       *Kafka
	topic   string
	name    string
	token   string
	claim   func(ctx context.Context, want int32) (int32, error) // the partition to read
	receive func(headers []message.Header, body []byte) error
}

// AttachNode makes receive the inbox of a node, in place of one attached before, in
// whatever process. The node must be alive as the directory sees it. receive is called
// from one goroutine and must not block; an error says that it did not take the record,
// which is counted. AttachNode returns when the inbox is read, but waits no longer than
// KafkaOptions.Timeout: it is attached later then, as soon as Kafka and the directory
// answer. detach returns when no call of receive runs any more, so receive must not
// call it.
func (b *Kafka) AttachNode(node string, receive func(*message.Down) error) (detach func()) {
	r := &kafkaReader{b: b, topic: b.inboxTopic(), name: node}
	r.claim = func(ctx context.Context, want int32) (int32, error) { return b.claimInbox(ctx, node, want) }
	r.receive = func(headers []message.Header, body []byte) error {
		d, err := message.ParseDown(headers, body)
		if err != nil {
			return err
		}
		if err := receive(d); err != nil {
			b.sendFailed.Add(1)
		}
		return nil
	}
	return b.attach(r, func() { b.places.forget(node) })
}

// claimInbox gets a node its partition, and makes more of them when all are taken.
func (b *Kafka) claimInbox(ctx context.Context, node string, want int32) (int32, error) {
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	for {
		limit, err := b.inboxLimit(ctx)
		if err != nil {
			return 0, err
		}
		partition, err := b.opts.Nodes.Claim(ctx, node, limit, want)
		if !errors.Is(err, message.ErrFull) {
			return partition, err
		}
		if err := b.moreInboxes(ctx); err != nil {
			return 0, err
		}
		if !wait(ctx, 50*time.Millisecond) { // until the brokers know of them
			return 0, ctx.Err()
		}
	}
}

// AttachAPI makes receive the inbox of a ws-api, as [Kafka.AttachNode] does for a
// node. No two ws-apis may have the same ID.
func (b *Kafka) AttachAPI(id string, receive func(*message.Reply)) (detach func()) {
	r := &kafkaReader{b: b, topic: b.replyTopic(), name: id}
	r.claim = func(context.Context, int32) (int32, error) { return replyPartition(id), nil }
	r.receive = func(headers []message.Header, body []byte) error {
		reply, err := message.ParseReply(headers, body)
		if err == nil {
			receive(reply)
		}
		return err
	}
	return b.attach(r, func() {})
}

// replyPartition returns where the replies to a ws-api go, with those to others.
func replyPartition(id string) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // a hash takes everything
	return int32(h.Sum32() % replyPartitions)
}

func (b *Kafka) attach(r *kafkaReader, tidy func()) (detach func()) {
	r.token = rand.Text()
	return b.lifetime.attach(b.opts.Timeout, r.run, tidy)
}

// run attaches, closes attached, and reads until ctx ends or another reader has taken
// the inbox over.
func (r *kafkaReader) run(ctx context.Context, attached chan struct{}) {
	again := r.b.backoff("read the inbox of " + r.name)
	partition := int32(-1)
	for first := true; ctx.Err() == nil; {
		at, err := r.claim(ctx, partition)
		var offset int64
		if err == nil {
			partition = at
			offset, err = r.mark(ctx, partition)
		}
		if err != nil {
			again.failed(ctx, err)
			continue
		}
		again.worked()
		if first {
			close(attached)
			first = false
		}
		mine, err := r.read(ctx, partition, offset)
		if err != nil {
			again.failed(ctx, err)
		}
		if !mine {
			r.b.opts.Log.Info("an inbox has another reader now", "inbox", r.name)
			return
		}
	}
}

// mark writes the record after which this reader's records come, and at which another
// reader of the same inbox ends. Its place is where to read from.
func (r *kafkaReader) mark(ctx context.Context, partition int32) (offset int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.b.opts.Timeout)
	defer cancel()
	rec := kafkaRecord(r.topic, r.name, []message.Header{{Name: inboxHeader, Value: r.name}, {Name: attachHeader, Value: r.token}}, nil)
	rec.Partition = partition
	if r.topic == r.b.inboxTopic() {
		if err := r.b.knowInbox(ctx, partition); err != nil {
			return 0, err
		}
	}
	done := make(chan error, 1)
	r.b.records.Produce(ctx, rec, func(_ *kgo.Record, err error) { done <- err })
	select {
	case err := <-done:
		return rec.Offset, err
	case <-ctx.Done(): // the client may have to wait for the fate of a request that it has sent
		return 0, ctx.Err()
	}
}

// read hands records over until ctx ends, another reader's mark comes, or the node
// has been given another partition. mine is false in the second case.
func (r *kafkaReader) read(ctx context.Context, partition int32, offset int64) (mine bool, err error) {
	o := &r.b.opts
	client, err := r.b.client(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.topic: {partition: kgo.NewOffset().At(offset)}}),
		// What was there before this reader is not for it, and what is lost is repaired.
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
		kgo.FetchMinBytes(1), kgo.FetchMaxWait(time.Second), kgo.FetchMaxBytes(o.fetchBytes()),
	)
	if err != nil {
		return true, err
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	defer keeping.Wait()
	defer cancel()
	keeping.Go(func() {
		r.keep(ctx, partition)
		cancel()
	})
	again := r.b.backoff("read the inbox of " + r.name)
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		if err := fetchError(ctx, fetches); err != nil && fetches.NumRecords() == 0 {
			again.failed(ctx, err)
			continue
		}
		again.worked()
		for rec := range fetches.RecordsAll() {
			if ctx.Err() != nil {
				return true, nil
			}
			if !r.take(rec) {
				return false, nil
			}
		}
	}
	return true, nil
}

// keep returns when ctx ends or the node's partition is another one.
func (r *kafkaReader) keep(ctx context.Context, partition int32) {
	for wait(ctx, r.b.opts.Claim) {
		// An error says nothing: the partition is kept until somebody has said otherwise.
		if now, err := r.claim(ctx, partition); err == nil && now != partition {
			return
		}
	}
}

// take hands one record over; false when it is another reader's mark.
func (r *kafkaReader) take(rec *kgo.Record) (mine bool) {
	switch {
	case headerOf(rec, inboxHeader) != r.name:
		if r.topic == r.b.inboxTopic() && headerOf(rec, attachHeader) == "" {
			r.b.strays.Add(1)
		}
		return true
	case headerOf(rec, attachHeader) != "":
		return headerOf(rec, attachHeader) == r.token
	}
	if err := r.receive(fromKafka(rec)); err != nil {
		r.b.malformed.Add(1)
		r.b.opts.Log.Warn("a record in an inbox is malformed and was dropped", "inbox", r.name, "error", err)
	}
	return true
}

// Send puts a record into a node's inbox. It fails with [message.ErrGone] when the
// directory does not know of one, and with [message.ErrFull] when too much is on its
// way, because Kafka is away as a rule. A push, which the room's log has anyway, is only
// handed to the client, so that one to many nodes does not wait for each; of everything
// else it is known that Kafka has it when Send returns nil. What a node
// refuses later, the sender does not learn.
func (b *Kafka) Send(ctx context.Context, node string, d *message.Down) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.isClosed() {
		return ErrClosed
	}
	partition, err := b.places.find(ctx, node)
	switch {
	case errors.Is(err, message.ErrGone):
		b.sendGone.Add(1)
		return err
	case err != nil:
		b.sendFailed.Add(1)
		return err
	}
	if err := b.knowInbox(ctx, partition); err != nil {
		b.sendFailed.Add(1)
		return fmt.Errorf("send to node %s: %w", node, err)
	}
	key, headers, body := d.Record()
	rec := kafkaRecord(b.inboxTopic(), key, append(b.signed(headers), message.Header{Name: inboxHeader, Value: node}), body)
	rec.Partition = partition
	size := sizeOf(rec)
	if !b.sends.take(size) {
		b.sendFailed.Add(1)
		return message.ErrFull
	}
	done := make(chan error, 1)
	// Not longer than anybody waits: a node that comes back repairs what it missed.
	given, cancel := context.WithTimeout(b.base, b.opts.Timeout)
	b.records.Produce(given, rec, func(_ *kgo.Record, err error) {
		b.sends.release(size)
		if err == nil {
			b.sent.Add(1)
		} else {
			b.sendFailed.Add(1)
		}
		done <- err
		cancel() // after that, so that whoever sees this end finds the other
	})
	if (d.Push != nil || d.Heads != nil) && d.Call == "" {
		return nil
	}
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	case <-given.Done():
		// Either it is done, or it took too long and the client has yet to notice.
		select {
		case err = <-done:
		default:
			err = given.Err()
		}
	}
	if err != nil {
		return fmt.Errorf("send to node %s: %w", node, err)
	}
	return nil
}

// Reply hands a node's answer for the ws-api that asked to the client. It never
// blocks: without room it fails with [message.ErrFull]. Whether that ws-api is there
// is not known. An answer that Kafka does not take in time is dropped and counted; the
// call that waits for it has a deadline.
func (b *Kafka) Reply(to string, reply *message.Reply) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return ErrClosed
	}
	key, headers, body := reply.Record()
	rec := kafkaRecord(b.replyTopic(), key, append(b.signed(headers), message.Header{Name: inboxHeader, Value: to}), body)
	rec.Partition = replyPartition(to)
	size := sizeOf(rec)
	if !b.replies.take(size) {
		return message.ErrFull
	}
	given, cancel := context.WithTimeout(b.base, b.opts.Timeout)
	b.records.Produce(given, rec, func(_ *kgo.Record, err error) {
		cancel()
		b.replies.release(size)
		if err != nil {
			b.replyLost.Add(1)
			return
		}
		b.replied.Add(1)
	})
	return nil
}
