package node

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// ErrFenced says that a newer generation of the identity, or another identity, has
// the worker number. Whoever sees it makes no more IDs, and drains.
var ErrFenced = errors.New("the worker number has a new holder")

// The times of leases. A holder renews every second, and is past its lease by its
// own clock before anybody calls it dead.
const (
	RenewEvery = time.Second
	LeaseTime  = 6 * time.Second // from the beginning of the last renewal that succeeded
	DeadAfter  = 8 * time.Second // of a beat that stands still while Redis answers
)

// RedisWorkers hands out worker numbers among all processes that share a Redis and a
// prefix:
//
//	ws:{workers}:leases   hash: identity → "<worker> <generation> <beat> <what it tells, see About>"
//	ws:{workers}:numbers  hash: worker → identity
//	ws:{workers}:state    hash: generation, next, since
//	ws:{workers}:times    hash: worker → "<ms since 1970> <generation>"; no ID is later
//
// A number changes hands without the old holder's consent: its process may have died, or
// may only seem to. So each renewal reserves a stretch of time for the holder's IDs,
// and the next holder of the number begins behind it: whatever pauses, partitions and
// wrong clocks do, no two holders can make the same ID.
//
// Nothing expires by Redis' clock, so that an outage of Redis costs nobody a number:
// the dead are found by [RedisWorkers.Observe], condemned, and removed by [RedisWorkers.Bury]. In
// a registry that was found empty, holders reclaim their numbers by renewing, and
// nobody new gets one before they have had DeadAfter to do so. It is safe for
// concurrent use.
type RedisWorkers struct {
	client                           rueidis.Client
	keys                             []string
	acquire, renew, condemn, release *rueidis.Lua
	settle                           time.Duration
	skew                             func() time.Duration // moves Redis' clock in tests
	now                              func() time.Time     // monotonic

	mu       sync.Mutex
	answered time.Time // when Redis last answered Observe
	seen     map[string]seen
	renewals map[Lease]renewal // of the leases that are renewed here
}

// renewal is what is known of a lease since it was renewed last.
type renewal struct {
	beat  uint64    // as Redis told it
	at    time.Time // when it began
	quiet time.Time // until then no IDs are made
}

// seen is since when a lease and its beat have been what they are.
type seen struct {
	text  string
	since time.Time
}

//go:embed acquire_redis.lua
var acquireScript string

//go:embed renew_redis.lua
var renewScript string

//go:embed condemn_redis.lua
var condemnScript string

//go:embed release_redis.lua
var releaseScript string

// NewRedisWorkers returns the table under a prefix, such as "ws". It asks nothing of
// Redis yet. client stays the caller's.
func NewRedisWorkers(client rueidis.Client, prefix string) *RedisWorkers {
	tag := prefix + ":{workers}:"
	return &RedisWorkers{
		client: client, keys: []string{tag + "leases", tag + "numbers", tag + "state", tag + "times"},
		acquire: rueidis.NewLuaScript(acquireScript), renew: rueidis.NewLuaScript(renewScript),
		condemn: rueidis.NewLuaScript(condemnScript), release: rueidis.NewLuaScript(releaseScript),
		settle: DeadAfter, skew: func() time.Duration { return 0 }, seen: make(map[string]seen), renewals: make(map[Lease]renewal),
		now: time.Now,
	}
}

// Acquire gives an identity its number: the one that it has, in a new generation
// which fences the old one at once, or the next free one. Where the registry was
// found empty, a new identity waits, up to DeadAfter. It fails with [ErrNoWorkers],
// the error of ctx, or Redis'.
func (w *RedisWorkers) Acquire(ctx context.Context, identity string) (Lease, error) {
	for {
		lease, pause, err := w.tryAcquire(ctx, identity)
		if err != nil {
			return Lease{}, fmt.Errorf("worker number for %q: %w", identity, err)
		}
		if pause == 0 {
			return lease, nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return Lease{}, fmt.Errorf("worker number for %q: %w", identity, ctx.Err())
		}
	}
}

