package gateway

import (
	"errors"
	"testing"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/testnet"
	"holdfast/socketio"
)

// TestEvictedOnTheOtherNode has clients come back on one node while another still
// has a connection of theirs that seems to live: it is closed, and its leave comes
// before the return.
func TestEvictedOnTheOtherNode(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		x := newCluster(t, kind, recovering)
		old, id := x.a.join(`"guid":"doc"`)
		x.a.up(message.EventConnect)
		x.a.push("e", 1, room)
		offset := take(t, old, "e 1")
		x.a.push("e", 2, room)
		c, missed, now := x.b.back(id.PID, offset, "")
		if now.SID != id.SID || len(missed) != 1 || missed[0] != "e 2" {
			t.Errorf("it came back as %+v with %v", now, missed)
		}
		if n := x.a.gw.Stats.Clients.Load(); n != 0 {
			t.Errorf("the old node has %d clients", n)
		}
		for _, want := range []message.EventType{message.EventDisconnect, message.EventConnect} {
			ctx, cancel := testTime()
			up, err := x.a.bus.Up(ctx)
			cancel()
			if err != nil || up.Type != want || up.Client.ID != id.SID {
				t.Errorf("%v, %v comes, want %v", up, err, want)
			}
		}
		// The old connection may have had the second event too, if that was on its way.
		var closed *testnet.Closed
		_, err := old.Packet()
		if err == nil {
			_, err = old.Packet()
		}
		if !errors.As(err, &closed) {
			t.Errorf("the old connection: %v", err)
		}
		if info, _ := x.b.reg.Client(id.SID); info == nil || info.Node != "B" {
			t.Errorf("the registry has %+v", info)
		}
		x.b.push("e", 3, room)
		take(t, c, "e 3")
	})
}

// TestEvictedAfterAMove has a client come back that has moved since it began, on the
// node where it began and on that where it is.
func TestEvictedAfterAMove(t *testing.T) {
	newCluster(t, netpoll.Auto, recovering).both(t, func(t *testing.T, from, to *world) {
		x := &cluster{a: from, b: to}
		p := from.open()
		if err := p.Post("40{\"guid\":\"doc\"}"); err != nil {
			t.Fatal(err)
		}
		packets, err := p.Poll(t.Context())
		if err != nil || len(packets) != 1 {
			t.Fatal(packets, err)
		}
		sp, err := socketio.Parse(packets[0].Data, socketio.Limits{})
		id := from.accepted(sp, err)
		old, _ := x.upgradeAt(to, p)
		to.push("e", 1, room)
		offset := take(t, old, "e 1")
		for _, w := range []*world{from, to, from} {
			c, missed, now := w.back(id.PID, offset, "")
			if now.SID != id.SID || len(missed) != 0 {
				t.Errorf("it came back as %+v with %v", now, missed)
			}
			if _, err := old.Packet(); err == nil {
				t.Error("the old connection lives")
			}
			old = c
			w.push("e", 2, room)
			offset = take(t, c, "e 2")
		}
		to.until("one is left", func() bool {
			return from.gw.Stats.Clients.Load() == 1 && to.gw.Stats.Clients.Load() == 0 && from.tombstones()+to.tombstones() == 0
		})
		old.Kill()
		from.until("none is left", func() bool { return from.gw.Stats.Clients.Load() == 0 })
	})
}

// TestEvictedNowhere has a client come back whose node is dead: it is let in at once.
func TestEvictedNowhere(t *testing.T) {
	x := newCluster(t, netpoll.Auto, recovering)
	old, id := x.a.join(`"guid":"doc"`)
	x.a.push("e", 1, room)
	offset := take(t, old, "e 1")
	x.link.Cut("A")
	began := time.Now()
	_, missed, now := x.b.back(id.PID, offset, "")
	if now.SID != id.SID || len(missed) != 0 {
		t.Errorf("it came back as %+v with %v", now, missed)
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("that took %v", d)
	}
}
