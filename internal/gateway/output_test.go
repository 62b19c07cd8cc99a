package gateway

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/session"
	"holdfast/internal/testnet"
	"holdfast/wsframe"
)

// narrow is a connection that takes no more bytes at once than it is told.
type narrow struct {
	netpoll.Conn
	room int
	got  []byte
}

func (n *narrow) Writev(bufs [][]byte) (taken int, err error) {
	for _, b := range bufs {
		m := min(len(b), n.room)
		n.got = append(n.got, b[:m]...)
		n.room -= m
		taken += m
	}
	return taken, nil
}

// TestPartialWrites cuts what is framed for a socket at any place: it arrives whole and in
// order, what is large is never copied, and what is counted as blocked is what waits.
func TestPartialWrites(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		sh := &shard{g: &Gateway{}}
		nc := &narrow{}
		s := &socket{sh: sh, nc: nc, conn: &conn{}}
		var want []byte
		shared := make(map[*byte]bool) // where the large messages are
		for range 1 + rng.IntN(6) {
			text := bytes.Repeat([]byte{'a' + byte(rng.IntN(26))}, 1+rng.IntN(100))
			if rng.IntN(2) == 0 {
				text = bytes.Repeat(text[:1], shareFrom+rng.IntN(shareFrom))
				shared[unsafe.SliceData(text)] = true
			}
			sh.output.copied = append(sh.output.copied, "head"...)
			sh.output.add(text)
			sh.output.copied = append(sh.output.copied, ']')
			want = append(append(append(want, "head"...), text...), ']')
		}
		nc.room = rng.IntN(len(want))
		if sh.output.size() != len(want) {
			t.Fatalf("seed %d: %d bytes are counted, there are %d", seed, sh.output.size(), len(want))
		}
		done := s.write(sh.output.all())
		sh.output.reset()
		sh.output.copied = append(sh.output.copied, strings.Repeat("!", len(want))...) // the next socket's
		for !done {
			left := len(want) - len(nc.got)
			if n, b := sh.g.Stats.Blocked.Load(), sh.g.Stats.BlockedBytes.Load(); n != 1 || b != int64(left) {
				t.Fatalf("seed %d: %d sockets, %d bytes are blocked, want one and %d", seed, n, b, left)
			}
			for i, p := range s.rest.parts {
				if !p.lasts || i > 0 && len(p.b) >= shareFrom && !shared[unsafe.SliceData(p.b)] {
					t.Fatalf("seed %d: a large part was copied", seed)
				}
			}
			nc.room = 1 + rng.IntN(2*shareFrom)
			rest := s.rest
			s.keep(nil)
			done = s.write(rest.parts)
		}
		if !bytes.Equal(nc.got, want) {
			t.Fatalf("seed %d: %d other bytes arrive", seed, len(nc.got))
		}
		if n, b := sh.g.Stats.Blocked.Load(), sh.g.Stats.BlockedBytes.Load(); n != 0 || b != 0 {
			t.Fatalf("seed %d: %d sockets, %d bytes stay blocked", seed, n, b)
		}
	}
}

// crowd joins n clients to the room that read nothing by themselves.
func (w *world) crowd(n int) []*testnet.Client {
	w.t.Helper()
	all := make([]*testnet.Client, n)
	for i := range all {
		all[i], _ = w.join(`"guid":"doc"`)
	}
	return all
}

// send pushes to the room outside its log.
func (w *world) send(i int, json string) {
	p := w.newPush("e", i, room)
	p.Payload = message.Payload{JSON: []byte(json)}
	w.deliver(p, []message.Stamp{{Key: room}})
}

