package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/hub"
	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/session"
	"holdfast/internal/testnet"
)

func fromJSON(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
}

var room = message.RoomKey("/", "doc")

// TestOrder sends records in every order that a bus may bring them in.
func TestOrder(t *testing.T) {
	orders := [][]int{
		{0, 1, 2, 3, 4},
		{4, 3, 2, 1, 0},
		{1, 0, 3, 2, 4},
		{0, 0, 1, 1, 2, 4, 3, 4, 0},
		{0, 4},       // the rest is lost
		{2, 4, 1},    // the first as well
		{1, 3, 1, 3}, // the last as well: its head tells
	}
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, nil)
		c, _ := w.join(`"guid":"doc"`)
		n := 0
		for _, order := range orders {
			var pushes []*message.Push
			var stamps [][]message.Stamp
			for i := range 5 {
				p, s := w.append("e", n+i, room)
				pushes, stamps = append(pushes, p), append(stamps, s)
			}
			for _, i := range order {
				w.deliver(pushes[i], stamps[i])
			}
			for range 5 {
				event(t, c, fmt.Sprintf(`["e",%d]`, n))
				n++
			}
		}
	})
}

// TestLostLastMessage has the bus lose the last record of a room that was active: it
// comes within two seconds all the same.
func TestLostLastMessage(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, nil)
		c, _ := w.join(`"guid":"doc"`)
		w.push("e", 0, room)
		event(t, c, `["e",0]`)
		start := time.Now()
		w.append("e", 1, room)
		event(t, c, `["e",1]`)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("repaired after %v", took)
		}
		// The repair counts as activity, so the next one is found too.
		w.append("e", 2, room)
		event(t, c, `["e",2]`)
	})
}

// TestIdleRoomsCostNothing looks at what a shard asks the log for.
func TestIdleRoomsCostNothing(t *testing.T) {
	sh := bareShard(t)
	cl := &client{sock: &session.Client{Namespace: "/"}}
	for i := range 100 {
		r, _ := sh.hub.Join(cl, message.RoomKey("/", fmt.Sprint(i)))
		r.Log.Live = true
	}
	busy := sh.hub.Room(message.RoomKey("/", "7"))
	sh.inOrder(busy, &message.Stamp{Key: busy.Key, Seq: 5, Prev: 4}, &message.Delivery{})
	if len(sh.active) != 1 {
		t.Fatalf("%d active rooms", len(sh.active))
	}
	sh.now, sh.asking = sh.now+activeFor+1, false
	sh.headsAt = 0
	sh.compareHeads()
	if len(sh.active) != 0 || sh.asking {
		t.Errorf("%d active rooms after a silence; asking: %v", len(sh.active), sh.asking)
	}
}

// bareShard is a shard that nobody runs.
func bareShard(t *testing.T) *shard {
	t.Helper()
	g, err := New(Config{
		Node: "n", Registry: &testnet.Registry{}, Log: &testnet.Log{}, Bus: testnet.NewBus(16, 1),
		Auth: testnet.Auth{}, IDs: &testnet.IDs{}, Shards: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close(t.Context()) })
	return g.shards[0]
}

// TestTurnOf is the rule by which records are put in order.
func TestTurnOf(t *testing.T) {
	const epoch = 7
	tests := []struct {
		name           string
		at             uint64 // the room's position
		epoch, seq, ok uint64 // of the record, with its predecessor in ok
		want           turn
		after          message.Position
	}{
		{"next", 10, epoch, 11, 10, next, message.Position{Epoch: epoch, Seq: 11}},
		{"log was empty", 10, epoch, 15, 0, next, message.Position{Epoch: epoch, Seq: 15}},
		{"predecessor before the position", 10, epoch, 12, 9, next, message.Position{Epoch: epoch, Seq: 12}},
		{"again", 10, epoch, 10, 9, old, message.Position{Epoch: epoch, Seq: 10}},
		{"gap", 10, epoch, 12, 11, early, message.Position{Epoch: epoch, Seq: 10}},
		{"new epoch", 10, 8, 20, 0, next, message.Position{Epoch: 8, Seq: 20}},
		{"new epoch with a gap", 10, 8, 20, 19, early, message.Position{Epoch: 8, Seq: 10}},
		{"late of the epoch before", 10, 6, 9, 8, old, message.Position{Epoch: epoch, Seq: 10}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			log := hub.Log{Position: message.Position{Epoch: epoch, Seq: tt.at}}
			got := turnOf(&log, &message.Stamp{Epoch: tt.epoch, Seq: tt.seq, Prev: tt.ok})
			if got != tt.want || log.Position != tt.after {
				t.Errorf("got %v and %+v, want %v and %+v", got, log.Position, tt.want, tt.after)
			}
		})
	}
}

