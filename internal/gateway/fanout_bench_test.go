package gateway

import (
	"context"
	"fmt"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/testnet"
)

// way is a node of one shard and the way of messages through it, without anything
// beside it that allocates: clients discard what they get, and the bus what it is given.
type way struct {
	g    *Gateway
	bus  *sinkBus
	base string
	got  atomic.Int64 // bytes that clients have got
}

// sinkBus takes everything and keeps nothing.
type sinkBus struct {
	receive func(*message.Down) error
	ups     atomic.Int64
}

func (b *sinkBus) Publish(*message.Up) error          { b.ups.Add(1); return nil }
func (b *sinkBus) Filled() float64                    { return 0 }
func (b *sinkBus) Reply(string, *message.Reply) error { return nil }
func (b *sinkBus) AttachNode(_ string, receive func(*message.Down) error) (detach func()) {
	b.receive = receive
	return func() {}
}

func newWay(tb testing.TB, clients int) (*way, []*testnet.Client) {
	tb.Helper()
	w := &way{bus: &sinkBus{}}
	var err error
	w.g, err = New(Config{
		Node: "n1", Registry: &testnet.Registry{}, Log: &testnet.Log{}, Bus: w.bus, Auth: testnet.Auth{}, IDs: &testnet.IDs{},
		Shards: 1, AckedByTheBus: func(string) bool { return true },
	})
	if err != nil {
		tb.Fatal(err)
	}
	w.g.Start()
	srv := httptest.NewServer(w.g)
	w.base = srv.URL + "/socket.io/"
	var reading sync.WaitGroup
	var all []*testnet.Client
	tb.Cleanup(func() {
		for _, c := range all {
			c.Kill()
		}
		reading.Wait()
		if err := w.g.Close(context.Background()); err != nil {
			tb.Error(err)
		}
		srv.Close()
	})
	for range clients {
		c, err := testnet.Dial(w.base, nil, nil)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, c)
		if _, err := c.Connect("/", `{"guid":"doc"}`); err != nil {
			tb.Fatal(err)
		}
		reading.Go(func() { c.Discard(func(n int) { w.got.Add(int64(n)) }) })
	}
	return w, all
}

// push sends a push to the room and waits until all its members have been given it.
func (w *way) push(p *message.Push, members int) error {
	want := w.g.Stats.EventsOut.Load() + int64(members)
	d := &message.Down{Push: &message.Delivery{Push: p, Stamps: []message.Stamp{{Key: room}}, Pushed: time.Now()}}
	if err := w.bus.receive(d); err != nil {
		return err
	}
	for w.g.Stats.EventsOut.Load() < want {
		runtime.Gosched()
	}
	return nil
}

var sixteen = &message.Push{
	ID: "m", Event: "e", Targets: []message.Key{room}, Payload: message.Payload{JSON: []byte(`["0123456789abcdef"]`)},
}

// mallocs counts what the process allocates while f runs.
func mallocs(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}

// BenchmarkFanOut sends a push to a room of WebSockets; an iteration is over when all
// of them have been given it. The clients read in the same process.
func BenchmarkFanOut(b *testing.B) {
	for _, size := range []int{1, 200} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			w, _ := newWay(b, size)
			n := 0
			b.ReportAllocs()
			allocated := mallocs(func() {
				for b.Loop() {
					if err := w.push(sixteen, size); err != nil {
						b.Fatal(err)
					}
					n++
				}
			})
			b.ReportMetric(float64(allocated)/float64(n*size), "allocs/delivery")
		})
	}
}

// BenchmarkLargeFanOut is the same with large pushes, which leave without being copied from
// a size on.
func BenchmarkLargeFanOut(b *testing.B) {
	for _, bytes := range []int{2 << 10, 8 << 10, 16 << 10, 64 << 10, 256 << 10} {
		b.Run(fmt.Sprint(bytes), func(b *testing.B) {
			const size = 32
			w, _ := newWay(b, size)
			large := *sixteen
			large.Payload.JSON = []byte(`["` + strings.Repeat("x", bytes) + `"]`)
			b.SetBytes(int64(size * bytes))
			b.ReportAllocs()
			for b.Loop() {
				w.got.Store(0)
				if err := w.push(&large, size); err != nil {
					b.Fatal(err)
				}
				for w.got.Load() < int64(size*bytes) {
					runtime.Gosched()
				}
			}
		})
	}
}