// TestSlowReadersShareABroadcast pushes 256 KB a time to clients that do not read, until
// the sockets of all are full. The node holds each message and not a copy for each of
// them; when they read, they get all of it.
func TestSlowReadersShareABroadcast(t *testing.T) {
	const clients, size = 50, 256 << 10
	w := newWorld(t, littleRoom, func(c *Config) { c.Session.OutputBytes = 256 << 20 })
	all := w.crowd(clients)
	before := heap()
	sent := 0
	w.until("all sockets are full", func() bool {
		blocked := w.gw.Stats.Blocked.Load()
		if blocked < clients && int(w.gw.Stats.EventsOut.Load()) == sent*clients && sent < 64 {
			w.send(sent, fmt.Sprintf(`[%q]`, strings.Repeat(string(rune('a'+sent%26)), size)))
			sent++
		}
		return blocked == clients
	})
	w.until("all is queued", func() bool { return int(w.gw.Stats.EventsOut.Load()) == sent*clients })
	grown := heap() - before
	// What was pushed is there as it came and encoded; 50 copies of one would be 12 MB.
	if most := int64(3*sent*size + clients*(16<<10)); grown > most {
		t.Errorf("%d messages of %d KB to %d clients that do not read: %d KB are held, want at most %d",
			sent, size>>10, clients, grown>>10, most>>10)
	}
	if waiting := w.gw.Stats.BlockedBytes.Load(); waiting < 2*grown {
		t.Errorf("%d KB wait for the sockets, too little to tell by the %d KB that are held", waiting>>10, grown>>10)
	}
	var reading sync.WaitGroup
	for _, c := range all {
		reading.Go(func() {
			defer c.Kill()
			for i := range sent {
				m, err := c.Message()
				want := string(rune('a' + i%26))
				body := strings.TrimSuffix(strings.TrimPrefix(string(m.Data), `42["e","`), `"]`)
				if err != nil || strings.Trim(body, want) != "" || len(body) != size {
					t.Errorf("message %d is not what was pushed: %d bytes, %.20s…, %v", i, len(body), body, err)
					return
				}
			}
		})
	}
	reading.Wait()
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestSlowConsumersAreBounded pushes large messages to clients that do not read: however
// many share one, each is charged with all of it, and is closed when that is too much.
func TestSlowConsumersAreBounded(t *testing.T) {
	const clients, size, bound = 10, 256 << 10, 1 << 20
	w := newWorld(t, littleRoom, func(c *Config) { c.Session.OutputBytes = bound })
	w.crowd(clients)
	reader, _ := w.join(`"guid":"doc"`)
	text := fmt.Sprintf(`[%q]`, strings.Repeat("x", size))
	sent, blockedAt := 0, 0
	for w.gw.Stats.SlowConsumers.Load() < clients {
		if sent == 200 {
			t.Fatalf("%d of %d clients are closed after %d messages", w.gw.Stats.SlowConsumers.Load(), clients, sent)
		}
		given := w.gw.Stats.EventsOut.Load() + clients + 1 // to all, but for those who are closed
		w.send(sent, text)
		sent++
		w.until("it is given to all", func() bool {
			return w.gw.Stats.EventsOut.Load()+w.gw.Stats.SlowConsumers.Load() >= given
		})
		if m, err := reader.Message(); err != nil || len(m.Data) != len(text)+len(`42"e",`) {
			t.Fatalf("who reads gets %d bytes, %v", len(m.Data), err)
		}
		if blockedAt == 0 && w.gw.Stats.Blocked.Load() >= clients {
			blockedAt = sent
		}
	}
	if most := blockedAt + bound/size + 2; blockedAt == 0 || sent > most {
		t.Errorf("all were blocked after %d messages and closed after %d, want at most %d", blockedAt, sent, most)
	}
	w.until("nothing is held for them", func() bool {
		return w.gw.Stats.Blocked.Load() == 0 && w.gw.Stats.BlockedBytes.Load() == 0
	})
	if code := session.SlowConsumer.Code; code != uint16(wsframe.TryAgainLater) {
		t.Errorf("they are told %d, after which a client does not come back", code)
	}
}

// TestSmall holds what an idle client with one room costs beside its seats: these are size
// classes of Go's allocator, and a field more takes all of the next one, a million times.
func TestSmall(t *testing.T) {
	for name, is := range map[string][2]uintptr{
		"conn":           {unsafe.Sizeof(conn{}), 256},
		"session.Client": {unsafe.Sizeof(session.Client{}), 64},
		"client":         {unsafe.Sizeof(client{}), 128},
		"socket":         {unsafe.Sizeof(socket{}), 64},
	} {
		if is[0] > is[1] {
			t.Errorf("%s has %d bytes, want at most %d", name, is[0], is[1])
		}
	}
}
