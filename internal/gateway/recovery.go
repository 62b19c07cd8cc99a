package gateway

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"holdfast/internal/hub"
	"holdfast/internal/message"
	"holdfast/internal/session"
)

// The way of somebody who comes back, with the private ID and the offset that the stock
// client has kept (offset.go):
//
//	connect ──▶ lookBack: the save, and what was missed since ──▶ restore: the old ID is claimed
//	        ──▶ admit ──▶ catchUp: what came meanwhile ──▶ caughtUp ──▶ replay ──▶ accept
//
// Whoever moves here from another node goes the second line as well (adopt.go).

// maxMissed bounds the messages that a client can have missed; past it, it begins
// anew and is told so.
const maxMissed = 4096

// recover is a client's side of recovery.
type recover struct {
	pid, tag string
	uid      string
	gen      uint32
	claim    uint64 // number of the attempt by which it came back; 0: it did not, or that is not known yet
	returned bool
	used     bool         // an offset of this generation may be with the client
	places   []savedPlace // as last saved
	had      []string     // the same; see message.Saved

	late map[message.Key]*message.Position // places that are not known yet, see join.go
}

type savedPlace struct {
	room *hub.Room[*client]
	message.Position
}

// comeback is what is known of a client that wants to recover, or that has moved here
// from another node: where it stood, and what it has missed up to the moment of asking.
type comeback struct {
	saved  *message.Saved  // nil: it has moved
	stood  []message.Place // where it stood
	places []message.Place // the same, advanced to the last of missed
	missed []missed
	bytes  int // of missed

	received received // what it is known to have had of the pushes to several keys

	beyond   map[message.Key]message.Position // for the rooms in which it did not stand, see twice.go
	catching bool                             // kept has all that its rooms get
	kept     []missed
}

type missed struct {
	key  message.Key
	seq  uint64
	push *message.Push
}

// lookBack finds a client's save and what it has missed. nil: it cannot be
// recovered, and begins anew. It runs on a goroutine of its own.
func (g *Gateway) lookBack(ctx context.Context, pid, offset, namespace string) *comeback {
	saved, older, err := g.load(ctx, pid, offset)
	if err != nil || saved.Client.Namespace != namespace {
		g.Stats.NotRecovered.Add(1)
		return nil
	}
	places, ok := placesAt(saved, older, offset)
	if !ok {
		g.Stats.NotRecovered.Add(1)
		return nil
	}
	back := &comeback{saved: saved, stood: places, places: slices.Clone(places), received: receivedBy(saved, older, offset)}
	if !g.read(ctx, back) || !g.lookForTwice(ctx, back) {
		g.Stats.NotRecovered.Add(1)
		return nil
	}
	return back
}

// loadPatience is how long a save is waited for that an offset counts from and that is
// not there yet, loadAgain the longest pause between two looks.
const (
	loadPatience = time.Second
	loadAgain    = loadPatience / 4
)

