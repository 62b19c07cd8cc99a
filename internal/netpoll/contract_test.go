package netpoll

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// send writes from a goroutine of its own, for a pipe's Write waits for the
// reader, and joins it at the end of the test.
func send(t testing.TB, peer net.Conn, pieces ...[]byte) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, b := range pieces {
			if _, err := peer.Write(b); err != nil {
				return // the test closed it
			}
		}
	})
	t.Cleanup(func() {
		_ = peer.Close()
		wg.Wait()
	})
}

// pattern is n bytes of which every piece tells where it belongs.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

func TestDataComesInOrderHoweverItIsCut(t *testing.T) {
	message := pattern(100_000)
	cuts := map[string]int{"bytes": 1, "half frames": 7, "frames": 1000, "at once": len(message)}
	each(t, nil, func(t *testing.T, b *bench) {
		for name, size := range cuts {
			want := message
			if size < 10 {
				want = message[:200]
			}
			p, peer := b.connect()
			send(t, peer, slices.Collect(slices.Chunk(want, size))...)
			b.until("all came", func() bool { return len(p.data) >= len(want) })
			if !bytes.Equal(p.data, want) {
				t.Errorf("%s: other bytes than were sent", name)
			}
			p.close()
		}
	})
}

func TestEcho(t *testing.T) {
	each(t, nil, func(t *testing.T, b *bench) {
		p, peer := b.connect()
		p.onData = func(in []byte) { p.write([]byte("<"), in, nil, []byte(">")) }
		got := make(chan []byte, 1)
		go func() {
			_, _ = peer.Write([]byte("hello"))
			answer := make([]byte, 7)
			_, _ = io.ReadFull(peer, answer)
			got <- answer
		}()
		var answer []byte
		b.until("the answer came", func() bool {
			select {
			case answer = <-got:
			default:
			}
			return answer != nil
		})
		if string(answer) != "<hello>" {
			t.Errorf("the peer got %q", answer)
		}
	})
}

func TestEndComesAfterTheData(t *testing.T) {
	each(t, nil, func(t *testing.T, b *bench) {
		p, peer := b.connect()
		p.onClosed = func(error) {
			if b.Len() != 1 {
				t.Errorf("Len before Close is %d", b.Len())
			}
		}
		go func() {
			_, _ = peer.Write([]byte("last words"))
			_ = peer.Close()
		}()
		b.until("the end came", func() bool { return len(p.ends) > 0 })
		if string(p.data) != "last words" || !errors.Is(p.ends[0], io.EOF) {
			t.Errorf("got %q, then %v", p.data, p.ends)
		}
		if _, err := p.conn.Writev([][]byte{{1}}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Writev after OnClosed: %v", err)
		}
		p.conn.PauseReading()
		p.conn.ResumeReading()
		b.settle()
		p.close()
		if b.Len() != 0 {
			t.Errorf("Len after Close is %d", b.Len())
		}
	})
}

func TestReset(t *testing.T) {
	each(t, func(name string) bool { return name == "tcp" }, func(t *testing.T, b *bench) {
		p, peer := b.connect()
		if err := peer.(*net.TCPConn).SetLinger(0); err != nil {
			t.Fatal(err)
		}
		_ = peer.Close()
		b.until("the failure came", func() bool { return len(p.ends) > 0 })
		if !errors.Is(p.ends[0], syscall.ECONNRESET) {
			t.Errorf("OnClosed got %v", p.ends[0])
		}
	})
}

func TestPauseAndResume(t *testing.T) {
	each(t, nil, func(t *testing.T, b *bench) {
		p, peer := b.connect()
		message := pattern(300_000)
		p.onData = func([]byte) { p.conn.PauseReading() }
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = peer.Write(message)
			_ = peer.Close()
		})
		defer wg.Wait()
		b.until("the first piece came", func() bool { return p.calls == 1 })
		b.settle()
		if p.calls != 1 || len(p.ends) > 0 {
			t.Fatalf("%d calls of OnData and %v while paused", p.calls, p.ends)
		}
		for len(p.data) < len(message) {
			calls := p.calls
			p.conn.ResumeReading()
			p.conn.ResumeReading()
			b.until("more came", func() bool { return p.calls > calls })
		}
		b.settle()
		if len(p.ends) > 0 {
			t.Fatalf("the end came while paused: %v", p.ends)
		}
		p.conn.ResumeReading()
		b.until("the end came", func() bool { return len(p.ends) > 0 })
		if !bytes.Equal(p.data, message) {
			t.Error("other bytes than were sent")
		}
	})
}

