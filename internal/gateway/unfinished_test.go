package gateway

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/testnet"
	"holdfast/wsframe"
)

// large is the frame of an event of so many bytes, about.
func large(size int) []byte {
	text := `42["e","` + strings.Repeat("x", size) + `"]`
	return wsframe.AppendMaskedFrame(nil, wsframe.Text, false, [4]byte{}, []byte(text))
}

// sendBytes sends bytes as they are.
func (w *world) sendBytes(c *testnet.Client, b []byte) {
	w.t.Helper()
	if err := c.Bytes(b); err != nil {
		w.t.Fatal(err)
	}
}

// heldNow waits until so many bytes of unfinished messages are held, about.
func (w *world) heldNow(holders, bytes int) {
	w.t.Helper()
	w.until("messages are held", func() bool {
		q := w.gw.Queues().Unfinished
		return q.Items == holders && q.Bytes >= bytes*9/10 && q.Bytes <= bytes*11/10
	})
}

func (w *world) closedWith(c *testnet.Client, want wsframe.CloseCode) {
	w.t.Helper()
	var closed *testnet.Closed
	if _, err := c.Packet(); !errors.As(err, &closed) || closed.Code != want {
		w.t.Errorf("closed with %v, want %d", err, want)
	}
}

// TestMessagesWithoutEnd has clients begin large messages, more than the node has room
// for: the oldest goes, and who ends its message is heard.
func TestMessagesWithoutEnd(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, func(c *Config) { c.Shards, c.UnfinishedBytes = 1, 150_000 })
		frame := large(100_000)
		first, _ := w.join("")
		w.sendBytes(first, frame[:60_000])
		w.heldNow(1, 60_000)
		// What is small, or comes whole, is nothing of the kind.
		small, _ := w.join("")
		w.sendBytes(small, frame[:leastHeld/2])
		w.sendBytes(first, frame[60_000:])
		w.heldNow(0, 0)
		// With attachments on their way.
		w.sendBytes(first, wsframe.AppendMaskedFrame(nil, wsframe.Text, false, [4]byte{}, []byte(`452-["b",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)))
		w.sendBytes(first, wsframe.AppendMaskedFrame(nil, wsframe.Binary, false, [4]byte{}, make([]byte, 60_000)))
		w.heldNow(1, 60_000)
		second, _ := w.join("")
		w.sendBytes(second, frame[:60_000])
		w.heldNow(2, 120_000)
		third, _ := w.join("")
		w.sendBytes(third, frame[:60_000])
		w.closedWith(first, wsframe.TryAgainLater)
		w.heldNow(2, 120_000)
		second.Kill()
		w.heldNow(1, 60_000)
		heard := func() {
			t.Helper()
			if up := w.up(message.EventMessage); up.Name != "e" || len(up.Payload.JSON) < 100_000 {
				t.Errorf("event %q of %d bytes", up.Name, len(up.Payload.JSON))
			}
		}
		heard() // of the first
		w.sendBytes(third, frame[60_000:])
		heard()
		w.sendBytes(small, frame[leastHeld/2:])
		heard()
		w.heldNow(0, 0)
		if got := w.gw.Stats.CrowdedOut.Load(); got != 1 {
			t.Errorf("%d were closed for it", got)
		}
	})
}

// TestMessageTime has a client send a message for ever, a byte at a time.
func TestMessageTime(t *testing.T) {
	w := newWorld(t, netpoll.Auto, func(c *Config) { c.MessageTime = 300 * time.Millisecond })
	c, _ := w.join("")
	frame := large(100_000)
	w.sendBytes(c, frame[:50_000])
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		every := time.NewTicker(20 * time.Millisecond)
		defer every.Stop()
		for i := 50_000; ; i++ {
			select {
			case <-every.C:
				_ = c.Bytes(frame[i : i+1]) // it may be closed by now
			case <-stop:
				return
			}
		}
	}()
	w.closedWith(c, wsframe.TryAgainLater)
	close(stop)
	<-stopped
	w.heldNow(0, 0)
}

// TestPostsWithoutEnd is TestMessagesWithoutEnd for the bodies of posts: a large one is
// refused, a small one goes on.
func TestPostsWithoutEnd(t *testing.T) {
	w := newWorld(t, netpoll.Auto, func(c *Config) { c.UnfinishedBytes = 100_000 })
	slow, other := w.joinByPolling(""), w.joinByPolling("")
	body, never := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.base+"?EIO=4&transport=polling&sid="+slow.Open.SID, body)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if resp, err := w.http.Do(r); err == nil {
			_ = resp.Body.Close()
		}
	}()
	if _, err := never.Write([]byte(`42["e","` + strings.Repeat("x", largeBody+90_000))); err != nil {
		t.Fatal(err)
	}
	w.until("the body is counted", func() bool { return w.gw.posted.Load() > 80_000 })
	if err := other.Post(`42["small"]`); err != nil {
		t.Errorf("a small post: %v", err)
	}
	if err := other.Post(`42["e","` + strings.Repeat("x", largeBody+90_000) + `"]`); !refused(err, http.StatusServiceUnavailable) {
		t.Errorf("a large post: %v", err)
	}
	_ = never.Close()
	<-ended
	w.until("nothing is counted any more", func() bool { return w.gw.posted.Load() == 0 })
}
