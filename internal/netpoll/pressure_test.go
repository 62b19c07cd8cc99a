package netpoll

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
)

// echo sends back what comes, and stops reading while too much of it waits.
type echo struct {
	*probe
	waiting []byte
	most    int
}

const echoLimit = 64 << 10

func (e *echo) push() {
	for len(e.waiting) > 0 && !e.short {
		// In two pieces, so that pieces are cut and joined at many places.
		at := len(e.waiting) / 3
		e.waiting = e.waiting[e.write(e.waiting[:at], e.waiting[at:]):]
	}
	if len(e.waiting) > echoLimit {
		e.conn.PauseReading()
	} else {
		e.conn.ResumeReading()
	}
	e.most = max(e.most, len(e.waiting))
}

// Several peers write and read in pieces of any size, at once and not in step; each
// gets back what it sent. Both directions are full for most of the time.
func TestEchoUnderPressure(t *testing.T) {
	const peers, size = 4, 3 << 20
	each(t, func(name string) bool { return name != "pipe" }, func(t *testing.T, b *bench) {
		var wg sync.WaitGroup
		var echoes []*echo
		done := make(chan struct{}, peers)
		for i := range peers {
			p, peer := b.connect()
			e := &echo{probe: p}
			p.onData = func(in []byte) {
				e.waiting = append(e.waiting, in...)
				p.data = p.data[:0]
				e.push()
			}
			p.onRoom = e.push
			echoes = append(echoes, e)
			message := pattern(size)
			wg.Go(func() {
				random := rand.New(rand.NewPCG(uint64(i), 1))
				for rest := message; len(rest) > 0; {
					n := min(len(rest), 1+random.IntN(1<<random.IntN(18)))
					if _, err := peer.Write(rest[:n]); err != nil {
						t.Errorf("peer %d writes: %v", i, err)
						return
					}
					rest = rest[n:]
				}
			})
			wg.Go(func() {
				defer func() { done <- struct{}{} }()
				random := rand.New(rand.NewPCG(uint64(i), 2))
				buf := make([]byte, 1<<17)
				for at := 0; at < size; {
					n, err := io.ReadFull(peer, buf[:min(size-at, 1+random.IntN(1<<random.IntN(18)))])
					if err != nil || !bytes.Equal(buf[:n], message[at:at+n]) {
						t.Errorf("peer %d got something else at %d: %v", i, at, err)
						return
					}
					at += n
				}
			})
		}
		ended := 0
		b.until("all peers got all", func() bool {
			select {
			case <-done:
				ended++
			default:
			}
			return ended == peers
		})
		wg.Wait()
		for i, e := range echoes {
			if e.most > echoLimit+(128<<10) {
				t.Errorf("%d bytes waited for peer %d, although it was not read", e.most, i)
			}
		}
	})
}
