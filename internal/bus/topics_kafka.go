package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// ErrTopicMissing says that a topic is not there.
var ErrTopicMissing = errors.New("is missing")

// replyPartitions is into how many partitions ws-apis are divided for their replies.
// It is a part of what the processes of a cluster agree on, so it does not follow
// from the topic, which may have more.
const replyPartitions = 8

func (b *Kafka) upTopic() string    { return b.opts.Prefix + "-up" }
func (b *Kafka) inboxTopic() string { return b.opts.Prefix + "-inbox" }
func (b *Kafka) replyTopic() string { return b.opts.Prefix + "-replies" }
func (b *Kafka) pushTopic() string  { return b.opts.Prefix + "-push" }

// topic is what a topic should be.
type topic struct {
	name       string
	partitions int32 // to make it with
	least      int32 // that it must have
	keep       time.Duration
	segment    int // bytes
}

func (b *Kafka) topics() []topic {
	return []topic{
		// Nothing is removed when it is settled, so what is kept is also what others may
		// still read, and for how long ws-api may be away.
		{b.upTopic(), b.opts.Partitions, 1, 24 * time.Hour, 256 << 20},
		// Nobody reads what was sent to a node that was not there.
		{b.inboxTopic(), b.opts.Partitions, 1, 10 * time.Minute, 64 << 20},
		{b.replyTopic(), replyPartitions, replyPartitions, 10 * time.Minute, 64 << 20},
		{b.pushTopic(), b.opts.Partitions, 1, 24 * time.Hour, 256 << 20},
	}
}

// PrepareTopics makes the topics that are missing, where it may, and checks that all
// are there and as they must be.
func (b *Kafka) PrepareTopics(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*b.opts.Timeout)
	defer cancel()
	admin := kadm.NewClient(b.records)
	if b.opts.CreateTopics {
		for _, t := range b.topics() {
			if err := b.makeTopic(ctx, admin, t); err != nil {
				return err
			}
		}
	}
	wanted := b.topics()
	names := make([]string, len(wanted))
	for i, t := range wanted {
		names[i] = t.name
	}
	for {
		there, err := admin.ListTopics(ctx, names...)
		if err == nil {
			err = b.checkTopics(wanted, there)
		}
		// A broker may not have heard yet of a topic that was made a moment ago.
		if !b.opts.CreateTopics || !errors.Is(err, ErrTopicMissing) || !wait(ctx, 50*time.Millisecond) {
			return err
		}
	}
}

func (b *Kafka) makeTopic(ctx context.Context, admin *kadm.Client, t topic) error {
	config := map[string]*string{
		"retention.ms":      kadm.StringPtr(strconv.FormatInt(t.keep.Milliseconds(), 10)),
		"segment.bytes":     kadm.StringPtr(strconv.Itoa(t.segment)),
		"max.message.bytes": kadm.StringPtr(strconv.Itoa(int(b.opts.MaxRecord))),
		"cleanup.policy":    kadm.StringPtr("delete"),
	}
	_, err := admin.CreateTopic(ctx, t.partitions, b.opts.Replication, config, t.name)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("make topic %s: %w", t.name, err)
	}
	return nil
}

func (b *Kafka) checkTopics(wanted []topic, there kadm.TopicDetails) error {
	for _, t := range wanted {
		d, ok := there[t.name]
		switch n := int32(len(d.Partitions)); {
		case !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition):
			return fmt.Errorf("topic %s %w: make it, with at least %d partition(s), or set bus.create_topics", t.name, ErrTopicMissing, t.least)
		case d.Err != nil:
			return fmt.Errorf("topic %s: %w", t.name, d.Err)
		case n < t.least:
			return fmt.Errorf("topic %s has %d partition(s), and at least %d are needed", t.name, n, t.least)
		case t.name == b.inboxTopic():
			b.inboxes.Store(n)
		}
	}
	return nil
}

// inboxLimit returns how many partitions the inbox topic has.
func (b *Kafka) inboxLimit(ctx context.Context) (int32, error) {
	if n := b.inboxes.Load(); n > 0 {
		return n, nil
	}
	there, err := kadm.NewClient(b.records).ListTopics(ctx, b.inboxTopic())
	if err != nil {
		return 0, err
	}
	n := int32(len(there[b.inboxTopic()].Partitions))
	if n == 0 {
		return 0, fmt.Errorf("topic %s %w", b.inboxTopic(), ErrTopicMissing)
	}
	b.inboxes.Store(n)
	return n, nil
}

// moreInboxes adds partitions to an inbox topic in which each has a node, where it
// may. That does not disturb the nodes that have one.
func (b *Kafka) moreInboxes(ctx context.Context) error {
	n := b.inboxes.Load()
	if !b.opts.CreateTopics {
		b.inboxes.Store(0) // somebody else may add some
		return fmt.Errorf("each of the %d partitions of topic %s has a live node: add partitions, or set bus.create_topics", n, b.inboxTopic())
	}
	responses, err := kadm.NewClient(b.records).UpdatePartitions(ctx, int(2*n), b.inboxTopic())
	if err == nil {
		err = responses[b.inboxTopic()].Err
	}
	b.inboxes.Store(0)
	// INVALID_PARTITIONS: another node has just done the same.
	if err != nil && !errors.Is(err, kerr.InvalidPartitions) {
		return fmt.Errorf("add partitions to topic %s: %w", b.inboxTopic(), err)
	}
	return nil
}

// knowInbox waits until the client knows of a partition that was added lately. It
// would look for itself every few minutes only, and refuse records until then.
func (b *Kafka) knowInbox(ctx context.Context, partition int32) error {
	if partition < b.knownInboxes.Load() {
		return nil
	}
	loaded := func(partition int32) bool {
		leader, _, err := b.records.PartitionLeader(b.inboxTopic(), partition)
		return leader >= 0 || err != nil
	}
	for loaded(0) && !loaded(partition) { // else the first record makes it load all
		b.records.ForceMetadataRefresh()
		if !wait(ctx, 20*time.Millisecond) {
			return ctx.Err()
		}
	}
	if loaded(partition) {
		b.knownInboxes.Store(max(partition+1, b.knownInboxes.Load()))
	}
	return nil
}

// Durability tells, as sentences, what in Kafka's settings would lose what was
// acknowledged when one broker is lost.
func (b *Kafka) Durability(ctx context.Context) (warnings []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	admin := kadm.NewClient(b.records)
	there, err := admin.ListTopics(ctx, b.upTopic())
	if err != nil {
		return nil, err
	}
	copies := there[b.upTopic()].Partitions.NumReplicas()
	if copies < 2 {
		return []string{fmt.Sprintf("topic %s has one copy: events are lost with its broker's disk (bus.replication)", b.upTopic())}, nil
	}
	configs, err := admin.DescribeTopicConfigs(ctx, b.upTopic())
	if err != nil {
		return nil, err
	}
	for _, c := range configs {
		for _, entry := range c.Configs {
			if entry.Key == "min.insync.replicas" && entry.MaybeValue() == "1" {
				warnings = append(warnings, fmt.Sprintf("topic %s has min.insync.replicas=1: an event may be acknowledged while one broker alone has it; 2 is wanted", b.upTopic()))
			}
		}
	}
	return warnings, nil
}