// TestRepairIsNotAheadOfItself brings a record whose predecessor was appended after
// the log was read: it must wait for another read.
func TestRepairIsNotAheadOfItself(t *testing.T) {
	tests := []struct {
		name string
		held uint64 // highest record that was held when the fetch began
		want message.Position
		wait int
	}{
		{"held before the fetch: the gap is lost", 15, message.Position{Seq: 15}, 0},
		{"held since: the gap may be there now", 12, message.Position{Seq: 13}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sh := bareShard(t)
			r, _ := sh.hub.Join(&client{}, room)
			r.Log.Live, r.Log.Seq = true, 10
			sh.hold(r, &message.Stamp{Key: room, Seq: 15, Prev: 14}, &message.Delivery{Push: &message.Push{}})
			logged := []message.Logged{
				{Seq: 11, Prev: 10, Push: &message.Push{}},
				{Seq: 13, Prev: 12, Push: &message.Push{}},
			}
			sh.repaired(r, message.Position{Seq: 10}, tt.held, 0, logged, true)
			if r.Log.Position != tt.want || len(sh.repairs) != tt.wait {
				t.Errorf("at %+v with %d repairs to come, want %+v and %d", r.Log.Position, len(sh.repairs), tt.want, tt.wait)
			}
		})
	}
}

// TestHeadOfAnotherEpoch has the store lose its data, and its clock as well.
func TestHeadOfAnotherEpoch(t *testing.T) {
	tests := []struct {
		name string
		head message.Position
		want message.Position
		seat uint64
	}{
		{"clock went on", message.Position{Epoch: 2, Seq: 20}, message.Position{Epoch: 2, Seq: 10}, 10},
		{"clock went back", message.Position{Epoch: 2, Seq: 5}, message.Position{Epoch: 2}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sh := bareShard(t)
			cl := &client{}
			r, _ := sh.hub.Join(cl, room)
			r.Log.Live, r.Log.Position = true, message.Position{Epoch: 1, Seq: 10}
			cl.seats[0].Seq = 10
			sh.compare(r, tt.head)
			if r.Log.Position != tt.want || cl.seats[0].Seq != tt.seat || len(sh.repairs) != 1 {
				t.Errorf("room at %+v, seat at %d, %d repairs", r.Log.Position, cl.seats[0].Seq, len(sh.repairs))
			}
		})
	}
}

// TestLogAway has the log fail while there is a gap.
func TestLogAway(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, nil)
		c, _ := w.join(`"guid":"doc"`)
		w.log.Gate.Break(errors.New("away"))
		w.append("e", 0, room)
		w.push("e", 1, room)
		w.until("the log is asked", func() bool { return w.gw.Stats.Repairs.Load() >= 2 })
		w.log.Gate.Open()
		event(t, c, `["e",0]`)
		event(t, c, `["e",1]`)
	})
}

// TestLogTrimmed has a log that does not reach back to where a room is: what it has is
// delivered, and the hole is counted.
func TestLogTrimmed(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, nil)
		c, _ := w.join(`"guid":"doc"`)
		w.push("e", 0, room)
		event(t, c, `["e",0]`)
		for n := 1; n < 4; n++ {
			w.append("e", n, room)
		}
		w.log.Drop(room, 2)
		w.push("e", 4, room)
		for n := 2; n < 5; n++ {
			event(t, c, fmt.Sprintf(`["e",%d]`, n))
		}
		w.until("the hole is counted", func() bool { return w.gw.Stats.Holes.Load() == 1 })
	})
}

// TestFullInbox has a shard fall behind: what its inbox refuses is repaired, and a
// call is told.
func TestFullInbox(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, func(c *Config) { c.Shards, c.InboxRecords = 1, 8 })
		c, _ := w.join(`"guid":"doc"`)
		stall, stalled := make(chan struct{}), make(chan struct{})
		w.gw.shards[0].inbox.post(func() { close(stalled); <-stall })
		<-stalled
		for n := range 50 {
			w.push("e", n, room)
		}
		call, err := w.bus.Call("n1", &message.Down{Join: &message.Membership{To: room, Rooms: []string{"x"}}})
		if err != nil {
			t.Fatal(err)
		}
		if replies := w.answered(call); replies[0].Err == "" {
			t.Errorf("a call into a full inbox got %+v", replies)
		}
		handshake := httptest.NewRecorder()
		w.gw.ServeHTTP(handshake, httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport=polling", nil))
		if handshake.Code != 503 {
			t.Errorf("a handshake got %d %s", handshake.Code, handshake.Body)
		}
		close(stall)
		for n := range 50 {
			event(t, c, fmt.Sprintf(`["e",%d]`, n))
		}
		if w.gw.Stats.Overflows.Load() == 0 {
			t.Error("nothing was refused")
		}
	})
}

