package netpoll

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Copying small buffers together against writev, which decides copyLimit.
func BenchmarkWritev(b *testing.B) {
	for _, shape := range []struct{ bufs, size int }{{1, 120}, {2, 60}, {4, 120}, {4, 500}, {4, 1000}, {16, 250}, {4, 4000}} {
		bufs := make([][]byte, shape.bufs)
		for i := range bufs {
			bufs[i] = make([]byte, shape.size)
		}
		total := shape.bufs * shape.size
		for name, write := range map[string]func(g *gather, fd int) (int, error){
			"copied": func(g *gather, fd int) (int, error) {
				at := 0
				var flat [1 << 14]byte
				for _, b := range bufs {
					at += copy(flat[at:], b)
				}
				return directWrite(fd, flat[:at])
			},
			"writev": func(g *gather, fd int) (int, error) { return g.writev(fd, bufs) },
		} {
			b.Run(fmt.Sprintf("%dx%d/%s", shape.bufs, shape.size, name), func(b *testing.B) {
				server, peer := tcpPair(b)
				var fds [2]int
				for i, nc := range []net.Conn{server, peer} {
					fd, err := duplicate(nc)
					if err != nil {
						b.Fatal(err)
					}
					defer unix.Close(fd)
					defer nc.Close()
					fds[i] = fd
				}
				g := &gather{}
				sink := make([]byte, total)
				for b.Loop() {
					if n, err := write(g, fds[0]); err != nil || n != total {
						b.Fatal(n, err)
					}
					// The read is in every shape the same; timing it disturbs less than
					// stopping the clock.
					if n, err := directRead(fds[1], sink); err != nil || n != total {
						b.Fatal(n, err)
					}
				}
			})
		}
	}
}

// One message to and from each of many connections: the shard's bare cost.
func BenchmarkEchoTurn(b *testing.B) {
	for _, shape := range []struct {
		kind Kind
		name string
		pair func(testing.TB) (net.Conn, net.Conn)
	}{
		{Epoll, "epoll", tcpPair},
		{Goroutines, "goroutines", tcpPair},
		{Epoll, "epoll, TLS", turnsPair},
		{Epoll, "epoll, TLS by goroutines", tlsPair},
	} {
		b.Run(shape.name, func(b *testing.B) {
			const conns = 64
			bn := newBench(b, shape.kind, Options{}, shape.pair)
			heard := 0
			peers := make([]io.ReadWriter, conns)
			for i := range peers {
				p, peer := bn.connect()
				p.onData = func([]byte) {
					heard++
					p.data = p.data[:0]
					p.write([]byte("pong"))
				}
				peers[i] = peer
			}
			answer := make([]byte, 4)
			for b.Loop() {
				for _, peer := range peers {
					_, _ = peer.Write([]byte("ping"))
				}
				for want := heard + conns; heard < want; {
					bn.poll(time.Second)
				}
				for _, peer := range peers {
					if _, err := io.ReadFull(peer, answer); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/conns, "ns/echo")
		})
	}
}
