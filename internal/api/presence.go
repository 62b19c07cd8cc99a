package api

import (
	"bytes"
	"container/heap"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/internal/message"
)

// presence tells rooms who comes and goes.
//
//	move ─▶ changes of a room, gathered ─▶ flush ─▶ snapshot to those who came
//	        for Coalesce                            join, leave to the room
//
// One goroutine watches the clock; flushes run beside it, a few at a time and one
// for each room. A change that is undone while it waits is not told. Nothing of this
// is logged: who comes back gets a snapshot.
type presence struct {
	s   *Server
	cfg PresenceConfig

	mu     sync.Mutex
	byRoom map[message.Key]*roomChanges
	due    dueRooms
	wake   chan struct{} // has room for one: the earliest time has changed
}

// roomChanges is what is to be told of one room.
type roomChanges struct {
	key      message.Key
	changes  map[string]change // by client ID
	at       time.Time         // when it is due
	index    int               // in due; -1: it is being flushed
	flushing bool
}

type change struct {
	client *message.Client
	join   bool
}

const (
	bigRoomPause    = time.Second
	maxChanges      = 1000 // of one room that are listed; the count holds the rest
	flushesAtOnce   = 8
	flushTimeout    = 5 * time.Second
	maxPresenceText = 1 << 20
)

func newPresence(s *Server) *presence {
	return &presence{s: s, cfg: s.cfg.Presence, byRoom: make(map[message.Key]*roomChanges), wake: make(chan struct{}, 1)}
}

// move notes that a client came into rooms, or left them.
func (p *presence) move(c *message.Client, rooms []string, join bool) {
	if len(rooms) == 0 {
		return
	}
	now := p.s.cfg.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, room := range rooms {
		p.note(now, message.RoomKey(c.Namespace, room), c, join)
	}
}

func (p *presence) note(now time.Time, key message.Key, c *message.Client, join bool) {
	r := p.byRoom[key]
	if r == nil {
		if len(p.byRoom) >= p.cfg.Rooms {
			p.s.count.presenceLost.Add(1)
			return
		}
		r = &roomChanges{key: key, changes: make(map[string]change), index: -1}
		p.byRoom[key] = r
	}
	id := message.PublicID(c.ID)
	if old, ok := r.changes[id]; ok && old.join != join {
		// Come and gone, or gone and come back: nothing to tell, whatever their order.
		delete(r.changes, id)
		return
	}
	if _, ok := r.changes[id]; !ok && len(r.changes) >= maxChanges {
		p.s.count.presenceLost.Add(1)
		return
	}
	r.changes[id] = change{c, join}
	if r.index < 0 && !r.flushing {
		p.schedule(r, now.Add(p.cfg.Coalesce))
	}
}

func (p *presence) schedule(r *roomChanges, at time.Time) {
	r.at = at
	heap.Push(&p.due, r)
	if p.due[0] == r {
		wakeUp(p.wake)
	}
}

func (p *presence) rooms() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.byRoom)
}

// run flushes rooms when they are due, until ctx ends.
func (p *presence) run(ctx context.Context) {
	var flushes sync.WaitGroup
	defer flushes.Wait()
	slots := make(chan struct{}, flushesAtOnce)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		r, wait := p.next(p.s.cfg.Now())
		if r != nil {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			flushes.Add(1)
			go func() {
				defer flushes.Done()
				p.flush(ctx, r)
				<-slots
			}()
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-p.wake:
		case <-ctx.Done():
			return
		}
	}
}

// next returns a room that is due, or how long to wait for one.
func (p *presence) next(now time.Time) (*roomChanges, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.due) == 0 {
		return nil, time.Hour
	}
	if wait := p.due[0].at.Sub(now); wait > 0 {
		return nil, wait
	}
	r := heap.Pop(&p.due).(*roomChanges)
	r.flushing = true
	return r, 0
}