func refused(err error, status int) bool {
	var r *testnet.Refused
	return errors.As(err, &r) && r.Status == status
}

// TestManyRoomsBehind refuses records of more rooms than are noted one by one.
func TestManyRoomsBehind(t *testing.T) {
	b := inbox{limit: 1, limitMem: 1 << 30, wake: func() {}}
	for i := range maxBehind + 2 {
		d := &message.Delivery{Push: &message.Push{}, Stamps: []message.Stamp{{Key: message.RoomKey("/", fmt.Sprint(i)), Seq: 1}}}
		if err := b.deliver(d, 0); i > 0 && !errors.Is(err, message.ErrFull) {
			t.Fatal(err)
		}
	}
	if _, late := b.take(0, 0); !late.all || late.keys != nil {
		t.Errorf("all: %v, %d keys", late.all, len(late.keys))
	}
	sh := bareShard(t)
	cl := &client{id: "x", sock: &session.Client{Namespace: "/"}}
	sh.hub.Join(cl, room)
	sh.clients["x"] = cl
	sh.repairAll(behind{all: true})
	if own := sh.hub.Room(message.ClientKey("/", "x")); len(sh.active) != 2 || own == nil {
		t.Errorf("%d rooms are looked at, the client's own: %v", len(sh.active), own != nil)
	}
}

// TestOwnKey loses the first records to a client alone, of which a node without
// recovery knows nothing before there is one.
func TestOwnKey(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, nil)
		c, id := w.join("")
		own := message.ClientKey("/", id.SID)
		w.append("e", 0, own)
		w.push("e", 1, own)
		event(t, c, `["e",0]`)
		event(t, c, `["e",1]`)

		c, id = w.join("")
		own = message.ClientKey("/", id.SID)
		w.append("e", 2, own)
		for _, sh := range w.gw.shards {
			sh.inbox.post(func() { sh.repairAll(behind{keys: map[message.Key]struct{}{own: {}}}) })
		}
		event(t, c, `["e",2]`)
		if got := w.call(&message.Down{Join: &message.Membership{To: own, Rooms: []string{"x"}}}); got[len(got)-1].Clients != 1 {
			t.Errorf("a call to a client alone is answered %+v", got)
		}
	})
}

// TestHeldRecordsCount has a shard's jobs count against its inbox.
func TestHeldRecordsCount(t *testing.T) {
	b := inbox{limit: 2, limitMem: 1 << 30, wake: func() {}}
	d := &message.Delivery{Push: &message.Push{}}
	for i, want := range []error{nil, nil, message.ErrFull} {
		if err := b.deliver(d, 0); !errors.Is(err, want) {
			t.Fatalf("record %d: %v", i, err)
		}
	}
	b.take(0, 0)
	if err := b.deliver(d, 0); !errors.Is(err, message.ErrFull) {
		t.Errorf("with two records taken and not delivered: %v", err)
	}
	b.take(0, 0)
	if err := b.deliver(d, 0); err != nil {
		t.Errorf("with nothing held: %v", err)
	}
}

// TestSeveralTargets pushes to several rooms of one client: it gets the message once,
// also when one of the records came late.
func TestSeveralTargets(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, nil)
		c, id := w.join(`"guid":"doc","uid":"u"`)
		w.call(&message.Down{Join: &message.Membership{To: message.ClientKey("/", id.SID), Rooms: []string{"other"}}})
		other := message.RoomKey("/", "other")
		keys := []message.Key{room, other, message.UserKey("/", "u"), message.ClientKey("/", id.SID), message.AllKey("/")}
		w.push("e", 0, keys...)
		w.push("e", 1, room)
		event(t, c, `["e",0]`)
		event(t, c, `["e",1]`)
		// The predecessor in one of the rooms is lost, so that the message waits there.
		w.append("e", 2, other)
		w.push("e", 3, room, other)
		w.push("e", 4, room)
		got := []string{}
		for range 3 {
			p, err := c.Packet()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(p.Data))
		}
		if want := []string{`["e",3]`, `["e",4]`, `["e",2]`}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		w.push("last", 0, other)
		event(t, c, `["last",0]`)
	})
}

// TestVolatile is dropped where nobody can take it, and never repaired.
func TestVolatile(t *testing.T) {
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		w := newWorld(t, kind, nil)
		c, _ := w.join(`"guid":"doc"`)
		p := w.newPush("v", 1, room)
		p.Volatile = true
		w.deliver(p, []message.Stamp{{Key: room}})
		event(t, c, `["v",1]`)
		w.push("e", 1, room)
		event(t, c, `["e",1]`)
	})
}

