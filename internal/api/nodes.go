package api

import (
	"container/list"
	"context"
	"sync"
	"time"

	"holdfast/internal/message"
)

// nodeLists remembers which nodes have members of a key. An append tells the
// membership's version at its moment, so a list of that version or a later one is
// good enough for it: a node that is not in it has got its first member after the
// append, and reads the log from there.
type nodeLists struct {
	registry Registry
	now      func() time.Time
	max      int

	mu    sync.Mutex
	byKey map[message.Key]*list.Element // of *nodeList
	used  list.List                     // most recently used first
}

type nodeList struct {
	key     message.Key
	nodes   []string
	version uint64
	epoch   uint64 // of the log that told the version
	loaded  time.Time
}

// volatileAge is how old a list may be for messages that no append tells a
// version for and that may be lost. It keeps a stream of cursors from asking the
// registry for each.
const volatileAge = 10 * time.Millisecond

func newNodeLists(r Registry, now func() time.Time, limit int) *nodeLists {
	return &nodeLists{registry: r, now: now, max: limit, byKey: make(map[message.Key]*list.Element)}
}

// after returns the nodes of key as they were at the append a or later.
func (l *nodeLists) after(ctx context.Context, key message.Key, a message.Appended) ([]string, error) {
	if a.Version == 0 || !versioned(key) {
		return l.load(ctx, key, a.Epoch)
	}
	if e := l.get(key); e != nil && e.epoch == a.Epoch && e.version >= a.Version {
		return e.nodes, nil
	}
	return l.load(ctx, key, a.Epoch)
}

// about returns the nodes of key as they were a moment ago.
func (l *nodeLists) about(ctx context.Context, key message.Key) ([]string, error) {
	if !versioned(key) {
		return l.load(ctx, key, 0)
	}
	if e := l.get(key); e != nil && l.now().Sub(e.loaded) < volatileAge {
		return e.nodes, nil
	}
	return l.load(ctx, key, 0)
}

// fresh returns the nodes of key as they are.
func (l *nodeLists) fresh(ctx context.Context, key message.Key) ([]string, error) {
	return l.load(ctx, key, 0)
}

// versioned tells whether the nodes of such a key have a version: those of users
// and clients are looked up each time, for they differ between any two keys and
// change with each connection.
func versioned(key message.Key) bool {
	return key.Kind() == message.KindRoom || key.Kind() == message.KindAll
}

func (l *nodeLists) get(key message.Key) *nodeList {
	l.mu.Lock()
	defer l.mu.Unlock()
	el := l.byKey[key]
	if el == nil {
		return nil
	}
	l.used.MoveToFront(el)
	return el.Value.(*nodeList)
}

func (l *nodeLists) load(ctx context.Context, key message.Key, epoch uint64) ([]string, error) {
	loaded := l.now() // before the answer: the list is at least as new as this
	nodes, version, err := l.registry.Nodes(ctx, key)
	if err != nil {
		return nil, err
	}
	if versioned(key) {
		l.put(&nodeList{key: key, nodes: nodes, version: version, epoch: epoch, loaded: loaded})
	}
	return nodes, nil
}

// put keeps a list. An entry is replaced and never changed, since others read it
// without the lock. A list that came back later than a newer one does not replace
// it.
func (l *nodeLists) put(n *nodeList) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if el := l.byKey[n.key]; el != nil {
		old := el.Value.(*nodeList)
		if n.epoch == 0 {
			n.epoch = old.epoch
		}
		if n.epoch == old.epoch && n.version < old.version {
			return
		}
		el.Value = n
		return
	}
	l.byKey[n.key] = l.used.PushFront(n)
	if l.used.Len() > l.max {
		oldest := l.used.Back()
		l.used.Remove(oldest)
		delete(l.byKey, oldest.Value.(*nodeList).key)
	}
}

// forget drops what is known of key: one of its nodes turned out to be gone.
func (l *nodeLists) forget(key message.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if el := l.byKey[key]; el != nil {
		l.used.Remove(el)
		delete(l.byKey, key)
	}
}