// flush tells one room what has changed, and forgets it or makes it due again.
func (p *presence) flush(ctx context.Context, r *roomChanges) {
	p.mu.Lock()
	changes := r.changes
	r.changes = make(map[string]change)
	p.mu.Unlock()

	big := false
	if len(changes) > 0 {
		ctx, cancel := context.WithTimeout(ctx, flushTimeout)
		defer cancel()
		var err error
		if big, err = p.announce(ctx, r.key, changes); err != nil && ctx.Err() == nil {
			p.s.count.presenceErr.Add(1)
			p.s.presenceErrors.warn(p.s.log, "", "a room was not told who is in it", "room", string(r.key), "error", err)
		}
	}
	now := p.s.cfg.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	r.flushing = false
	switch {
	case big: // stays known, so that its next changes wait
		p.schedule(r, now.Add(bigRoomPause))
	case len(r.changes) > 0:
		p.schedule(r, now.Add(p.cfg.Coalesce))
	default:
		delete(p.byRoom, r.key)
	}
}

// announce sends what changed in a room. big: the room is too large to be listed.
func (p *presence) announce(ctx context.Context, key message.Key, changes map[string]change) (big bool, err error) {
	clients, users, err := p.s.cfg.Registry.Count(ctx, key)
	if err != nil {
		return false, err
	}
	var members []*message.Client
	if members, err = p.members(ctx, key, changes); err != nil {
		return false, err
	}
	joined, gone := split(changes)
	if big = len(members) > p.cfg.FullUpTo; big {
		users += unknown(clients, members)
	} else {
		users = countUsers(members)
	}
	nodes, err := p.s.nodes.fresh(ctx, key)
	if err != nil {
		return big, err
	}
	room := key.Name()
	if !big && len(joined) > 0 {
		p.snapshot(ctx, key, joined, p.text("snapshot", members, users, room))
	}
	// The registry may not know of a node's first member yet.
	for _, c := range joined {
		if !slices.Contains(nodes, c.Node) {
			nodes = append(slices.Clip(nodes), c.Node)
		}
	}
	if len(joined) > 0 {
		p.tell(ctx, key, nodes, p.text("join", joined, users, room))
	}
	if len(gone) > 0 {
		p.tell(ctx, key, nodes, p.text("leave", gone, users, room))
	}
	return big, nil
}

// split sorts changes into those who came and those who left, oldest client first.
func split(changes map[string]change) (joined, gone []*message.Client) {
	for _, c := range changes {
		if c.join {
			joined = append(joined, c.client)
		} else {
			gone = append(gone, c.client)
		}
	}
	byID := func(a, b *message.Client) int { return strings.Compare(a.ID, b.ID) }
	slices.SortFunc(joined, byID)
	slices.SortFunc(gone, byID)
	return joined, gone
}

// unknown tells how many of a big room's clients have no uid, by the share of them
// among some of its members: exact where all or none have one, which is how most
// applications are, and near it where both kinds meet.
func unknown(clients uint64, some []*message.Client) uint64 {
	n := uint64(0)
	for _, c := range some {
		if c.UID == "" {
			n++
		}
	}
	return clients * n / uint64(len(some))
}

// members lists a small room: what the registry has, mended by what it may not
// have yet. Of a big room it lists some more than FullUpTo. Who has come back since
// they left is taken out of changes: another ws-api may have had that to tell.
func (p *presence) members(ctx context.Context, key message.Key, changes map[string]change) ([]*message.Client, error) {
	listed, _, err := p.s.cfg.Registry.List(ctx, key, "", p.cfg.FullUpTo+1)
	if err != nil {
		return nil, err
	}
	var members []*message.Client
	for i := range listed {
		c := &listed[i].Client
		id := message.PublicID(c.ID)
		was, changed := changes[id]
		if changed && !was.join && c.ConnectedAt.After(was.client.ConnectedAt) {
			delete(changes, id)
			changed = false
		}
		if !changed {
			members = append(members, c)
		}
	}
	for _, c := range changes {
		if c.join {
			members = append(members, c.client)
		}
	}
	slices.SortFunc(members, func(a, b *message.Client) int { return strings.Compare(a.ID, b.ID) })
	return members, nil
}

