package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/message"
)

func testKafkaTooLarge(t *testing.T, k *kafkaWorld, prefix string) {
	opts := k.options(prefix)
	opts.MaxRecord = 1 << 16
	b := k.open(t, opts)
	large := order("k", 0)
	large.Payload.JSON = []byte(`["` + strings.Repeat("x", 1<<17) + `"]`)
	if err := errors.Join(b.Publish(large), b.Publish(order("k", 1))); err != nil {
		t.Fatal(err)
	}
	var j journal
	stop := consume(t, b, j.note)
	eventually(t, "the next one passes it", func() bool { return j.count() == 1 && b.Stats().UpLost == 1 })
	stop()
	if s := b.Stats(); s.UpItems != 0 || s.UpBytes != 0 {
		t.Errorf("%+v", s)
	}
}

// A record comes out of Kafka as it went in, and says who wrote it.
func TestKafkaRecord(t *testing.T) {
	b := &Kafka{opts: KafkaOptions{Version: "1.2.3"}}
	up := order("k", 1)
	up.Name, up.Payload.JSON, up.Rooms = "say", []byte(`["x"]`), []string{"", "a&b"}
	key, headers, body := up.Record()
	rec := kafkaRecord("t", key, b.signed(headers), body)
	got, body := fromKafka(rec)
	if !slices.Contains(got, message.Header{Name: "X-Server-Version", Value: "1.2.3"}) || string(rec.Key) != "k" {
		t.Errorf("key %s, headers %v", rec.Key, got)
	}
	again, err := message.ParseUp(got, body)
	if err != nil || !reflect.DeepEqual(again, up) {
		t.Errorf("got %+v, %v", again, err)
	}
}

// slow is a network on which nothing gets out while it is held.
type slow struct {
	mu   sync.Mutex
	held chan struct{} // closed when it is let go; nil: it is not held
}

func (s *slow) hold() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := make(chan struct{})
	s.held = held
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held = nil
		close(held)
	})
}

func (s *slow) dial(ctx context.Context, network, host string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, host)
	return slowConn{conn, s}, err
}

type slowConn struct {
	net.Conn
	s *slow
}

func (c slowConn) Write(p []byte) (int, error) {
	c.s.mu.Lock()
	held := c.s.held
	c.s.mu.Unlock()
	if held != nil {
		<-held
	}
	return c.Conn.Write(p)
}

// A session moves from one gateway to another, which publishes its events from then
// on. What the first one published is not overtaken, however slow its way to Kafka is.
func testKafkaFlush(t *testing.T, k *kafkaWorld, prefix string) {
	opts, network := k.options(prefix), &slow{}
	opts.dial = network.dial
	from, to := k.open(t, opts), k.open(t, k.options(prefix))
	if err := from.Flush(t.Context()); err != nil {
		t.Errorf("of nothing: %v", err)
	}
	var j journal
	stop := consume(t, to, j.note)
	const keys, each = 8, 100
	publish := func(b *livingKafka, first int) {
		for i := range each {
			for key := range keys {
				if err := b.Publish(order(fmt.Sprint(key), first+i)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	publish(from, 0)
	if err := from.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if written := from.Stats().Written; written != keys*each {
		t.Errorf("flushed, and Kafka has %d events of %d", written, keys*each)
	}

	release := network.hold()
	defer release()
	publish(from, each)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := from.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while nothing gets out: %v", err)
	}
	moved := make(chan error, 1)
	go func() { moved <- from.Flush(t.Context()) }()
	// Whoever has not moved does not wait for those who do.
	if err := errors.Join(to.Publish(order("other", 0)), to.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	if len(moved) > 0 {
		t.Errorf("flushed, while nothing got out: %v", <-moved)
	}
	release()
	if err := <-moved; err != nil {
		t.Fatal(err)
	}
	publish(to, 2*each)
	eventually(t, "all arrive", func() bool { return j.count() == 3*keys*each+1 })
	stop()
	for key, got := range j.got {
		if key != "other" && (len(got) != 3*each || !slices.IsSortedFunc(got, byNumber)) {
			t.Errorf("key %s: %d events: %v", key, len(got), got)
		}
	}
}

// What is flushed is everything before, in whatever order Kafka takes it.
func TestUpQueueFlush(t *testing.T) {
	var q upQueue
	q.init(100, 1<<20)
	publish := func(n int) (events []queued) {
		for i := range n {
			if err := q.put(order("k", i)); err != nil {
				t.Fatal(err)
			}
		}
		return slices.Clone(q.takeAll(nil))
	}
	open := func(flush <-chan struct{}) bool {
		select {
		case <-flush:
			return false
		default:
			return true
		}
	}
	done := func(e queued) { q.done(e.up.Size(), e.wave) }
	if q.endWave() != nil {
		t.Error("there is nothing to wait for")
	}
	first := publish(2)
	one := q.endWave()
	again := q.endWave()
	second := publish(2)
	two := q.endWave()
	third := publish(1)
	done(second[0])
	done(first[0])
	done(second[1])
	if !open(one) || !open(again) || !open(two) {
		t.Error("flushed before the first was there")
	}
	done(first[1])
	if open(one) || open(again) || open(two) {
		t.Error("not flushed when all before were there")
	}
	three := q.endWave()
	fourth := publish(1)
	done(third[0])
	if open(three) {
		t.Error("flushed waits for what came after")
	}
	done(fourth[0])
	if q.endWave() != nil || len(q.waves) != 1 || q.items != 0 || q.bytes != 0 {
		t.Errorf("%d waves, %d items", len(q.waves), q.items)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	publish(1)
	if err := q.flush(ended); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
