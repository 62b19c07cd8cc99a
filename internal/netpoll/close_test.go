package netpoll

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Close is given in every state; probe complains of any call that follows it.
func TestCloseInEveryState(t *testing.T) {
	fill := func(p *probe) {
		for block := make([]byte, 64<<10); !p.short; {
			p.write(block)
		}
	}
	states := []struct {
		name string
		run  func(b *bench, p *probe, peer net.Conn)
	}{
		{"idle", func(_ *bench, p *probe, _ net.Conn) { p.close() }},
		{"twice", func(_ *bench, p *probe, _ net.Conn) { p.close(); p.close() }},
		{"with input waiting", func(b *bench, p *probe, peer net.Conn) {
			send(b, peer, []byte("unread"))
			p.close()
		}},
		{"inside OnData", func(b *bench, p *probe, peer net.Conn) {
			p.onData = func([]byte) { p.close() }
			send(b, peer, pattern(300_000))
			b.until("it closed", func() bool { return p.shut })
		}},
		{"inside OnData with a write before it", func(b *bench, p *probe, peer net.Conn) {
			p.onData = func([]byte) { fill(p); p.close() }
			send(b, peer, pattern(1000))
			b.until("it closed", func() bool { return p.shut })
		}},
		{"paused with input waiting", func(b *bench, p *probe, peer net.Conn) {
			p.conn.PauseReading()
			send(b, peer, []byte("unread"))
			b.settle()
			p.close()
			p.conn.ResumeReading()
		}},
		{"with output waiting", func(_ *bench, p *probe, _ net.Conn) { fill(p); p.close() }},
		{"inside OnWritable", func(b *bench, p *probe, peer net.Conn) {
			p.onRoom = func() { p.close() }
			fill(p)
			go func() { _, _ = io.Copy(io.Discard, peer) }()
			b.until("it closed", func() bool { return p.shut })
		}},
		{"inside OnClosed", func(b *bench, p *probe, peer net.Conn) {
			p.onClosed = func(error) { p.close() }
			_ = peer.Close()
			b.until("it closed", func() bool { return p.shut })
		}},
		{"after OnClosed", func(b *bench, p *probe, peer net.Conn) {
			_ = peer.Close()
			b.until("the end came", func() bool { return len(p.ends) > 0 })
			p.close()
		}},
	}
	for _, s := range states {
		t.Run(s.name, func(t *testing.T) {
			each(t, nil, func(t *testing.T, b *bench) {
				p, peer := b.connect()
				s.run(b, p, peer)
				b.settle()
				if b.Len() != 0 {
					t.Errorf("Len is %d", b.Len())
				}
				if _, err := p.conn.Writev([][]byte{{1}}); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Writev after Close: %v", err)
				}
				p.conn.PauseReading()
				p.conn.ResumeReading()
				p.conn.Close()
				b.untilEnd(peer)
			})
		})
	}
}

// waitForEnd reads until the peer sees that the connection is closed.
func waitForEnd(t testing.TB, peer net.Conn) {
	t.Helper()
	_ = peer.SetReadDeadline(time.Now().Add(patience))
	var timeout net.Error
	if _, err := io.Copy(io.Discard, peer); errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the peer does not see the end")
	}
}

// untilEnd is waitForEnd while the engine is polled, which may deliver output yet.
func (b *bench) untilEnd(peer net.Conn) {
	b.Helper()
	seen := make(chan struct{})
	go func() {
		defer close(seen)
		waitForEnd(b, peer)
	}()
	b.until("the peer sees the end", func() bool {
		select {
		case <-seen:
			return true
		default:
			return false
		}
	})
}

// What Writev took before Close arrives, on a transport that has no buffer of
// its own too.
func TestOutputBeforeCloseArrives(t *testing.T) {
	each(t, nil, func(t *testing.T, b *bench) {
		p, peer := b.connect()
		want := pattern(10_000)
		if n := p.write(want); n != len(want) {
			t.Fatalf("took %d", n)
		}
		p.close()
		_ = peer.SetReadDeadline(time.Now().Add(patience))
		got, err := io.ReadAll(peer)
		if err != nil || string(got) != string(want) {
			t.Errorf("the peer got %d bytes, %v", len(got), err)
		}
	})
}

func TestHandlersCloseEachOther(t *testing.T) {
	each(t, nil, func(t *testing.T, b *bench) {
		var probes []*probe
		for range 20 {
			p, peer := b.connect()
			p.onData = func([]byte) {
				for _, other := range probes {
					other.close()
				}
			}
			probes = append(probes, p)
			send(t, peer, []byte("x"))
		}
		b.until("all were closed", func() bool { return b.Len() == 0 })
		b.settle()
	})
}

func TestEngineClose(t *testing.T) {
	each(t, nil, func(t *testing.T, b *bench) {
		busy, busyPeer := b.connect()
		for block := make([]byte, 64<<10); !busy.short; {
			busy.write(block)
		}
		lingering, _ := b.connect()
		lingering.write(make([]byte, 16<<10))
		lingering.close()
		paused, pausedPeer := b.connect()
		paused.conn.PauseReading()
		send(t, pausedPeer, []byte("x"))
		b.settle()
		busy.shut, paused.shut = true, true

		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Errorf("Close again: %v", err)
		}
		if err := b.Poll(0); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Poll after Close: %v", err)
		}
		server, peer := b.pair(t)
		if _, err := b.Add(server, busy); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Add after Close: %v", err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { _ = server.Close() }) // still the caller's; a TLS alert needs a reader
		waitForEnd(t, peer)
		wg.Wait()
		_ = peer.Close()
		b.Wake()
		busy.conn.Close()
		waitForEnd(t, busyPeer)
		if b.Len() != 0 {
			t.Errorf("Len is %d", b.Len())
		}
	})
}

func TestHandlerClosesTheEngine(t *testing.T) {
	each(t, nil, func(t *testing.T, b *bench) {
		for range 3 {
			p, peer := b.connect()
			p.onData = func([]byte) {
				p.shut = true
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			}
			send(t, peer, []byte("x"))
		}
		for b.Poll(patience) == nil {
		}
		if b.Len() != 0 {
			t.Errorf("Len is %d", b.Len())
		}
	})
}

// An end of the output alone comes behind all of it, and input goes on to the peer's end.
func TestCloseWrite(t *testing.T) {
	each(t, nil, func(t *testing.T, b *bench) {
		p, peer := b.connect()
		half, ok := p.conn.(HalfCloser)
		if !ok {
			return // served by a goroutine
		}
		last := pattern(1000)
		p.write(last)
		if err := half.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := p.conn.Writev([][]byte{{1}}); err == nil {
			t.Error("Writev works after it")
		}
		more := pattern(3 << 20) // far more than waits in buffers
		heard := make(chan string, 1)
		go func() {
			_ = peer.SetDeadline(time.Now().Add(patience))
			if _, err := peer.Write(more); err != nil {
				t.Error(err)
			}
			got, err := io.ReadAll(peer)
			if err != nil {
				t.Error(err)
			}
			_ = peer.Close()
			heard <- string(got)
		}()
		b.until("the peer's end", func() bool { return len(p.ends) == 1 })
		if got := <-heard; got != string(last) {
			t.Errorf("the peer got %d bytes of %d", len(got), len(last))
		}
		if len(p.data) != len(more) {
			t.Errorf("%d bytes came of %d", len(p.data), len(more))
		}
		if err := half.CloseWrite(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		p.close()
		if err := half.CloseWrite(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}
