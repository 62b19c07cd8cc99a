package netpoll

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// reception is an engine that accepts from a listener of its own.
type reception struct {
	*bench
	engine   *epollEngine
	listener net.Listener
	got      []Received
	probes   []*probe
	peers    []netip.Addr
	failures []error
}

func newReception(t *testing.T) *reception {
	t.Helper()
	r := &reception{bench: newBench(t, Epoll, Options{}, tcpPair)}
	r.engine = r.Engine.(*epollEngine)
	var err error
	if r.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.listener.Close() })
	if err := r.engine.Accept(r.listener, r.take, func(err error) { r.failures = append(r.failures, err) }); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *reception) take(fd int, peer netip.Addr) {
	p := &probe{tb: r.TB}
	c, err := r.engine.Receive(fd, p)
	if err != nil {
		r.Fatal(err)
	}
	p.conn = c
	r.got, r.probes, r.peers = append(r.got, c), append(r.probes, p), append(r.peers, peer)
}

// dial connects, sends text, and waits until the engine has accepted that.
func (r *reception) dial(text string) net.Conn {
	r.Helper()
	n := len(r.got)
	peer, err := net.Dial("tcp", r.listener.Addr().String())
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = peer.Close() })
	_ = peer.SetDeadline(time.Now().Add(patience))
	r.send(peer, text)
	r.until("a connection is accepted", func() bool { return len(r.got) == n+1 })
	return peer
}

func (r *reception) send(peer net.Conn, text string) {
	r.Helper()
	if _, err := io.WriteString(peer, text); err != nil {
		r.Fatal(err)
	}
}

func (r *reception) expect(from io.Reader, want string) {
	r.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(from, got); err != nil || string(got) != want {
		r.Fatalf("%q, %v in place of %q", got, err, want)
	}
}

func TestReceivedConnections(t *testing.T) {
	r := newReception(t)
	peer := r.dial("one")
	if want := netip.MustParseAddr("127.0.0.1"); r.peers[0] != want {
		t.Errorf("the peer is %v", r.peers[0])
	}
	var first, second []byte
	r.probes[0].onData = func(b []byte) {
		first = append(first, b...)
		r.got[0].Pass(&probe{tb: t, conn: r.got[0], onData: func(b []byte) { second = append(second, b...) }})
	}
	r.until("the first handler has heard", func() bool { return len(first) > 0 })
	r.send(peer, "two")
	r.until("the second handler has heard", func() bool { return len(second) > 0 })
	if string(first) != "one" || string(second) != "two" {
		t.Errorf("%q, then %q", first, second)
	}
	if n, err := r.got[0].Writev([][]byte{[]byte("three")}); n != 5 || err != nil {
		t.Errorf("written %d, %v", n, err)
	}
	r.expect(peer, "three")
}

// TestSilentConnection is accepted as well, though not at once: it is to be closed
// some time, and a client may wait for the server to speak first.
func TestSilentConnection(t *testing.T) {
	r := newReception(t)
	peer := r.dial("")
	if _, err := r.got[0].Writev([][]byte{[]byte("one")}); err != nil {
		t.Fatal(err)
	}
	r.expect(peer, "one")
}

// TestReturnedConnection goes on with net, and leaves the engine nothing.
func TestReturnedConnection(t *testing.T) {
	r := newReception(t)
	peer := r.dial("one")
	var nc net.Conn
	r.probes[0].onData = func([]byte) {
		var err error
		if nc, err = r.got[0].Return(); err != nil {
			t.Error(err)
		}
	}
	r.until("it is returned", func() bool { return nc != nil })
	defer nc.Close()
	if r.Len() != 0 {
		t.Errorf("the engine still has %d", r.Len())
	}
	r.got[0].Close() // is closed
	if _, err := r.got[0].Return(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("returned again: %v", err)
	}
	r.send(peer, "two")
	r.expect(nc, "two")
	if _, err := io.WriteString(nc, "three"); err != nil {
		t.Fatal(err)
	}
	r.expect(peer, "three")
	if nc.RemoteAddr().String() != peer.LocalAddr().String() {
		t.Errorf("the peer is %v", nc.RemoteAddr())
	}
}

// TestAcceptFails has the process unable to accept for a while.
func TestAcceptFails(t *testing.T) {
	r := newReception(t)
	_ = r.dial("one")
	a := r.engine.accepting
	was := a.fd
	a.fd = -1
	r.engine.accept()
	if len(r.failures) != 1 || a.at.IsZero() {
		t.Fatalf("failures %v, watched again at %v", r.failures, a.at)
	}
	a.fd = was
	_ = r.engine.control(2, was, 0, 0, 0) // EPOLL_CTL_DEL, as a failure of the socket itself would have done
	_ = r.dial("one")
	if !a.at.IsZero() {
		t.Error("the listening socket is not watched again")
	}
}

func TestStopAccepting(t *testing.T) {
	r := newReception(t)
	_ = r.dial("one")
	r.engine.StopAccepting()
	r.engine.StopAccepting()
	if err := r.listener.Close(); err != nil {
		t.Fatal(err)
	}
	if nc, err := net.Dial("tcp", r.listener.Addr().String()); err == nil {
		_ = nc.Close()
		t.Error("nobody accepts, and yet somebody does")
	}
	if err := r.engine.Accept(&net.UnixListener{}, r.take, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("accept from another kind of listener: %v", err)
	}
}

// TestDescriptorsForOthers leaves some descriptors to the rest of the process: what
// comes then is not served, and accepting goes on when there is room again.
func TestDescriptorsForOthers(t *testing.T) {
	r := newReception(t)
	peer := r.dial("one")
	r.engine.opt.Descriptors = 1 // as many as are in use, and more
	late, err := net.Dial("tcp", r.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	_ = late.SetDeadline(time.Now().Add(patience))
	r.send(late, "two")
	r.until("it is told of", func() bool { return len(r.failures) > 0 })
	if !errors.Is(r.failures[0], ErrDescriptors) || len(r.got) != 1 {
		t.Errorf("%v with %d connections", r.failures[0], len(r.got))
	}
	if _, err := late.Read(make([]byte, 1)); err == nil {
		t.Error("it was served")
	}
	if _, err := r.got[0].Writev([][]byte{[]byte("still here")}); err != nil {
		t.Error(err)
	}
	r.expect(peer, "still here")
	r.engine.opt.Descriptors = 0
	r.dial("three")
}

// TestLongTurns has a peer send as much as it can, of which each KB takes long: its
// turns get short, and long ones again when it sends what is done with quickly.
func TestLongTurns(t *testing.T) {
	r := newReception(t)
	peer := r.dial("one")
	slow, most, reads := true, 0, 0
	r.probes[0].onData = func(b []byte) {
		most, reads = max(most, len(b)), reads+1
		r.probes[0].data = nil
		for end := time.Now().Add(longTurn * 3 / 2); slow && time.Now().Before(end); { //nolint:revive // it is busy
		}
	}
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for b := make([]byte, 1<<20); ; {
			if _, err := peer.Write(b); err != nil {
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	at := func(want int) func() bool {
		return func() bool {
			if reads%8 == 0 {
				most = 0
			}
			return reads%8 == 7 && most == want
		}
	}
	full := len(r.engine.buf)
	r.until("its turns are short", at(leastShare.of(full)))
	slow = false
	r.until("its turns are long", at(full))
	close(stop)
	r.got[0].Close()
	<-stopped
}
