package gateway

import (
	"slices"
	"time"
)

// quota shares the bus among sessions while it has much to do. A bus is one queue: a few
// who send as fast as they are read keep it full, and everybody's events wait behind
// theirs for seconds.
//
//	not counted ── the bus fills ──▶ counted ── it is empty, and nobody is held up ──▶ not counted
//
// While it is counted, each event is a debt of its session, of which a part is let go
// with each round. Who owes more than that part is not read until it owes less. The part
// is halved with each round in which the bus has much to do, and doubled when it has
// little, so that those who send most share what the bus can do, and few wait in it. Who
// sends a few events now and then owes nothing.
type quota struct {
	debts map[*conn]int // nil: nothing is counted
	loud  []*conn       // are not read for what they owe
	part  int           // events that are let go with each round
	next  int64         // when the next round is, or the next look at the bus
	until int64         // from then on nothing is counted, if the bus has little to do and nobody is loud
}

// The times of a quota, in milliseconds.
const (
	quotaRound = 20
	quotaTime  = 5_000 // without anybody loud
)

// The parts: what one begins with, and is not less than unless the bus is half full;
// and what is as good as none.
const (
	quotaPart = 8
	quotaMost = 1 << 20
)

// quotaBytes is how many bytes count as another event.
const quotaBytes = 4 << 10

// How full a bus is that begins to be counted, that has much to do, and little.
const (
	busFills  = 1. / 16
	busBusy   = 1. / 64
	busAtRest = 1. / 128
)

// charge notes that a session has sent an event of about size bytes. A large one counts
// as several.
func (sh *shard) charge(c *conn, size int) {
	q := &sh.quota
	if q.debts == nil {
		return
	}
	if q.debts[c] += 1 + size/quotaBytes; q.debts[c] > q.part && !c.paused && !c.dropped {
		c.paused = true
		q.loud = append(q.loud, c)
		q.until = sh.now + quotaTime
		sh.g.Stats.PausedReads.Add(1)
		c.pauseReading()
	}
}

// runQuota makes a round when it is time.
func (sh *shard) runQuota() {
	q := &sh.quota
	if sh.now < q.next {
		return
	}
	q.next = sh.now + quotaRound
	filled := sh.g.cfg.Bus.Filled()
	if q.debts == nil {
		if filled >= busFills {
			q.debts, q.part, q.until = make(map[*conn]int), quotaPart, sh.now+quotaTime
		}
		return
	}
	q.adapt(filled)
	for c, n := range q.debts {
		if n <= q.part || c.dropped {
			delete(q.debts, c)
		} else {
			q.debts[c] = n - q.part
		}
	}
	owes := func(c *conn) bool { return q.debts[c] > 0 }
	free := slices.DeleteFunc(slices.Clone(q.loud), owes)
	q.loud = slices.DeleteFunc(q.loud, func(c *conn) bool { return !owes(c) })
	if len(q.loud) == 0 && filled < busAtRest && sh.now >= q.until {
		*q = quota{next: q.next}
	}
	sh.readAgain(free)
}

// adapt gives the part another size when the bus has much or little to do.
func (q *quota) adapt(filled float64) {
	switch {
	case filled > 1./2:
		q.part = max(1, q.part/2)
	case filled > busBusy:
		q.part = max(min(quotaPart, q.part), q.part/2)
	case filled < busAtRest:
		q.part = min(quotaMost, q.part*2)
	}
}

// patience is how long the shard may wait for the next round.
func (q *quota) patience(wait time.Duration) time.Duration {
	if q.debts != nil && (wait < 0 || wait > quotaRound*time.Millisecond) {
		return quotaRound * time.Millisecond
	}
	return wait
}

// readAgain goes on with sessions that were held up.
func (sh *shard) readAgain(paused []*conn) {
	for _, c := range paused {
		c.paused = false
		c.session.Alive(sh.now)
		sh.answerPost(c, httpAnswer{ok: true})
		if c.sock != nil && c.sock.nc != nil {
			c.sock.nc.ResumeReading()
		}
	}
}
