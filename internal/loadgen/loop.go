package loadgen

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"holdfast/internal/netpoll"
	"holdfast/wsframe"
)

// loop is the goroutine that owns an engine and the clients in it.
type loop struct {
	target  *Target
	host    string
	engine  netpoll.Engine
	dialer  *dialer
	done    chan struct{} // closed when it has ended
	reading wsframe.ReaderOptions

	// Owned by the goroutine.
	up      []*client             // those that are connected
	leads   []*client             // those of them that are the first of their room
	waiting map[*client]struct{}  // those on their way
	leaving map[*client]time.Time // those that have said so, until when they wait for an answer
	left    []func()              // to run when all of them are gone
	asked   map[uint64]time.Time  // acks that are due, by ID
	lastAsk uint64
	drives  []*drive
	stats   Stats
	current *link // whose bytes are being read
	emit    wsframe.EmitFunc
	scratch []byte // a frame
	message []byte // its payload
	sweepAt time.Time
	stop    bool
	err     error // the engine's own

	mu    sync.Mutex
	inbox []func()
	ended bool // nothing is taken any more
}

// drive is a Load under way in one loop.
type drive struct {
	load     Load
	schedule Schedule
	sent     int
	total    int
	end      func()
}

func newLoop(target *Target, host string, d *dialer) (*loop, error) {
	engine, err := netpoll.New(netpoll.Auto, netpoll.Options{})
	if err != nil {
		return nil, err
	}
	l := &loop{
		target: target, host: host, engine: engine, dialer: d, done: make(chan struct{}),
		reading: wsframe.ReaderOptions{Client: true, MaxMessage: 16 << 20},
		waiting: make(map[*client]struct{}), leaving: make(map[*client]time.Time), asked: make(map[uint64]time.Time),
	}
	l.emit = func(op wsframe.Opcode, payload []byte) error {
		if l.current.closed {
			return net.ErrClosed
		}
		return l.current.frame(op, payload)
	}
	go l.run()
	return l, nil
}

// post has f run in the loop, and is never waited for. False says that the loop has
// ended and f was dropped.
func (l *loop) post(f func()) bool {
	l.mu.Lock()
	ended := l.ended
	if !ended {
		l.inbox = append(l.inbox, f)
	}
	l.mu.Unlock()
	l.engine.Wake()
	return !ended
}

// call runs f in the loop and waits for it.
func (l *loop) call(f func()) error {
	ran := make(chan struct{})
	l.post(func() { f(); close(ran) })
	return l.await(ran)
}

// await waits for what the loop will close.
func (l *loop) await(ran <-chan struct{}) error {
	select {
	case <-ran:
		return nil
	case <-l.done:
		if l.err != nil {
			return l.err
		}
		return net.ErrClosed
	}
}

func (l *loop) run() {
	defer close(l.done)
	defer func() { _ = l.engine.Close() }()
	for !l.stop {
		if l.err = l.engine.Poll(l.wait(time.Now())); l.err != nil {
			l.stop = true
		}
		l.work(false)
		now := time.Now()
		l.drive(now)
		l.sweep(now)
		if len(l.leaving) == 0 {
			for _, f := range l.left {
				f()
			}
			l.left = nil
		}
	}
	l.work(true) // so that connections just dialled are closed
}

// work runs what was posted, the last of it when the loop ends.
func (l *loop) work(last bool) {
	l.mu.Lock()
	work := l.inbox
	l.inbox = nil
	l.ended = last
	l.mu.Unlock()
	for _, f := range work {
		f()
	}
}

// sweepEvery is how exact time-outs and a client's own heartbeats are.
const sweepEvery = 100 * time.Millisecond

// wait is how long nothing is due.
func (l *loop) wait(now time.Time) time.Duration {
	d := l.sweepAt.Sub(now)
	for _, r := range l.drives {
		d = min(d, r.schedule.At(r.sent).Sub(now))
	}
	return max(d, 0)
}

