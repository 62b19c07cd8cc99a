package gateway

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"holdfast/internal/hub"
	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/testnet"
)

// The registry loses everything. The node writes it again, and what was pushed in
// between, which found nobody, arrives.
func TestRewrite(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, func(c *Config) { c.Recovery = true })
		const n = 2*walkSlice + 30
		clients, ids := make([]*testnet.Client, n), make([]who, 0, n+1)
		for i := range n {
			c, id := w.join(fmt.Sprintf(`"guid":"doc-%d"`, i%3))
			clients[i], ids = c, append(ids, id)
		}
		w.until("all are saved", func() bool {
			_, _, saved := w.reg.Left()
			return saved == n
		})
		w.reg.Wipe()
		w.push("lost", 1, message.RoomKey("/", "doc-0"))
		clients[1].Kill() // its leave finds nothing
		w.until("it has gone", func() bool { return w.gw.Stats.Clients.Load() == n-1 })
		_, late := w.join(`"guid":"doc-2"`)

		w.gw.Rewrite()
		w.until("all is written again", func() bool {
			known, keys, saved := w.reg.Left()
			return known == n && keys == 4 && saved >= n
		})
		ids = append(ids, late)
		for i, id := range ids {
			if _, known := w.reg.Client(id.SID); known == (i == 1) {
				t.Errorf("client %d is known: %v", i, known)
			}
		}
		event(t, clients[0], `["lost",1]`)
		w.push("found", 2, message.RoomKey("/", "doc-0"))
		event(t, clients[0], `["found",2]`)
		event(t, clients[3], `["lost",1]`)
	})
}

// Members come and go between the slices, and fan-outs hold their room. Who is there
// all the time is walked.
func TestWalkReachesAll(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		sh := &shard{hub: hub.New[*client](), namespaces: make(map[*hub.Room[*client]]struct{})}
		var members []*client
		join := func() *client {
			cl := &client{}
			sh.seat(cl, []message.Key{message.AllKey(fmt.Sprint("/", rnd.IntN(3)))})
			return cl
		}
		for range 500 {
			members = append(members, join())
		}
		stayed, walked := make(map[*client]bool), make(map[*client]bool)
		for _, cl := range members {
			stayed[cl] = true
		}
		w := &walk{}
		sh.beginWalk(w)
		var held []*hub.Room[*client]
		for {
			some := w.take()
			if len(some) == 0 {
				break
			}
			for _, cl := range some {
				walked[cl] = true
			}
			if rnd.IntN(3) == 0 && len(held) == 0 {
				for room := range sh.namespaces {
					room.Hold()
					held = append(held, room)
				}
			}
			for range rnd.IntN(40) {
				cl := members[rnd.IntN(len(members))]
				stayed[cl] = false
				sh.hub.LeaveAll(cl, func(room *hub.Room[*client], last bool) {
					if last {
						sh.abandon(room)
					}
				})
				join()
			}
			if rnd.IntN(3) == 0 {
				for _, room := range held {
					hub.Release(room)
				}
				held = nil
			}
		}
		for cl, still := range stayed {
			if still && !walked[cl] {
				t.Fatalf("seed %d: a client that stayed was passed over", seed)
			}
		}
	}
}
