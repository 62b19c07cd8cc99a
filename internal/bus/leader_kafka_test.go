package bus

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"holdfast/internal/bus/kafkatest"
	"holdfast/internal/message"
)

// TestKafkaLeaderMoves has three brokers, kills the one that leads a node's inbox, and
// then the one that leads a partition of the events, while both are written and read.
// Nothing that was accepted may be missing or come out of order, and ten seconds later
// all must be as before. The bus has its defaults; the brokers have them but for what
// [kafkatest.StartCluster] tells.
func TestKafkaLeaderMoves(t *testing.T) {
	brokers := kafkatest.StartCluster(t, 3)
	k := &kafkaWorld{broker: brokers[0]}
	opts := KafkaOptions{Nodes: k.directory("leader"), Prefix: "leader", CreateTopics: true, Partitions: 4, Replication: 3}
	for _, b := range brokers {
		opts.Brokers = append(opts.Brokers, b.Addr)
	}
	gateway, api := k.open(t, opts), k.open(t, opts)
	if warnings, err := api.Durability(t.Context()); err != nil || len(warnings) > 0 {
		t.Errorf("%v, %v", warnings, err)
	}
	f := &flow{gateway: gateway, api: api, published: make([]int, 8), consumed: make([][]int, 8)}
	stop := f.run(t)
	eventually(t, "all is in use", func() bool { return f.pastAll(0, make([]int, 8)) })

	partition := func(topic string) (leader int32) {
		var err error
		eventually(t, "each broker has all of "+topic, func() bool {
			var complete bool
			leader, complete, err = inSync(t.Context(), api, topic, len(brokers))
			return err == nil && complete
		})
		return leader
	}
	for i, topic := range []string{api.inboxTopic(), api.upTopic()} {
		dies := brokers[partition(topic)-1]
		calls, events := f.soFar()
		began := time.Now()
		dies.Kill()
		eventually(t, "what was sent after the death arrives", func() bool { return f.pastAll(calls, events) })
		took := time.Since(began)
		t.Logf("the leader of %s died, and everything arrived again after %v", topic, took.Round(time.Millisecond))
		if took > 10*time.Second {
			t.Errorf("healing after the death of the leader of %s took %v", topic, took)
		}
		if i == 0 {
			dies.Restart()
		}
	}
	stop()
	f.check(t)
	for _, b := range []*livingKafka{gateway, api} {
		if s := b.Stats(); s.UpLost > 0 || s.Malformed > 0 || s.Strays > 0 {
			t.Errorf("%+v", s)
		}
	}
}

// inSync returns who leads the first partition of a topic, and whether each partition
// has that many copies which are complete.
func inSync(ctx context.Context, b *livingKafka, topic string, copies int) (leader int32, complete bool, err error) {
	there, err := kadm.NewClient(b.records).ListTopics(ctx, topic)
	if err != nil {
		return 0, false, err
	}
	complete = len(there[topic].Partitions) > 0
	for _, p := range there[topic].Partitions {
		complete = complete && len(p.ISR) == copies && p.Leader > 0
	}
	return there[topic].Partitions[0].Leader, complete, nil
}

// flow is events of some keys from a gateway to an API, and calls the other way, both
// numbered from 1 on.
type flow struct {
	gateway, api *livingKafka

	mu        sync.Mutex
	published []int   // the last number, by key
	consumed  [][]int // numbers, by key
	called    int     // the last number
	accepted  []int   // of them, those that Kafka had for sure
	received  []int
}

// run returns when all of it is under way. stop waits until what was published has
// been consumed.
func (f *flow) run(t *testing.T) (stop func()) {
	stopConsuming := consume(t, f.api, func(up *message.Up) {
		key, n := number(t, up.Order), number(t, up.ID)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.consumed[key] = append(f.consumed[key], n)
	})
	detach := f.gateway.AttachNode("n", func(d *message.Down) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.received = append(f.received, number(t, d.Call))
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() {
		for key := 0; wait(ctx, time.Millisecond); key = (key + 1) % len(f.published) {
			f.publish(t, key)
		}
	})
	work.Go(func() {
		for wait(ctx, 5*time.Millisecond) {
			f.call(ctx)
		}
	})
	return func() {
		cancel()
		work.Wait()
		_, events := f.soFar()
		for key := range events {
			events[key]-- // the last number is enough
		}
		eventually(t, "all that was published is consumed", func() bool { return f.pastAll(0, events) })
		detach()
		stopConsuming()
	}
}

func number(t *testing.T, text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Error(err)
	}
	return n
}

func (f *flow) publish(t *testing.T, key int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch err := f.gateway.Publish(order(strconv.Itoa(key), f.published[key]+1)); {
	case err == nil:
		f.published[key]++
	case !errors.Is(err, message.ErrFull): // a socket would not be read for a while
		t.Error(err)
	}
}

func (f *flow) call(ctx context.Context) {
	f.mu.Lock()
	f.called++
	n := f.called
	f.mu.Unlock()
	if f.api.Send(ctx, "n", someDown(strconv.Itoa(n))) == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.accepted = append(f.accepted, n)
	}
}

func (f *flow) soFar() (calls int, events []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.called, slices.Clone(f.published)
}

// pastAll tells whether of the calls, and of the events of each key, one has arrived
// that has a higher number.
func (f *flow) pastAll(calls int, events []int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, n := range events {
		if got := f.consumed[key]; len(got) == 0 || slices.Max(got) <= n {
			return false
		}
	}
	return len(f.received) > 0 && f.received[len(f.received)-1] > calls
}

// check finds what is missing or out of order. An event may come again, with all that
// came after it.
func (f *flow) check(t *testing.T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, got := range f.consumed {
		last, again := 0, 0
		for i, n := range got {
			if n != last+1 {
				again++
				if n > last {
					t.Errorf("key %d: event %d after %d at %d", key, n, last, i)
				}
			}
			last = n
		}
		if last != f.published[key] {
			t.Errorf("key %d: %d of %d events", key, last, f.published[key])
		}
		if again > 0 {
			t.Logf("key %d: %d events came of %d, going back %d time(s)", key, len(got), last, again)
		}
	}
	if !slices.IsSorted(f.received) || len(slices.Compact(slices.Clone(f.received))) != len(f.received) {
		t.Error("calls came twice or out of order")
	}
	for _, n := range f.accepted {
		if _, there := slices.BinarySearch(f.received, n); !there {
			t.Errorf("call %d was accepted and did not arrive", n)
		}
	}
	t.Logf("%d calls of %d were accepted; events: %v", len(f.accepted), f.called, f.published)
}
