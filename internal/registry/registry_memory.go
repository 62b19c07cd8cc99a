package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/internal/message"
)

// Options of a [Memory]. The zero Options takes the defaults.
type Options struct {
	// Now is the wall clock; nil stands for time.Now.
	Now func() time.Time
}

// Stats is what a registry holds now.
type Stats struct {
	Clients int
	Keys    int // rooms and namespaces that have a member or a node
	Users   int
	Saved   int // sessions that can be recovered
}

// MaxPage bounds a page of List and ListNode, since a page is read under the lock.
const MaxPage = 1000

// room is a room or a whole namespace. It exists while a client or a node is in it.
type room struct {
	key     message.Key
	members members
	users   tally[*user] // of members whose user is known
	nodes   []string     // that have entered, sorted; replaced, never changed
	version uint64       // of nodes
}

// user is one user in one namespace. It exists while it has clients.
type user struct {
	key     message.Key
	members members
	nodes   tally[*node]
}

// node is a gateway. It exists while clients are on it.
type node struct {
	name    string
	members members
}

// Memory is the registry of one process. One RWMutex covers all: a change takes a
// microsecond or two, and a batch lets readers in between. It starts no goroutine.
// It is safe for concurrent use.
type Memory struct {
	now   func() time.Time
	start time.Time
	saved sessions

	mu      sync.RWMutex
	version uint64 // the highest given out
	clients map[string]*client
	rooms   map[message.Key]*room
	users   map[message.Key]*user
	nodes   map[string]*node
}

// NewMemory returns an empty registry.
func NewMemory(opts Options) *Memory {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Memory{
		now:     opts.Now,
		start:   opts.Now(),
		saved:   sessions{byPID: make(map[string]*savedSession)},
		clients: make(map[string]*client),
		rooms:   make(map[message.Key]*room),
		users:   make(map[message.Key]*user),
		nodes:   make(map[string]*node),
	}
}

// Nodes returns the names of the nodes that a message for key must reach, sorted,
// and the version of that list. For rooms and namespaces these are the nodes that
// have entered; for a user or a client, those of its clients, with version 0. A
// room without nodes has version 0 as well. The slice is shared and must not be
// modified.
func (m *Memory) Nodes(_ context.Context, key message.Key) (nodes []string, version uint64, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	switch key.Kind() {
	case message.KindRoom, message.KindAll:
		if r := m.rooms[key]; r != nil {
			return r.nodes, r.version, nil
		}
	case message.KindUser:
		if u := m.users[key]; u != nil {
			for _, n := range u.nodes.values(&u.members, nodeOf) {
				nodes = append(nodes, n.name)
			}
			slices.Sort(nodes)
		}
	case message.KindClient:
		if c := m.clientBehind(key); c != nil {
			nodes = []string{c.node.name}
		}
	}
	return nodes, 0, nil
}

// Version returns the version of a room's or namespace's list of nodes, which a log
// tells together with an append; 0 when no node has entered.
func (m *Memory) Version(key message.Key) uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if r := m.rooms[key]; r != nil {
		return r.version
	}
	return 0
}

// Client returns a client by either form of its ID, or [message.ErrNotFound].
func (m *Memory) Client(_ context.Context, id string) (message.ClientInfo, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := m.clients[message.PublicID(id)]
	if c == nil {
		return message.ClientInfo{}, fmt.Errorf("client: %w", message.ErrNotFound)
	}
	return c.info(), nil
}

// List returns the clients behind a key, ordered by ID and above cursor, at most
// limit and [MaxPage] of them. next is the cursor of the following page, "" when
// there is none. A client that stays from the first page to the last is listed
// exactly once, whoever comes and goes meanwhile. Nobody behind the key is an empty
// list.
func (m *Memory) List(
	_ context.Context, key message.Key, cursor string, limit int,
) (clients []message.ClientInfo, next string, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if key.Kind() == message.KindClient {
		if c := m.clientBehind(key); c != nil && c.ID > cursor {
			clients = []message.ClientInfo{c.info()}
		}
		return clients, "", nil
	}
	clients, next = list(m.membersBehind(key), cursor, limit)
	return clients, next, nil
}

// ListNode returns the clients of a node, as [Memory.List] does.
func (m *Memory) ListNode(
	_ context.Context, name, cursor string, limit int,
) (clients []message.ClientInfo, next string, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n := m.nodes[name]
	if n == nil {
		return nil, "", nil
	}
	clients, next = list(&n.members, cursor, limit)
	return clients, next, nil
}

func list(m *members, cursor string, limit int) (clients []message.ClientInfo, next string) {
	if m == nil {
		return nil, ""
	}
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	page := m.page(make([]*client, 0, min(limit, m.n)+1), cursor, limit+1)
	if len(page) > limit {
		page = page[:limit]
		next = page[limit-1].ID
	}
	clients = make([]message.ClientInfo, len(page))
	for i, c := range page {
		clients[i] = c.info()
	}
	return clients, next
}

// Count returns how many clients are behind a key, and how many known users they
// are; clients that nobody knows are no users. It is O(1).
func (m *Memory) Count(_ context.Context, key message.Key) (clients, users uint64, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	switch key.Kind() {
	case message.KindRoom, message.KindAll:
		if r := m.rooms[key]; r != nil {
			return uint64(r.members.n), uint64(r.users.n), nil
		}
	case message.KindUser:
		if u := m.users[key]; u != nil {
			return uint64(u.members.n), 1, nil
		}
	case message.KindClient:
		if c := m.clientBehind(key); c != nil && c.user != nil {
			return 1, 1, nil
		} else if c != nil {
			return 1, 0, nil
		}
	}
	return 0, 0, nil
}

// Stats returns what the registry holds now.
func (m *Memory) Stats() Stats {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return Stats{
		Clients: len(m.clients), Keys: len(m.rooms), Users: len(m.users),
		Saved: m.saved.count(),
	}
}

// clock is the time since the registry was made, by the monotonic reading where now
// has one.
func (m *Memory) clock() time.Duration { return m.now().Sub(m.start) }

// clientBehind returns the client of a client key, which names its namespace too.
func (m *Memory) clientBehind(key message.Key) *client {
	c := m.clients[message.PublicID(key.Name())]
	if c == nil || c.Namespace != key.Namespace() {
		return nil
	}
	return c
}

func (m *Memory) membersBehind(key message.Key) *members {
	switch key.Kind() {
	case message.KindRoom, message.KindAll:
		if r := m.rooms[key]; r != nil {
			return &r.members
		}
	case message.KindUser:
		if u := m.users[key]; u != nil {
			return &u.members
		}
	}
	return nil
}

func (c *client) info() message.ClientInfo {
	info := message.ClientInfo{Client: *c.Client, LastSeenAt: time.UnixMilli(c.seen)}
	if len(c.rooms) > 0 {
		info.Rooms = make([]string, len(c.rooms))
		for i, r := range c.rooms {
			info.Rooms[i] = r.name()
		}
		slices.Sort(info.Rooms)
	}
	return info
}

// name returns the part of the key that names the room, without a copy.
func (r *room) name() string {
	_, name, _ := strings.Cut(string(r.key), ",")
	return name
}

func userOf(c *client) (*user, bool) { return c.user, c.user != nil }

func nodeOf(c *client) (*node, bool) { return c.node, true }
