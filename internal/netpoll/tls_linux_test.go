package netpoll

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// What a TLS connection costs beyond crypto/tls itself.
func TestMemoryOfATLSConnection(t *testing.T) {
	if n := unsafe.Sizeof(tlsConn{}) + unsafe.Sizeof(Socket{}); n > 160 {
		t.Errorf("it takes %d bytes", n)
	}
}

// What is left of a handshake when the connection is idle, crypto/tls's part
// included. The client offers what browsers do, a post-quantum key among it.
func TestMemoryOfAnIdleTLSConnection(t *testing.T) {
	const conns, limit = 200, 6500
	b := turns(t, Options{})
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what finalizers held
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	b.connect() // the engine's own buffers come with the first
	peers, conf := make([]net.Conn, 0, conns), certified(t)
	before := live()
	for range conns {
		s, p := tcpPair(t)
		server, _ := shakeWith(t, NewSocket(s), p, conf, &tls.Config{NextProtos: []string{"http/1.1"}})
		if _, err := b.Add(server, &countingHandler{}); err != nil {
			t.Fatal(err)
		}
		peers = append(peers, p)
	}
	b.settle()
	each := (live() - before) / conns
	t.Logf("%d bytes each", each)
	if each > limit {
		t.Errorf("an idle connection takes %d bytes, the limit is %d", each, limit)
	}
	for _, p := range peers {
		_ = p.Close()
	}
}

func turns(t *testing.T, o Options) *bench {
	t.Helper()
	return newBench(t, Epoll, o, turnsPair)
}

// add has the engine serve one end of a raw pair.
func (b *bench) add(server net.Conn, peer *rawPeer) *probe {
	b.Helper()
	p := &probe{tb: b.TB}
	c, err := b.Add(server, p)
	if err != nil {
		b.Fatal(err)
	}
	p.conn = c
	b.Cleanup(func() { _ = peer.tcp.Close() })
	return p
}

func TestTLSHasNoGoroutine(t *testing.T) {
	b := turns(t, Options{})
	before := runtime.NumGoroutine()
	for range 10 {
		p, peer := b.connect()
		if _, ok := p.conn.(*tlsConn); !ok {
			t.Fatalf("served by %T", p.conn)
		}
		if _, err := peer.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		b.until("it was heard", func() bool { return len(p.data) == 1 })
		p.write([]byte("y"))
	}
	if n := runtime.NumGoroutine(); n >= before+10 { // the runtime, and a test before, may have one or two
		t.Errorf("%d goroutines for ten connections", n-before)
	}
}

// Before its handshake a connection would need to wait for the peer.
func TestTLSBeforeItsHandshake(t *testing.T) {
	s, peer := tcpPair(t)
	b := turns(t, Options{})
	p := &probe{tb: t}
	c, err := b.Add(tls.Server(NewSocket(s), &tls.Config{}), p)
	if err != nil {
		t.Fatal(err)
	}
	p.conn = c
	if _, ok := c.(*pumpConn); !ok {
		t.Errorf("served by %T", c)
	}
	_ = peer.Close()
	b.until("the end came", func() bool { return len(p.ends) > 0 })
}

// A record is heard when its last byte has come, whatever the pieces.
func TestRecordSplitByteByByte(t *testing.T) {
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			b := turns(t, Options{})
			server, peer := rawPair(t, version)
			p := b.add(server, peer)
			// An empty record and the halves of two others are in it.
			stream := bytes.Join([][]byte{
				peer.seal(applicationRecord, []byte("one")),
				peer.seal(applicationRecord, nil),
				peer.seal(applicationRecord, pattern(300)),
			}, nil)
			for i := range stream {
				peer.say(stream[i : i+1])
				b.poll(time.Second)
				if i == len(stream)-2 && len(p.data) != 3 {
					t.Errorf("%d bytes were heard before the second record was whole", len(p.data))
				}
			}
			b.until("all came", func() bool { return len(p.data) == 303 })
			if string(p.data[:3]) != "one" || !bytes.Equal(p.data[3:], pattern(300)) {
				t.Error("other bytes than were sent")
			}
		})
	}
}

