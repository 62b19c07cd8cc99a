package testnet

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// ErrUnreachable is what a [Link] says of a node that is not there.
var ErrUnreachable = errors.New("the node cannot be reached")

// Link is the connections between the nodes of a test: HTTP/2 over loopback, without
// credentials. A node owns the sessions whose IDs begin with its name.
type Link struct {
	transport *http.Transport

	mu    sync.Mutex
	nodes map[string]*httptest.Server
	hook  func(node, path string) error
}

// NewLink returns a link without nodes. The caller closes it.
func NewLink() *Link {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return &Link{transport: &http.Transport{Protocols: p}, nodes: make(map[string]*httptest.Server)}
}

// Attach has a node's handler serve what the others ask of it.
func (l *Link) Attach(node string, h http.Handler) {
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 10_000}
	srv.Start()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes[node] = srv
}

// Cut takes a node off the link, as its death would: what it is being asked fails.
func (l *Link) Cut(node string) {
	l.mu.Lock()
	srv := l.nodes[node]
	delete(l.nodes, node)
	l.mu.Unlock()
	if srv != nil {
		srv.CloseClientConnections()
		_ = srv.Listener.Close()
		l.transport.CloseIdleConnections()
		srv.Close()
	}
}

// Close takes all nodes off.
func (l *Link) Close() {
	l.mu.Lock()
	names := make([]string, 0, len(l.nodes))
	for name := range l.nodes {
		names = append(names, name)
	}
	l.mu.Unlock()
	for _, name := range names {
		l.Cut(name)
	}
}

// SetHook has hook called before each request is sent, and once more with a ! after
// the path when it was answered; its error is the request's. nil: no hook.
func (l *Link) SetHook(hook func(node, path string) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hook = hook
}

// Owner is the nodes' side.
func (l *Link) Owner(_ context.Context, sid string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range l.nodes {
		if strings.HasPrefix(sid, name) {
			return name
		}
	}
	return ""
}

// Alive is the nodes' side.
func (l *Link) Alive(_ context.Context, node string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nodes[node] != nil
}

// Do is the nodes' side.
func (l *Link) Do(node string, r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	srv, hook := l.nodes[node], l.hook
	l.mu.Unlock()
	if hook != nil {
		if err := hook(node, r.URL.Path); err != nil {
			return nil, err
		}
	}
	if srv == nil {
		return nil, ErrUnreachable
	}
	out := r.Clone(r.Context())
	addr, _ := srv.Listener.Addr().(*net.TCPAddr)
	out.URL.Scheme, out.URL.Host = "http", addr.String()
	resp, err := l.transport.RoundTrip(out)
	if err == nil && hook != nil {
		if err = hook(node, r.URL.Path+"!"); err != nil {
			_ = resp.Body.Close()
			return nil, err
		}
	}
	return resp, err
}
