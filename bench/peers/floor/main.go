// Command floor is what a WebSocket server costs when it is nothing but the system
// calls: one thread, one epoll descriptor, one read for what came and one write
// for what goes. Everything that holdfast is measured against is a ratio to this.
//
//	any path        upgrade; then messages without packets
//	/socket.io/     upgrade; an open packet, and an answer to CONNECT: the reads and
//	                writes of a Socket.IO handshake, and nothing behind them
//
//	message b…      goes to all other clients, one write for each
//	message 40…     is answered with 40{"sid":"x"}
//	message 42N…    is answered with 43N[]
//	message 3       is a heartbeat's answer
//	message e…      comes back
//
// With -ping each client is sent the message 2 at that interval.
//
// It checks nothing, and drops a client whose socket is full or that sends half a
// frame: it is a measure, not a server.
package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

type conn struct {
	fd       int
	place    int
	upgraded bool
}

type server struct {
	epoll, listener int
	conns           map[int]*conn
	all             []*conn // those that are upgraded
	every           time.Duration
	pings           []ping // by time: each has the same interval
	buf             []byte
	out             []byte
}

type ping struct {
	at time.Time
	c  *conn
}

func main() {
	addr := flag.String("listen", "127.0.0.1:0", "address; port 0 picks a free one")
	every := flag.Duration("ping", 0, "interval of heartbeats; 0: none")
	flag.Parse()
	runtime.LockOSThread()
	end := make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt, syscall.SIGTERM)
	go func() { <-end; os.Exit(0) }()
	if err := run(*addr, *every); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(addr string, every time.Duration) error {
	a, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return err
	}
	s := &server{conns: make(map[int]*conn), every: every, buf: make([]byte, 64<<10)}
	if s.listener, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	_ = syscall.SetsockoptInt(s.listener, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	sa := &syscall.SockaddrInet4{Port: a.Port}
	copy(sa.Addr[:], a.IP.To4())
	if err := syscall.Bind(s.listener, sa); err != nil {
		return err
	}
	if err := syscall.Listen(s.listener, 4096); err != nil {
		return err
	}
	at, err := syscall.Getsockname(s.listener)
	if err != nil {
		return err
	}
	if s.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if err := s.watch(s.listener); err != nil {
		return err
	}
	fmt.Printf("listening on http://127.0.0.1:%d\n", at.(*syscall.SockaddrInet4).Port)
	return s.loop()
}

func (s *server) watch(fd int) error {
	return syscall.EpollCtl(s.epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)})
}

func (s *server) loop() error {
	events := make([]syscall.EpollEvent, 256)
	for {
		wait := -1
		if len(s.pings) > 0 {
			wait = max(int(time.Until(s.pings[0].at).Milliseconds())+1, 0)
		}
		n, err := syscall.EpollWait(s.epoll, events, wait)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range events[:n] {
			if int(e.Fd) == s.listener {
				s.accept()
			} else if c := s.conns[int(e.Fd)]; c != nil {
				s.read(c)
			}
		}
		if s.every > 0 {
			s.heartbeat(time.Now())
		}
	}
}

