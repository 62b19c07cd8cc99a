package gateway

import (
	"fmt"
	"testing"

	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/testnet"
)

// TestLoudSession has one session send as fast as it can, and nobody take the events: it
// is held up while the bus has room for others. When they are taken, all of them come,
// in order.
func TestLoudSession(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, func(c *Config) {
			c.Shards = 1
			c.Bus = testnet.NewBus(1<<14, 1)
		})
		bus := w.gw.cfg.Bus.(*testnet.Bus)
		next := func() *message.Up {
			t.Helper()
			up, err := bus.Up(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return up
		}
		loud, _ := w.join("")
		quiet, _ := w.join("")
		const all = 40_000
		sent := make(chan error, 1)
		go func() {
			for i := range all {
				if err := loud.Text(fmt.Sprintf(`42["loud",%d]`, i)); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		w.until("the loud one is held up", func() bool { return w.gw.Stats.PausedReads.Load() > 0 })
		w.onShards(func(sh *shard) {
			if len(sh.quota.loud) != 1 || sh.backlog.pending() {
				t.Errorf("%d sessions are loud, %d events wait for room", len(sh.quota.loud), len(sh.backlog.events))
			}
		})
		for i := range quotaPart {
			if err := quiet.Text(fmt.Sprintf(`42["quiet",%d]`, i)); err != nil {
				t.Fatal(err)
			}
		}
		w.until("the quiet one is heard", func() bool { return w.gw.Stats.EventsIn.Load() > quotaPart && bus.Filled() < 1 })
		want := map[string]int{}
		for want["loud"] < all || want["quiet"] < quotaPart {
			up := next()
			if up.Type != message.EventMessage {
				continue
			}
			if got := string(up.Payload.JSON); got != fmt.Sprintf("[%d]", want[up.Name]) {
				t.Fatalf("%s has sent %s, want %d", up.Name, got, want[up.Name])
			}
			want[up.Name]++
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
		w.onShards(func(sh *shard) {
			if sh.backlog.pending() {
				t.Error("the bus was full")
			}
		})
	})
}

// TestQuotaAdapts follows the size of the part.
func TestQuotaAdapts(t *testing.T) {
	q := quota{part: quotaPart}
	for _, step := range []struct {
		filled float64
		rounds int
		want   int
	}{
		{0, 4, 16 * quotaPart},
		{busBusy * 1.5, 3, 2 * quotaPart},
		{busBusy * 1.5, 9, quotaPart},
		{0.9, 9, 1},
		{(busBusy + busAtRest) / 2, 5, 1},
		{busBusy * 1.5, 5, 1},
		{0, 40, quotaMost},
	} {
		for range step.rounds {
			q.adapt(step.filled)
		}
		if q.part != step.want {
			t.Errorf("%d rounds at %f: %d, want %d", step.rounds, step.filled, q.part, step.want)
		}
	}
}