// What crypto/tls holds when it is handed over makes no socket ready.
func TestInputFromBeforeTheMove(t *testing.T) {
	for _, pause := range []bool{false, true} {
		b := turns(t, Options{})
		server, peer := rawPair(t, tls.VersionTLS13)
		one, two := peer.seal(applicationRecord, []byte("first")), peer.seal(applicationRecord, []byte("second"))
		half := peer.seal(applicationRecord, []byte("third"))
		peer.say(one, two, half[:7])
		first := make([]byte, 1)
		if _, err := io.ReadFull(server, first); err != nil {
			t.Fatal(err)
		}
		p := b.add(server, peer)
		if pause {
			p.conn.PauseReading()
			b.settle()
			if p.calls > 0 {
				t.Errorf("it was paused, and got %q", p.data)
			}
			p.conn.ResumeReading()
		}
		b.until("what was held came", func() bool { return len(p.data) >= 10 })
		peer.say(half[7:])
		b.until("the third came", func() bool { return string(p.data) == "irstsecondthird" })
	}
}

// A handler that pauses amid what one turn decrypted gets the rest later.
func TestPauseAmidATurn(t *testing.T) {
	b := turns(t, Options{ReadBuffer: 1000})
	server, peer := rawPair(t, tls.VersionTLS13)
	p := b.add(server, peer)
	p.onData = func([]byte) { p.conn.PauseReading() }
	peer.say(peer.seal(applicationRecord, pattern(5000)), peer.seal(alertRecord, []byte{1, 0}))
	for calls := 1; len(p.data) < 5000; calls++ {
		b.until("a piece came", func() bool { return p.calls == calls })
		b.settle()
		if p.calls != calls || len(p.ends) > 0 {
			t.Fatalf("%d calls while paused, %v", p.calls-calls, p.ends)
		}
		p.conn.ResumeReading()
	}
	b.until("the end came", func() bool { return len(p.ends) > 0 })
	if !bytes.Equal(p.data, pattern(5000)) || !errors.Is(p.ends[0], io.EOF) {
		t.Errorf("other bytes than were sent, or %v", p.ends)
	}
}

// A handler that closes the engine hears nothing more, not even of an end that came
// in the same turn.
func TestEngineClosedAmidATurn(t *testing.T) {
	b := turns(t, Options{})
	server, peer := rawPair(t, tls.VersionTLS13)
	p := b.add(server, peer)
	p.onData = func([]byte) {
		p.shut = true
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	peer.say(peer.seal(applicationRecord, []byte("x")), peer.seal(applicationRecord, []byte("y")), peer.seal(alertRecord, []byte{1, 0}))
	for b.Poll(patience) == nil {
	}
	if !p.shut || b.Len() != 0 {
		t.Errorf("closed: %v, Len %d", p.shut, b.Len())
	}
	p.conn.ResumeReading()
	p.conn.Close()
}

// The answer to a key update is written by crypto/tls while it reads.
func TestKeyUpdate(t *testing.T) {
	b := turns(t, Options{})
	server, peer := rawPair(t, tls.VersionTLS13)
	p := b.add(server, peer)
	for round, ask := range []bool{true, false, true} {
		peer.say(peer.seal(handshakeRecord, keyUpdate(ask)))
		peer.next()
		peer.say(peer.seal(applicationRecord, []byte("x")))
		b.until("it was heard under the new keys", func() bool { return len(p.data) == round+1 })
		p.write([]byte("under my new keys"))
		answer := make([]byte, len("under my new keys"))
		if _, err := io.ReadFull(peer.tls, answer); err != nil || string(answer) != "under my new keys" {
			t.Fatalf("the peer got %q, %v", answer, err)
		}
	}
}

// With output waiting, the answer waits behind it.
func TestKeyUpdateBehindOutput(t *testing.T) {
	b := turns(t, Options{})
	server, peer := rawPair(t, tls.VersionTLS13)
	p := b.add(server, peer)
	taken, block := 0, make([]byte, 64<<10)
	for !p.short {
		taken += p.write(block)
	}
	peer.say(peer.seal(handshakeRecord, keyUpdate(true)))
	peer.next()
	peer.say(peer.seal(applicationRecord, []byte("x")))
	b.until("it was heard", func() bool { return len(p.data) == 1 })
	p.onRoom = func() {
		rest := block[taken%len(block):]
		if len(rest) > 0 {
			taken += p.write(rest)
		}
	}
	whole := int64((taken/len(block) + 1) * len(block))
	got := make(chan int64, 1)
	go func() {
		n, _ := io.Copy(io.Discard, io.LimitReader(peer.tls, whole))
		got <- n
	}()
	var n int64
	b.until("the peer got all", func() bool {
		select {
		case n = <-got:
			return true
		default:
			return false
		}
	})
	if n != whole || n != int64(taken) {
		t.Errorf("the peer got %d bytes of %d", n, taken)
	}
}

// A peer that has TLS itself talk, and does not listen, must not fill memory.
func TestKeyUpdateFlood(t *testing.T) {
	b := turns(t, Options{})
	server, peer := rawPair(t, tls.VersionTLS13)
	p := b.add(server, peer)
	for block := make([]byte, 64<<10); !p.short; {
		p.write(block)
	}
	for end := time.Now().Add(patience); len(p.ends) == 0; b.poll(0) {
		if time.Now().After(end) {
			t.Fatal("it goes on for ever")
		}
		peer.say(peer.seal(handshakeRecord, keyUpdate(true)))
		peer.next()
		peer.say(peer.seal(applicationRecord, []byte("x"))) // or crypto/tls takes it for useless
		if n := len(p.conn.(*tlsConn).out); n > 16<<10+sealedSlack {
			t.Fatalf("%d bytes wait", n)
		}
	}
	if !errors.Is(p.ends[0], errFlooded) {
		t.Errorf("OnClosed got %v", p.ends)
	}
}

// Renegotiation is refused by an alert, and costs nobody else anything.
func TestRenegotiation(t *testing.T) {
	b := turns(t, Options{})
	server, peer := rawPair(t, tls.VersionTLS12)
	p := b.add(server, peer)
	other, otherPeer := b.connect()
	peer.say(peer.seal(handshakeRecord, peer.hello))
	b.until("the end came", func() bool { return len(p.ends) > 0 })
	if errors.Is(p.ends[0], io.EOF) {
		t.Errorf("OnClosed got %v", p.ends)
	}
	if _, err := peer.tls.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "unexpected message") {
		t.Errorf("the peer got %v", err)
	}
	p.close()
	if _, err := otherPeer.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	b.until("the other was heard", func() bool { return len(other.data) == 1 })
}

