package bus

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"holdfast/internal/message"
)

func testKafkaUnreachable(t *testing.T, k *kafkaWorld, prefix string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // nobody accepts, nobody answers
	silent := l.Addr().String()
	closed := "127.0.0.1:1"
	for _, addr := range []string{silent, closed} {
		opts := k.options(prefix)
		opts.Brokers, opts.Timeout = []string{addr}, time.Second
		b, err := NewKafka(opts)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err = b.Reach(t.Context())
		if err == nil || !strings.Contains(err.Error(), addr) || time.Since(began) > 3*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	b := k.open(t, k.options(prefix))
	if err := b.Reach(t.Context()); err != nil {
		t.Error(err)
	}
}

func testKafkaOutage(t *testing.T, k *kafkaWorld, _ string) {
	opts := k.options("outage")
	opts.UpItems, opts.SendItems, opts.ReplyItems = 100, 100, 100
	opts.Timeout = time.Second
	b := k.open(t, opts)
	var j journal
	stop := consume(t, b, j.note)
	inbox := make(chan string, 1000)
	detach := b.AttachNode("n", func(d *message.Down) error { inbox <- d.Call; return nil })
	accepted := 0
	publish := func() {
		switch err := b.Publish(order("k", accepted)); {
		case err == nil:
			accepted++
		case !errors.Is(err, message.ErrFull):
			t.Fatal(err)
		}
	}
	publish()
	eventually(t, "an event arrives", func() bool { return j.count() == 1 })

	resume := k.broker.Stall()
	began := time.Now()
	push := &message.Down{Push: &message.Delivery{Push: &message.Push{}}}
	refused := false
	for range 200 {
		publish()
		_ = b.Reply("nobody", &message.Reply{})
		refused = refused || errors.Is(b.Send(t.Context(), "n", push), message.ErrFull)
	}
	// A busy machine takes its time to stop a process.
	if took, s := time.Since(began), b.Stats(); took > 500*time.Millisecond || s.UpItems > opts.UpItems || s.UpFull == 0 || !refused {
		t.Errorf("while Kafka hangs: %d accepted and %d refused in %v, %d wait; pushes refused: %v", accepted, s.UpFull, took, s.UpItems, refused)
	}
	eventually(t, "a sender who waits is told", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		err := b.Send(ctx, "n", someDown("lost"))
		return err != nil && !errors.Is(err, message.ErrGone)
	})
	resume()
	eventually(t, "all that was accepted arrives", func() bool { return j.distinct("k") >= accepted })

	for range 50 {
		publish()
	}
	k.broker.Kill()
	for range 20 {
		publish()
	}
	k.broker.Restart()
	for range 20 {
		publish()
	}
	eventually(t, "all that was accepted arrives", func() bool { return j.distinct("k") >= accepted })
	eventually(t, "the inbox works again", func() bool { return b.Send(t.Context(), "n", someDown("back")) == nil })
	for call := range inbox {
		if call == "back" {
			break
		}
	}
	stop()
	detach()
	if seen := j.distinct("k"); seen != accepted {
		t.Errorf("%d events of %d", seen, accepted)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
