package roomlog

import (
	"time"

	"holdfast/internal/message"
)

// What a record and a log take beside the message, roughly, for TotalBytes.
const (
	recordOverhead = 96
	logOverhead    = 256
)

// keyLog is one key's log. Its sequence has no holes, so that a sequence is an
// index. A log without records does not exist.
type keyLog struct {
	key     message.Key
	records []*record // records[head:] are kept
	head    int
	first   uint64 // sequence of records[head]
	bytes   int64
	trimmed uint64 // highest sequence that was dropped for a bound; 0: none
	restart bool   // there was no record before the first
}

// record is one message in one log.
type record struct {
	log          *keyLog
	body         *body
	at           time.Duration // by Memory.clock
	older, newer *record       // of all logs
}

// body is a message with the number of records that share it.
type body struct {
	push *message.Push
	size int64
	refs int
}

// last returns the sequence of the last record.
func (l *keyLog) last() uint64 { return l.first + uint64(len(l.records)-l.head) - 1 }

// after returns the records above seq.
func (l *keyLog) after(seq uint64, limit int) []message.Logged {
	if seq >= l.last() {
		return nil
	}
	from := l.head
	if seq >= l.first {
		from += int(seq - l.first + 1)
	}
	kept := l.records[from:]
	if limit > 0 && len(kept) > limit {
		kept = kept[:limit]
	}
	out := make([]message.Logged, len(kept))
	for i, r := range kept {
		at := l.first + uint64(from-l.head+i)
		out[i] = message.Logged{Seq: at, Prev: at - 1, Push: r.body.push}
	}
	if from == l.head && l.restart {
		out[0].Prev = 0
	}
	return out
}

// newLog makes a key's log. Its sequence begins above all positions that anybody
// may have of this key.
func (m *Memory) newLog(key message.Key, now time.Time) *keyLog {
	l := &keyLog{
		key: key, first: max(micros(now), m.floor+1),
		trimmed: m.lostNow(), restart: true,
	}
	m.logs[key] = l
	m.stats.Bytes += logOverhead + int64(len(key))
	return l
}

// push appends a record. A message for several keys comes once for each of them,
// one after the other as a rule: then the records share a body, and its bytes
// count once. Where other messages come in between it counts again, which is safe.
func (m *Memory) push(l *keyLog, p *message.Push) {
	var b *body
	if m.newest != nil && m.newest.body.push == p {
		b = m.newest.body
	} else {
		b = &body{push: p, size: int64(p.Size())}
		m.stats.Bytes += b.size
	}
	b.refs++
	r := &record{log: l, body: b, at: m.clock, older: m.newest}
	if m.newest == nil {
		m.oldest = r
	} else {
		m.newest.newer = r
	}
	m.newest = r
	if l.head > len(l.records)/2 && len(l.records) == cap(l.records) {
		l.compact()
	}
	l.records = append(l.records, r)
	l.bytes += b.size
	m.stats.Bytes += recordOverhead
	m.stats.Records++
	m.stats.Appended++
}

// compact moves the kept records to the front, which is O(1) for each append on
// average since more than half of the slice is used up.
func (l *keyLog) compact() {
	n := copy(l.records, l.records[l.head:])
	clear(l.records[n:])
	l.records, l.head = l.records[:n], 0
}

// pop drops a log's first record, and the log with its last one.
func (m *Memory) pop(l *keyLog) {
	r := l.records[l.head]
	l.records[l.head] = nil
	l.head++
	l.first++
	l.restart = false
	l.bytes -= r.body.size
	m.unlink(r)
	m.stats.Records--
	m.stats.Bytes -= recordOverhead
	if r.body.refs--; r.body.refs == 0 {
		m.stats.Bytes -= r.body.size
	}
	if l.head == len(l.records) {
		m.floor = max(m.floor, l.first-1)
		delete(m.logs, l.key)
		m.stats.Bytes -= logOverhead + int64(len(l.key))
	}
}

func (m *Memory) unlink(r *record) {
	if r.older == nil {
		m.oldest = r.newer
	} else {
		r.older.newer = r.newer
	}
	if r.newer == nil {
		m.newest = r.older
	} else {
		r.newer.older = r.older
	}
}

// trim holds a log to its own bounds. The last record stays even if it is larger
// than all of them: it was accepted, and whoever asks soon shall get it.
func (m *Memory) trim(l *keyLog) {
	for n := len(l.records) - l.head; n > 1 && (n > m.opts.Count || l.bytes > m.opts.Bytes); n-- {
		l.trimmed = l.first
		m.pop(l)
		m.stats.Trimmed++
	}
}

// evict drops the oldest record of all, for want of room.
func (m *Memory) evict() {
	l := m.oldest.log
	seq := l.first
	l.trimmed = max(l.trimmed, seq)
	m.pop(l)
	m.stats.Evicted++
	if l.head == len(l.records) {
		m.lost = max(m.lost, seq)
		m.lostUntil = m.clock + m.opts.Window
	}
}

// sweep drops some of the oldest records that are past the window, and tells
// whether there may be more.
func (m *Memory) sweep() (more bool) {
	for range sweepBatch {
		if m.oldest == nil || !m.expired(m.oldest) {
			return false
		}
		m.pop(m.oldest.log)
		m.stats.Expired++
	}
	return true
}

// live returns a key's log without what is past the window, or nil.
func (m *Memory) live(key message.Key) *keyLog {
	l := m.logs[key]
	if l == nil {
		return nil
	}
	for m.expired(l.records[l.head]) {
		m.pop(l)
		m.stats.Expired++
		if l.head == len(l.records) {
			return nil
		}
	}
	return l
}

func (m *Memory) expired(r *record) bool { return m.clock-r.at > m.opts.Window }
