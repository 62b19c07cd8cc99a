package gateway

import (
	"net"
	"net/netip"
	"sync"

	"holdfast/internal/netpoll"
)

// A WebSocket handshake costs net/http two goroutines, two buffers, two registrations
// with Go's poller and a hijack. So on an engine that can receive bare connections the
// shards look at what comes first (greeter.go):
//
//	accept ──▶ shard ──▶ a handshake that opens a session ──▶ 101 and the open packet
//	                 └─▶ anything else ──▶ door.Accept ──▶ net/http, ServeHTTP
//
// Nothing is refused there: what is not as it should be goes to net/http as well,
// with all that was read, and gets its answer in the one place that has it.

// door is the listener that net/http sees.
type door struct {
	g        *Gateway
	listener net.Listener
	turn     int           // owned by the first shard, which accepts
	others   chan net.Conn // for net/http
	closed   chan struct{}

	mu   sync.Mutex // held while something is put into others
	over bool
}

var _ net.Listener = (*door)(nil)

// maxOthers bounds the connections that wait for net/http to accept them; past it
// they are closed, as the kernel does with those past its own backlog.
const maxOthers = 1024

// Listen returns the listener to serve this gateway's handler on, to be closed before
// the gateway: l itself, or one that lets the shards serve WebSocket handshakes from
// their first byte, and closes l. TLS is not for it.
func (g *Gateway) Listen(l net.Listener) net.Listener {
	receiver, ok := g.shards[0].engine.(netpoll.Receiver)
	if _, tcp := l.(*net.TCPListener); !ok || !tcp {
		return l
	}
	d := &door{g: g, listener: l, others: make(chan net.Conn, maxOthers), closed: make(chan struct{})}
	g.shards[0].inbox.post(func() {
		if err := receiver.Accept(l, d.take, d.failed); err != nil {
			g.cfg.Logger.Error("no connection can be accepted", "listen", l.Addr(), "err", err)
		}
	})
	return d
}

// take gives each shard a connection in turn. It runs on the first one.
func (d *door) take(fd int, peer netip.Addr) {
	sh := d.g.shards[d.turn]
	if d.turn++; d.turn == len(d.g.shards) {
		d.turn = 0
	}
	if sh.index == 0 {
		sh.receive(d, fd, peer)
	} else if !sh.inbox.post(func() { sh.receive(d, fd, peer) }) {
		netpoll.CloseDescriptor(fd)
	}
}

func (d *door) failed(err error) {
	d.g.Stats.AcceptPauses.Add(1)
	d.g.cfg.Logger.Warn("connections wait to be accepted, trying again: if this lasts, raise the limit of open files (ulimit -n)", "err", err)
}

// hand gives a connection to net/http.
func (d *door) hand(nc net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over || len(d.others) == cap(d.others) {
		_ = nc.Close()
		return
	}
	d.others <- nc
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	select {
	case nc := <-d.others:
		return nc, nil
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (d *door) Addr() net.Addr { return d.listener.Addr() }

// Close implements net.Listener.
func (d *door) Close() error {
	d.mu.Lock()
	again := d.over
	d.over = true
	d.mu.Unlock()
	if again {
		return net.ErrClosed
	}
	close(d.closed)
	d.stop()
	for len(d.others) > 0 {
		_ = (<-d.others).Close()
	}
	return d.listener.Close()
}

// stop has the first shard accept no more, and waits for that if the shard runs.
func (d *door) stop() {
	sh := d.g.shards[0]
	stopped := make(chan struct{})
	if !d.g.running.Load() || !sh.inbox.post(func() {
		sh.engine.(netpoll.Receiver).StopAccepting()
		close(stopped)
	}) {
		return
	}
	select {
	case <-stopped:
	case <-sh.done:
	}
}

// begun is a connection of which the first bytes have been read.
type begun struct {
	*net.TCPConn
	first []byte
}

// Read implements net.Conn.
func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) == 0 {
		return b.TCPConn.Read(p)
	}
	n := copy(p, b.first)
	if b.first = b.first[n:]; len(b.first) == 0 {
		b.first = nil
	}
	return n, nil
}

// receive begins to serve a connection that was accepted.
func (sh *shard) receive(d *door, fd int, peer netip.Addr) {
	gr := &greeter{sh: sh, door: d, peer: peer}
	nc, err := sh.engine.(netpoll.Receiver).Receive(fd, gr)
	if err != nil {
		sh.g.cfg.Logger.Warn("a connection cannot be served", "remote", peer, "err", err)
		netpoll.CloseDescriptor(fd)
		return
	}
	gr.nc = nc
	sh.now = sh.g.now() // the poller may have waited for this for long
	sh.greeters[gr] = sh.now + sh.g.cfg.HeaderTimeout.Milliseconds()
}
