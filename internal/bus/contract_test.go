package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/message"
)

// transport is what every bus must do, whatever carries it.
type transport interface {
	Publish(up *message.Up) error
	Consume(ctx context.Context, handle func(*message.Up)) error
	AttachNode(node string, receive func(*message.Down) error) (detach func())
	Send(ctx context.Context, node string, d *message.Down) error
	AttachAPI(id string, receive func(*message.Reply)) (detach func())
	Reply(to string, r *message.Reply) error
}

var (
	_ transport = (*Memory)(nil)
	_ transport = (*Redis)(nil)
	_ transport = (*Kafka)(nil)
)

// remote tells of a bus whose receivers are in other processes: then a sender
// learns of a full queue, a refusal and an absent ws-api late or not at all.
func remote(bus transport) bool {
	_, ok := bus.(*Memory)
	return !ok
}

// statsOf returns what all buses count.
func statsOf(bus transport) Stats {
	switch b := bus.(type) {
	case *Redis:
		return b.Stats().Stats
	case *livingKafka:
		return b.Stats().Stats
	default:
		return bus.(*Memory).Stats()
	}
}

// eventually repeats try until it is true. In a bubble the clock is a fake one.
func eventually(t *testing.T, what string, try func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for range 10_000 {
		if try() {
			return
		}
		<-tick.C
	}
	t.Fatalf("not within twenty seconds: %s", what)
}

// testTransport is the contract. open returns a bus with room for items events of
// 1,000 bytes each. It runs in a synctest bubble unless the bus does I/O.
func testTransport(t *testing.T, bubble func(*testing.T, func(*testing.T)), open func(t *testing.T, items int) transport) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, open func(t *testing.T, items int) transport)
	}{
		{"upstream keeps its order", testUpstreamOrder},
		{"what a consumer leaves the next one gets", testConsumeAgain},
		{"one consumer at a time", testOneConsumer},
		{"node inbox", testNodeInbox},
		{"API inbox", testAPIInbox},
		{"the latest to attach receives", testReattach},
		{"a refusal is no loss without a trace", testRefusal},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) { c.test(t, open) })
		})
	}
}

// testBounded is the contract's part for a bus in which an event takes room until it
// is handled.
func testBounded(t *testing.T, bubble func(*testing.T, func(*testing.T)), open func(t *testing.T, items int) transport) {
	t.Run("upstream is bounded", func(t *testing.T) {
		bubble(t, func(t *testing.T) { testUpstreamFull(t, open) })
	})
}

func event(i int) *message.Up {
	return &message.Up{ID: fmt.Sprint(i), Type: message.EventMessage, Payload: message.Payload{JSON: []byte(strings.Repeat("x", 1000-256))}}
}

func someDown(call string) *message.Down {
	return &message.Down{Ack: &message.Ack{Client: "c"}, Call: call}
}

// consume runs a consumer and returns what stops it and waits for its end.
func consume(t *testing.T, bus transport, handle func(*message.Up)) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- bus.Consume(ctx, handle) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("consume: %v", err)
		}
	}
}

