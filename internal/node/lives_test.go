package node

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// life is one process that holds a number, as far as IDs are concerned. It does not
// look at its lease before it makes one: that is the worst pause there can be, the one
// between the look and the making.
type life struct {
	w       *RedisWorkers
	lease   Lease
	ids     *Snowflake
	skew    time.Duration // of its wall clock
	renewed time.Duration // when, in the world's time
	asleep  time.Duration // until then nothing of it runs
	cut     time.Duration // until then it does not reach Redis
	until   time.Time     // what it has been granted
}

// lives is a world whose time passes in steps, over a real Redis.
type lives struct {
	t       *testing.T
	rnd     *rand.Rand
	now     time.Duration
	base    time.Time
	open    func() *RedisWorkers
	watch   *RedisWorkers
	alive   []*life
	granted map[uint16]map[uint64]time.Time // worker → generation → up to when its IDs are
	newest  map[uint16]uint64               // worker → generation
	ids     map[uint64]uint64               // ID → generation that made it
	started int
	jumps   time.Duration // how far clocks jump
	forgets bool          // Redis does
	apart   time.Duration // how far clocks are apart
}

func (v *lives) between(low, high time.Duration) time.Duration {
	return low + time.Duration(v.rnd.Int64N(int64(high-low)+1))
}

func (v *lives) start() {
	l := &life{w: v.open(), skew: v.between(-v.apart, v.apart)}
	lease, pause, err := l.w.tryAcquire(v.t.Context(), string(rune('a'+v.rnd.IntN(5))))
	if err != nil {
		v.t.Fatal(err)
	}
	if pause > 0 {
		return
	}
	v.started++
	for generation, until := range v.granted[lease.Worker] {
		if lease.Generation <= generation {
			v.t.Fatalf("generation %d after %d", lease.Generation, generation)
		}
		if until.After(lease.Since) && !v.forgets {
			v.t.Fatalf("worker %d: IDs since %v are given out while an older holder may make some until %v", lease.Worker, lease.Since, until)
		}
	}
	l.lease = lease
	v.newest[lease.Worker] = lease.Generation
	if l.ids, err = NewLeased(lease, func() time.Time {
		v.now += time.Millisecond
		return v.base.Add(v.now + l.skew)
	}); err != nil {
		v.t.Fatal(err)
	}
	v.alive = append(v.alive, l)
	v.renew(l)
}

// renew is false when the life has been told that its number is another's.
func (v *lives) renew(l *life) bool {
	if v.now < l.cut {
		return true
	}
	until := v.base.Add(v.now + l.skew + LeaseTime).Truncate(time.Millisecond)
	got, err := l.w.Renew(v.t.Context(), l.lease, until, about)
	if errors.Is(err, ErrFenced) {
		return false
	}
	if err != nil {
		v.t.Fatal(err)
	}
	if !got.IDs {
		return true
	}
	if newest := v.newest[l.lease.Worker]; !v.forgets && newest != l.lease.Generation {
		v.t.Fatalf("worker %d has two owners: generation %d renews after %d", l.lease.Worker, l.lease.Generation, newest)
	}
	l.renewed = v.now
	if until.After(l.until) {
		l.until = until
	}
	l.ids.Reserve(until)
	v.grant(l, l.until)
	return true
}

func (v *lives) grant(l *life, until time.Time) {
	if v.granted[l.lease.Worker] == nil {
		v.granted[l.lease.Worker] = make(map[uint64]time.Time)
	}
	v.granted[l.lease.Worker][l.lease.Generation] = until
}

func (v *lives) make(l *life) {
	for range v.rnd.IntN(20) {
		id, err := l.ids.Next()
		if err != nil {
			return
		}
		if by, twice := v.ids[id]; twice {
			v.t.Fatalf("worker %d: generations %d and %d made the same ID", l.lease.Worker, by, l.lease.Generation)
		}
		v.ids[id] = l.lease.Generation
	}
}

