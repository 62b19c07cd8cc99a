package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"holdfast/internal/message"
)

// shared is what a bus of several processes does besides.
type shared interface {
	transport
	ConsumeSettled(ctx context.Context, handle func(up *message.Up, settled func())) error
	Flush(ctx context.Context) error
	Close(ctx context.Context) error
}

var (
	_ shared = (*Redis)(nil)
	_ shared = (*Kafka)(nil)
)

// share is what a bus tells of its part in what is shared.
type share struct {
	partitions, inFlight int
	malformed            uint64
}

func shareOf(bus shared) share {
	if b, ok := bus.(*Redis); ok {
		s := b.Stats()
		return share{s.Partitions, s.InFlight, s.Malformed}
	}
	s := bus.(*livingKafka).Stats()
	return share{s.Partitions, s.InFlight, s.Malformed}
}

// testShared is the contract's part for buses of several processes. open returns one
// more of those that share what has that name, which is divided into all partitions.
func testShared(t *testing.T, all int, open func(t *testing.T, name string) shared) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, open func() shared, all int)
	}{
		{"consumers share keys in order", testSharedKeys},
		{"a stopped consumer settles later", testStoppedConsumer},
		{"an inbox is taken over", testInboxTakenOver},
		{"what is malformed is dropped", testMalformed},
		{"close flushes", testCloseFlushes},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := strings.ReplaceAll(c.name, " ", "-")
			c.test(t, func() shared { return open(t, name) }, all)
		})
	}
}

// order is an event with an order key and a number.
func order(key string, i int) *message.Up {
	return &message.Up{ID: fmt.Sprint(i), Type: message.EventMessage, Order: key, Client: &message.Client{ID: key}}
}

// journal collects what consumers got, by order key.
type journal struct {
	mu  sync.Mutex
	got map[string][]string
	all int
}

func (j *journal) note(up *message.Up) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.got == nil {
		j.got = make(map[string][]string)
	}
	j.got[up.Order] = append(j.got[up.Order], up.ID)
	j.all++
}

func (j *journal) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all
}

// distinct is how many events of a key have come, whatever came twice.
func (j *journal) distinct(key string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(slices.Compact(slices.Sorted(slices.Values(j.got[key]))))
}

func byNumber(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func testSharedKeys(t *testing.T, open func() shared, all int) {
	a, b, gateway := open(), open(), open()
	var j journal
	stopA := consume(t, a, j.note)
	const keys, each = 40, 50
	total := 0
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			for k := range keys {
				if err := gateway.Publish(order(fmt.Sprint("k", k), i)); err != nil {
					t.Fatal(err)
				}
				total++
			}
		}
	}
	publish(0, each)
	eventually(t, "the first has all partitions", func() bool { return shareOf(a).partitions == all })
	stopB := consume(t, b, j.note)
	publish(each, 2*each)
	eventually(t, "two consumers have half each", func() bool {
		return shareOf(a).partitions == all/2 && shareOf(b).partitions == all/2
	})
	publish(2*each, 3*each)
	eventually(t, "all arrive", func() bool { return j.count() >= total })
	stopA()
	eventually(t, "one that stops hands over", func() bool {
		return shareOf(a).partitions == 0 && shareOf(b).partitions == all
	})
	publish(3*each, 4*each)
	eventually(t, "all arrive", func() bool { return j.count() >= total })
	stopB()
	for k, got := range j.got {
		if len(got) != 4*each || !slices.IsSortedFunc(got, byNumber) {
			t.Errorf("key %s: %d events: %v", k, len(got), got)
		}
	}
	if j.all != total {
		t.Errorf("%d events of %d", j.all, total)
	}
}

