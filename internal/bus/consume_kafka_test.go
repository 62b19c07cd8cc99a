package bus

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/message"
)

func testKafkaKilledConsumer(t *testing.T, k *kafkaWorld, prefix string) {
	gateway := k.open(t, k.options(prefix))
	opts, network := k.options(prefix), &cable{}
	opts.dial, opts.Timeout = network.dial, 300*time.Millisecond
	first := k.open(t, opts)
	const n, settledTo = 210, 150
	for i := range n {
		if err := gateway.Publish(order(fmt.Sprint(i%7), i)); err != nil {
			t.Fatal(err)
		}
	}
	// The first has got all and settled the older ones when it dies.
	taken := make(chan string, n)
	done := make(chan error, 1)
	go func() {
		done <- first.ConsumeSettled(t.Context(), func(up *message.Up, settled func()) {
			var i int
			if _, err := fmt.Sscan(up.ID, &i); err != nil {
				t.Error(err)
			}
			if i < settledTo {
				settled()
				settled() // once more is no more
			}
			taken <- up.ID
		})
	}()
	for range n {
		<-taken
	}
	if got := first.Stats().InFlight; got != n-settledTo {
		t.Errorf("%d in flight", got)
	}
	eventually(t, "what is settled is committed", func() bool {
		first.Kafka.mu.RLock()
		m := first.member
		first.Kafka.mu.RUnlock()
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, p := range m.parts {
			if p.committed != p.position.Offset {
				return false
			}
		}
		return true
	})
	network.cutAll()
	second := k.open(t, k.options(prefix))
	var j journal
	var fresh atomic.Int64
	stop := consume(t, second, func(up *message.Up) {
		if !up.Again {
			fresh.Add(1)
		}
		j.note(up)
	})
	eventually(t, "the rest comes again", func() bool { return j.count() >= n-settledTo })
	stop()
	if fresh.Load() > 0 {
		t.Errorf("of %d events nobody is told that they come again", fresh.Load())
	}
	seen := make(map[string]bool)
	for key, got := range j.got {
		if !slices.IsSortedFunc(got, byNumber) {
			t.Errorf("key %s: %v", key, got)
		}
		for _, id := range got {
			seen[id] = true
		}
	}
	for i := settledTo; i < n; i++ {
		if !seen[fmt.Sprint(i)] {
			t.Errorf("event %d was not settled and did not come again", i)
		}
	}
	if j.all > n-settledTo { // each partition's settled ones lie before the others
		t.Errorf("%d events came again, of %d that were not settled", j.all, n-settledTo)
	}
	if err := first.Close(t.Context()); err != nil {
		t.Error(err) // it had nothing to write
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// One that stood still for so long that others have its partitions hands over nothing
// of what it has read before, when it goes on.
func testKafkaSeeminglyDeadConsumer(t *testing.T, k *kafkaWorld, prefix string) {
	gateway := k.open(t, k.options(prefix))
	opts, net := k.options(prefix), &stillness{}
	opts.dial, opts.Timeout = net.dial, time.Minute
	first := k.open(t, opts)
	const n, later = 100, "later"
	for i := range n {
		if err := gateway.Publish(order("k", i)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all are written", func() bool { return gateway.Stats().Written == n })
	var afterwards journal
	ctx, cancel := context.WithCancel(t.Context())
	began, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- first.Consume(ctx, func(up *message.Up) {
			if up.ID == "0" {
				close(began)
				<-goOn
			} else {
				afterwards.note(up)
			}
		})
	}()
	<-began
	net.Lock()
	move := sync.OnceFunc(func() {
		close(goOn)
		net.Unlock()
	})
	defer move()
	second := k.open(t, k.options(prefix))
	var j journal
	stop := consume(t, second, j.note)
	eventually(t, "the other one has all", func() bool { return j.count() == n })
	move()
	eventually(t, "both have partitions", func() bool {
		return first.Stats().Partitions == 2 && second.Stats().Partitions == 2
	})
	for i := range 20 { // to the partitions of both
		if err := gateway.Publish(order(fmt.Sprint(later, i), n+i)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "it has work again", func() bool { return afterwards.count() > 0 && afterwards.count()+j.count() == n+20 })
	if old := afterwards.got["k"]; len(old) > 0 {
		t.Errorf("%d events were handed over that others had long since: %v", len(old), old)
	}
	cancel()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func testKafkaWindow(t *testing.T, k *kafkaWorld, prefix string) {
	opts := k.options(prefix)
	opts.Window = 3
	b := k.open(t, opts)
	for i := range 5 {
		if err := b.Publish(order("k", i)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	type handed struct {
		id      string
		settled func()
	}
	got, done := make(chan handed, 5), make(chan error, 1)
	go func() {
		done <- b.ConsumeSettled(ctx, func(up *message.Up, settled func()) { got <- handed{up.ID, settled} })
	}()
	var held []handed
	for range 3 {
		held = append(held, <-got)
	}
	held[1].settled() // behind one that is not
	held[2].settled()
	if len(got) > 0 {
		t.Errorf("event %s is beyond the window", (<-got).id)
	}
	held[0].settled()
	for _, want := range []string{"3", "4"} {
		e := <-got
		if e.id != want {
			t.Errorf("got %s, want %s", e.id, want)
		}
		e.settled()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A record that was not settled comes again, under the same ID.
func testKafkaPushes(t *testing.T, k *kafkaWorld, prefix string) {
	b := k.open(t, k.options(prefix))
	rec := kafkaRecord(b.pushTopic(), "r", []message.Header{{Name: "X-Name", Value: "hello"}}, []byte(`["x"]`))
	if err := b.events.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
		t.Fatal(err)
	}
	once := func(settle bool) (got message.PushRecord) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if err := b.ConsumePushes(ctx, func(p message.PushRecord, settled func()) {
			got = p
			if settle {
				settled()
			}
			cancel()
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := once(false)
	if string(first.Body) != `["x"]` || !slices.Contains(first.Headers, message.Header{Name: "X-Name", Value: "hello"}) || first.ID == "" {
		t.Errorf("got %+v", first)
	}
	ended, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := b.Close(ended); err != nil {
		t.Fatal(err)
	}
	b = k.open(t, k.options(prefix))
	if second := once(true); second.ID != first.ID {
		t.Errorf("it comes again as %s, not as %s", second.ID, first.ID)
	}
}
