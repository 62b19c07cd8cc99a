package gateway

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/hub"
	"holdfast/internal/message"
	"holdfast/internal/session"
)

// Connection state recovery. The CONNECT answer carries a private ID (pid), and
// every event without an ack ID ends with an offset, which the stock client keeps
// and shows when it comes back:
//
//	k3Xa.1.0-9x.2-4        tag . generation . place-delta . place-delta …
//
// The generation is that of a save, which has the client's places (keys and
// positions) in order; the offset says how far it has got since in those that
// changed. So it is exact after any crash, and a save is needed only when the
// rooms change or the offset grows long.

// maxOffset is how long an offset may get before the places are saved anew, in bytes.
const maxOffset = 200

// maxMissed bounds the messages that a client can have missed; past it, it begins
// anew and is told so.
const maxMissed = 4096

// savedFor is how long a save is kept while its client is connected. It is
// written again with the recovery window when the client goes.
const savedFor = 48 * time.Hour

// recover is a client's side of recovery.
type recover struct {
	pid, tag string
	uid      string
	gen      uint32
	returned bool
	places   []savedPlace // as last saved
	back     *comeback    // while it is catching up
}

type savedPlace struct {
	room *hub.Room[*client]
	key  message.Key
	seq  uint64
}

// comeback is what is known of a client that wants to recover: where it stood, and
// what it has missed up to the moment of asking.
type comeback struct {
	saved  *message.Saved
	stood  []message.Place // where it stood
	places []message.Place // the same, advanced to the last of missed
	missed []missed
}

type missed struct {
	key  message.Key
	seq  uint64
	push *message.Push
}

// lookBack finds a client's save and what it has missed. nil: it cannot be
// recovered, and begins anew. It runs on a goroutine of its own.
func (g *Gateway) lookBack(ctx context.Context, pid, offset, namespace string) *comeback {
	saved, older, err := g.cfg.Registry.Load(ctx, pid)
	if err != nil || saved.Client.Namespace != namespace {
		g.Stats.NotRecovered.Add(1)
		return nil
	}
	places, ok := placesAt(saved, older, offset)
	if !ok {
		g.Stats.NotRecovered.Add(1)
		return nil
	}
	back := &comeback{saved: saved, stood: places, places: slices.Clone(places)}
	if !g.read(ctx, back) {
		g.Stats.NotRecovered.Add(1)
		return nil
	}
	return back
}

// placesAt returns where the client stood by its offset: in the save that the
// offset counts from, moved on by it, and for rooms that came later by the last
// save. A client without an offset has had no event since its CONNECT.
func placesAt(saved *message.Saved, older []message.Saved, offset string) ([]message.Place, bool) {
	gen, deltas, ok := parseOffset(saved.Tag, offset)
	if !ok {
		gen, deltas = 1, nil
	}
	from := saved
	for i := range older {
		if older[i].Gen == gen {
			from = &older[i]
		}
	}
	if from.Gen != gen {
		return nil, false
	}
	stood := make(map[message.Key]message.Position, len(from.Places))
	for i, p := range from.Places {
		p.Seq += deltas[i]
		stood[p.Key] = p.Position
	}
	places := slices.Clone(saved.Places)
	for i := range places {
		if pos, ok := stood[places[i].Key]; ok {
			places[i].Position = pos
		}
	}
	return places, true
}

// parseOffset reads an offset. One that bears another session's tag, or does not
// parse, counts as absent.
func parseOffset(tag, offset string) (gen uint32, deltas map[int]uint64, ok bool) {
	rest, found := strings.CutPrefix(offset, tag+".")
	if !found || tag == "" || len(offset) > 2*maxOffset {
		return 0, nil, false
	}
	parts := strings.Split(rest, ".")
	g, err := strconv.ParseUint(parts[0], 36, 32)
	if err != nil {
		return 0, nil, false
	}
	deltas = make(map[int]uint64, len(parts)-1)
	for _, part := range parts[1:] {
		place, delta, found := strings.Cut(part, "-")
		i, err1 := strconv.ParseUint(place, 36, 31)
		d, err2 := strconv.ParseUint(delta, 36, 63)
		if !found || err1 != nil || err2 != nil {
			return 0, nil, false
		}
		deltas[int(i)] = d
	}
	return uint32(g), deltas, true
}

