package bus

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/message"
)

// TestMemoryGathers has a consumer be woken for each event while they are few, and
// once for many of them, a moment later, when they are not.
func TestMemoryGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(Options{})
		ctx, cancel := context.WithCancel(t.Context())
		var handled []time.Time // owned by the consumer until it has ended
		var ended sync.WaitGroup
		ended.Go(func() {
			if err := m.Consume(ctx, func(*message.Up) { handled = append(handled, time.Now()) }); err != nil {
				t.Error(err)
			}
		})
		var published []time.Time
		publish := func(n int, every time.Duration) {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for range n {
				<-tick.C
				published = append(published, time.Now())
				if err := m.Publish(&message.Up{}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
		}
		const few, many = 50, 1000
		publish(few, 2*gathering)
		publish(many, gathering/10)
		publish(few, 2*gathering)
		cancel()
		ended.Wait()

		if len(handled) != len(published) {
			t.Fatalf("%d of %d events are handled", len(handled), len(published))
		}
		turns := map[time.Time]struct{}{}
		for i := range handled {
			late := handled[i].Sub(published[i])
			if late < 0 || late > gathering {
				t.Fatalf("event %d is handled %v after it came", i, late)
			}
			if busy := i >= few && i <= few+many; !busy && late != 0 {
				t.Fatalf("event %d waits for %v though it is quiet", i, late)
			}
			turns[handled[i]] = struct{}{}
		}
		if most := 2*few + many/10 + 10; len(turns) > most {
			t.Errorf("the consumer is woken %d times, which is more than %d", len(turns), most)
		}
	})
}
