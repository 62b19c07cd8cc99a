package loadgen

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Swarm is a number of clients of one server. All of it may be called at the same
// time, but for Close, which is the last.
type Swarm interface {
	// Connect lets clients come as planned and returns when each of them is
	// connected or has failed, which Collect tells apart. The error is for what
	// stops all of them.
	Connect(ctx context.Context, p Plan) error

	// Drive lets connected clients send and returns when the last message was
	// sent. Answers may still be under way.
	Drive(ctx context.Context, l Load) error

	// Collect returns what happened since it was last called.
	Collect(ctx context.Context) (Stats, error)

	// Leave closes n clients, chosen at random, at a rate a second (0: at once).
	Leave(ctx context.Context, n int, rate float64) error

	// Close closes all of them and ends the swarm's goroutines and processes.
	Close() error
}

// Local is a Swarm in this process.
type Local struct {
	target *Target
	dialer *dialer
	loops  []*loop

	came atomic.Int64 // clients that were dialled, for the loops' turns
	left atomic.Int64 // and that were closed

	mu   sync.Mutex
	used time.Duration // processor time of this process when its share was last told
	at   time.Time     // and when that was
}

var _ Swarm = (*Local)(nil)

// NewLocal makes one without clients. loops is how many goroutines serve them; 0:
// one, which is enough for 100,000 messages a second and leaves the server its
// processors.
func NewLocal(t Target, loops int) (*Local, error) {
	target, err := t.withDefaults()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(target.URL)
	if err != nil {
		return nil, fmt.Errorf("read the server's URL: %w", err)
	}
	s := &Local{target: target, dialer: newDialer(target, u)}
	for range max(loops, 1) {
		l, err := newLoop(target, u.Host, s.dialer)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.loops = append(s.loops, l)
	}
	s.busy()
	return s, nil
}

// busyFor is the least time over which a share of a processor means something.
const busyFor = time.Second / 2

// busy is how many processors this process has kept busy since it last told; 0 while
// that is not long ago, and where it cannot be measured.
func (s *Local) busy() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.at) < busyFor {
		return 0
	}
	used, err := CPUTime(os.Getpid())
	if err != nil {
		return 0
	}
	share := float64(used-s.used) / float64(max(now.Sub(s.at), 1))
	s.used, s.at = used, now
	return share
}

// attempt is what the clients of one Connect share.
type attempt struct {
	plan  Plan
	rooms []string
	began time.Time
	late  time.Duration
	free  chan struct{} // a token for each handshake that may begin
	left  *atomic.Int64
	done  chan struct{} // closed when none is left
}

func (a *attempt) room(index int) string {
	if a.rooms == nil {
		return ""
	}
	return a.rooms[index]
}

// lead says whether a client is the first of its room.
func (a *attempt) lead(index int) bool {
	return a.rooms != nil && (index == 0 || a.rooms[index] != a.rooms[index-1])
}

func (a *attempt) deadline(c *client) time.Time { return c.due.Add(a.plan.Timeout) }

// lateness is how late the generator itself is with an arrival. While all handshakes
// that may be under way were waiting for the server it could not begin another, and
// free is when that ended; the latency counts from due all the same.
func lateness(now, due, free time.Time) time.Duration {
	if free.After(due) {
		due = free
	}
	return now.Sub(due)
}

// wait takes a token. It returns since when there was one: last, as before, or now if
// it had to wait.
func (a *attempt) wait(ctx context.Context, last time.Time) (time.Time, error) {
	select {
	case <-a.free:
		return last, nil
	default:
	}
	select {
	case <-a.free:
		return time.Now(), nil
	case <-ctx.Done():
		return last, fmt.Errorf("connect clients: %w", ctx.Err())
	}
}

// finish is called once for each client, when it is up or has failed.
func (a *attempt) finish() {
	a.free <- struct{}{}
	if a.left.Add(-1) == 0 {
		close(a.done)
	}
}