// read fetches what each place has missed and moves it on; false when something is
// no longer there or it is too much.
func (g *Gateway) read(ctx context.Context, back *comeback) bool {
	for i := range back.places {
		p := &back.places[i]
		for {
			records, complete, err := g.cfg.Log.Range(ctx, p.Key, p.Position, repairPage)
			if err != nil || !complete || len(back.missed)+len(records) > maxMissed {
				return false
			}
			for _, r := range records {
				back.missed = append(back.missed, missed{key: p.Key, seq: r.Seq, push: r.Push})
				p.Seq = r.Seq
			}
			if len(records) < repairPage {
				break
			}
		}
	}
	return true
}

// restore makes a client the one that it was.
func (sh *shard) restore(cl *client, back *comeback) {
	was := &back.saved.Client
	cl.info.ID = was.ID
	cl.recover = &recover{
		pid: back.saved.PID, tag: back.saved.Tag, gen: back.saved.Gen, uid: was.UID,
		returned: true, back: back,
	}
	// Its old connection may not know yet that it is dead.
	sh.evict(was.ID)
}

// evict ends the session that still holds a client's ID.
func (sh *shard) evict(id string) {
	for _, other := range sh.g.shards {
		end := func() {
			cl := other.clients[id]
			if cl == nil || !cl.accepted {
				return
			}
			cl.conn.session.End(session.TransportClose, other.now, &other.acts)
			other.settle(cl.conn)
		}
		if other == sh {
			end()
		} else {
			other.inbox.post(end)
		}
	}
}

// withRooms adds the rooms that the client was in.
func (r *recover) withRooms(rooms []string) []string {
	if r.back == nil {
		return rooms
	}
	for _, p := range r.back.places {
		if p.Key.Kind() == message.KindRoom {
			rooms = append(rooms, p.Key.Name())
		}
	}
	return rooms
}

// maxRounds is how often a client that catches up may find that its rooms have
// moved on meanwhile.
const maxRounds = 8

// catchUp lets the client in when what was fetched reaches up to where its rooms
// are now; until then it fetches the rest. It runs on the shard, so that nothing
// can come between the last look and the acceptance.
func (sh *shard) catchUp(cl *client, round int) {
	if cl.sock.Gone() {
		return
	}
	back := cl.recover.back
	behind := false
	heads := make([]uint64, len(back.places))
	for i, p := range back.places {
		if room := sh.hub.Room(p.Key); room != nil && room.Log.Seq > p.Seq {
			heads[i] = room.Log.Seq
			behind = true
		}
	}
	if behind && round >= maxRounds {
		sh.giveUp(cl)
		return
	}
	if behind {
		sh.g.wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			ok := sh.g.read(ctx, back)
			sh.inbox.post(func() {
				if !ok {
					sh.giveUp(cl)
					return
				}
				// What was read after a head was seen reaches up to it, also where the head
				// of an empty log is no message but the store's clock.
				for i := range back.places {
					back.places[i].Seq = max(back.places[i].Seq, heads[i])
				}
				sh.catchUp(cl, round+1)
			})
		})
		return
	}
	sh.replay(cl, back)
	cl.recover.back = nil
	sh.g.Stats.Recovered.Add(1)
	sh.accept(cl)
}

// giveUp closes the transport of a client that cannot catch up. It comes back, and
// is then told that it begins anew.
func (sh *shard) giveUp(cl *client) {
	if cl.sock.Gone() {
		return
	}
	sh.g.Stats.NotRecovered.Add(1)
	sh.g.registrar.submit(op{forget: cl.recover.pid}, nil, nil)
	cl.recover = nil
	cl.conn.session.End(session.TransportError, sh.now, &sh.acts)
	sh.settle(cl.conn)
}

// replay queues what the client has missed, each message once, in the order of
// each room. Message IDs sort by time, which merges the rooms.
func (sh *shard) replay(cl *client, back *comeback) {
	stand := func(key message.Key, seq uint64) {
		if room := sh.hub.Room(key); room != nil {
			if seat := hub.SeatOf(cl, room); seat != nil {
				seat.Seq = seq
			}
		}
	}
	for _, p := range back.stood {
		stand(p.Key, p.Seq)
	}
	sh.saveAgain(cl)
	had := make(map[string]struct{}, len(back.missed))
	for _, m := range mergeMissed(back.missed) {
		stand(m.key, m.seq)
		if _, twice := had[m.push.ID]; twice {
			continue
		}
		had[m.push.ID] = struct{}{}
		if !newFilter(m.push).passes(cl) {
			continue
		}
		s := send{push: m.push}
		if out := s.encoded(sh, cl, 0, false); out != nil {
			// With the offset of its own, for the connection may be lost again before the
			// client has had all.
			sh.sendOut(cl, out, sh.offset(cl))
		}
	}
}