// countUsers counts people: a uid once, a client without one by itself.
func countUsers(clients []*message.Client) uint64 {
	seen := make(map[string]bool, len(clients))
	for _, c := range clients {
		if c.UID != "" {
			seen["u"+c.UID] = true
		} else {
			seen["c"+c.ID] = true
		}
	}
	return uint64(len(seen))
}

// tell sends one text to all of a room.
func (p *presence) tell(ctx context.Context, key message.Key, nodes []string, text []byte) {
	push := p.push([]message.Key{key}, text)
	for _, node := range nodes {
		p.send(ctx, node, push, []message.Stamp{{Key: key}})
	}
}

// snapshot sends one text to those who came, in one record for each node.
func (p *presence) snapshot(ctx context.Context, room message.Key, joined []*message.Client, text []byte) {
	byNode := make(map[string][]message.Stamp)
	var keys []message.Key
	for _, c := range joined {
		key := message.ClientKey(room.Namespace(), c.ID)
		keys = append(keys, key)
		byNode[c.Node] = append(byNode[c.Node], message.Stamp{Key: key})
	}
	push := p.push(keys, text)
	for node, stamps := range byNode {
		p.send(ctx, node, push, stamps)
	}
}

func (p *presence) push(keys []message.Key, text []byte) *message.Push {
	push := &message.Push{Targets: keys, Event: p.cfg.Event, Payload: message.Payload{JSON: text}}
	p.s.complete(push)
	return push
}

// send counts only: a room that missed a change learns the number of users with
// the next one.
func (p *presence) send(ctx context.Context, node string, push *message.Push, stamps []message.Stamp) {
	d := &message.Down{Push: &message.Delivery{Push: push, Stamps: stamps, Pushed: p.s.cfg.Now()}}
	if p.s.send(ctx, node, d) == nil {
		p.s.count.presenceSent.Add(1)
	}
}

// text writes the arguments of a presence event:
//
//	[{"type":"presence","data":{"type":"join","clients":[…],"userCount":2,"from":"ws"},"room":"doc-7"}]
func (p *presence) text(kind string, clients []*message.Client, users uint64, room string) []byte {
	var b bytes.Buffer
	b.WriteString(`[{"type":"presence","data":{"type":"` + kind + `","clients":[`)
	for i, c := range clients {
		if b.Len() > maxPresenceText {
			break // the count tells of the rest
		}
		if i > 0 {
			b.WriteByte(',')
		}
		writeProfile(&b, c)
	}
	b.WriteString(`],"userCount":` + strconv.FormatUint(users, 10) + `,"from":"ws"},"room":`)
	b.Write(plainText(room))
	b.WriteString(`}]`)
	return b.Bytes()
}

// writeProfile writes a client's profile as it is, with its ID and uid where the
// profile has no such fields.
func writeProfile(b *bytes.Buffer, c *message.Client) {
	fields := make(map[string]json.RawMessage)
	profile := strings.TrimSpace(c.Profile)
	if profile == "" || json.Unmarshal([]byte(profile), &fields) != nil || fields == nil {
		profile, fields = "{}", nil
	}
	b.WriteString(strings.TrimSuffix(profile, "}"))
	more := len(fields) > 0
	add := func(name, value string) {
		if _, has := fields[name]; has || value == "" {
			return
		}
		if more {
			b.WriteByte(',')
		}
		more = true
		b.WriteString(`"` + name + `":`)
		b.Write(plainText(value))
	}
	add("id", message.PublicID(c.ID))
	add("uid", c.UID)
	b.WriteByte('}')
}

// dueRooms is a heap by time.
type dueRooms []*roomChanges

func (d dueRooms) Len() int           { return len(d) }
func (d dueRooms) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d dueRooms) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

func (d *dueRooms) Push(x any) {
	r := x.(*roomChanges)
	r.index = len(*d)
	*d = append(*d, r)
}

func (d *dueRooms) Pop() any {
	old := *d
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	r.index = -1
	return r
}
