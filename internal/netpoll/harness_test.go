package netpoll

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests; none of them takes it when all is well.
const patience = 10 * time.Second

// kinds are the engines that this platform has.
func kinds() []Kind {
	if haveEpoll {
		return []Kind{Epoll, Goroutines}
	}
	return []Kind{Goroutines}
}

// transport makes both ends of a connection.
type transport struct {
	name string
	pair func(t testing.TB) (server, peer net.Conn)
}

func transports() []transport {
	return []transport{{"tcp", tcpPair}, {"unix", unixPair}, {"pipe", pipePair}, {"tls", tlsPair}, {"tls in turns", turnsPair}}
}

// each runs a test for every engine on every transport that only keeps; nil keeps all.
func each(t *testing.T, only func(name string) bool, test func(t *testing.T, b *bench)) {
	t.Helper()
	for _, kind := range kinds() {
		for _, tr := range transports() {
			if only != nil && !only(tr.name) {
				continue
			}
			t.Run(kind.String()+"/"+tr.name, func(t *testing.T) {
				test(t, newBench(t, kind, Options{}, tr.pair))
			})
		}
	}
}

func sockets(name string) bool { return name == "tcp" || name == "unix" }

// bench is an engine, polled by the test's goroutine, and a way to connect to it.
type bench struct {
	testing.TB
	Engine
	pair func(t testing.TB) (server, peer net.Conn)
}

func newBench(t testing.TB, kind Kind, o Options, pair func(testing.TB) (net.Conn, net.Conn)) *bench {
	t.Helper()
	e, err := New(kind, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close the engine: %v", err)
		}
	})
	return &bench{t, e, pair}
}

// connect adds a new connection, with a probe for its handler.
func (b *bench) connect() (*probe, net.Conn) {
	b.Helper()
	server, peer := b.pair(b.TB)
	p := &probe{tb: b.TB}
	c, err := b.Add(server, p)
	if err != nil {
		b.Fatal(err)
	}
	p.conn = c
	b.Cleanup(func() { _ = peer.Close() })
	return p, peer
}

// until polls until done.
func (b *bench) until(what string, done func() bool) {
	b.Helper()
	for end := time.Now().Add(patience); !done(); {
		if time.Now().After(end) {
			b.Fatalf("waited too long until %s", what)
		}
		b.poll(100 * time.Millisecond)
	}
}

// settle polls until the engine has had nothing to do for a while.
func (b *bench) settle() {
	b.Helper()
	for quiet := time.Now(); time.Since(quiet) < 30*time.Millisecond; {
		b.poll(10 * time.Millisecond)
	}
}

// untilStill polls until count has not changed for a while.
func (b *bench) untilStill(what string, count func() int) {
	b.Helper()
	last := -1
	b.until(what+" stands still", func() bool {
		if count() == last {
			return true
		}
		last = count()
		b.settle()
		return false
	})
}

func (b *bench) poll(d time.Duration) {
	b.Helper()
	if err := b.Poll(d); err != nil {
		b.Fatalf("Poll: %v", err)
	}
}

// probe is a handler that checks the contract and keeps what it is told. Its
// hooks run after that.
type probe struct {
	tb   testing.TB
	conn Conn

	data     []byte
	calls    int // of OnData
	room     int // calls of OnWritable
	ends     []error
	short    bool // a Writev was short and OnWritable is awaited
	shut     bool
	onData   func(b []byte)
	onRoom   func()
	onClosed func(err error)
}

var _ Handler = (*probe)(nil)

func (p *probe) alive(what string) {
	p.tb.Helper()
	if p.shut || len(p.ends) > 0 {
		p.tb.Errorf("%s after the end (closed: %v, OnClosed: %v)", what, p.shut, p.ends)
	}
}

func (p *probe) OnData(b []byte) {
	p.alive("OnData")
	if len(b) == 0 {
		p.tb.Error("OnData without data")
	}
	p.calls++
	p.data = append(p.data, b...)
	clear(b) // it may be modified
	if p.onData != nil {
		p.onData(p.data[len(p.data)-len(b):])
	}
}

func (p *probe) OnWritable() {
	p.alive("OnWritable")
	if !p.short {
		p.tb.Error("OnWritable without a short Writev before it")
	}
	p.room++
	p.short = false
	if p.onRoom != nil {
		p.onRoom()
	}
}

func (p *probe) OnClosed(err error) {
	p.alive("OnClosed")
	p.ends = append(p.ends, err)
	if p.onClosed != nil {
		p.onClosed(err)
	}
}

func (p *probe) close() {
	p.shut = true
	p.conn.Close()
}

// write fails the test on an error.
func (p *probe) write(bufs ...[]byte) int {
	p.tb.Helper()
	total := 0
	for _, b := range bufs {
		total += len(b)
	}
	n, err := p.conn.Writev(bufs)
	if err != nil || n < 0 || n > total {
		p.tb.Fatalf("Writev of %d bytes: %d, %v", total, n, err)
	}
	p.short = n < total
	return n
}

func listenPair(t testing.TB, network, address string) (server, peer net.Conn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer, err = net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return server, peer
}

func tcpPair(t testing.TB) (server, peer net.Conn) {
	t.Helper()
	return listenPair(t, "tcp", "127.0.0.1:0")
}

func unixPair(t testing.TB) (server, peer net.Conn) {
	t.Helper()
	return listenPair(t, "unix", filepath.Join(t.TempDir(), "s"))
}

func pipePair(testing.TB) (server, peer net.Conn) { return net.Pipe() }

// tlsPair is TLS that only goroutines can serve.
func tlsPair(t testing.TB) (server, peer net.Conn) {
	t.Helper()
	s, p := tcpPair(t)
	return shake(t, s, p, &tls.Config{})
}

// turnsPair is TLS that the epoll engine serves without a goroutine.
func turnsPair(t testing.TB) (server, peer net.Conn) {
	t.Helper()
	s, p := tcpPair(t)
	return shake(t, NewSocket(s), p, &tls.Config{})
}

// shake runs the handshake between s and p; the client uses conf.
func shake(t testing.TB, s, p net.Conn, conf *tls.Config) (server, peer *tls.Conn) {
	t.Helper()
	return shakeWith(t, s, p, certified(t), conf)
}

func shakeWith(t testing.TB, s, p net.Conn, serves, conf *tls.Config) (server, peer *tls.Conn) {
	t.Helper()
	conf.InsecureSkipVerify = true
	server, peer = tls.Server(s, serves), tls.Client(p, conf)
	shaken := make(chan error, 1)
	go func() { shaken <- peer.Handshake() }()
	if err := errors.Join(server.Handshake(), <-shaken); err != nil {
		t.Fatal(err)
	}
	return server, peer
}

// certified makes a server's configuration.
func certified(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
