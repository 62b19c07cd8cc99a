package bus

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/internal/message"
)

// claims is which partitions this process owns. A partition has one owner, so that
// the events of a key are consumed in order however many ws-apis there are:
//
//	        take (nobody has it, or one that is dead)
//	foreign ─────────────────────────────────────────▶ owned
//	   ▲ ▲                                               │ another's turn, or
//	   │ └── fenced: another was found to own it ────────┤ Consume has ended
//	   │                                                 ▼
//	   └──────────── give: nothing in flight ───────── leaving
//
// Who gets what follows from the sorted names of those who live and consume; each
// works it out alone and they need not agree at every moment, for taking is a
// compare-and-set.
type claims struct {
	nudge   chan struct{}   // holds at most one: look at the claims now
	changed chan struct{}   // holds at most one: something to read
	flush   chan struct{}   // holds at most one: something was settled
	going   context.Context // ends when nothing is claimed any more
	stop    context.CancelFunc
	ended   chan struct{} // closed when nothing that claims is on its way either

	mu        sync.Mutex
	parts     [partitions]partition
	consuming bool
	closing   bool
	allDone   chan struct{} // closed when closing and all that was settled is removed
	settled   []settlement
	flushing  int       // settlements on their way to Redis
	leaseEnd  time.Time // nothing is handed out afterwards, until the next beat
	beat      uint64
	answered  time.Time // of the last beat that Redis answered
	seen      map[string]sighting
}

type partition struct {
	owned, leaving bool
	foreign        bool   // another was found to own it
	life           uint64 // grows with each take, so that what was read before is told apart
	cursor         string // ID of the last event handed out
	suspect        int64  // ms: what is not younger may have been handed out by another
	inflight       map[string]struct{}
}

type settlement struct {
	partition int
	id        string
}

// sighting is since when a consumer's beat has been what it is.
type sighting struct {
	beat  string
	since time.Time
}

func (c *claims) init(base context.Context) {
	c.going, c.stop = context.WithCancel(base)
	c.nudge, c.changed, c.flush = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	c.ended, c.allDone = make(chan struct{}), make(chan struct{})
	c.seen = make(map[string]sighting)
	for p := range c.parts {
		c.parts[p].inflight = make(map[string]struct{})
	}
}

// signal puts a token into a channel that holds at most one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (c *claims) setConsuming(on bool) {
	c.mu.Lock()
	c.consuming = on
	c.mu.Unlock()
	signal(c.nudge)
}

func (c *claims) count() (inflight, owned int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range c.parts {
		inflight += len(c.parts[p].inflight)
		if c.parts[p].owned {
			owned++
		}
	}
	return inflight, owned
}

// settledAll returns a channel that is closed when what was settled so far is gone
// from Redis.
func (c *claims) settledAll() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closing = true
	c.checkDone()
	return c.allDone
}

// checkDone is called with mu held.
func (c *claims) checkDone() {
	if !c.closing || len(c.settled) > 0 || c.flushing > 0 {
		return
	}
	select {
	case <-c.allDone:
	default:
		close(c.allDone)
	}
}

// reading is one partition as the consumer reads it.
type reading struct {
	partition int
	life      uint64
	cursor    string
	suspect   int64
}

// readable returns the partitions to read, and false while the lease is over.
func (c *claims) readable() ([]reading, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []reading
	for p := range c.parts {
		if part := &c.parts[p]; part.owned && !part.leaving {
			out = append(out, reading{p, part.life, part.cursor, part.suspect})
		}
	}
	return out, time.Now().Before(c.leaseEnd)
}

// The answers of claims.hand.
type handing uint8

const (
	handIt   handing = iota + 1
	skipIt           // it is in flight from before the partition was lost and won again
	stopHere         // the partition is not ours to read any more
)

// hand moves the cursor past an event and notes it as in flight.
func (c *claims) hand(r reading, id string) handing {
	c.mu.Lock()
	defer c.mu.Unlock()
	part := &c.parts[r.partition]
	if !part.owned || part.leaving || part.life != r.life || !time.Now().Before(c.leaseEnd) {
		return stopHere
	}
	part.cursor = id
	if _, already := part.inflight[id]; already {
		return skipIt
	}
	part.inflight[id] = struct{}{}
	return handIt
}