func TestGarbageAfterTheHandshake(t *testing.T) {
	forged := func(peer *rawPeer) []byte {
		record := peer.seal(applicationRecord, []byte("forged"))
		record[len(record)-1]++
		return record
	}
	cases := map[string]struct {
		record func(*rawPeer) []byte
		alert  string
	}{
		"a forged record":        {forged, "bad record MAC"},
		"no record":              {func(*rawPeer) []byte { return []byte("GET / HTTP/1.1\r\n\r\n") }, "protocol version"},
		"too long a record":      {func(*rawPeer) []byte { return []byte{applicationRecord, 3, 3, 0xff, 0xff} }, "record overflow"},
		"an unknown kind":        {func(p *rawPeer) []byte { return p.seal(99, []byte("x")) }, "unexpected message"},
		"a message of handshake": {func(p *rawPeer) []byte { return p.seal(handshakeRecord, []byte{20, 0, 0, 1, 1}) }, "unexpected message"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := turns(t, Options{})
			server, peer := rawPair(t, tls.VersionTLS13)
			p := b.add(server, peer)
			peer.say(peer.seal(applicationRecord, []byte("good")), c.record(peer), []byte("more"))
			b.until("the end came", func() bool { return len(p.ends) > 0 })
			if string(p.data) != "good" || errors.Is(p.ends[0], io.EOF) {
				t.Errorf("got %q, then %v", p.data, p.ends)
			}
			if n, err := p.conn.Writev([][]byte{{1}}); n != 0 || !errors.Is(err, net.ErrClosed) {
				t.Errorf("Writev after it: %d, %v", n, err)
			}
			if _, err := peer.tls.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), c.alert) {
				t.Errorf("the peer got %v", err)
			}
			p.close()
		})
	}
}

// A peer may be cut off amid a record.
func TestEndAmidARecord(t *testing.T) {
	b := turns(t, Options{})
	server, peer := rawPair(t, tls.VersionTLS13)
	p := b.add(server, peer)
	whole := peer.seal(applicationRecord, []byte("heard"))
	half := peer.seal(applicationRecord, []byte("lost"))
	peer.say(whole, half[:len(half)-1])
	if err := peer.tcp.(*net.TCPConn).CloseWrite(); err != nil { // a reset would overtake the data
		t.Fatal(err)
	}
	b.until("the end came", func() bool { return len(p.ends) > 0 })
	if string(p.data) != "heard" {
		t.Errorf("got %q", p.data)
	}
}