func (v *lives) end(i int) {
	v.alive[i] = v.alive[len(v.alive)-1]
	v.alive = v.alive[:len(v.alive)-1]
}

// bury is what every ws-api does once a second.
func (v *lives) bury() {
	leases, err := v.watch.client.Do(v.t.Context(), v.watch.client.B().Hgetall().Key(v.watch.keys[0]).Build()).AsStrMap()
	if err != nil {
		v.t.Fatal(err)
	}
	for _, s := range v.watch.observe(leases, v.base.Add(v.now)) {
		if s.Dead {
			if _, err := v.watch.Bury(v.t.Context(), s); err != nil {
				v.t.Fatal(err)
			}
		}
	}
}

// step lets some time pass and something happen to somebody.
func (v *lives) step() {
	v.now += v.between(0, 300*time.Millisecond)
	v.bury()
	if len(v.alive) < 7 && v.rnd.IntN(4) == 0 {
		v.start()
	}
	for i := len(v.alive) - 1; i >= 0; i-- {
		l := v.alive[i]
		if v.now < l.asleep {
			continue
		}
		switch v.rnd.IntN(60) {
		case 0: // stopped in the middle
			l.asleep = v.now + v.between(0, 30*time.Second)
		case 1:
			l.cut = v.now + v.between(0, 30*time.Second)
		case 2: // kill -9
			v.end(i)
			continue
		case 3:
			if v.now >= l.cut {
				last := l.ids.Last()
				if err := l.w.Release(v.t.Context(), l.lease, last); err != nil {
					v.t.Fatal(err)
				}
				if v.newest[l.lease.Worker] == l.lease.Generation {
					v.grant(l, last)
				}
				v.end(i)
				continue
			}
		case 4:
			l.skew += v.between(-v.jumps, v.jumps)
		}
		v.make(l)
		if v.now-l.renewed >= RenewEvery && !v.renew(l) {
			v.end(i)
		}
	}
}

func newLives(t *testing.T, seed uint64) *lives {
	client := startRedis(t)
	v := &lives{
		t: t, rnd: rand.New(rand.NewPCG(seed, 7)), base: time.Now(),
		granted: make(map[uint16]map[uint64]time.Time), newest: make(map[uint16]uint64), ids: make(map[uint64]uint64),
	}
	v.open = func() *RedisWorkers {
		w := NewRedisWorkers(client, "ws")
		w.skew = func() time.Duration { return v.now }
		w.now = func() time.Time { return v.base.Add(v.now) }
		return w
	}
	v.watch = v.open()
	return v
}

// A thousand processes with five names come and go; they stop, are cut off, die, have
// their clocks set, and several live under one name at once. Nobody makes an ID that
// another has made, and a number has one owner.
func TestThousandLives(t *testing.T) {
	v := newLives(t, 1)
	v.jumps, v.apart = 20*time.Second, 5*time.Second
	for v.started < 1000 {
		v.step()
	}
	if len(v.ids) < 10_000 {
		t.Errorf("only %d IDs were made", len(v.ids))
	}
	t.Logf("%d IDs over %v", len(v.ids), v.now)
}

// The same where Redis loses all that it knows now and then. Its clock and those of the
// nodes agree to a second.
func TestThousandLivesWithAForgetfulRedis(t *testing.T) {
	v := newLives(t, 2)
	v.apart, v.forgets = time.Second, true
	for v.started < 1000 {
		if v.rnd.IntN(300) == 0 {
			if err := v.watch.client.Do(t.Context(), v.watch.client.B().Flushall().Build()).Error(); err != nil {
				t.Fatal(err)
			}
			// A number may be another's now. What the old holders were granted is over before
			// anybody new gets one, and that is what the IDs show.
			clear(v.granted)
		}
		v.step()
	}
	if len(v.ids) < 10_000 {
		t.Errorf("only %d IDs were made", len(v.ids))
	}
	t.Logf("%d IDs over %v", len(v.ids), v.now)
}