// hold tells how this process stands to an event that was handed out in a life of its
// partition.
func (c *claims) hold(partition int, life uint64) message.Hold {
	c.mu.Lock()
	defer c.mu.Unlock()
	part := &c.parts[partition]
	h := message.Hold{Lost: part.foreign, Again: part.life != life}
	if part.owned {
		h.Until = c.leaseEnd
	}
	return h
}

// settle queues an event's removal, unless it is another's by now.
func (c *claims) settle(partition int, id string) {
	c.mu.Lock()
	if part := &c.parts[partition]; part.foreign {
		delete(part.inflight, id)
	} else {
		c.settled = append(c.settled, settlement{partition, id})
	}
	c.mu.Unlock()
	signal(c.flush)
}

// takeSettled returns up to limit settlements, which are then under way.
func (c *claims) takeSettled(limit int) []settlement {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(limit, len(c.settled))
	out := slices.Clone(c.settled[:n])
	c.settled = append(c.settled[:0], c.settled[n:]...)
	c.flushing = n
	return out
}

// removed notes that they are gone from Redis.
func (c *claims) removed(done []settlement) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushing = 0
	for _, s := range done {
		part := &c.parts[s.partition]
		delete(part.inflight, s.id)
		if part.leaving && len(part.inflight) == 0 {
			signal(c.nudge)
		}
	}
	c.checkDone()
}

// keepClaims beats and balances until it is stopped. What it has begun it ends then:
// Redis would carry a claim out whose answer nobody awaits, maybe after leave has given
// back what there was, and it would be left behind.
func (b *Redis) keepClaims() {
	c := &b.claims
	defer close(c.ended)
	again := b.backoff("beat")
	for c.going.Err() == nil {
		if err := b.balance(b.base); err != nil {
			again.failed(c.going, err)
			continue
		}
		again.worked()
		timer := time.NewTimer(b.opts.Beat)
		select {
		case <-timer.C:
		case <-c.nudge:
		case <-c.going.Done():
		}
		timer.Stop()
	}
}

// stopClaiming returns when no claim and no beat is on its way any more, or when ctx
// ends.
func (b *Redis) stopClaiming(ctx context.Context) {
	b.mu.RLock()
	began := b.keeping
	b.mu.RUnlock()
	if !began {
		return
	}
	b.claims.stop()
	select {
	case <-b.claims.ended:
	case <-ctx.Done():
	}
}