// Connect implements Swarm.
func (s *Local) Connect(ctx context.Context, p Plan) error {
	if p.Clients <= 0 {
		return nil
	}
	p = p.withDefaults()
	shared := attempt{
		plan: p, rooms: p.Rooms.Names(p.First + p.Clients), began: time.Now(),
		free: make(chan struct{}, p.Parallel), left: new(atomic.Int64), done: make(chan struct{}),
	}
	shared.left.Store(int64(p.Clients))
	for range p.Parallel {
		shared.free <- struct{}{}
	}
	schedule := Schedule{Start: shared.began, Rate: p.Rate}
	free := shared.began // since when a handshake might begin
	for i := range p.Clients {
		due := schedule.At(i)
		err := sleepUntil(ctx, due)
		if err != nil {
			return fmt.Errorf("connect clients: %w", err)
		}
		a := shared
		a.late = lateness(time.Now(), due, free)
		if free, err = shared.wait(ctx, free); err != nil {
			return err
		}
		c := &client{index: p.First + i, due: due}
		if p.Rate <= 0 {
			a.late, c.due = 0, time.Now() // nothing was promised
		}
		turn := int(s.came.Add(1) - 1)
		c.source = turn
		l := s.loops[turn%len(s.loops)]
		s.dialer.under.Go(func() {
			limit, cancel := context.WithTimeout(ctx, p.Timeout)
			defer cancel()
			nc, err := s.dialer.dial(limit, turn)
			taken := l.post(func() {
				if err != nil {
					l.failed(&a, err)
					return
				}
				l.add(nc, &a, c)
			})
			if !taken && err == nil {
				_ = nc.Close()
			}
		})
	}
	select {
	case <-shared.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("connect clients: %w", ctx.Err())
	}
}

// Drive implements Swarm. Each loop sends its share.
func (s *Local) Drive(ctx context.Context, load Load) error {
	if load.Start.IsZero() {
		load.Start = time.Now()
	}
	n := len(s.loops)
	total := int(load.Rate * load.For.Seconds())
	ended := make(chan struct{}, n)
	share := load
	share.Clients = (load.Clients + n - 1) / n
	for i, l := range s.loops {
		d := &drive{
			load: share, total: (total + i) / n, end: func() { ended <- struct{}{} },
			schedule: Schedule{Start: load.Start.Add(time.Duration(float64(i) / load.Rate * float64(time.Second))), Rate: load.Rate / float64(n)},
		}
		l.post(func() {
			clear(l.asked)
			if load.Leads { // of which this loop has more or fewer than another
				d.schedule = Schedule{Start: load.Start, Rate: load.Rate * float64(len(l.leads))}
				d.total = int(d.schedule.Rate * load.For.Seconds())
			}
			l.drives = append(l.drives, d)
		})
	}
	for range s.loops {
		select {
		case <-ended:
		case <-ctx.Done():
			for _, l := range s.loops {
				l.post(func() { l.drives = nil })
			}
			return fmt.Errorf("send messages: %w", ctx.Err())
		}
	}
	return nil
}

// Collect implements Swarm.
func (s *Local) Collect(context.Context) (Stats, error) {
	var sum Stats
	for _, l := range s.loops {
		var part Stats
		if err := l.call(func() { part = l.collect() }); err != nil {
			return sum, fmt.Errorf("collect counters: %w", err)
		}
		sum.Merge(&part)
	}
	sum.Busy = s.busy()
	return sum, nil
}

// Leave implements Swarm.
func (s *Local) Leave(ctx context.Context, n int, rate float64) error {
	schedule := Schedule{Start: time.Now(), Rate: rate}
	for i := range n {
		if err := sleepUntil(ctx, schedule.At(i)); err != nil {
			return fmt.Errorf("close clients: %w", err)
		}
		l := s.loops[int(s.left.Add(1)-1)%len(s.loops)]
		l.post(func() { l.leave(1) })
	}
	for _, l := range s.loops { // until all have been done
		gone := make(chan struct{})
		l.post(func() { l.left = append(l.left, func() { close(gone) }) })
		if err := l.await(gone); err != nil {
			return fmt.Errorf("close clients: %w", err)
		}
	}
	return nil
}

// Close implements Swarm.
func (s *Local) Close() error {
	s.dialer.stop()
	var errs []error
	for _, l := range s.loops {
		l.post(func() { l.stop = true })
		<-l.done
		errs = append(errs, l.err)
	}
	s.dialer.under.Wait()
	return errors.Join(errs...)
}