func (s *server) accept() {
	for {
		fd, _, err := syscall.Accept4(s.listener, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		if s.watch(fd) != nil {
			_ = syscall.Close(fd)
			return
		}
		s.conns[fd] = &conn{fd: fd}
	}
}

func (s *server) heartbeat(now time.Time) {
	frame := []byte{0x81, 1, '2'}
	for len(s.pings) > 0 && !now.Before(s.pings[0].at) {
		p := s.pings[0]
		s.pings = s.pings[1:]
		if s.conns[p.c.fd] == p.c {
			s.write(p.c, frame)
			s.pings = append(s.pings, ping{p.at.Add(s.every), p.c})
		}
	}
}

func (s *server) read(c *conn) {
	n, err := syscall.Read(c.fd, s.buf)
	if err == syscall.EAGAIN || err == syscall.EINTR {
		return
	}
	if err != nil || n == 0 {
		s.drop(c)
		return
	}
	b := s.buf[:n]
	if !c.upgraded {
		s.upgrade(c, b)
		return
	}
	for len(b) > 0 {
		op, payload, size := unmask(b)
		if size == 0 || op == 8 {
			s.drop(c)
			return
		}
		b = b[size:]
		if op == 1 {
			s.message(c, payload)
		}
	}
}

// unmask reads the frame at the start of b; size 0: it is not whole.
func unmask(b []byte) (op byte, payload []byte, size int) {
	if len(b) < 6 {
		return 0, nil, 0
	}
	n, at := int(b[1]&127), 2
	switch {
	case n == 126 && len(b) >= 8:
		n, at = int(binary.BigEndian.Uint16(b[2:])), 4
	case n >= 126:
		return 0, nil, 0
	}
	if len(b) < at+4+n {
		return 0, nil, 0
	}
	mask := b[at : at+4]
	payload = b[at+4 : at+4+n]
	for i := range payload {
		payload[i] ^= mask[i&3]
	}
	return b[0] & 15, payload, at + 4 + n
}

func (s *server) message(c *conn, p []byte) {
	switch {
	case len(p) == 0:
	case p[0] == 'e':
		s.send(c, p)
	case p[0] == 'b':
		s.out = frame(s.out[:0], p[1:])
		for i := len(s.all) - 1; i >= 0; i-- { // backwards, for drop moves the last
			if to := s.all[i]; to != c {
				s.write(to, s.out)
			}
		}
	case bytes.HasPrefix(p, []byte("40")):
		s.send(c, []byte(`40{"sid":"xxxxxxxxxxxxxxxxxxxx"}`))
	case bytes.HasPrefix(p, []byte("42")):
		n := 2
		for n < len(p) && p[n] >= '0' && p[n] <= '9' {
			n++
		}
		if n > 2 {
			s.send(c, append(append([]byte("43"), p[2:n]...), "[]"...))
		}
	}
}

var (
	end  = []byte("\r\n\r\n")
	name = []byte("\r\nSec-WebSocket-Key: ")
	sio  = []byte("GET /socket.io/")
	open = []byte(`0{"sid":"xxxxxxxxxxxxxxxxxxxxxxxx","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`)
)

func (s *server) upgrade(c *conn, b []byte) {
	_, after, ok := bytes.Cut(b, name)
	key, _, _ := bytes.Cut(after, []byte("\r\n"))
	if !ok || !bytes.HasSuffix(b, end) {
		s.drop(c)
		return
	}
	sum := sha1.Sum(append(append([]byte{}, key...), "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"...))
	s.out = append(s.out[:0], "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	s.out = base64.StdEncoding.AppendEncode(s.out, sum[:])
	s.out = append(s.out, end...)
	c.upgraded = true
	c.place = len(s.all)
	s.all = append(s.all, c)
	if s.every > 0 {
		s.pings = append(s.pings, ping{time.Now().Add(s.every), c})
	}
	if s.write(c, s.out) && bytes.HasPrefix(b, sio) {
		s.send(c, open)
	}
}

func frame(dst, payload []byte) []byte {
	if n := len(payload); n < 126 {
		dst = append(dst, 0x81, byte(n))
	} else {
		dst = append(dst, 0x81, 126, byte(n>>8), byte(n))
	}
	return append(dst, payload...)
}

func (s *server) send(c *conn, payload []byte) {
	s.out = frame(s.out[:0], payload)
	s.write(c, s.out)
}

func (s *server) write(c *conn, b []byte) bool {
	n, err := syscall.Write(c.fd, b)
	if err != nil || n < len(b) {
		s.drop(c)
		return false
	}
	return true
}

func (s *server) drop(c *conn) {
	if s.conns[c.fd] != c {
		return
	}
	delete(s.conns, c.fd)
	_ = syscall.Close(c.fd)
	if c.upgraded {
		last := s.all[len(s.all)-1]
		s.all[c.place], last.place = last, c.place
		s.all = s.all[:len(s.all)-1]
	}
}
