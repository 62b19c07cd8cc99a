package bus

import (
	"errors"
	"testing"
	"time"

	"holdfast/internal/message"
)

// A partition that was another node's has what was for that, which nobody gets.
func testKafkaInboxOfAnother(t *testing.T, k *kafkaWorld, prefix string) {
	b, api := k.open(t, k.options(prefix)), k.open(t, k.options(prefix))
	got := make(chan string, 10)
	detachN := b.AttachNode("n", func(d *message.Down) error { got <- "n" + d.Call; return nil })
	if err := api.Send(t.Context(), "n", someDown("1")); err != nil {
		t.Fatal(err)
	}
	if g := <-got; g != "n1" {
		t.Errorf("got %s", g)
	}
	detachN()
	detachM := b.AttachNode("m", func(d *message.Down) error { got <- "m" + d.Call; return nil })
	if err := api.Send(t.Context(), "n", someDown("2")); err != nil { // by what it remembers
		t.Fatal(err)
	}
	if err := api.Send(t.Context(), "m", someDown("3")); err != nil {
		t.Fatal(err)
	}
	if g := <-got; g != "m3" {
		t.Errorf("got %s", g)
	}
	detachM()
	if s := b.Stats(); s.Strays != 1 {
		t.Errorf("%d strays", s.Strays)
	}
	eventually(t, "the place of the one that has ended is forgotten", func() bool {
		return errors.Is(api.Send(t.Context(), "n", someDown("")), message.ErrGone)
	})
}

func testKafkaInboxMoves(t *testing.T, k *kafkaWorld, prefix string) {
	b, api := k.open(t, k.options(prefix)), k.open(t, k.options(prefix))
	got := make(chan string, 100)
	defer b.AttachNode("n", func(d *message.Down) error { got <- d.Call; return nil })()
	if err := api.Send(t.Context(), "n", someDown("1")); err != nil {
		t.Fatal(err)
	}
	<-got
	// Nobody knows for a while; what was known is used, and the reader stays.
	b.dir.setAway(true)
	eventually(t, "what is remembered is old", func() bool {
		api.places.mu.Lock()
		defer api.places.mu.Unlock()
		return time.Since(api.places.known["n"].asked) > placeTime
	})
	if err := api.Send(t.Context(), "n", someDown("2")); err != nil {
		t.Fatal(err)
	}
	if call := <-got; call != "2" {
		t.Errorf("got %s", call)
	}
	if err := api.Send(t.Context(), "unheard", someDown("")); !errors.Is(err, errAway) {
		t.Errorf("a node that nobody can look up: %v", err)
	}
	b.dir.setAway(false)
	b.dir.move("n", 3)
	eventually(t, "records reach the new partition", func() bool {
		if err := api.Send(t.Context(), "n", someDown("3")); err != nil {
			t.Fatal(err)
		}
		api.places.mu.Lock()
		defer api.places.mu.Unlock()
		return api.places.known["n"].partition == 3
	})
	if err := api.Send(t.Context(), "n", someDown("last")); err != nil {
		t.Fatal(err)
	}
	for call := range got {
		if call == "last" {
			break
		}
	}
}

func testKafkaMoreInboxes(t *testing.T, k *kafkaWorld, prefix string) {
	opts := k.options(prefix)
	opts.Partitions = 1
	b := k.open(t, opts)
	got := make(chan string, 10)
	for _, node := range []string{"x", "y", "z"} {
		defer b.AttachNode(node, func(d *message.Down) error { got <- node + d.Call; return nil })()
	}
	for _, node := range []string{"x", "y", "z"} {
		if err := b.Send(t.Context(), node, someDown("!")); err != nil {
			t.Fatal(err)
		}
		if g := <-got; g != node+"!" {
			t.Errorf("got %s", g)
		}
	}
}
