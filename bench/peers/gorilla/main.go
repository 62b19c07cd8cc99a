// Command gorilla is github.com/gorilla/websocket, used as its examples use it and
// speaking as the floor does (bench/peers/floor): one goroutine for each client
// reads; broadcasts are prepared once and written by the one who asked.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

type client struct {
	ws *websocket.Conn
	mu sync.Mutex // one writer at a time
}

func (c *client) write(text []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ws.WriteMessage(websocket.TextMessage, text)
}

type server struct {
	every    time.Duration
	upgrader websocket.Upgrader

	mu  sync.Mutex
	all map[*client]struct{}
}

const open = `0{"sid":"xxxxxxxxxxxxxxxxxxxxxxxx","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ws, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	c := &client{ws: ws}
	s.mu.Lock()
	s.all[c] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.all, c)
		s.mu.Unlock()
	}()
	if s.every > 0 {
		var t *time.Timer
		t = time.AfterFunc(s.every, func() {
			if c.write([]byte("2")) == nil {
				t.Reset(s.every)
			}
		})
		defer t.Stop()
	}
	if strings.HasPrefix(r.URL.Path, "/socket.io/") && c.write([]byte(open)) != nil {
		return
	}
	for {
		_, p, err := ws.ReadMessage()
		if err != nil || s.message(c, p) != nil {
			return
		}
	}
}

func (s *server) message(c *client, p []byte) error {
	switch {
	case len(p) == 0:
	case p[0] == 'e':
		return c.write(p)
	case p[0] == 'b':
		return s.broadcast(c, p[1:])
	case bytes.HasPrefix(p, []byte("40")):
		return c.write([]byte(`40{"sid":"xxxxxxxxxxxxxxxxxxxx"}`))
	case bytes.HasPrefix(p, []byte("42")):
		n := 2
		for n < len(p) && p[n] >= '0' && p[n] <= '9' {
			n++
		}
		if n > 2 {
			return c.write(append(append([]byte("43"), p[2:n]...), "[]"...))
		}
	}
	return nil
}

func (s *server) broadcast(from *client, text []byte) error {
	m, err := websocket.NewPreparedMessage(websocket.TextMessage, text)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.all {
		if c == from {
			continue
		}
		c.mu.Lock()
		_ = c.ws.WritePreparedMessage(m)
		c.mu.Unlock()
	}
	return nil
}

func main() {
	addr := flag.String("listen", "127.0.0.1:0", "address; port 0 picks a free one")
	every := flag.Duration("ping", 0, "interval of heartbeats; 0: none")
	flag.Parse()
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gorilla:", err)
		os.Exit(1)
	}
	fmt.Printf("listening on http://%s\n", l.Addr())
	s := &server{every: *every, all: make(map[*client]struct{})}
	fmt.Fprintln(os.Stderr, "gorilla:", http.Serve(l, s))
}
