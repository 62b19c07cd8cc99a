package bus

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"holdfast/internal/bus/kafkatest"
	"holdfast/internal/message"
)

// BenchmarkKafkaLatency has a thousand records a second go each way, and tells how
// long they took.
func BenchmarkKafkaLatency(b *testing.B) {
	k := &kafkaWorld{broker: kafkatest.Start(b, "group.min.session.timeout.ms=500")}
	gateway, api := k.open(b, k.options("latency")), k.open(b, k.options("latency"))
	took := make(chan time.Duration, 1<<16)
	note := func(sent string) {
		var ns int64
		if _, err := fmt.Sscan(sent, &ns); err != nil {
			b.Error(err)
		}
		took <- time.Since(time.Unix(0, ns))
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- api.Consume(ctx, func(up *message.Up) { note(up.Name) }) }()
	defer gateway.AttachNode("n", func(d *message.Down) error { note(d.Push.Event); return nil })()
	now := func() string { return fmt.Sprint(time.Now().UnixNano()) }
	for name, send := range map[string]func(i int) error{
		"down": func(int) error {
			return api.Send(ctx, "n", &message.Down{Push: &message.Delivery{Push: &message.Push{ID: "m", Event: now()}}})
		},
		"up": func(i int) error {
			up := order(fmt.Sprint(i%100), i)
			up.Name = now()
			return gateway.Publish(up)
		},
	} {
		b.Run(name, func(b *testing.B) {
			all := make([]time.Duration, 0, b.N)
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for i := range b.N {
				<-tick.C
				if err := send(i); err != nil {
					b.Fatal(err)
				}
			}
			for range b.N {
				all = append(all, <-took)
			}
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
}

func BenchmarkKafkaUpstream(b *testing.B) {
	k := &kafkaWorld{broker: kafkatest.Start(b, "group.min.session.timeout.ms=500")}
	bus := k.open(b, k.options("upstream"))
	benchmarkUpstream(b, bus)
}