func (w *RedisWorkers) tryAcquire(ctx context.Context, identity string) (Lease, time.Duration, error) {
	reply, err := w.acquire.Exec(ctx, w.client, w.keys,
		[]string{identity, strconv.Itoa(MaxWorker), strconv.FormatInt(w.settle.Milliseconds(), 10), w.skewMicros()}).ToArray()
	if err != nil {
		return Lease{}, 0, err
	}
	var numbers [3]int64
	for i := range min(len(reply), 3) {
		if numbers[i], err = reply[i].AsInt64(); err != nil {
			return Lease{}, 0, err
		}
	}
	switch worker := numbers[0]; {
	case worker == -1:
		return Lease{}, max(time.Millisecond, time.Duration(numbers[1])*time.Millisecond), nil
	case worker < 0 || worker > MaxWorker || len(reply) != 3:
		return Lease{}, 0, ErrNoWorkers
	}
	return Lease{
		Identity: identity, Worker: uint16(numbers[0]), Generation: uint64(numbers[1]), Since: time.UnixMilli(numbers[2]),
	}, 0, nil
}

func (w *RedisWorkers) skewMicros() string { return strconv.FormatInt(w.skew().Microseconds(), 10) }

func (l Lease) args() []string {
	return []string{l.Identity, strconv.Itoa(int(l.Worker)), strconv.FormatUint(l.Generation, 10)}
}