// mergeMissed merges the rooms' messages by ID, keeping each room's order.
func mergeMissed(all []missed) []missed {
	heads := make(map[message.Key][]missed)
	var keys []message.Key
	for _, m := range all {
		if _, ok := heads[m.key]; !ok {
			keys = append(keys, m.key)
		}
		heads[m.key] = append(heads[m.key], m)
	}
	out := make([]missed, 0, len(all))
	for len(out) < len(all) {
		var best message.Key
		for _, key := range keys {
			if len(heads[key]) > 0 && (best == "" || heads[key][0].push.ID < heads[best][0].push.ID) {
				best = key
			}
		}
		out = append(out, heads[best][0])
		heads[best] = heads[best][1:]
	}
	return out
}

// beginRecovery gives an accepted client its private ID, "" where there is none.
func (sh *shard) beginRecovery(cl *client) (pid string) {
	if !sh.g.cfg.Recovery || cl.conn.session.Version() == 3 || cl.conn.session.Form() == session.Raw {
		return ""
	}
	if cl.recover == nil {
		a, err1 := sh.g.cfg.IDs.Secret()
		b, err2 := sh.g.cfg.IDs.Secret()
		if err1 != nil || err2 != nil {
			return ""
		}
		cl.recover = &recover{pid: a + b[4:], tag: b[:4], uid: cl.info.UID}
	}
	sh.saveAgain(cl)
	return cl.recover.pid
}

// saveAgain saves the client's places as they are now, as a new generation.
func (sh *shard) saveAgain(cl *client) {
	r := cl.recover
	if r == nil || cl.sock.Gone() {
		return
	}
	r.gen++
	r.places = r.places[:0]
	for i := range cl.seats {
		seat := &cl.seats[i]
		r.places = append(r.places, savedPlace{room: seat.Room, key: seat.Room.Key, seq: seat.Seq})
	}
	sh.g.registrar.submit(op{save: r.saved(cl), ttl: savedFor}, nil, nil)
}

func (r *recover) saved(cl *client) *message.Saved {
	s := &message.Saved{PID: r.pid, Client: *cl.info, Tag: r.tag, Gen: r.gen, SavedAt: time.Now()}
	for _, p := range r.places {
		s.Places = append(s.Places, message.Place{Key: p.key, Position: message.Position{Epoch: p.room.Log.Epoch, Seq: p.seq}})
	}
	return s
}

// lastSave says what becomes of the save when its client goes: it is kept for the
// window, or dropped when the client has said goodbye.
func (sh *shard) lastSave(cl *client, why session.Reason) func(*op) {
	r := cl.recover
	if r == nil || r.back != nil || !cl.accepted {
		return func(*op) {}
	}
	if why == session.ClientDisconnect {
		return func(o *op) { o.forget = r.pid }
	}
	saved := r.saved(cl)
	return func(o *op) { o.save, o.ttl = saved, sh.g.cfg.Window }
}

// forget drops the client's save: it cannot recover from here on.
func (sh *shard) forget(cl *client) {
	if cl.recover != nil {
		sh.g.registrar.submit(op{forget: cl.recover.pid}, nil, nil)
		cl.recover = nil
	}
}

// offset is the tail of the next event to a client, "" without recovery.
func (sh *shard) offset(cl *client) string {
	r := cl.recover
	if r == nil || r.pid == "" {
		return ""
	}
	b := r.append(make([]byte, 0, 64), cl)
	if len(b) > maxOffset {
		sh.saveAgain(cl)
		b = r.append(b[:0], cl)
	}
	return string(b)
}

func (r *recover) append(b []byte, cl *client) []byte {
	b = append(append(b, r.tag...), '.')
	b = strconv.AppendUint(b, uint64(r.gen), 36)
	for i := range r.places {
		p := &r.places[i]
		seat := hub.SeatOf(cl, p.room)
		if seat == nil || seat.Seq <= p.seq {
			continue
		}
		b = append(b, '.')
		b = strconv.AppendUint(b, uint64(i), 36)
		b = append(b, '-')
		b = strconv.AppendUint(b, seat.Seq-p.seq, 36)
	}
	return b
}
