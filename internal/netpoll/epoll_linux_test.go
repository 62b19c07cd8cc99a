package netpoll

import (
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestMemoryOfAConnection(t *testing.T) {
	if n := unsafe.Sizeof(epollConn{}) + unsafe.Sizeof(slot{}); n > 48 {
		t.Errorf("a connection takes %d bytes", n)
	}
}

// Two connections are ready in the same turn. The first one's handler closes the
// second and adds a third, which gets the second's slot and descriptor. The
// second's event, already returned by epoll_wait, must not reach the third: it
// says that a peer hung up.
func TestReusedDescriptorGetsNoOldEvent(t *testing.T) {
	b := newBench(t, Epoll, Options{}, unixPair)
	var probes []*probe
	var third *probe
	server, peer := unixPair(t)
	defer peer.Close()
	replace := func(victim *probe) {
		if third != nil {
			return
		}
		old := *victim.conn.(*epollConn)
		gen := b.Engine.(*epollEngine).table.at(old.slot).gen
		victim.close()
		third = &probe{tb: t}
		c, err := b.Add(server, third)
		if err != nil {
			t.Fatal(err)
		}
		third.conn = c
		now := c.(*epollConn)
		if now.slot != old.slot || now.fd != old.fd {
			t.Fatalf("the test needs slot %d and descriptor %d reused, got %d and %d", old.slot, old.fd, now.slot, now.fd)
		}
		if b.Engine.(*epollEngine).table.find(old.slot, gen) != nil {
			t.Error("the old generation is still known")
		}
	}
	for i := range 2 {
		p, end := b.connect()
		p.onData = func([]byte) { replace(probes[1-i]) }
		p.onClosed = func(error) { replace(probes[1-i]) }
		probes = append(probes, p)
		if i == 1 {
			_ = end.Close()
		} else if _, err := end.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	b.settle()
	if third == nil || len(third.ends) > 0 || len(third.data) > 0 {
		t.Fatalf("the third connection was told of the second's event: %+v", third)
	}
	// Whoever kept the closed one harms nobody.
	for _, p := range probes {
		p.shut = true
		p.conn.Close()
		p.conn.PauseReading()
	}
	if _, err := peer.Write([]byte("mine")); err != nil {
		t.Fatal(err)
	}
	b.until("the third was heard", func() bool { return string(third.data) == "mine" })
}

func TestSlotTable(t *testing.T) {
	var table slotTable
	conns := make([]*epollConn, 3*slotsInPage)
	for i := range conns {
		conns[i] = &epollConn{}
		table.take(conns[i])
	}
	for i, c := range conns {
		if i%2 == 0 {
			table.release(c.slot)
		}
	}
	if table.len != len(conns)/2 {
		t.Errorf("len %d", table.len)
	}
	for i, c := range conns {
		if got := table.find(c.slot, 0) != nil; got != (i%2 == 1) {
			t.Fatalf("find of %d: %v", i, got)
		}
	}
	again := &epollConn{}
	if s := table.take(again); s.gen != 1 || table.next != uint32(len(conns)) {
		t.Errorf("a freed slot has generation %d, and the table %d slots", s.gen, table.next)
	}
	n := 0
	for range table.all() {
		n++
	}
	if n != table.len || table.find(1<<30, 0) != nil {
		t.Errorf("all yields %d of %d", n, table.len)
	}
}

// Without a descriptor to spare, Add fails and leaves the connection as it was.
func TestAddWithoutDescriptors(t *testing.T) {
	b := newBench(t, Epoll, Options{}, tcpPair)
	server, peer := tcpPair(t)
	defer peer.Close()
	defer server.Close()

	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	free, err := os.Open(os.DevNull) // the lowest free number
	if err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = uint64(free.Fd())
	_ = free.Close()
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	_, addErr := b.Add(server, &probe{tb: t})
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(addErr, unix.EMFILE) {
		t.Fatalf("Add: %v", addErr)
	}
	if b.Len() != 0 {
		t.Errorf("Len is %d", b.Len())
	}
	go func() { _, _ = server.Write([]byte("alive")) }()
	got := make([]byte, 5)
	if _, err := io.ReadFull(peer, got); err != nil || string(got) != "alive" {
		t.Errorf("the connection is not the caller's any more: %q, %v", got, err)
	}
}

// Add leaves nothing of net.Conn behind: the engine's is the only descriptor.
func TestAddTakesTheDescriptor(t *testing.T) {
	b := newBench(t, Epoll, Options{}, tcpPair)
	server, peer := tcpPair(t)
	defer peer.Close()
	p := &probe{tb: t}
	c, err := b.Add(server, p)
	if err != nil {
		t.Fatal(err)
	}
	p.conn = c
	if _, err := server.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("net's own connection still writes: %v", err)
	}
	p.close()
	waitForEnd(t, peer)
}

// What wraps a socket may change its bytes, so it is never looked through.
func TestWrappedSocketKeepsItsWrapper(t *testing.T) {
	b := newBench(t, Epoll, Options{}, func(t testing.TB) (net.Conn, net.Conn) {
		s, p := tcpPair(t)
		return struct{ net.Conn }{s}, p
	})
	p, peer := b.connect()
	if _, ok := p.conn.(*pumpConn); !ok {
		t.Fatalf("served by %T", p.conn)
	}
	send(t, peer, []byte("x"))
	b.until("it was heard", func() bool { return len(p.data) == 1 })
}

// A connection that epoll refuses to change fails alone.
func TestRefusedInterestEndsTheConnection(t *testing.T) {
	b := newBench(t, Epoll, Options{}, tcpPair)
	p, _ := b.connect()
	other, otherPeer := b.connect()
	e, c := b.Engine.(*epollEngine), p.conn.(*epollConn)
	if err := e.control(unix.EPOLL_CTL_DEL, int(c.fd), 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	c.PauseReading()
	b.poll(-1) // must not sleep over it
	if len(p.ends) != 1 || !errors.Is(p.ends[0], unix.ENOENT) {
		t.Errorf("OnClosed got %v", p.ends)
	}
	send(t, otherPeer, []byte("x"))
	b.until("the other was heard", func() bool { return len(other.data) == 1 })
}

// An idle shard waits like a goroutine that reads from a socket. In a blocking
// system call instead it would hold a thread and, until the runtime takes it
// away, a scheduler slot, at the cost of everybody else's latency.
func TestIdleShardIsParked(t *testing.T) {
	b := newBench(t, Epoll, Options{}, tcpPair)
	b.connect()
	for _, d := range []time.Duration{-1, patience} {
		done := make(chan error)
		go func() { done <- b.Poll(d) }()
		stacks := make([]byte, 1<<20)
		parked := regexp.MustCompile(`\[IO wait[^\]]*\]:\n(?s:[^\[]*)\(\*epollEngine\)\.Poll`)
		for end := time.Now().Add(patience); !parked.Match(stacks[:runtime.Stack(stacks, true)]); {
			if time.Now().After(end) {
				t.Fatalf("the shard is not parked:\n%s", stacks[:runtime.Stack(stacks, true)])
			}
			runtime.Gosched()
		}
		b.Wake()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// The steady state of a shard makes no garbage.
func TestNoAllocations(t *testing.T) {
	b := newBench(t, Epoll, Options{}, unixPair)
	server, peer := unixPair(t)
	defer peer.Close()
	q := &countingHandler{}
	c, err := b.Add(server, q)
	if err != nil {
		t.Fatal(err)
	}
	small := [][]byte{make([]byte, 10), make([]byte, 100)}
	large := [][]byte{make([]byte, 10), make([]byte, 5000)}
	in, sink := []byte("ping"), make([]byte, 1<<16)
	turn := func() {
		for _, bufs := range [][][]byte{small, small[:1], large} {
			if n, err := c.Writev(bufs); err != nil || n == 0 {
				t.Fatal(n, err)
			}
			if _, err := peer.Read(sink); err != nil {
				t.Fatal(err)
			}
		}
		c.PauseReading()
		c.ResumeReading()
		if _, err := peer.Write(in); err != nil {
			t.Fatal(err)
		}
		for before := q.n; q.n == before; {
			if err := b.Poll(patience); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Poll(1000); err != nil {
			t.Fatal(err)
		}
		b.Wake()
	}
	turn()
	if n := testing.AllocsPerRun(100, turn); n > 0 {
		t.Errorf("%v allocations in a turn", n)
	}
}

// echoing answers each byte with one, so that a pair of them is never at rest.
type echoing struct {
	conn Conn
	n    int
}

func (h *echoing) OnData([]byte)  { h.n++; _, _ = h.conn.Writev([][]byte{{'x'}}) }
func (h *echoing) OnWritable()    {}
func (h *echoing) OnClosed(error) {}

// A shard that always has something to do lets other goroutines have their turns, where
// there is one processor for all of them.
func TestBusyShardGivesWay(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	b := newBench(t, Epoll, Options{}, unixPair)
	one, other := unixPair(t)
	left, right := &echoing{}, &echoing{}
	var err1, err2 error
	left.conn, err1 = b.Add(one, left)
	right.conn, err2 = b.Add(other, right)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	var turns atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				turns.Add(1)
				runtime.Gosched()
			}
		}
	}()
	left.OnData(nil)
	before, n := turns.Load(), left.n+right.n
	for left.n+right.n < n+100*giveWayAfter {
		if err := b.Poll(patience); err != nil {
			t.Fatal(err)
		}
	}
	got := turns.Load() - before
	close(stop)
	<-stopped
	if got < 90 {
		t.Errorf("others had %d turns beside %d events", got, 100*giveWayAfter)
	}
}

type countingHandler struct{ n int }

func (h *countingHandler) OnData(b []byte) { h.n += len(b) }
func (h *countingHandler) OnWritable()     {}
func (h *countingHandler) OnClosed(error)  {}
