package bus

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The families of requests to Kafka, for [KafkaOptions.Observe].
const (
	KafkaProduce = "produce"
	KafkaFetch   = "fetch"  // waits for something to come: slow is what it is for
	KafkaGroup   = "group"  // membership, which waits for the others, and heartbeats
	KafkaCommit  = "commit" // of offsets
	KafkaOther   = "other"  // metadata, topics, settings
)

// KafkaFamilies returns all of them.
func KafkaFamilies() []string {
	return []string{KafkaProduce, KafkaFetch, KafkaGroup, KafkaCommit, KafkaOther}
}

func kafkaFamily(request int16) string {
	switch kmsg.Key(request) {
	case kmsg.Produce:
		return KafkaProduce
	case kmsg.Fetch:
		return KafkaFetch
	case kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat, kmsg.LeaveGroup, kmsg.ConsumerGroupHeartbeat:
		return KafkaGroup
	case kmsg.OffsetCommit, kmsg.OffsetFetch:
		return KafkaCommit
	}
	return KafkaOther
}

// callHook tells of each request to a broker.
type callHook struct {
	tell func(family string, took time.Duration, failed bool)
}

var _ kgo.HookBrokerE2E = callHook{}

// OnBrokerE2E is called after each request.
func (h callHook) OnBrokerE2E(_ kgo.BrokerMetadata, request int16, e kgo.BrokerE2E) {
	h.tell(kafkaFamily(request), e.DurationE2E(), e.Err() != nil)
}
