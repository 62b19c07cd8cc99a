package registry

import (
	"context"
	"slices"

	"holdfast/internal/message"
)

// applyBatch is how many changes are made under one hold of the lock.
const applyBatch = 64

// Apply makes changes in their order. The package's doc says what each does. It
// keeps the pointers to clients, which must not be changed afterwards, and no other
// part of a change. Its only error is the end of ctx, in between two changes.
func (m *Memory) Apply(ctx context.Context, changes []message.Change) error {
	m.saved.sweep(m.clock())
	for batch := range slices.Chunk(changes, applyBatch) {
		if err := ctx.Err(); err != nil {
			return err
		}
		m.applyBatch(batch, m.now().UnixMilli())
	}
	return nil
}

func (m *Memory) applyBatch(batch []message.Change, now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range batch {
		m.apply(&batch[i], now)
	}
}

func (m *Memory) apply(ch *message.Change, now int64) {
	switch ch.Kind {
	case message.ChangeConnect:
		m.connect(ch.Client, ch.Rooms, now)
	case message.ChangeMend:
		m.mend(ch.Client, ch.Rooms)
	case message.ChangeEnter:
		m.enter(ch.Key, ch.Node)
	case message.ChangeExit:
		m.exit(ch.Key, ch.Node)
	case message.ChangeJoin, message.ChangeLeave, message.ChangeDisconnect:
		c := m.clients[message.PublicID(ch.Client.ID)]
		if c == nil || c.Node != ch.Client.Node {
			return
		}
		c.seen = now
		m.applyTo(c, ch)
	}
}

func (m *Memory) applyTo(c *client, ch *message.Change) {
	switch ch.Kind {
	case message.ChangeJoin:
		for _, name := range ch.Rooms {
			m.join(c, name)
		}
	case message.ChangeLeave:
		for _, name := range ch.Rooms {
			m.leave(c, name)
		}
	case message.ChangeDisconnect:
		m.disconnect(c)
	}
}

// connect makes a client's record what it is said to be.
func (m *Memory) connect(as *message.Client, rooms []string, now int64) {
	as = public(as)
	c := m.clients[as.ID]
	if c != nil && (c.Namespace != as.Namespace || c.UID != as.UID || c.Node != as.Node) {
		m.disconnect(c)
		c = nil
	}
	if c == nil {
		c = m.insert(as)
	}
	c.Client, c.seen = as, now
	if len(c.rooms) > 0 {
		for _, r := range slices.Clone(c.rooms) {
			if !slices.Contains(rooms, r.name()) {
				m.leave(c, r.name())
			}
		}
	}
	for _, name := range rooms {
		m.join(c, name)
	}
}

// mend is connect unless another node has had news of the client since.
func (m *Memory) mend(as *message.Client, rooms []string) {
	seen := as.ConnectedAt.UnixMilli()
	if c := m.clients[message.PublicID(as.ID)]; c != nil {
		if c.Node != as.Node && c.seen >= seen {
			return
		}
		seen = c.seen
	}
	m.connect(as, rooms, seen)
}

// public returns the client under its public ID. Gateways use that one anyway, so
// that the copy is an exception; a secret must not get into lists.
func public(as *message.Client) *message.Client {
	id := message.PublicID(as.ID)
	if id == as.ID {
		return as
	}
	shown := *as
	shown.ID = id
	return &shown
}

// insert makes a client known in its namespace, at its node and under its user.
func (m *Memory) insert(as *message.Client) *client {
	c := &client{Client: as}
	m.clients[as.ID] = c
	if c.node = m.nodes[as.Node]; c.node == nil {
		c.node = &node{name: as.Node}
		m.nodes[as.Node] = c.node
	}
	c.node.members.add(c)
	if as.UID != "" {
		key := message.UserKey(as.Namespace, as.UID)
		if c.user = m.users[key]; c.user == nil {
			c.user = &user{key: key}
			m.users[key] = c.user
		}
		c.user.nodes.add(c.node, &c.user.members, nodeOf)
		c.user.members.add(c)
	}
	c.all = m.room(message.AllKey(as.Namespace))
	c.all.add(c)
	return c
}

// disconnect forgets a client and all that only it kept in being.
func (m *Memory) disconnect(c *client) {
	for _, r := range c.rooms {
		r.remove(c)
		m.tidy(r)
	}
	c.rooms = nil
	c.all.remove(c)
	m.tidy(c.all)
	if u := c.user; u != nil {
		u.members.remove(c)
		u.nodes.remove(c.node, &u.members, nodeOf)
		if u.members.n == 0 {
			delete(m.users, u.key)
		}
	}
	if c.node.members.remove(c); c.node.members.n == 0 {
		delete(m.nodes, c.node.name)
	}
	delete(m.clients, c.ID)
}

func (m *Memory) join(c *client, name string) {
	key := message.RoomKey(c.Namespace, name)
	if slices.ContainsFunc(c.rooms, func(r *room) bool { return r.key == key }) {
		return
	}
	r := m.room(key)
	r.add(c)
	if c.rooms == nil {
		c.rooms = make([]*room, 0, 1) // most clients are in one room
	}
	c.rooms = append(c.rooms, r)
}

func (m *Memory) leave(c *client, name string) {
	key := message.RoomKey(c.Namespace, name)
	i := slices.IndexFunc(c.rooms, func(r *room) bool { return r.key == key })
	if i < 0 {
		return
	}
	r := c.rooms[i]
	c.rooms = slices.Delete(c.rooms, i, i+1)
	r.remove(c)
	m.tidy(r)
}

func (m *Memory) enter(key message.Key, name string) {
	if !entered(key) {
		return
	}
	r := m.room(key)
	if nodes, changed := insertSorted(r.nodes, name); changed {
		m.version++
		r.nodes, r.version = nodes, m.version
	}
}

func (m *Memory) exit(key message.Key, name string) {
	r := m.rooms[key]
	if r == nil {
		return
	}
	if nodes, changed := deleteSorted(r.nodes, name); changed {
		m.version++
		r.nodes, r.version = nodes, m.version
		m.tidy(r)
	}
}

// entered tells whether nodes enter such a key.
func entered(key message.Key) bool {
	return key.Kind() == message.KindRoom || key.Kind() == message.KindAll
}

// room returns the room of a key, made if need be. Whoever calls it puts somebody in.
func (m *Memory) room(key message.Key) *room {
	r := m.rooms[key]
	if r == nil {
		r = &room{key: key}
		m.rooms[key] = r
	}
	return r
}

// tidy forgets a room in which nobody is left. Its version need not be remembered:
// the next one is higher than all.
func (m *Memory) tidy(r *room) {
	if r.members.n == 0 && len(r.nodes) == 0 {
		delete(m.rooms, r.key)
	}
}

func (r *room) add(c *client) {
	if c.user != nil {
		r.users.add(c.user, &r.members, userOf)
	}
	r.members.add(c)
}

func (r *room) remove(c *client) {
	r.members.remove(c)
	if c.user != nil {
		r.users.remove(c.user, &r.members, userOf)
	}
}