// Renew shows that the holder lives. It fails with [ErrFenced] when the number is
// another's; any other error says nothing about that, and the holder goes on until
// LeaseTime is over. A holder whose entry was lost gets it back, and is told by lost
// that Redis has lost data since the renewal before, or that this node was taken for
// dead: what it has written there it must write once more.
func (w *RedisWorkers) Renew(ctx context.Context, l Lease, until time.Time, about About) (Renewed, error) {
	began := w.now()
	w.mu.Lock()
	last := w.renewals[l]
	w.mu.Unlock()
	args := append(l.args(), about.text(), strconv.FormatUint(last.beat, 10),
		strconv.FormatInt(until.UnixMilli(), 10), w.skewMicros())
	reply, err := w.renew.Exec(ctx, w.client, w.keys, args).AsIntSlice()
	if err != nil {
		return Renewed{}, fmt.Errorf("renew worker number %d: %w", l.Worker, err)
	}
	if len(reply) != 2 || reply[0] == 0 {
		return Renewed{}, fmt.Errorf("renew worker number %d: %w", l.Worker, ErrFenced)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	lost := reply[0] == 2
	if lost && began.Sub(last.at) > LeaseTime {
		// It cannot know whether the number went to another holder before the data was lost.
		// That one shows itself by then, or is past its own lease.
		last.quiet = w.now().Add(DeadAfter)
	}
	last.beat, last.at = uint64(reply[1]), began
	w.renewals[l] = last
	return Renewed{Lost: lost, IDs: !w.now().Before(last.quiet)}, nil
}

// Renewed is what a renewal has brought.
type Renewed struct {
	// Lost says that the store may have lost what the node has written, or that the node
	// was taken for dead.
	Lost bool
	// IDs says that IDs up to the renewal's until are the holder's, see
	// [Snowflake.Reserve]. It is false for a while when a holder past its lease finds the
	// data lost.
	IDs bool
}

// Release frees a number, unless a newer generation has taken it over. last is the time
// of the holder's last ID: the next holder may begin right after it.
func (w *RedisWorkers) Release(ctx context.Context, l Lease, last time.Time) error {
	w.mu.Lock()
	delete(w.renewals, l)
	w.mu.Unlock()
	if err := w.release.Exec(ctx, w.client, w.keys, append(l.args(), "", strconv.FormatInt(last.UnixMilli(), 10))).Error(); err != nil {
		return fmt.Errorf("release worker number %d: %w", l.Worker, err)
	}
	return nil
}

// About is what a holder tells of itself with each renewal.
type About struct {
	Addr    string // where other nodes reach it, host:port; "" for nowhere
	Version string // of the program
	Load    int64  // sessions
	Clients int64  // Socket.IO clients
	CPU     int64  // thousandths of a core that the process takes
	Since   time.Time
}

func (a About) text() string {
	return fmt.Sprintf("%d %s %s %d %d %d", a.Load, word(a.Version), word(a.Addr), a.Clients, a.CPU, a.Since.UnixMilli())
}

// word makes text one word, "-" where it is empty.
func word(text string) string {
	if text == "" {
		return "-"
	}
	return strings.ReplaceAll(text, " ", "_")
}

// unword is the reverse, but for what was replaced.
func unword(text string) string {
	if text == "-" {
		return ""
	}
	return text
}

// parseAbout reads what text wrote; the zero About when there is none, as before the
// first renewal.
func parseAbout(text string) About {
	var a About
	var since int64
	if n, err := fmt.Sscanf(text, "%d %s %s %d %d %d", &a.Load, &a.Version, &a.Addr, &a.Clients, &a.CPU, &since); n != 6 || err != nil {
		return About{}
	}
	a.Version, a.Addr, a.Since = unword(a.Version), unword(a.Addr), time.UnixMilli(since)
	return a
}

// Sighting is a lease as an observer sees it.
type Sighting struct {
	Lease
	About
	Beat   uint64        // grows with each renewal
	Silent time.Duration // for how long it has stood still
	Dead   bool          // for DeadAfter
}

// Observe returns all leases. It is called about every RenewEvery by whoever must
// know who lives: a lease is dead when its beat stood still for DeadAfter over calls
// that Redis answered. After a pause between answers everybody's time begins anew,
// for nobody could renew then.
func (w *RedisWorkers) Observe(ctx context.Context) ([]Sighting, error) {
	leases, err := w.client.Do(ctx, w.client.B().Hgetall().Key(w.keys[0]).Build()).AsStrMap()
	if err != nil {
		return nil, fmt.Errorf("observe worker numbers: %w", err)
	}
	return w.observe(leases, time.Now()), nil
}

func (w *RedisWorkers) observe(leases map[string]string, now time.Time) []Sighting {
	w.mu.Lock()
	defer w.mu.Unlock()
	silence := now.Sub(w.answered) > 3*RenewEvery
	w.answered = now
	next := make(map[string]seen, len(leases))
	out := make([]Sighting, 0, len(leases))
	for identity, text := range leases {
		was, ok := w.seen[identity]
		if !ok || silence || was.text != text {
			was = seen{text, now}
		}
		next[identity] = was
		if s, ok := parseLease(identity, text); ok {
			s.Silent = now.Sub(was.since)
			s.Dead = s.Silent >= DeadAfter
			out = append(out, s)
		}
	}
	w.seen = next
	return out
}

func parseLease(identity, text string) (Sighting, bool) {
	parts := strings.SplitN(text, " ", 4)
	if len(parts) < 3 {
		return Sighting{}, false
	}
	worker, err := strconv.ParseUint(parts[0], 10, workerBits)
	generation, err2 := strconv.ParseUint(parts[1], 10, 64)
	beat, err3 := strconv.ParseUint(parts[2], 10, 64)
	if errors.Join(err, err2, err3) != nil {
		return Sighting{}, false
	}
	s := Sighting{Lease: Lease{Identity: identity, Worker: uint16(worker), Generation: generation}, Beat: beat}
	if len(parts) == 4 {
		s.About = parseAbout(parts[3])
	}
	return s, true
}

// Condemn says that a dead node is going to be buried, and returns the sighting by which
// to bury it. It is false when the node has shown a sign of life since it was seen, or
// somebody else buries it. One that shows it later is told that it has lost what it has
// written: at its next renewal, and once more at the one after its burial.
//
//	observer: dead ── Condemn ── clears away what the node has written ── Bury
//	node, which stood still:   └─ renews, is told ────────────────────────┘─ renews, is told
func (w *RedisWorkers) Condemn(ctx context.Context, s Sighting) (condemned Sighting, ok bool, err error) {
	text, err := w.condemn.Exec(ctx, w.client, w.keys, append(s.args(), strconv.FormatUint(s.Beat, 10))).ToString()
	if err != nil {
		return s, false, fmt.Errorf("condemn worker number %d: %w", s.Worker, err)
	}
	if text == "" {
		return s, false, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if was, known := w.seen[s.Identity]; known {
		w.seen[s.Identity] = seen{text, was.since} // what is new about it is no sign of life
	}
	s.Beat = 0
	return s, true, nil
}

// Bury frees the number of a dead node. It is false when the node has shown a sign
// of life since it was seen, of which it is told then as [RedisWorkers.Condemn] says, or
// somebody else has buried it.
func (w *RedisWorkers) Bury(ctx context.Context, s Sighting) (bool, error) {
	n, err := w.release.Exec(ctx, w.client, w.keys, append(s.args(), strconv.FormatUint(s.Beat, 10), "")).AsInt64()
	if err != nil {
		return false, fmt.Errorf("bury worker number %d: %w", s.Worker, err)
	}
	return n == 1, nil
}
