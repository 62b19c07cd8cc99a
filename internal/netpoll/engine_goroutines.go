package netpoll

import (
	"net"
	"sync/atomic"
	"time"
)

// goroutineEngine is the pump and a channel to wait on.
type goroutineEngine struct {
	pump   *pump
	timer  *time.Timer
	closed bool

	// signal has room for one token, so a sender never waits. A token only says
	// "look again": the reasons are in the pump's queue and in woken.
	signal chan struct{}
	woken  atomic.Bool
}

var _ Engine = (*goroutineEngine)(nil)

func newGoroutines(o Options) *goroutineEngine {
	e := &goroutineEngine{signal: make(chan struct{}, 1)}
	e.pump = newPump(o, e.notify)
	e.timer = time.NewTimer(time.Hour)
	e.timer.Stop()
	return e
}

func (e *goroutineEngine) notify() {
	select {
	case e.signal <- struct{}{}:
	default:
	}
}

func (e *goroutineEngine) Wake() {
	if !e.woken.Swap(true) {
		e.notify()
	}
}

func (e *goroutineEngine) Add(nc net.Conn, h Handler) (Conn, error) {
	c, err := e.pump.add(nc, h)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (e *goroutineEngine) Len() int { return e.pump.len() }

func (e *goroutineEngine) Poll(d time.Duration) error {
	if e.closed {
		return net.ErrClosed
	}
	e.wait(d)
	e.pump.dispatch()
	return nil
}

// wait returns when there is something to dispatch, on Wake, or when d is over.
func (e *goroutineEngine) wait(d time.Duration) {
	var timeout <-chan time.Time
	if d > 0 {
		e.timer.Reset(d)
		defer e.timer.Stop()
		timeout = e.timer.C
	}
	for {
		// The flag is cleared before the queue is looked at: a Wake from now on
		// sets it again and leaves a token, one from before makes this Poll return.
		if e.woken.Swap(false) || d == 0 || e.pump.pending() {
			return
		}
		select {
		case <-e.signal:
		case <-timeout:
			return
		}
	}
}

func (e *goroutineEngine) Close() error {
	if !e.closed {
		e.closed = true
		e.pump.close()
	}
	return nil
}