// load reads a client's save. An event that counts from a save may reach the client
// before the save reaches the registry, and a client that loses its connection then can
// be back before it: so this node's own writes are waited for, and those of another for
// a moment.
func (g *Gateway) load(ctx context.Context, pid, offset string) (saved *message.Saved, older []message.Saved, err error) {
	if err := g.registrar.flush(ctx); err != nil {
		return nil, nil, err
	}
	pause := loadAgain / 5
	for began := time.Now(); ; pause = min(2*pause, loadAgain) {
		saved, older, err = g.cfg.Registry.Load(ctx, pid)
		comes := false
		switch {
		case err == nil:
			gen, _, ok := parseOffset(saved.Tag, offset)
			comes = ok && gen > saved.Gen
		case errors.Is(err, message.ErrNotFound):
			comes = g.cfg.Peers != nil && countsFromFirst(offset)
		}
		if !comes || time.Since(began) >= loadPatience {
			return saved, older, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// read fetches what each place has missed and moves it on; false when something is
// no longer there or it is too much.
func (g *Gateway) read(ctx context.Context, back *comeback) bool {
	for i := range back.places {
		p := &back.places[i]
		for {
			records, complete, err := g.cfg.Log.Range(ctx, p.Key, p.Position, repairPage)
			// A place without a position is a client's own log, of which it has had nothing.
			if err != nil || !complete && p.Seq != 0 {
				return false
			}
			for _, r := range records {
				if !back.add(missed{key: p.Key, seq: r.Seq, push: r.Push}, &g.cfg) {
					return false
				}
				p.Seq = r.Seq
			}
			if len(records) < repairPage {
				break
			}
		}
	}
	return true
}

// add notes a message that was missed; false when that is more than can be sent at
// once.
func (b *comeback) add(m missed, cfg *Config) bool {
	b.bytes += m.push.Size()
	if len(b.missed) >= min(maxMissed, cfg.Session.OutputItems/2) || b.bytes > cfg.Session.OutputBytes/2 {
		return false
	}
	b.missed = append(b.missed, m)
	return true
}

// restore makes a client the one that it was and goes on with then.
func (sh *shard) restore(cl *client, back *comeback, then func()) {
	was := &back.saved.Client
	cl.id = was.ID
	cl.recover = &recover{
		pid: back.saved.PID, tag: back.saved.Tag, gen: back.saved.Gen, uid: was.UID,
		returned: true,
	}
	cl.entry.back = back
	sh.claim(cl, was.ID, then)
}

// withRooms adds the rooms that the client was in.
func (b *comeback) withRooms(rooms []string) []string {
	if b == nil {
		return rooms
	}
	for _, p := range b.places {
		if p.Key.Kind() == message.KindRoom {
			rooms = append(rooms, p.Key.Name())
		}
	}
	return rooms
}

// catchUp fetches what was sent between the first look and now. From here on what
// its rooms get is kept for the client, so that one more look is enough, however busy
// they are.
func (sh *shard) catchUp(cl *client) {
	back := cl.entry.back
	back.catching = true
	behind := false
	heads := make([]uint64, len(back.places))
	for i, p := range back.places {
		if room := sh.hub.Room(p.Key); room != nil && room.Log.Seq > p.Seq {
			heads[i] = room.Log.Seq
			behind = true
		}
	}
	if !behind {
		sh.caughtUp(cl, true)
		return
	}
	sh.g.wg.Go(func() {
		ctx, cancel := context.WithTimeout(sh.g.ctx, 5*time.Second)
		defer cancel()
		ok := sh.g.read(ctx, back) && sh.g.lookForTwice(ctx, back)
		// What was read after a head was seen reaches up to it, also where the head of
		// an empty log is no message but the store's clock.
		for i := range back.places {
			back.places[i].Seq = max(back.places[i].Seq, heads[i])
		}
		sh.inbox.post(func() { sh.caughtUp(cl, ok) })
	})
}

// keep notes what a room of a client gets while the client catches up.
func (cl *client) keep(p *message.Push, at *place) {
	if cl.entry == nil || cl.entry.back == nil {
		return
	}
	if b := cl.entry.back; b.catching && at.seq != 0 && len(b.kept) <= maxMissed {
		b.kept = append(b.kept, missed{key: at.room.Key, seq: at.seq, push: p})
	}
}

// caughtUp lets a client in that has all up to where its rooms are: what was read,
// and after it what was kept.
func (sh *shard) caughtUp(cl *client, ok bool) {
	if cl.sock.Gone() {
		return
	}
	back := cl.entry.back
	at := make(map[message.Key]*message.Place, len(back.places))
	for i := range back.places {
		at[back.places[i].Key] = &back.places[i]
	}
	for _, m := range back.kept {
		if p := at[m.key]; p != nil && m.seq > p.Seq {
			p.Seq = m.seq
			ok = ok && back.add(m, &sh.g.cfg)
		}
	}
	if !ok {
		sh.giveUp(cl)
		return
	}
	if !sh.unclaim(cl) {
		sh.evict(cl) // it has come back elsewhere meanwhile
		return
	}
	cl.entry.back = nil
	cl.standAtHeads()
	sh.standBeyond(cl, back.beyond)
	sh.replay(cl, back)
	if cl.sock.Gone() {
		return // what it has missed was too much for it after all
	}
	if back.saved == nil {
		sh.cameOver(cl, back)
		return
	}
	sh.g.Stats.Recovered.Add(1)
	sh.accept(cl)
}

// giveUp closes the transport of a client that cannot catch up. It comes back, and
// is then told that it begins anew.
func (sh *shard) giveUp(cl *client) {
	if cl.sock.Gone() {
		return
	}
	if cl.recover != nil {
		sh.g.Stats.NotRecovered.Add(1)
		sh.g.registrar.submit(op{forget: cl.recover.pid}, nil, nil)
		cl.recover = nil
	}
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
	for _, id := range back.received.had {
		cl.hadBefore(id, true)
	}
	// Those that it has had since by one key, and that are missed by another, are a part of
	// a new save: of an offset that counts from that, no log between tells of them.
	for i := range back.missed {
		if id := back.missed[i].push.ID; back.received.has(id) {
			cl.hadBefore(id, true)
		}
	}
	// One that came back has no offset of a later generation than that which it has shown
	// one of; one that has moved here has brought what it remembers along.
	if r := cl.recover; r != nil {
		r.used = back.saved == nil || back.received.newest && back.received.shown
	}
	if back.saved == nil || !sh.saveSame(cl, back) {
		sh.saveAgain(cl)
	}
	had := make(map[string]struct{}, len(back.missed))
	for _, m := range mergeMissed(back.missed) {
		stand(m.key, m.seq)
		if _, twice := had[m.push.ID]; twice {
			continue
		}
		had[m.push.ID] = struct{}{}
		if len(m.push.Targets) > 1 {
			// Noted, for the bus may yet bring it for another of its rooms.
			noted := cl.hadBefore(m.push.ID, true)
			if back.received.has(m.push.ID) || back.saved == nil && noted {
				continue
			}
		}
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

// mergeMissed merges the rooms' messages by ID, keeping each room's order: a message
// whose ID is below that of one before it in its room counts as of the same time.
func mergeMissed(all []missed) []missed {
	latest := make(map[message.Key]string)
	order := make([]string, len(all))
	index := make([]int, len(all))
	for i := range all {
		order[i], index[i] = max(latest[all[i].key], all[i].push.ID), i
		latest[all[i].key] = order[i]
	}
	slices.SortStableFunc(index, func(a, b int) int { return strings.Compare(order[a], order[b]) })
	out := make([]missed, len(all))
	for i, from := range index {
		out[i] = all[from]
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
		cl.recover = &recover{pid: a + b[4:], tag: b[:4], uid: cl.uid}
		sh.saveAgain(cl) // one that has come back was saved before its replay
	}
	return cl.recover.pid
}
