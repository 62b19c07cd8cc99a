package gateway

import (
	"holdfast/internal/hub"
	"holdfast/internal/message"
)

// A walk has what a shard holds written to the registry once more: every client with
// its rooms, and the node as one that has members of them.
//
//	                 ┌──────── pause ◀─────────┐
//	slice of clients ┴▶ registrar ─▶ registry ─┴▶ (after a loss) heads of their rooms ─▶ gaps, saves
//
// A shard takes a slice at a time and looks at nothing else meanwhile than a few dozen
// clients; the next slice waits until the one before is written, and for the pause. So
// a walk takes neither the shard nor the store away from those who connect.
//
// It goes through the rooms of whole namespaces, in which every client is, from the
// last slot to the first. When somebody leaves, the last member takes the seat, so a
// member moves down or has been walked before; newcomers sit at the end and have just
// been written. Everybody who stays is reached, and being reached twice does no harm.
type walk struct {
	rooms []*hub.Room[*client] // that are left; the last one is under way
	slot  int                  // of which the members below are left
	lost  bool                 // the store has lost its data: logs and saves begin anew as well
	pause int64                // between slices, in ms
	at    int64                // when the next slice is due
	busy  bool                 // a slice is on its way
	done  func()               // called at the end; nil: nobody waits
}

// walkSlice is how many clients are written at once, rewriteRate how many a second by
// the whole node after a loss: a store that has just come back has to serve those who
// connect, too.
const (
	walkSlice   = 64
	rewriteRate = 2000
)

// Rewrite has all that the node holds written to its stores once more, which is for
// stores that have lost it. It returns at once. No client notices, and messages that
// were pushed before their room was known again are fetched from its log.
func (g *Gateway) Rewrite() {
	pause := int64(walkSlice * 1000 * len(g.shards) / rewriteRate)
	for _, sh := range g.shards {
		sh.inbox.post(func() { sh.beginWalk(&walk{lost: true, pause: pause}) })
	}
}

// beginWalk starts a walk. It takes the place of one that is under way, unless that
// one does more.
func (sh *shard) beginWalk(w *walk) {
	if old := sh.walk; old != nil {
		if old.lost && !w.lost {
			w.end()
			return
		}
		old.end()
	}
	w.at = sh.now
	for room := range sh.namespaces {
		w.rooms = append(w.rooms, room)
	}
	w.enter()
	sh.walk = w
}

// enter begins with the next room that has members.
func (w *walk) enter() {
	for n := len(w.rooms); n > 0; n = len(w.rooms) {
		if w.slot = w.rooms[n-1].End(); w.slot > 0 {
			return
		}
		w.rooms = w.rooms[:n-1]
	}
}

func (w *walk) end() {
	if w.done != nil {
		w.done()
	}
}

// take returns the clients of the next slice, none at the walk's end.
func (w *walk) take() (clients []*client) {
	for len(clients) < walkSlice && len(w.rooms) > 0 {
		room := w.rooms[len(w.rooms)-1]
		w.slot = min(w.slot, room.End())
		for w.slot > 0 && len(clients) < walkSlice {
			w.slot--
			if cl := room.At(w.slot); cl != nil {
				clients = append(clients, cl)
			}
		}
		if w.slot == 0 {
			w.rooms = w.rooms[:len(w.rooms)-1]
			w.enter()
		}
	}
	return clients
}

// stepWalk has the next slice written when it is due.
func (sh *shard) stepWalk() {
	w := sh.walk
	if w == nil || w.busy || sh.now < w.at {
		return
	}
	clients := w.take()
	if len(clients) == 0 {
		sh.walk = nil
		w.end()
		return
	}
	var o op
	var rooms []*hub.Room[*client]
	seen := make(map[*hub.Room[*client]]bool)
	for _, cl := range clients {
		o.changes = append(o.changes, sh.change(message.ChangeMend, cl, cl.appendRooms(nil)))
		for i := range cl.seats {
			if room := cl.seats[i].Room; !seen[room] {
				seen[room] = true
				rooms = append(rooms, room)
			}
		}
	}
	keys := make([]message.Key, len(rooms))
	for i, room := range rooms {
		keys[i] = room.Key
	}
	if w.lost {
		o.heads = keys
	}
	w.busy = true
	o.done = func(heads []message.Position) {
		sh.inbox.post(func() {
			w.busy, w.at = false, sh.now+w.pause
			if w.lost {
				sh.rewritten(clients, rooms, heads)
			}
		})
	}
	sh.g.registrar.restate(o, keys)
}

// rewritten goes on after a slice was written to a store that had lost its data. What
// was pushed to its rooms in between was sent to nobody; it shows by the heads, also
// of what comes until the bus has found this node again. Who may come back later needs
// a save that counts from the new logs.
func (sh *shard) rewritten(clients []*client, rooms []*hub.Room[*client], heads []message.Position) {
	for i, room := range rooms {
		if i >= len(heads) || sh.hub.Room(room.Key) != room || !room.Log.Live {
			continue
		}
		if !room.Log.Repairing {
			sh.compare(room, heads[i])
		}
		sh.active[room] = sh.now
	}
	for _, cl := range clients {
		if cl.accepted {
			sh.saveAgain(cl)
		}
	}
}
