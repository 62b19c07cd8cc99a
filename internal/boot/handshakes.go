package boot

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// handshakePatience is how long a connection keeps its place while others wait
// for one: some round trips of a bad mobile line.
const handshakePatience = 2 * time.Second

// Handshakes is a listener for TLS that bounds how many connections have not made
// their first request yet, for each of them has a goroutine and buffers:
//
//	accept ─▶ place taken ─▶ handshake, header of the first request ─▶ place free
//	   │ all are taken
//	   ├─ the oldest has had its place for the patience: it is closed and loses it
//	   └─ else new connections wait in the kernel's queue
//
// A storm of clients is thus served in its order, and peers that connect and say
// nothing hold others up for no longer than the patience. While there are places,
// net/http ends what takes longer than timeouts.header.
type Handshakes struct {
	net.Listener
	conf     *tls.Config
	wrap     func(net.Conn) net.Conn
	patience time.Duration
	closing  chan struct{}
	close    sync.Once
	places   chan struct{} // a token for each place that is taken
	evicted  atomic.Int64

	mu     sync.Mutex
	oldest *list.List                 // of underWay
	taken  map[net.Conn]*list.Element // one for each token
}

// underWay is a connection that has a place.
type underWay struct {
	conn  *tls.Conn
	since time.Time
}

// NewHandshakes listens on l with conf, for at most limit connections at a time
// that have made no request. wrap makes what TLS stands on of each connection.
// The http.Server that serves it must report to ConnState.
func NewHandshakes(l net.Listener, conf *tls.Config, limit int, wrap func(net.Conn) net.Conn) *Handshakes {
	return &Handshakes{
		Listener: l, conf: conf, wrap: wrap, patience: handshakePatience,
		closing: make(chan struct{}), places: make(chan struct{}, limit),
		oldest: list.New(), taken: make(map[net.Conn]*list.Element),
	}
}

// Accept implements net.Listener: it returns a *tls.Conn before its handshake.
func (h *Handshakes) Accept() (net.Conn, error) {
	if !h.reserve() {
		return nil, net.ErrClosed
	}
	nc, err := h.Listener.Accept()
	if err != nil {
		<-h.places
		return nil, err
	}
	t := tls.Server(h.wrap(nc), h.conf)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taken[t] = h.oldest.PushBack(underWay{t, time.Now()})
	return t, nil
}

// Close implements net.Listener.
func (h *Handshakes) Close() error {
	h.close.Do(func() { close(h.closing) })
	return h.Listener.Close()
}

// ConnState is for http.Server.ConnState: a connection with a request, or gone,
// needs its place no more.
func (h *Handshakes) ConnState(nc net.Conn, state http.ConnState) {
	if state != http.StateNew {
		h.free(nc)
	}
}

// UnderWay is how many connections have a place.
func (h *Handshakes) UnderWay() int { return len(h.places) }

// Evicted is how many lost their place to others so far.
func (h *Handshakes) Evicted() int64 { return h.evicted.Load() }

// reserve waits for a place; false when the listener was closed.
func (h *Handshakes) reserve() bool {
	for {
		select {
		case h.places <- struct{}{}:
			return true
		default:
		}
		next := time.NewTimer(h.evict())
		select {
		case h.places <- struct{}{}:
			next.Stop()
			return true
		case <-next.C:
		case <-h.closing:
			next.Stop()
			return false
		}
	}
}

// evict closes the connection with the oldest place if it has had its patience, and
// returns how long that one, or the next, may be waited for.
func (h *Handshakes) evict() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.oldest.Front()
	if e == nil {
		return h.patience // they have all just left
	}
	u := e.Value.(underWay)
	if left := h.patience - time.Since(u.since); left > 0 {
		return left
	}
	// Under the lock, so that ConnState cannot tell of a request meanwhile: a
	// connection with one may be in other hands. Closing the socket, without a word of
	// TLS, never waits.
	_ = u.conn.NetConn().Close()
	h.remove(e)
	h.evicted.Add(1)
	return 0
}

// free gives a connection's place back, if it has one.
func (h *Handshakes) free(nc net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.taken[nc]; e != nil {
		h.remove(e)
	}
}

// remove frees the place of e; h.mu is held.
func (h *Handshakes) remove(e *list.Element) {
	delete(h.taken, h.oldest.Remove(e).(underWay).conn)
	<-h.places
}
