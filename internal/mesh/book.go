package mesh

import (
	"context"
	"sync"
	"time"
)

// Member is a node as the membership has it.
type Member struct {
	Node   string
	Worker uint16
	Addr   string // host:port; "" for a node that nobody can reach
	Dead   bool   // it has shown no sign of life for long
}

// The times of the book: how often it is read anew while it is used, how often at
// most because somebody was not in it, and how long a reading may take.
const (
	readEvery = time.Second
	missEvery = 50 * time.Millisecond
	readTime  = 500 * time.Millisecond
)

// book remembers who the members are.
type book struct {
	members func(context.Context) ([]Member, error)

	reading sync.Mutex // held by who reads the membership

	mu       sync.Mutex
	byNode   map[string]Member
	byWorker map[uint16]Member
	tried    time.Time // when the last attempt to read that began
}

// refresh fills the book, unless somebody else has tried to since the given time.
// While the membership cannot be read the book stays as it is.
func (b *book) refresh(ctx context.Context, since time.Time) error {
	b.reading.Lock()
	defer b.reading.Unlock()
	if !b.due(since) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	list, err := b.members(ctx)
	if err != nil {
		return err
	}
	byNode, byWorker := make(map[string]Member, len(list)), make(map[uint16]Member, len(list))
	for _, m := range list {
		byNode[m.Node], byWorker[m.Worker] = m, m
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.byNode, b.byWorker = byNode, byWorker
	return nil
}

// due tells whether nobody has tried since a time, and takes note that somebody does
// now.
func (b *book) due(since time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tried.After(since) {
		return false
	}
	b.tried = time.Now()
	return true
}

// find looks somebody up, and reads the membership once more for who is not there.
func (b *book) find(ctx context.Context, look func() (Member, bool)) (Member, bool) {
	locked := func() (Member, bool) {
		b.mu.Lock()
		defer b.mu.Unlock()
		return look()
	}
	m, ok := locked()
	if ok {
		return m, true
	}
	if err := b.refresh(ctx, time.Now().Add(-missEvery)); err != nil {
		return Member{}, false
	}
	return locked()
}

func (b *book) node(ctx context.Context, name string) (Member, bool) {
	return b.find(ctx, func() (Member, bool) { m, ok := b.byNode[name]; return m, ok })
}

func (b *book) worker(ctx context.Context, n uint16) (Member, bool) {
	return b.find(ctx, func() (Member, bool) { m, ok := b.byWorker[n]; return m, ok })
}
