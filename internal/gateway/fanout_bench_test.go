package gateway

import (
	"context"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/testnet"
)

// BenchmarkFanOut sends a push to a room of WebSockets; an iteration is over when all
// of them have been given it. The clients read in the same process.
func BenchmarkFanOut(b *testing.B) {
	for _, size := range []int{1, 200} {
		b.Run(map[int]string{1: "1", 200: "200"}[size], func(b *testing.B) { benchmarkFanOut(b, size) })
	}
}

func benchmarkFanOut(b *testing.B, size int) {
	bus, log := testnet.NewBus(1<<16, 1), &testnet.Log{}
	g, err := New(Config{
		Node: "n1", Registry: &testnet.Registry{}, Log: log, Bus: bus, Auth: testnet.Auth{}, IDs: &testnet.IDs{}, Shards: 1,
	})
	if err != nil {
		b.Fatal(err)
	}
	g.Start()
	srv := httptest.NewServer(g)
	b.Cleanup(func() {
		if err := g.Close(context.Background()); err != nil {
			b.Error(err)
		}
		srv.Close()
	})
	for range size {
		c, err := testnet.Dial(srv.URL+"/socket.io/", nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(c.Kill)
		if _, err := c.Connect("/", `{"guid":"doc"}`); err != nil {
			b.Fatal(err)
		}
		go func() {
			for {
				if _, err := c.Message(); err != nil {
					return
				}
			}
		}()
	}
	p := &message.Push{ID: "m", Event: "e", Targets: []message.Key{room}, Payload: message.Payload{JSON: []byte(`["0123456789abcdef"]`)}}
	b.ReportAllocs()
	want := g.Stats.EventsOut.Load()
	for b.Loop() {
		want += int64(size)
		d := &message.Delivery{Push: p, Stamps: []message.Stamp{{Key: room}}, Pushed: time.Now()}
		if err := bus.Send("n1", &message.Down{Push: d}); err != nil {
			b.Fatal(err)
		}
		for g.Stats.EventsOut.Load() < want {
			runtime.Gosched()
		}
	}
}