// balance beats once and takes and gives partitions by what it learns.
func (b *Redis) balance(ctx context.Context) error {
	c := &b.claims
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	began := time.Now()
	beats, owners, clock, err := b.sendBeat(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	// Others see this beat no earlier than it began, so a lease that ends in less
	// than DeadAfter from there is over when they call this process dead.
	c.leaseEnd = began.Add(b.opts.DeadAfter * 3 / 4)
	live, dead := c.observe(beats, time.Now(), 3*b.opts.Beat, b.opts.DeadAfter)
	takes, gives := c.plan(b.self, live, beats, dead, owners, clock)
	c.mu.Unlock()
	signal(c.changed) // the lease at least is new

	if err := b.bury(ctx, dead, beats); err != nil {
		return err
	}
	if err := b.giveBack(ctx, gives); err != nil {
		return err
	}
	taken, err := b.swap(ctx, "owners", takes)
	if err != nil {
		return err
	}
	c.mu.Lock()
	for _, field := range taken {
		if p, err := strconv.Atoi(field); err == nil {
			c.parts[p].take(b.suspect(owners[field], clock))
		}
	}
	c.mu.Unlock()
	signal(c.changed)
	return nil
}

func (p *partition) take(suspect int64) {
	p.owned, p.leaving, p.foreign, p.cursor, p.suspect = true, false, false, "0-0", suspect
	p.life++
}

// suspect returns until when, in ms of Redis' clock, events of a partition that is taken
// from that owner at clock may have been handed out. One that has died did so before it
// missed a beat, which is DeadAfter ago. One that has freed the partition may have had
// some that it could not settle before its end.
func (b *Redis) suspect(owner string, clock int64) int64 {
	if owner == "" {
		return clock
	}
	return clock - (b.opts.DeadAfter - 3*b.opts.Beat).Milliseconds()
}

func (b *Redis) sendBeat(ctx context.Context) (beats, owners map[string]string, clock int64, err error) {
	c := &b.claims
	c.mu.Lock()
	c.beat++
	beat := strconv.FormatUint(c.beat, 10) + " 0"
	if c.consuming {
		beat = strconv.FormatUint(c.beat, 10) + " 1"
	}
	c.mu.Unlock()
	reply, err := b.scripts.beat.Exec(ctx, b.client, []string{b.upKey("beats"), b.upKey("owners")},
		[]string{b.self, beat, strconv.Itoa(int(producerTTL.Seconds()))}).ToArray()
	if err != nil {
		return nil, nil, 0, err
	}
	if len(reply) != 3 {
		return nil, nil, 0, errors.New("the script of the beat answers otherwise")
	}
	if beats, err = reply[0].AsStrMap(); err != nil {
		return nil, nil, 0, err
	}
	if owners, err = reply[1].AsStrMap(); err != nil {
		return nil, nil, 0, err
	}
	clock, err = reply[2].AsInt64()
	return beats, owners, clock, err
}

// observe returns who lives and consumes, sorted, and who is dead. Time in which
// Redis did not answer does not count, for nobody could beat then. Called with mu
// held.
func (c *claims) observe(beats map[string]string, now time.Time, gap, deadAfter time.Duration) (live []string, dead map[string]bool) {
	silence := now.Sub(c.answered) > gap
	c.answered = now
	dead = make(map[string]bool)
	for name, beat := range beats {
		if was, ok := c.seen[name]; !ok || silence || was.beat != beat {
			c.seen[name] = sighting{beat, now}
		}
		switch {
		case now.Sub(c.seen[name].since) >= deadAfter:
			dead[name] = true
		case strings.HasSuffix(beat, " 1"):
			live = append(live, name)
		}
	}
	maps.DeleteFunc(c.seen, func(name string, _ sighting) bool { _, there := beats[name]; return !there })
	slices.Sort(live)
	return live, dead
}

// plan works out the swaps of owners: those to take, and those to give back.
// Called with mu held.
func (c *claims) plan(self string, live []string, beats map[string]string, dead map[string]bool, owners map[string]string, clock int64) (takes, gives []string) {
	for p := range c.parts {
		part, field := &c.parts[p], strconv.Itoa(p)
		owner := owners[field]
		mine := c.consuming && len(live) > 0 && live[p%len(live)] == self
		_, ownerBeats := beats[owner]
		switch {
		case owner == self && !part.owned:
			// Taken by a swap whose answer was lost.
			part.take(clock)
			part.leaving = !mine
		case owner == self && mine:
			part.leaving = false
		case owner == self:
			part.leaving = true
			if len(part.inflight) == 0 {
				part.owned = false
				gives = append(gives, field, self, "")
			}
		default:
			part.owned, part.leaving = false, false // fenced, if it was ours
			part.foreign = owner != ""
			if mine && (owner == "" || dead[owner] || !ownerBeats) {
				takes = append(takes, field, owner, self)
			}
		}
	}
	return takes, gives
}

// bury removes the beats of the dead, if they have not moved since.
func (b *Redis) bury(ctx context.Context, dead map[string]bool, beats map[string]string) error {
	var swaps []string
	for name := range dead {
		if name != b.self {
			swaps = append(swaps, name, beats[name], "")
		}
	}
	_, err := b.swap(ctx, "beats", swaps)
	return err
}

// giveBack frees partitions; the others see it at their next beat.
func (b *Redis) giveBack(ctx context.Context, swaps []string) error {
	_, err := b.swap(ctx, "owners", swaps)
	return err
}

func (b *Redis) swap(ctx context.Context, hash string, swaps []string) (changed []string, err error) {
	if len(swaps) == 0 {
		return nil, nil
	}
	return b.scripts.swap.Exec(ctx, b.client, []string{b.upKey(hash)}, swaps).AsStrSlice()
}

// leave frees what this process owns, when all its goroutines have ended. What it
// cannot do, the others do when they find it dead. It asks for all partitions, for one
// may be this process' by a swap whose answer was lost.
func (b *Redis) leave(ctx context.Context) {
	c := &b.claims
	c.mu.Lock()
	began := c.beat > 0
	c.mu.Unlock()
	if !began {
		return
	}
	var swaps []string
	for p := range partitions {
		swaps = append(swaps, strconv.Itoa(p), b.self, "")
	}
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	err := b.giveBack(ctx, swaps)
	if err == nil {
		err = b.client.Do(ctx, b.client.B().Hdel().Key(b.upKey("beats")).Field(b.self).Build()).Error()
	}
	if err != nil {
		b.opts.Log.Warn("the bus could not say good-bye; others take over when they find it dead", "error", err)
	}
}