// What is under way when a consumer stops belongs to it until it is settled.
func testStoppedConsumer(t *testing.T, open func() shared, all int) {
	a, b := open(), open()
	for i := range 2 {
		if err := a.Publish(order("k", i)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var settle func()
	if err := a.ConsumeSettled(ctx, func(_ *message.Up, settled func()) {
		settle = settled
		cancel()
	}); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 2)
	stop := consume(t, b, func(up *message.Up) { got <- up.ID })
	if err := errors.Join(b.Publish(order("k", 2)), b.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.(*Redis); ok { // where partitions change hands one by one
		eventually(t, "the others change hands", func() bool { return shareOf(b).partitions == all-1 })
	}
	if len(got) > 0 {
		t.Errorf("event %s overtook one in flight", <-got)
	}
	settle()
	for _, want := range []string{"1", "2"} {
		if id := <-got; id != want {
			t.Errorf("got %s, want %s", id, want)
		}
	}
	stop()
}

// The same node in another process, as after a crash that nobody has noticed.
func testInboxTakenOver(t *testing.T, open func() shared, _ int) {
	a, b, api := open(), open(), open()
	got := make(chan string, 10)
	attach := func(bus shared, name string) (detach func()) {
		return bus.AttachNode("n", func(d *message.Down) error { got <- name + d.Call; return nil })
	}
	send := func(call, want string) {
		t.Helper()
		if err := api.Send(t.Context(), "n", someDown(call)); err != nil {
			t.Fatal(err)
		}
		if g := <-got; g != want {
			t.Errorf("got %s, want %s", g, want)
		}
	}
	detachA := attach(a, "a")
	send("1", "a1")
	detachB := attach(b, "b")
	send("2", "b2")
	detachA()
	send("3", "b3")
	detachB()
}

func testMalformed(t *testing.T, open func() shared, _ int) {
	b := open()
	var j journal
	stop := consume(t, b, j.note)
	got := make(chan string, 1)
	defer b.AttachNode("n", func(d *message.Down) error { got <- d.Call; return nil })()
	writeMalformed(t, b)
	if err := errors.Join(b.Publish(order("k", 1)), b.Send(t.Context(), "n", someDown("x"))); err != nil {
		t.Fatal(err)
	}
	<-got
	eventually(t, "the good one arrives, the bad one is dropped", func() bool {
		s := shareOf(b)
		return j.count() == 1 && s.malformed == 2 && s.inFlight == 0
	})
	stop()
}

// writeMalformed puts an event of the order "k", and a record to the node "n", that
// nobody can read where they belong.
func writeMalformed(t *testing.T, bus shared) {
	t.Helper()
	if b, ok := bus.(*Redis); ok {
		stream, _ := b.inboxKeys(inboxNode, "n")
		for _, key := range []string{b.eventsKey(partitionOf("k")), stream} {
			if err := b.client.Do(t.Context(), b.client.B().Xadd().Key(key).Id("*").FieldValue().FieldValue("X-Event", "?").Build()).Error(); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	b, bad := bus.(*livingKafka), []message.Header{{Name: "X-Event", Value: "?"}}
	up := kafkaRecord(b.upTopic(), "k", bad, nil)
	down := kafkaRecord(b.inboxTopic(), "k", append(bad, message.Header{Name: inboxHeader, Value: "n"}), nil)
	if err := errors.Join(b.events.ProduceSync(t.Context(), up).FirstErr(), b.records.ProduceSync(t.Context(), down).FirstErr()); err != nil {
		t.Fatal(err)
	}
}

func testCloseFlushes(t *testing.T, open func() shared, _ int) {
	b, reader := open(), open()
	replies := make(chan string, 100)
	defer reader.AttachAPI("api", func(r *message.Reply) { replies <- r.Call })()
	for i := range 100 {
		if err := errors.Join(b.Publish(order("k", i)), b.Reply("api", &message.Reply{Call: fmt.Sprint(i)})); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if call := <-replies; call != fmt.Sprint(i) {
			t.Fatalf("reply %s in place of %d", call, i)
		}
	}
	var j journal
	stop := consume(t, reader, j.note)
	eventually(t, "all events arrive", func() bool { return j.count() == 100 })
	stop()
	for what, err := range map[string]error{
		"publish": b.Publish(order("k", 0)), "reply": b.Reply("api", &message.Reply{}), "send": b.Send(t.Context(), "n", someDown("")),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if s := statsOf(b); s.UpItems != 0 || s.UpBytes != 0 || s.Published != 100 || s.Replied != 100 {
		t.Errorf("%+v", s)
	}
}

// benchmarkUpstream publishes events and consumes them, as many at once as are wanted.
func benchmarkUpstream(b *testing.B, bus transport) {
	ctx, cancel := context.WithCancel(b.Context())
	arrived, done := make(chan struct{}, 1<<16), make(chan struct{})
	go func() {
		defer close(done)
		_ = bus.Consume(ctx, func(*message.Up) { arrived <- struct{}{} })
	}()
	b.ReportAllocs()
	sent, got := 0, 0
	for b.Loop() {
		for sent-got > 1<<14 {
			<-arrived
			got++
		}
		if bus.Publish(order(fmt.Sprint(sent%100), sent)) == nil {
			sent++
		}
	}
	for ; got < sent; got++ {
		<-arrived
	}
	b.StopTimer()
	cancel()
	<-done
}