// sweep ends what takes too long, and sends the heartbeats of Engine.IO 3.
func (l *loop) sweep(now time.Time) {
	if now.Before(l.sweepAt) {
		return
	}
	if !l.sweepAt.IsZero() {
		l.stats.Late.Record(now.Sub(l.sweepAt)) // what came meanwhile has waited as well
	}
	l.sweepAt = now.Add(sweepEvery)
	for c := range l.waiting {
		switch {
		case !now.After(c.attempt.deadline(c)):
		case c.joined:
			c.polling.stay(refusal("not over in time"))
		default:
			c.end(refusal("no answer to the handshake in time"))
		}
	}
	for c, until := range l.leaving {
		if now.After(until) {
			c.end(nil)
		}
	}
	if l.target.Protocol != SocketIO4 {
		return
	}
	for i := len(l.up) - 1; i >= 0; i-- { // backwards, for end moves the last
		if c := l.up[i]; c.ping > 0 && !now.Before(c.pingAt) {
			c.pingAt = now.Add(c.ping)
			c.write([]byte("2"))
		}
	}
}

// burst bounds the messages that a late loop sends without a look at its sockets.
const burst = 256

// drive sends what is due.
func (l *loop) drive(now time.Time) {
	for i := 0; i < len(l.drives); i++ {
		d := l.drives[i]
		due := min(d.schedule.Due(now), d.total)
		for n := 0; d.sent < due && n < burst; n++ {
			senders := l.up
			switch {
			case d.load.Leads:
				senders = l.leads
			case d.load.Clients > 0:
				senders = l.up[:min(len(l.up), d.load.Clients)]
			}
			if len(senders) == 0 {
				d.sent = d.total
				break
			}
			at := d.schedule.At(d.sent)
			l.stats.Late.Record(now.Sub(at))
			senders[d.sent%len(senders)].load(&d.load, at)
			d.sent++
		}
		if d.sent >= d.total {
			l.drives = append(l.drives[:i], l.drives[i+1:]...)
			i--
			d.end()
		}
	}
}

// add takes a connection that was dialled.
func (l *loop) add(nc net.Conn, a *attempt, c *client) {
	if l.stop {
		_ = nc.Close()
		a.finish()
		return
	}
	c.loop, c.attempt = l, a
	c.lead = a.lead(c.index)
	l.waiting[c] = struct{}{}
	object, query := l.target.credentials(c.index, a.room(c.index), a.began)
	if l.target.Protocol == SocketIO5 {
		c.auth, query = object, ""
	}
	l.stats.Late.Record(a.late)
	k := &link{client: c}
	c.begin(k, query)
	k.dialled(nc, nil)
}

// dial makes a connection for a link that is not a client's first.
func (l *loop) dial(k *link) {
	l.dialer.start(k.client.source, func(nc net.Conn, err error) {
		if !l.post(func() { k.dialled(nc, err) }) && err == nil {
			_ = nc.Close()
		}
	})
}

// failed counts an attempt that got no connection.
func (l *loop) failed(a *attempt, err error) {
	l.stats.Failed++
	l.stats.count(reason(err), 1)
	a.finish()
}

// collect takes the counters.
func (l *loop) collect() Stats {
	s := l.stats
	s.Up, s.Coming = len(l.up), len(l.waiting)
	l.stats = Stats{}
	return s
}

// leave has n of the clients that are up leave, chosen at random.
func (l *loop) leave(n int) {
	now := time.Now()
	for ; n > 0 && len(l.up) > 0; n-- {
		l.up[rand.IntN(len(l.up))].leave(now)
	}
}

// reason makes an error a key that many of its kind share: no addresses, no ports.
func reason(err error) string {
	var said refusal
	var number syscall.Errno
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &said):
		return string(said)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, syscall.EMFILE):
		return "too many open files (ulimit -n)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "no port is free (those of a run before are for a minute)"
	case errors.As(err, &number):
		return number.Error()
	case errors.As(err, &unknown):
		return "the server's certificate is not trusted"
	}
	return fmt.Sprintf("%.80s", err.Error())
}
