package roomlog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"holdfast/internal/message"
)

// Options bounds a [Memory]. The zero Options takes the defaults.
type Options struct {
	Count      int           // messages in one key's log; default 1000
	Bytes      int64         // of messages in one key's log; default 4 MiB
	Window     time.Duration // how long a message is kept; default 3 min
	TotalBytes int64         // in all logs, overheads included; default 256 MiB

	// Version returns the membership version of a key that nodes enter and exit,
	// for Appended.Version. It is called without a lock, after the append has taken
	// effect: a node that enters later reads a head that covers the message. nil:
	// the version stays 0.
	Version func(message.Key) uint64
	// Now is the wall clock; nil stands for time.Now. It may run backwards.
	Now func() time.Time
}

const (
	defaultCount      = 1000
	defaultBytes      = 4 << 20
	defaultWindow     = 3 * time.Minute
	defaultTotalBytes = 256 << 20
)

// Stats is what a store holds now and has dropped since it was made.
type Stats struct {
	Keys     int
	Records  int
	Bytes    int64  // messages (each counted once where possible) and overheads
	Appended uint64 // records
	Trimmed  uint64 // records dropped for a key's bounds
	Evicted  uint64 // records dropped for TotalBytes
	Expired  uint64 // records dropped for their age
}

// sweepBatch bounds how many records one call drops on behalf of other keys. An
// append adds one, so that sweeping keeps ahead.
const sweepBatch = 32

// Memory keeps logs in the process. One lock covers all: each operation under it
// is a few pointer writes. It starts no goroutine; old records are dropped by the
// calls that come later, oldest first, and by [Memory.Sweep]. It is safe for
// concurrent use.
type Memory struct {
	opts  Options
	epoch uint64
	start time.Time

	mu     sync.Mutex
	logs   map[message.Key]*keyLog
	oldest *record // list of all records in the order of appending
	newest *record
	clock  time.Duration // since start, the highest seen: ages never go backwards
	// floor is at or above all sequences that logs since dropped have used, and
	// that Heads gave for keys without a log. A new log begins above it.
	floor uint64
	// lost is the highest sequence of a log that was evicted as a whole. Until
	// lostUntil, when the records would have expired anyway, a position below it
	// counts as incomplete in any key that has no log of its own to ask.
	lost      uint64
	lostUntil time.Duration
	stats     Stats
}

// NewMemory returns an empty store with a new epoch.
func NewMemory(opts Options) *Memory {
	if opts.Count <= 0 {
		opts.Count = defaultCount
	}
	if opts.Bytes <= 0 {
		opts.Bytes = defaultBytes
	}
	if opts.Window <= 0 {
		opts.Window = defaultWindow
	}
	if opts.TotalBytes <= 0 {
		opts.TotalBytes = defaultTotalBytes
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Memory{
		opts: opts, epoch: newEpoch(), start: opts.Now(),
		logs: make(map[message.Key]*keyLog),
	}
}

// newEpoch returns a random number that is not 0. Its 48 bits keep offsets short.
func newEpoch() uint64 {
	var buf [8]byte
	for {
		rand.Read(buf[:6]) // never fails, see its documentation
		if epoch := binary.LittleEndian.Uint64(buf[:]); epoch != 0 {
			return epoch
		}
	}
}

// Append adds a message to a key's log and returns its position, in O(1). The
// store keeps p, which must not be changed; appended to several keys it is shared.
func (m *Memory) Append(_ context.Context, key message.Key, p *message.Push) (message.Appended, error) {
	at := m.append(key, p)
	if kind := key.Kind(); m.opts.Version != nil && (kind == message.KindRoom || kind == message.KindAll) {
		at.Version = m.opts.Version(key)
	}
	return at, nil
}

func (m *Memory) append(key message.Key, p *message.Push) message.Appended {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.tick()
	m.sweep()
	l, prev := m.live(key), uint64(0)
	if l == nil {
		l = m.newLog(key, now)
	} else {
		prev = l.last()
	}
	m.push(l, p)
	m.trim(l)
	for m.stats.Bytes > m.opts.TotalBytes && m.oldest != m.newest {
		m.evict()
	}
	return message.Appended{Position: message.Position{Epoch: m.epoch, Seq: l.last()}, Prev: prev}
}

// Heads returns, in the order of keys, the position of each key's last message. For
// a key without a log it is one below which no later message will be.
func (m *Memory) Heads(_ context.Context, keys []message.Key) ([]message.Position, error) {
	heads := make([]message.Position, len(keys))
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.tick()
	m.sweep()
	for i, key := range keys {
		heads[i].Epoch = m.epoch
		if l := m.live(key); l != nil {
			heads[i].Seq = l.last()
			continue
		}
		m.floor = max(m.floor, micros(now))
		heads[i].Seq = m.floor
	}
	return heads, nil
}

// Range returns the messages of a key after a position, oldest first and at most
// limit of them (0 or less: all). complete is false when some after that position
// are gone because the log was full, and when the position is of another epoch, in
// which case there are no records. Records alias the appended messages.
func (m *Memory) Range(
	_ context.Context, key message.Key, after message.Position, limit int,
) (records []message.Logged, complete bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tick()
	m.sweep()
	if after.Epoch != m.epoch {
		return nil, false, nil
	}
	l := m.live(key)
	if l == nil {
		return nil, after.Seq >= m.lostNow(), nil
	}
	return l.after(after.Seq, limit), after.Seq >= l.trimmed, nil
}

// Find returns the place of the message with that ID in a key's log, without the
// membership's version, or [message.ErrNotFound]. It was appended after since, if it was;
// [message.ErrForgotten]: what the log has dropped since then might be it. The time that
// this takes is in proportion to the log.
func (m *Memory) Find(_ context.Context, key message.Key, messageID string, since time.Time) (message.Appended, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.tick()
	l := m.live(key)
	if l == nil {
		if m.lostNow() > 0 || now.Sub(since) > m.opts.Window {
			return message.Appended{}, message.ErrForgotten
		}
		return message.Appended{}, message.ErrNotFound
	}
	for _, r := range l.after(0, 0) {
		if r.Push.ID == messageID {
			return message.Appended{Position: message.Position{Epoch: m.epoch, Seq: r.Seq}, Prev: r.Prev}, nil
		}
	}
	whole := l.restart && l.trimmed == 0
	if oldest := m.start.Add(l.records[l.head].at); !whole && !oldest.Before(since) {
		return message.Appended{}, message.ErrForgotten
	}
	return message.Appended{}, message.ErrNotFound
}

// Sweep drops what is past the window. Whoever owns the store calls it now and
// then, so that an idle one gives its memory back.
func (m *Memory) Sweep() {
	for {
		m.mu.Lock()
		m.tick()
		more := m.sweep()
		m.mu.Unlock()
		if !more {
			return
		}
	}
}

// Stats returns the counters as they are now.
func (m *Memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stats
	s.Keys = len(m.logs)
	return s
}

// tick advances the clock, by the monotonic reading where Now has one, and returns
// the wall clock's time.
func (m *Memory) tick() time.Time {
	now := m.opts.Now()
	m.clock = max(m.clock, now.Sub(m.start))
	return now
}

// lostNow returns the sequence up to which evicted logs may have had messages that
// would not be past the window yet.
func (m *Memory) lostNow() uint64 {
	if m.clock > m.lostUntil {
		return 0
	}
	return m.lost
}

func micros(t time.Time) uint64 { return uint64(max(t.UnixMicro(), 1)) }