// A paused connection whose peer is gone must neither lose what the peer said
// nor make every Poll return at once, although a hang-up cannot be masked.
func TestPausedWhilePeerGoes(t *testing.T) {
	each(t, sockets, func(t *testing.T, b *bench) {
		p, peer := b.connect()
		p.conn.PauseReading()
		if _, err := peer.Write([]byte("last words")); err != nil {
			t.Fatal(err)
		}
		_ = peer.Close()
		b.settle()
		start := time.Now()
		b.poll(50 * time.Millisecond)
		if took := time.Since(start); took < 40*time.Millisecond {
			t.Errorf("Poll spins: it returned after %v", took)
		}
		if len(p.ends) > 0 || len(p.data) > 0 {
			t.Fatalf("paused, and yet got %q, %v", p.data, p.ends)
		}
		p.conn.ResumeReading()
		b.until("the end came", func() bool { return len(p.ends) > 0 })
		if string(p.data) != "last words" {
			t.Errorf("got %q", p.data)
		}
	})
}

func TestEndedConnectionDoesNotSpin(t *testing.T) {
	each(t, nil, func(t *testing.T, b *bench) {
		p, peer := b.connect()
		_ = peer.Close()
		b.until("the end came", func() bool { return len(p.ends) > 0 })
		b.settle()
		start := time.Now()
		b.poll(50 * time.Millisecond)
		if took := time.Since(start); took < 40*time.Millisecond {
			t.Errorf("Poll returned after %v", took)
		}
	})
}

func TestPollWaitsAsLongAsItIsTold(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			b := newBench(t, kind, Options{}, tcpPair)
			b.connect()
			for _, d := range []time.Duration{20 * time.Millisecond, 0, 20 * time.Millisecond, time.Nanosecond} {
				start := time.Now()
				b.poll(d)
				if took := time.Since(start); took < d || took > d+patience/2 {
					t.Errorf("Poll(%v) took %v", d, took)
				}
			}
			// No deadline of a Poll before may end one without a limit.
			woken := make(chan struct{})
			time.AfterFunc(60*time.Millisecond, func() { close(woken); b.Wake() })
			b.poll(-1)
			select {
			case <-woken:
			default:
				t.Error("Poll(-1) returned without a reason")
			}
		})
	}
}

func TestWakeBeforePoll(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			b := newBench(t, kind, Options{}, tcpPair)
			b.Wake()
			b.Wake()
			b.poll(-1) // hangs if the Wake is lost
			start := time.Now()
			b.poll(20 * time.Millisecond)
			if took := time.Since(start); took < 20*time.Millisecond {
				t.Errorf("two calls of Wake ended two Polls: the second took %v", took)
			}
		})
	}
}

// Many goroutines post and wake; the shard sleeps without a limit whenever it
// finds nothing, so one lost Wake hangs it.
func TestWakeStorm(t *testing.T) {
	const posters, posts = 8, 2000
	for _, kind := range kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			b := newBench(t, kind, Options{}, tcpPair)
			guard := time.AfterFunc(patience, func() { panic("a Wake was lost") })
			defer guard.Stop()
			var posted atomic.Int64
			var wg sync.WaitGroup
			for range posters {
				wg.Go(func() {
					for range posts {
						posted.Add(1)
						b.Wake()
						runtime.Gosched() // lets the shard fall asleep now and then
					}
				})
			}
			for posted.Load() < posters*posts {
				b.poll(-1)
			}
			wg.Wait()
		})
	}
}

// A peer that always has more to read must not keep the shard from others.
func TestLoudPeerStarvesNobody(t *testing.T) {
	each(t, sockets, func(t *testing.T, b *bench) {
		loud, shouting := b.connect()
		quiet, whisper := b.connect()
		flood := make(chan struct{})
		go func() {
			defer close(flood)
			for b := make([]byte, 64<<10); ; {
				if _, err := shouting.Write(b); err != nil {
					return
				}
			}
		}()
		for want := range 20 {
			if _, err := whisper.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
			before := loud.calls
			b.until("the quiet one was heard", func() bool { return len(quiet.data) > want })
			if n := loud.calls - before; n > 200 {
				t.Errorf("the loud one was read %d times meanwhile", n)
			}
			loud.data = loud.data[:0]
		}
		loud.close()
		_ = shouting.Close()
		<-flood
	})
}

func TestUnknownKind(t *testing.T) {
	if _, err := New(Kind(9), Options{}); err == nil {
		t.Error("no error")
	}
	if !haveEpoll {
		if _, err := New(Epoll, Options{}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("epoll: %v", err)
		}
	}
}