// emitting has a client emit events that ask for an acknowledgement, a hundred at a time.
type emitting struct {
	*way
	client *testnet.Client
	events []string
	acks   int64 // bytes of their acknowledgements
}

func newEmitting(tb testing.TB) *emitting {
	w, clients := newWay(tb, 1)
	e := &emitting{way: w, client: clients[0]}
	for i := range 100 {
		e.events = append(e.events, fmt.Sprintf(`42%d["e","0123456789abcdef"]`, i))
		e.acks += int64(2 + len(fmt.Sprintf(`43%d[]`, i))) // with the frame's header
	}
	return e
}

// emit returns when the bus has the events and the client its acknowledgements.
func (e *emitting) emit() error {
	ups, got := e.bus.ups.Load()+int64(len(e.events)), e.got.Load()+e.acks
	if err := e.client.Texts(e.events...); err != nil {
		return err
	}
	for e.bus.ups.Load() < ups || e.got.Load() < got {
		runtime.Gosched()
	}
	return nil
}

// BenchmarkEventsWithAck is a hundred events on their way up, and their acknowledgements.
func BenchmarkEventsWithAck(b *testing.B) {
	e := newEmitting(b)
	n := 0
	allocated := mallocs(func() {
		for b.Loop() {
			if err := e.emit(); err != nil {
				b.Fatal(err)
			}
			n += len(e.events)
		}
	})
	b.ReportMetric(float64(allocated)/float64(n), "allocs/event")
}

// TestNoAllocationForEachEvent holds what the benchmark shows: an event that a client
// emits and its acknowledgement cost less than one allocation on their way through a
// shard, the client's own writing in this process included.
func TestNoAllocationForEachEvent(t *testing.T) {
	const rounds = 20
	e := newEmitting(t)
	if err := e.emit(); err != nil { // buffers grow to what they need
		t.Fatal(err)
	}
	allocated := mallocs(func() {
		for range rounds {
			if err := e.emit(); err != nil {
				t.Fatal(err)
			}
		}
	})
	if each := float64(allocated) / float64(rounds*len(e.events)); each >= 1 {
		t.Errorf("%.2f allocations for each event with its acknowledgement", each)
	}
}

// TestNoAllocationForEachDelivery holds what the benchmark shows: what a push allocates
// on its way through a shard does not depend on how many get it.
func TestNoAllocationForEachDelivery(t *testing.T) {
	const size, pushes = 100, 200
	w, _ := newWay(t, size)
	if err := w.push(sixteen, size); err != nil { // buffers grow to what they need
		t.Fatal(err)
	}
	allocated := mallocs(func() {
		for range pushes {
			if err := w.push(sixteen, size); err != nil {
				t.Fatal(err)
			}
		}
	})
	if each := float64(allocated) / (size * pushes); each > 0.5 {
		t.Errorf("%.2f allocations for each delivery", each)
	}
}

// TestFanOutGivesWay: while a shard walks through large rooms, other goroutines have a
// turn after each slice, where there is one processor for all of them.
func TestFanOutGivesWay(t *testing.T) {
	const size, pushes = 2 * sliceSockets, 50
	w, _ := newWay(t, size)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	before := w.g.Stats.EventsOut.Load()
	for i := range pushes {
		p := *sixteen
		p.ID, p.Targets = fmt.Sprint(i), []message.Key{room, message.AllKey("/")} // of two rooms: each is a fan-out of its own
		d := &message.Down{Push: &message.Delivery{Push: &p, Stamps: []message.Stamp{{Key: room}, {Key: message.AllKey("/")}}, Pushed: time.Now()}}
		if err := w.bus.receive(d); err != nil {
			t.Fatal(err)
		}
	}
	turns := 0
	for got := int64(0); got < size*pushes; got = w.g.Stats.EventsOut.Load() - before {
		if got > 0 {
			turns++
		}
		runtime.Gosched()
	}
	if turns < pushes {
		t.Errorf("others had %d turns during %d fan-outs of %d slices", turns, pushes, size/sliceSockets)
	}
}