func testUpstreamOrder(t *testing.T, open func(t *testing.T, items int) transport) {
	const n = 3000
	bus := open(t, n)
	got := make(chan string, n)
	stop := consume(t, bus, func(up *message.Up) { got <- up.ID })
	for i := range n {
		if err := bus.Publish(event(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		if id := <-got; id != fmt.Sprint(i) {
			t.Fatalf("event %s in place of %d", id, i)
		}
	}
	stop()
}

func testUpstreamFull(t *testing.T, open func(t *testing.T, items int) transport) {
	bus := open(t, 3)
	room := 3
	if remote(bus) {
		room = 6 // as many in Redis as wait to get there
	}
	handling, release := make(chan struct{}), make(chan struct{})
	stop := consume(t, bus, func(*message.Up) {
		handling <- struct{}{}
		<-release
	})
	published := 0
	publish := func() bool {
		err := bus.Publish(event(published))
		switch {
		case err == nil:
			published++
		case !errors.Is(err, message.ErrFull):
			t.Fatal(err)
		}
		return err == nil
	}
	for range room {
		eventually(t, "room for an event", publish)
	}
	<-handling // one of them, which still counts
	if publish() {
		t.Fatal("there is room for one too many")
	}
	release <- struct{}{}
	<-handling
	eventually(t, "room after one was handled", publish)
	if publish() {
		t.Fatal("it should be full again")
	}
	for range room - 1 {
		release <- struct{}{}
		<-handling
	}
	release <- struct{}{}
	stop()
}

func testConsumeAgain(t *testing.T, open func(t *testing.T, items int) transport) {
	bus := open(t, 10)
	for i := range 10 {
		if err := bus.Publish(event(i)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := bus.Consume(ctx, func(up *message.Up) {
		got = append(got, up.ID)
		if len(got) == 4 {
			cancel()
		}
	})
	if err != nil || len(got) != 4 {
		t.Fatalf("got %v, %v", got, err)
	}
	rest := make(chan string, 10)
	stop := consume(t, bus, func(up *message.Up) { rest <- up.ID })
	for len(got) < 10 {
		got = append(got, <-rest)
	}
	stop()
	if want := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func testOneConsumer(t *testing.T, open func(t *testing.T, items int) transport) {
	bus := open(t, 10)
	first, second := make(chan string, 10), make(chan string, 10)
	stopFirst := consume(t, bus, func(up *message.Up) { first <- up.ID })
	if err := bus.Publish(event(0)); err != nil {
		t.Fatal(err)
	}
	<-first
	stopSecond := consume(t, bus, func(up *message.Up) { second <- up.ID })
	if err := bus.Publish(event(1)); err != nil {
		t.Fatal(err)
	}
	<-first
	stopFirst()
	if err := bus.Publish(event(2)); err != nil {
		t.Fatal(err)
	}
	if id := <-second; id != "2" {
		t.Errorf("the second consumer got %s", id)
	}
	stopSecond()
}

func testNodeInbox(t *testing.T, open func(t *testing.T, items int) transport) {
	bus := open(t, 10)
	if err := bus.Send(t.Context(), "a", &message.Down{}); !errors.Is(err, message.ErrGone) {
		t.Errorf("before it is attached: %v", err)
	}
	a, b := make(chan *message.Down, 10), make(chan *message.Down, 10)
	detach := bus.AttachNode("a", func(d *message.Down) error { a <- d; return nil })
	defer bus.AttachNode("b", func(d *message.Down) error { b <- d; return nil })()
	for i := range 5 {
		if err := bus.Send(t.Context(), "a", someDown(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		if d := <-a; d.Call != fmt.Sprint(i) {
			t.Errorf("record %s in place of %d", d.Call, i)
		}
	}
	detach()
	detach()
	if err := bus.Send(t.Context(), "a", &message.Down{}); !errors.Is(err, message.ErrGone) {
		t.Errorf("after it was detached: %v", err)
	}
	if len(b) > 0 {
		t.Error("the other node got a record")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := bus.Send(ended, "b", &message.Down{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

func testAPIInbox(t *testing.T, open func(t *testing.T, items int) transport) {
	bus := open(t, 10)
	if err := bus.Reply("api", &message.Reply{}); !remote(bus) && !errors.Is(err, message.ErrGone) {
		t.Errorf("before it is attached: %v", err)
	}
	if b, ok := bus.(*Redis); ok {
		eventually(t, "the reply to nobody is counted", func() bool { return b.Stats().ReplyGone == 1 })
	}
	got := make(chan *message.Reply, 1)
	detach := bus.AttachAPI("api", func(r *message.Reply) { got <- r })
	if err := bus.Reply("api", &message.Reply{Call: "7", Done: true}); err != nil {
		t.Fatal(err)
	}
	if r := <-got; r.Call != "7" || !r.Done {
		t.Errorf("got %+v", r)
	}
	detach()
	if err := bus.Reply("api", &message.Reply{}); !remote(bus) && !errors.Is(err, message.ErrGone) {
		t.Errorf("after it was detached: %v", err)
	}
}

func testReattach(t *testing.T, open func(t *testing.T, items int) transport) {
	bus := open(t, 10)
	got := make(chan string, 10)
	attach := func(name string) func() {
		return bus.AttachNode("a", func(*message.Down) error { got <- name; return nil })
	}
	detachOld := attach("old")
	detachNew := attach("new")
	detachOld() // must not take the new one with it
	if err := bus.Send(t.Context(), "a", someDown("")); err != nil {
		t.Fatal(err)
	}
	if name := <-got; name != "new" {
		t.Errorf("%s received", name)
	}
	detachNew()
}

func testRefusal(t *testing.T, open func(t *testing.T, items int) transport) {
	bus := open(t, 10)
	defer bus.AttachNode("a", func(*message.Down) error { return message.ErrFull })()
	err := bus.Send(t.Context(), "a", someDown(""))
	if remote(bus) {
		eventually(t, "the refusal is counted", func() bool { return err == nil && statsOf(bus).SendFailed == 1 })
		return
	}
	if !errors.Is(err, message.ErrFull) {
		t.Errorf("got %v", err)
	}
}

func TestMemory(t *testing.T) {
	open := func(_ *testing.T, items int) transport { return NewMemory(Options{UpItems: items}) }
	testTransport(t, synctest.Test, open)
	testBounded(t, synctest.Test, open)
}

func TestMemoryBoundInBytes(t *testing.T) {
	open := func(_ *testing.T, items int) transport { return NewMemory(Options{UpBytes: int64(items) * 1000}) }
	testTransport(t, synctest.Test, open)
	testBounded(t, synctest.Test, open)
}

func TestMemoryTakesAnEventAboveItsBoundAlone(t *testing.T) {
	bus := NewMemory(Options{UpBytes: 10})
	if err := bus.Publish(event(0)); err != nil {
		t.Error(err)
	}
	if err := bus.Publish(event(1)); !errors.Is(err, message.ErrFull) {
		t.Error(err)
	}
}

func TestMemoryDetachWaitsForCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := NewMemory(Options{})
		release, inside := make(chan struct{}), false
		detach := bus.AttachNode("a", func(*message.Down) error {
			inside = true
			<-release
			inside = false
			return nil
		})
		go func() {
			if err := bus.Send(t.Context(), "a", &message.Down{}); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		detached := make(chan struct{})
		go func() {
			detach()
			close(detached)
		}()
		synctest.Wait()
		select {
		case <-detached:
			t.Error("detached while receive runs")
		default:
		}
		close(release)
		<-detached
		if inside {
			t.Error("receive has not returned")
		}
	})
}

func TestMemoryConcurrent(t *testing.T) {
	const senders, each = 4, 500
	bus := NewMemory(Options{UpItems: 16})
	last := make(map[string]int)
	handled := make(chan struct{}, senders*each)
	room := make(chan struct{}, senders)
	stop := consume(t, bus, func(up *message.Up) {
		var n int
		if _, err := fmt.Sscan(up.ID, &n); err != nil || n != last[up.Session]+1 {
			t.Errorf("sender %s: %s after %d", up.Session, up.ID, last[up.Session])
		}
		last[up.Session] = n
		handled <- struct{}{}
		select {
		case room <- struct{}{}:
		default:
		}
	})
	detach := bus.AttachNode("n", func(*message.Down) error { return nil })
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := 1; i <= each; {
				if bus.Publish(&message.Up{ID: fmt.Sprint(i), Session: fmt.Sprint(s)}) == nil {
					i++
				} else {
					<-room
				}
				_ = bus.Send(t.Context(), "n", &message.Down{}) // either way is right
				bus.Stats()
			}
		})
	}
	detach()
	wg.Wait()
	for range senders * each {
		<-handled
	}
	stop()
	s := bus.Stats()
	if s.Published != senders*each || s.Handled != s.Published || s.UpItems != 0 || s.UpBytes != 0 {
		t.Errorf("got %+v", s)
	}
}

func TestMemoryStats(t *testing.T) {
	bus := NewMemory(Options{UpItems: 1})
	_ = bus.Publish(event(0))
	_ = bus.Publish(event(1))
	_ = bus.Send(t.Context(), "a", &message.Down{})
	_ = bus.Reply("x", &message.Reply{})
	defer bus.AttachAPI("x", func(*message.Reply) {})()
	_ = bus.Reply("x", &message.Reply{})
	refuse := true
	defer bus.AttachNode("a", func(*message.Down) error {
		if refuse {
			return message.ErrFull
		}
		return nil
	})()
	_ = bus.Send(t.Context(), "a", &message.Down{})
	refuse = false
	_ = bus.Send(t.Context(), "a", &message.Down{})
	want := Stats{
		UpItems: 1, UpBytes: 1000, MaxUpItems: 1, MaxUpBytes: defaultUpBytes, Published: 1, UpFull: 1,
		Sent: 1, SendGone: 1, SendFailed: 1, Replied: 1, ReplyGone: 1,
	}
	if got := bus.Stats(); got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func BenchmarkUpstream(b *testing.B) {
	bus := NewMemory(Options{UpItems: 1 << 30, UpBytes: 1 << 40})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = bus.Consume(ctx, func(*message.Up) {})
	}()
	up := event(0)
	b.ReportAllocs()
	for b.Loop() {
		_ = bus.Publish(up)
	}
	cancel()
	<-done
}

func BenchmarkSend(b *testing.B) {
	bus := NewMemory(Options{})
	defer bus.AttachNode("a", func(*message.Down) error { return nil })()
	d := &message.Down{}
	b.ReportAllocs()
	for b.Loop() {
		_ = bus.Send(b.Context(), "a", d)
	}
}
