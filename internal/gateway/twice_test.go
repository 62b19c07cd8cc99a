package gateway

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/testnet"
)

// TestHadByAnotherKey loses the connection of a client that has had a push to two rooms
// by one of them, while the record of the other was waiting for a lost one: what it
// missed does not have the push again.
func TestHadByAnotherKey(t *testing.T) {
	other := message.RoomKey("/", "other")
	tests := []struct {
		name string
		// between is what happens after the push and before the connection is lost; it
		// returns the last offset.
		between func(w *world, take func(want string) string, sid, offset string) string
	}{
		{"since the last save", func(_ *world, _ func(string) string, _, offset string) string { return offset }},
		{"before the last save", func(w *world, take func(string) string, sid, _ string) string {
			w.call(&message.Down{Join: &message.Membership{To: message.ClientKey("/", sid), Rooms: []string{"third"}}})
			w.push("e", 9, room)
			return take("e 9")
		}},
	}
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				w := newWorld(t, kind, recovering)
				c, id := w.join(`"guid":"doc"`)
				w.call(&message.Down{Join: &message.Membership{To: message.ClientKey("/", id.SID), Rooms: []string{"other"}}})
				w.log.Ranges.Break(errors.New("away")) // the gap stays
				w.append("e", 1, other)
				w.push("e", 2, room, other)
				offset := take(t, c, "e 2")
				offset = tt.between(w, func(want string) string { return take(t, c, want) }, id.SID, offset)
				c.Kill()
				w.log.Ranges.Open()
				w.push("e", 3, room, other)
				_, missed, now := w.back(id.PID, offset, "")
				if want := []string{"e 1", "e 3"}; !reflect.DeepEqual(missed, want) || now != id {
					t.Errorf("missed %v as %v, want %v", missed, now, want)
				}
			})
		}
	})
}

// TestHadBeforeComingBackTwice loses the connection once more just after a comeback that
// saved the client anew, so that its offset counts from that save: what it had had before,
// by another key, is known from there too.
func TestHadBeforeComingBackTwice(t *testing.T) {
	other := message.RoomKey("/", "other")
	w := newWorld(t, netpoll.Auto, recovering)
	c, id := w.join(`"guid":"doc"`)
	join := func(room string) {
		w.call(&message.Down{Join: &message.Membership{To: message.ClientKey("/", id.SID), Rooms: []string{room}}})
	}
	join("other")
	w.log.Ranges.Break(errors.New("away")) // the gap stays
	w.append("e", 1, other)
	w.push("e", 2, room, other)
	offset := take(t, c, "e 2")
	join("third") // a save, of which the client has no offset
	c.Kill()
	w.log.Ranges.Open()
	_, offset = w.backFor([]string{"e 1"}, id, offset)
	c, _ = w.backFor(nil, id, offset)
	w.push("e", 3, room, other)
	take(t, c, "e 3")
}

// backFor comes back, misses just that, and has an offset then.
func (w *world) backFor(want []string, id who, offset string) (*testnet.Client, string) {
	w.t.Helper()
	c := w.dial()
	w.t.Cleanup(c.Kill)
	if err := c.Text(fmt.Sprintf(`40{"pid":%q,"offset":%q}`, id.PID, offset)); err != nil {
		w.t.Fatal(err)
	}
	for _, event := range want {
		offset = take(w.t, c, event)
	}
	p, err := c.Packet()
	if now := w.accepted(p, err); now != id {
		w.t.Errorf("came back as %v, was %v", now, id)
	}
	return c, offset
}

// TestHadElsewhere has a client come back on a node where another room of a push that it
// has had is behind: whether it comes back into that room or joins it afterwards, the push
// does not come once more with the room's repair.
func TestHadElsewhere(t *testing.T) {
	other := message.RoomKey("/", "other")
	for _, joins := range []bool{true, false} {
		t.Run(fmt.Sprintf("joins afterwards %v", joins), func(t *testing.T) {
			x := newCluster(t, netpoll.Auto, recovering)
			c, id := x.a.join(`"guid":"doc"`)
			// Somebody is there on the other node, on the client's shard too.
			for there := false; !there; {
				_, now := x.b.join(`"guid":"other"`)
				there = x.b.gw.shardOf(now.SID) == x.b.gw.shardOf(id.SID)
			}
			push, stamps := x.a.append("e", 1, room, other)
			if err := x.a.bus.Send("A", &message.Down{Push: &message.Delivery{Push: push, Stamps: stamps}}); err != nil {
				t.Fatal(err)
			}
			offset := take(t, c, "e 1")
			c.Kill()
			guid := `,"guid":"other"`
			if joins {
				guid = ""
			}
			c, missed, now := x.b.back(id.PID, offset, guid)
			if len(missed) > 0 || now != id {
				t.Errorf("missed %v as %v", missed, now)
			}
			if joins {
				replies := x.b.call(&message.Down{Join: &message.Membership{To: message.ClientKey("/", id.SID), Rooms: []string{"other"}}})
				if last := replies[len(replies)-1]; last.Clients != 1 || last.Err != "" {
					t.Errorf("the join: %+v", last)
				}
			}
			x.b.push("e", 2, other)
			take(t, c, "e 2")
		})
	}
}