// Both sides say close_notify, and neither waits for the other.
func TestCloseNotify(t *testing.T) {
	t.Run("from the peer", func(t *testing.T) {
		b := turns(t, Options{})
		p, peer := b.connect()
		if _, err := peer.Write([]byte("last words")); err != nil {
			t.Fatal(err)
		}
		if err := peer.(*tls.Conn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		b.until("the end came", func() bool { return len(p.ends) > 0 })
		if string(p.data) != "last words" || !errors.Is(p.ends[0], io.EOF) {
			t.Errorf("got %q, then %v", p.data, p.ends)
		}
		p.close()
		if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the peer got %v", err)
		}
	})
	t.Run("to the peer", func(t *testing.T) {
		b := turns(t, Options{})
		server, peer := rawPair(t, tls.VersionTLS13)
		p := b.add(server, peer)
		p.close()
		if _, err := peer.tls.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the peer got %v", err)
		}
	})
}

// Ciphertext that a peer does not read is bounded, and Writev says that it waits.
func TestCiphertextIsBounded(t *testing.T) {
	b := turns(t, Options{})
	p, _ := b.connect()
	for block := make([]byte, 200); !p.short; {
		p.write(block)
	}
	c := p.conn.(*tlsConn)
	if len(c.out) == 0 || len(c.out) > 17<<10 {
		t.Errorf("%d bytes wait", len(c.out))
	}
	if n := p.write(make([]byte, 200)); n != 0 {
		t.Errorf("%d bytes were taken behind them", n)
	}
}

// Output of a closed connection is kept for a while and no longer.
func TestLingerEnds(t *testing.T) {
	const wait = 50 * time.Millisecond
	b := turns(t, Options{Linger: wait})
	var peers []net.Conn
	for range 3 {
		p, peer := b.connect()
		for block := make([]byte, 64<<10); !p.short; {
			p.write(block)
		}
		p.close()
		peers = append(peers, peer)
	}
	e := b.Engine.(*epollEngine)
	if b.Len() != 0 || e.table.len != 3 {
		t.Errorf("Len is %d, %d in the table", b.Len(), e.table.len)
	}
	_ = peers[0].Close() // one is gone, two do not read
	b.until("they are given up", func() bool { return e.table.len == 0 })
	if e.tls.lingerers != 0 || len(e.tls.lingering) != 0 {
		t.Errorf("%d linger, %d in the list", e.tls.lingerers, len(e.tls.lingering))
	}
}

// Once all has been delivered, an idle connection keeps no buffer.
func TestIdleTLSHoldsNoBuffer(t *testing.T) {
	b := turns(t, Options{})
	p, peer := b.connect()
	rest := make([]byte, 1<<20)
	p.onRoom = func() { rest = rest[p.write(rest):] }
	p.onRoom()
	go func() { _, _ = io.Copy(io.Discard, peer) }()
	b.until("all was taken", func() bool { return len(rest) == 0 })
	if _, err := peer.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	b.until("it was heard", func() bool { return len(p.data) == 1 })
	if c := p.conn.(*tlsConn); c.out != nil || c.in != nil {
		t.Errorf("it holds %d and %d bytes", cap(c.out), cap(c.in))
	}
}

// A Socket is the socket itself until an engine has it.
func TestSocketBeforeTheMove(t *testing.T) {
	a, z := tcpPair(t)
	defer z.Close()
	s := NewSocket(a)
	if s.LocalAddr() != a.LocalAddr() || s.RemoteAddr() != a.RemoteAddr() {
		t.Error("other addresses")
	}
	if err := errors.Join(s.SetDeadline(time.Unix(1, 0)), s.SetWriteDeadline(time.Time{})); err != nil {
		t.Fatal(err)
	}
	var late net.Error
	if _, err := s.Read(make([]byte, 1)); !errors.As(err, &late) || !late.Timeout() {
		t.Errorf("Read past its deadline: %v", err)
	}
	if _, err := s.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	waitForEnd(t, z)
}
