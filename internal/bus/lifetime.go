package bus

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// lifetime is how a bus that has goroutines begins and ends:
//
//	open ── beginEnd ──▶ closing: nothing enters a queue, nothing more is consumed,
//	                     what waits is written
//	     ── end ───────▶ base is over, inboxes are detached, all goroutines have ended
type lifetime struct {
	base       context.Context // ends when the bus is closed
	stop       context.CancelFunc
	taking     context.Context // ends before that, when nothing more is consumed
	stopTaking context.CancelFunc
	closing    chan struct{} // closed when the queues take nothing more
	turn       chan struct{} // holds one token, which the running consumer has
	work       sync.WaitGroup

	mu       sync.RWMutex // read-locked while something enters a queue
	closed   bool
	attached map[*attachment]struct{}
}

func (l *lifetime) begin() {
	l.base, l.stop = context.WithCancel(context.Background())
	l.taking, l.stopTaking = context.WithCancel(l.base)
	l.closing, l.turn = make(chan struct{}), make(chan struct{}, 1)
	l.turn <- struct{}{}
	l.attached = make(map[*attachment]struct{})
}

func (l *lifetime) isClosed() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.closed
}

// beginEnd is false when the end has begun before.
func (l *lifetime) beginEnd() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.closed = true
	close(l.closing)
	l.stopTaking()
	return true
}

// end is called once, after beginEnd.
func (l *lifetime) end() {
	l.stop()
	l.mu.RLock()
	left := slices.Collect(maps.Keys(l.attached))
	l.mu.RUnlock()
	for _, a := range left {
		a.detach()
	}
	l.work.Wait()
}

// takeTurn waits until no other consumer runs; false when ctx has ended or the bus is
// being closed. The caller puts the token back when it has ended.
func (l *lifetime) takeTurn(ctx context.Context) bool {
	select {
	case <-l.turn:
		return true
	case <-ctx.Done():
	case <-l.closing:
	}
	return false
}

// settleOnReturn makes a handler that is done with an event when it returns one that
// settles it.
func settleOnReturn[E any](handle func(E)) func(e E, settled func()) {
	return func(e E, settled func()) {
		handle(e)
		settled()
	}
}

// attachment is one attached inbox.
type attachment struct {
	cancel context.CancelFunc
	ended  chan struct{} // closed when its goroutine has ended
	tidy   func()
	once   sync.Once
	l      *lifetime
}

// attach runs read in a goroutine of its own until its ctx ends or it returns. It
// returns when read has closed attached or has ended, or when patience is over; read
// goes on then. detach ends read, waits for it, and calls tidy once. A bus that is
// closed attaches nothing.
func (l *lifetime) attach(patience time.Duration, read func(ctx context.Context, attached chan struct{}), tidy func()) (detach func()) {
	a := &attachment{ended: make(chan struct{}), tidy: tidy, l: l}
	var ctx context.Context
	ctx, a.cancel = context.WithCancel(l.base)
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		a.cancel()
		return func() {}
	}
	l.attached[a] = struct{}{}
	l.work.Add(1)
	l.mu.Unlock()
	attached := make(chan struct{})
	go func() {
		defer l.work.Done()
		defer close(a.ended)
		read(ctx, attached)
	}()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-attached:
	case <-timeout.C:
	case <-a.ended:
	}
	return a.detach
}

func (a *attachment) detach() {
	a.cancel()
	<-a.ended
	a.once.Do(func() {
		a.tidy()
		a.l.mu.Lock()
		defer a.l.mu.Unlock()
		delete(a.l.attached, a)
	})
}
