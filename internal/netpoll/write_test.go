package netpoll

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// A slow reader gets every byte once, in pieces that Writev takes as it can.
func TestPartialWritesAreResumed(t *testing.T) {
	message := pattern(6 << 20)
	each(t, nil, func(t *testing.T, b *bench) {
		p, peer := b.connect()
		rest := message
		push := func() {
			for len(rest) > 0 && !p.short {
				// Pieces on both sides of the limit between copying and gathering.
				piece := rest[:min(len(rest), 3000+len(rest)%90_000)]
				at := len(piece) / 3
				rest = rest[p.write(piece[:at], piece[at:]):]
			}
		}
		p.onRoom = push
		push()
		if len(rest) == 0 {
			t.Fatal("everything was taken at once")
		}
		// A transport with buffers in a row takes a few pieces before it is full.
		b.untilStill("output", func() int { return len(rest) })
		var got bytes.Buffer
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = io.CopyBuffer(&got, io.LimitReader(onlyReader{peer}, int64(len(message))), make([]byte, 1777))
			b.Wake()
		})
		b.until("all was taken", func() bool { return len(rest) == 0 })
		wg.Wait()
		if !bytes.Equal(got.Bytes(), message) {
			t.Errorf("the peer got %d bytes of %d, or others", got.Len(), len(message))
		}
		if p.room == 0 {
			t.Error("OnWritable was never called")
		}
		// The last Writev was whole: OnWritable must not follow it.
		b.settle()
	})
}

// onlyReader hides WriteTo, which would read in big pieces.
type onlyReader struct{ io.Reader }

func TestPeerThatNeverReads(t *testing.T) {
	each(t, nil, func(t *testing.T, b *bench) {
		stuck, peer := b.connect()
		taken, block := 0, make([]byte, 64<<10)
		push := func() {
			for !stuck.short {
				taken += stuck.write(block)
			}
		}
		stuck.onRoom = push
		push()
		b.untilStill("output", func() int { return taken })
		for range 50 { // more attempts must neither pile up memory nor block
			taken += stuck.write(block)
		}
		if taken > 32<<20 {
			t.Errorf("%d bytes are held for a peer that does not read", taken)
		}
		room := stuck.room
		// Others are served meanwhile.
		other, otherPeer := b.connect()
		send(t, otherPeer, []byte("x"))
		b.until("the other was heard", func() bool { return len(other.data) == 1 })
		if stuck.room != room {
			t.Error("OnWritable although there is no room")
		}
		stuck.close()
		b.untilEnd(peer)
	})
}

func TestWritevShapes(t *testing.T) {
	many := make([][]byte, 3000)
	for i := range many {
		many[i] = pattern(i % 50)
	}
	cases := map[string][][]byte{
		"none":        nil,
		"empty":       {{}, nil},
		"one":         {pattern(5)},
		"small":       {pattern(5), nil, pattern(1000), {}},
		"large":       {pattern(3), pattern(9000), nil, pattern(1)},
		"many":        many,
		"many, empty": make([][]byte, 3000),
	}
	each(t, nil, func(t *testing.T, b *bench) {
		for name, bufs := range cases {
			p, peer := b.connect()
			want := bytes.Join(bufs, nil)
			got := make(chan []byte, 1)
			go func() {
				b, _ := io.ReadAll(peer)
				got <- b
			}()
			rest := bufs
			for {
				n, err := p.conn.Writev(rest)
				if err != nil {
					t.Fatal(err)
				}
				left := bytes.Join(rest, nil)[n:]
				if len(left) == 0 {
					break
				}
				p.short = true
				rest = [][]byte{left}
				b.until("there is room", func() bool { return !p.short })
			}
			p.close()
			if b := <-got; !bytes.Equal(b, want) {
				t.Errorf("%s: the peer got %d bytes of %d, or others", name, len(b), len(want))
			}
			if !bytes.Equal(bytes.Join(bufs, nil), want) {
				t.Errorf("%s: the buffers were modified", name)
			}
		}
	})
}

// The peer is gone and nothing was read yet: a write fails or is lost, and the
// handler hears of the end either way.
func TestWriteToAPeerThatIsGone(t *testing.T) {
	each(t, nil, func(t *testing.T, b *bench) {
		p, peer := b.connect()
		_ = peer.Close()
		for end := time.Now().Add(patience); ; {
			n, err := p.conn.Writev([][]byte{[]byte("anyone?")})
			if err != nil {
				break
			}
			p.short = n < len("anyone?") // then OnWritable may come
			if time.Now().After(end) {
				t.Fatal("writes go on without an error")
			}
		}
		b.until("the end came", func() bool { return len(p.ends) > 0 })
	})
}

// A paused connection with output pending hears OnWritable when its peer goes,
// and its attempt fails.
func TestPausedWriterWhosePeerGoes(t *testing.T) {
	each(t, sockets, func(t *testing.T, b *bench) {
		p, peer := b.connect()
		p.conn.PauseReading()
		for block := make([]byte, 64<<10); !p.short; {
			p.write(block)
		}
		var failed error
		p.onRoom = func() {
			n, err := p.conn.Writev([][]byte{make([]byte, 64<<10)})
			p.short = err == nil && n < 64<<10
			failed = err
		}
		_ = peer.Close()
		b.until("the attempt failed", func() bool { return failed != nil })
		if errors.Is(failed, net.ErrClosed) {
			t.Errorf("it failed with %v", failed)
		}
		b.settle()
		p.conn.ResumeReading()
		b.until("the end came", func() bool { return len(p.ends) > 0 })
	})
}