// TestLostOnlyMessage has the bus lose the only record that a room has had for long, or
// ever, or the only one to a client: what the producer tells of it makes up for it, also
// where that is lost in its turn.
func TestLostOnlyMessage(t *testing.T) {
	heads := func(number uint64, stamps ...message.Stamp) *message.Down {
		return &message.Down{Heads: &message.Heads{Producer: "p", Number: number, Stamps: stamps}}
	}
	tests := []struct {
		name string
		tell func(stamp message.Stamp) []*message.Down
		want int64 // surveys
	}{
		{"told", func(s message.Stamp) []*message.Down { return []*message.Down{heads(1, s)} }, 0},
		{"told again", func(s message.Stamp) []*message.Down {
			return []*message.Down{heads(1), heads(1, s), heads(1)}
		}, 0},
		{"that is lost, too", func(message.Stamp) []*message.Down { return []*message.Down{heads(1), heads(3)} }, 1},
		{"told before this node heard of the producer", func(message.Stamp) []*message.Down {
			return []*message.Down{heads(7), heads(8)}
		}, 1},
	}
	onEngines(t, func(t *testing.T, kind netpoll.Kind) {
		for _, tt := range tests {
			for _, change := range []func(*Config){nil, recovering} {
				w := newWorld(t, kind, change)
				c, id := w.join(`"guid":"doc","uid":"u"`)
				n := 0
				for _, key := range []message.Key{room, message.ClientKey("/", id.SID), message.UserKey("/", "u"), message.AllKey("/")} {
					w.onShards(func(sh *shard) { clear(sh.active) }) // quiet for long
					n++
					_, stamps := w.append("e", n, key)
					before := w.gw.Stats.Surveys.Load()
					for _, d := range tt.tell(stamps[0]) {
						d.Heads.Producer = fmt.Sprint("p", n)
						_ = w.bus.Send("n1", d)
					}
					p, err := c.Packet()
					if want := fmt.Sprintf(`["e",%d`, n); err != nil || !strings.HasPrefix(string(p.Data), want) {
						t.Fatalf("%s, %s: got %s, %v, want %s", tt.name, key, p.Data, err, want)
					}
					if got := w.gw.Stats.Surveys.Load() - before; got != tt.want {
						t.Errorf("%s, %s: %d surveys", tt.name, key, got)
					}
				}
				w.close()
			}
		}
	})
}

// TestSurveyIsPaged looks through more rooms than are asked for at once, while the log is
// away at first.
func TestSurveyIsPaged(t *testing.T) {
	w := newWorld(t, netpoll.Auto, func(c *Config) { c.Shards, c.MaxRooms = 1, 10_000 })
	c, id := w.join(`"uid":"u"`)
	var rooms []string
	for i := range 2*headsPage + 10 {
		rooms = append(rooms, fmt.Sprint(i))
	}
	w.call(&message.Down{Join: &message.Membership{To: message.ClientKey("/", id.SID), Rooms: rooms}})
	w.onShards(func(sh *shard) { clear(sh.active) })
	for _, i := range []int{0, headsPage, 2 * headsPage} {
		w.append("e", i, message.RoomKey("/", rooms[i]))
	}
	w.log.Gate.Break(errors.New("away"))
	_ = w.bus.Send("n1", &message.Down{Heads: &message.Heads{Producer: "p", Number: 2}})
	w.until("the survey has begun", func() (begun bool) {
		w.onShards(func(sh *shard) { begun = len(sh.survey.page) > 0 && !sh.survey.asking })
		return begun
	})
	w.log.Gate.Open()
	got := make(map[string]bool)
	for range 3 {
		p, err := c.Packet()
		if err != nil {
			t.Fatal(err)
		}
		got[string(p.Data)] = true
	}
	for _, i := range []int{0, headsPage, 2 * headsPage} {
		if !got[fmt.Sprintf(`["e",%d]`, i)] {
			t.Errorf("%d is missing in %v", i, got)
		}
	}
}

// TestProducers counts what producers say.
func TestProducers(t *testing.T) {
	var x producers
	says := []struct {
		name    string
		number  uint64
		missing bool
	}{
		{"a", 1, false},
		{"a", 1, false},
		{"a", 2, false},
		{"b", 1, false},
		{"a", 4, true},
		{"a", 3, false}, // late
		{"a", 5, false},
		{"c", 2, true},
	}
	for i, s := range says {
		if got := x.hear(s.name, s.number, int64(i)); got != s.missing {
			t.Errorf("%d: %+v: missing: %v", i, s, got)
		}
	}
	if x.silent(producerSilence) {
		t.Error("silent too soon")
	}
	if !x.silent(producerSilence+5) || len(x.by) != 2 { // b
		t.Errorf("%d are left", len(x.by))
	}
	for i := range 2 * maxProducers {
		x.hear(fmt.Sprint(i), 1, 0)
	}
	if len(x.by) > maxProducers {
		t.Errorf("%d are remembered", len(x.by))
	}
}
