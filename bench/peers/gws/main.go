// Command gws is github.com/lxzan/gws as bare as it comes, speaking as the floor
// does (bench/peers/floor): two goroutines and a buffer for each client are the
// library's, nothing else is there.
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

	"github.com/lxzan/gws"
)

type handler struct {
	gws.BuiltinEventHandler
	every time.Duration

	mu  sync.Mutex
	all map[*gws.Conn]*time.Timer
}

const open = `0{"sid":"xxxxxxxxxxxxxxxxxxxxxxxx","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`

func (h *handler) OnOpen(c *gws.Conn) {
	var t *time.Timer
	if h.every > 0 {
		t = time.AfterFunc(h.every, func() {
			if c.WriteMessage(gws.OpcodeText, []byte("2")) == nil {
				t.Reset(h.every)
			}
		})
	}
	h.mu.Lock()
	h.all[c] = t
	h.mu.Unlock()
	if path, _ := c.Session().Load("path"); strings.HasPrefix(path.(string), "/socket.io/") {
		_ = c.WriteMessage(gws.OpcodeText, []byte(open))
	}
}

func (h *handler) OnClose(c *gws.Conn, _ error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.all[c]; t != nil {
		t.Stop()
	}
	delete(h.all, c)
}

func (h *handler) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	p := m.Bytes()
	switch {
	case len(p) == 0:
	case p[0] == 'e':
		_ = c.WriteMessage(gws.OpcodeText, p)
	case p[0] == 'b':
		h.broadcast(c, p[1:])
	case bytes.HasPrefix(p, []byte("40")):
		_ = c.WriteMessage(gws.OpcodeText, []byte(`40{"sid":"xxxxxxxxxxxxxxxxxxxx"}`))
	case bytes.HasPrefix(p, []byte("42")):
		n := 2
		for n < len(p) && p[n] >= '0' && p[n] <= '9' {
			n++
		}
		if n > 2 {
			_ = c.WriteMessage(gws.OpcodeText, append(append([]byte("43"), p[2:n]...), "[]"...))
		}
	}
}

func (h *handler) broadcast(from *gws.Conn, text []byte) {
	b := gws.NewBroadcaster(gws.OpcodeText, bytes.Clone(text))
	defer b.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.all {
		if c != from {
			_ = b.Broadcast(c)
		}
	}
}

func main() {
	addr := flag.String("listen", "127.0.0.1:0", "address; port 0 picks a free one")
	every := flag.Duration("ping", 0, "interval of heartbeats; 0: none")
	flag.Parse()
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gws:", err)
		os.Exit(1)
	}
	fmt.Printf("listening on http://%s\n", l.Addr())
	h := &handler{every: *every, all: make(map[*gws.Conn]*time.Timer)}
	up := gws.NewUpgrader(h, &gws.ServerOption{
		Authorize: func(r *http.Request, session gws.SessionStorage) bool {
			session.Store("path", r.URL.Path)
			return true
		},
	})
	fmt.Fprintln(os.Stderr, "gws:", http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r)
		if err != nil {
			return
		}
		go c.ReadLoop()
	})))
}
