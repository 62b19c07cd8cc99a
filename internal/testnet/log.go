package testnet

import (
	"context"
	"sync"

	"holdfast/internal/message"
)

// firstSeq is below the sequences of a new log: they begin high, as those of a store
// that begins at its clock.
const firstSeq = 1_000_000

// Log is the log of every key, without bounds. Its zero value is empty.
type Log struct {
	Gate   Gate
	Ranges Gate // before Range alone, behind the other

	mu      sync.Mutex
	records map[message.Key][]message.Logged
	dropped map[message.Key]int // so many of the first are gone
}

// Append adds a push to the log of each of its targets and returns the stamps. It
// does not pass the gate: that is the node's way to the store, and this is not.
func (l *Log) Append(p *message.Push) []message.Stamp {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.records == nil {
		l.records = make(map[message.Key][]message.Logged)
	}
	stamps := make([]message.Stamp, 0, len(p.Targets))
	for _, key := range p.Targets {
		prev := l.head(key)
		l.records[key] = append(l.records[key], message.Logged{Seq: prev + 1, Prev: prev, Push: p})
		stamps = append(stamps, message.Stamp{Key: key, Epoch: 1, Seq: prev + 1, Prev: prev})
	}
	return stamps
}

// head is the sequence of a key's last record; mu is held.
func (l *Log) head(key message.Key) uint64 { return firstSeq + uint64(len(l.records[key])) }

// Heads is the node's view of the log.
func (l *Log) Heads(ctx context.Context, keys []message.Key) ([]message.Position, error) {
	if err := l.Gate.pass(ctx); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]message.Position, len(keys))
	for i, key := range keys {
		out[i] = message.Position{Epoch: 1, Seq: l.head(key)}
	}
	return out, nil
}

// Drop has the log of a key forget the first n that it ever had.
func (l *Log) Drop(key message.Key, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dropped == nil {
		l.dropped = make(map[message.Key]int)
	}
	l.dropped[key] = n
}

// Range is the node's view of the log.
func (l *Log) Range(ctx context.Context, key message.Key, after message.Position, limit int) ([]message.Logged, bool, error) {
	for _, g := range []*Gate{&l.Gate, &l.Ranges} {
		if err := g.pass(ctx); err != nil {
			return nil, false, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.records[key]
	from := min(max(int(after.Seq)-firstSeq, 0), len(all))
	complete := after.Epoch == 1 && from >= l.dropped[key]
	from = max(from, min(l.dropped[key], len(all)))
	rest := all[from:]
	if limit > 0 && len(rest) > limit {
		rest = rest[:limit]
	}
	return append([]message.Logged(nil), rest...), complete, nil
}
