package gateway

import (
	"fmt"
	"testing"

	"holdfast/internal/netpoll"
	"holdfast/internal/session"
)

// sink is a connection that takes everything at once and looks at nothing.
type sink struct{ netpoll.Conn }

func (sink) Writev(bufs [][]byte) (taken int, err error) {
	for _, b := range bufs {
		taken += len(b)
	}
	return taken, nil
}

// BenchmarkWriteFrames is what a socket costs between its session's queue and the kernel,
// for small messages that wait together.
func BenchmarkWriteFrames(b *testing.B) {
	for _, waiting := range []int{1, 10} {
		b.Run(fmt.Sprint(waiting), func(b *testing.B) {
			sh := &shard{g: &Gateway{}}
			c := &conn{}
			s := &socket{sh: sh, nc: sink{}, conn: c}
			cfg := session.Config{}.WithDefaults()
			var acts session.Actions
			c.session.Init(&cfg, session.Hello{ID: "s", Version: 4, Transport: session.WebSocket}, 0, &acts)
			out, err := session.EncodeEvent(session.JSON, "/", sixteen, 0, false)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				for range waiting {
					if _, err := c.session.Send(out, "", false, 0, &acts); err != nil {
						b.Fatal(err)
					}
				}
				if !sh.writeFrames(c, s, nil) {
					b.Fatal("blocked")
				}
			}
		})
	}
}
