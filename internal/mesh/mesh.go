package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// The times of the link. A node that was killed refuses at once. For one whose host
// has vanished the requests fail after dialTime when there was no connection, and after
// silence and pingTime when there was one: many polls wait on a connection, which must
// not be lost because a node is busy for a moment.
const (
	dialTime  = 700 * time.Millisecond
	shakeTime = 3 * time.Second // for TLS: the other end may be busy with many handshakes
	silence   = time.Second
	pingTime  = 3 * time.Second
)

// streams is how many requests one connection carries at a time: polls wait long.
// Where more are under way, another connection is made.
const streams = 100_000

// Errors of [Mesh.Do].
var (
	// ErrUnknown says that no living node of that name is known.
	ErrUnknown = errors.New("no such node")
	// ErrSecret says that the node does not accept this one's secret.
	ErrSecret = errors.New("the node has another node.secret")
	// errOther says that somebody else answered at the node's address.
	errOther = errors.New("another node answers at the address")
)

// Options is what a link is made of. Node and Members are needed.
type Options struct {
	// Node is the name of this node.
	Node string
	// Secret is what all nodes share. Empty, everybody can speak as a node.
	Secret string
	// Members returns the nodes at the moment; it is called about once a second.
	Members func(context.Context) ([]Member, error)
	// WorkerOf returns the worker number in a session's ID, false when there is none.
	WorkerOf func(sid string) (uint16, bool)
	// Listen and Call are the TLS of this node's end and of its calls, by which both ends
	// show who they are. Nil, both: the link is in the clear.
	Listen, Call *tls.Config
	// Log gets a line for who is refused. Nil: nothing.
	Log *slog.Logger
}

// Mesh is one node's side of the link. It is safe for concurrent use.
type Mesh struct {
	opts      Options
	book      book
	transport *http.Transport

	mu      sync.Mutex
	refused map[string]time.Time // host, or address → when its last refusal was logged
}

// New makes a link. It connects to nobody until there is something to say.
func New(opts Options) *Mesh {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Mesh{
		opts: opts,
		book: book{members: opts.Members},
		transport: &http.Transport{
			Protocols: opts.protocols(), TLSClientConfig: opts.Call, TLSHandshakeTimeout: shakeTime,
			DialContext: (&net.Dialer{Timeout: dialTime}).DialContext,
			HTTP2: &http.HTTP2Config{
				SendPingTimeout: silence, PingTimeout: pingTime, WriteByteTimeout: silence + pingTime,
			},
			DisableCompression: true,
		},
		refused: make(map[string]time.Time),
	}
}

// protocols is HTTP/2, by TLS where there is one.
func (o *Options) protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP2(o.Call != nil)
	p.SetUnencryptedHTTP2(o.Call == nil)
	return p
}

// Run keeps the book of members fresh until ctx ends, and lets the connections go.
func (m *Mesh) Run(ctx context.Context) {
	defer m.transport.CloseIdleConnections()
	every := time.NewTicker(readEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			if err := m.book.refresh(ctx, time.Now().Add(-readEvery/2)); err != nil && ctx.Err() == nil {
				m.opts.Log.Debug("the members cannot be read, going on with those known", "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// Owner returns the node that has made a session's ID, "" when no living node has
// its worker number.
func (m *Mesh) Owner(ctx context.Context, sid string) string {
	worker, ok := m.opts.WorkerOf(sid)
	if !ok {
		return ""
	}
	member, ok := m.book.worker(ctx, worker)
	if !ok || member.Dead {
		return ""
	}
	return member.Node
}

// Alive tells whether a node is among the members and not dead. While the members
// cannot be read everybody known is alive.
func (m *Mesh) Alive(ctx context.Context, node string) bool {
	member, ok := m.book.node(ctx, node)
	return ok && !member.Dead
}

// Do sends a request to a node and returns its answer, whatever its status; the
// caller closes the body. Scheme, host and credentials of the request are filled in.
// The request's context bounds it to the end of the answer's body. Its body is read,
// but not closed.
func (m *Mesh) Do(node string, r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	member, ok := m.book.node(ctx, node)
	if !ok || member.Dead || member.Addr == "" {
		return nil, fmt.Errorf("ask node %q: %w", node, ErrUnknown)
	}
	began := time.Now()
	resp, err := m.send(&member, r)
	if err == nil || !again(r, err) {
		return resp, err
	}
	// The node may have come back elsewhere.
	if err := m.book.refresh(ctx, began); err != nil {
		return nil, fmt.Errorf("ask node %q: find its address: %w", node, err)
	}
	now, ok := m.book.node(ctx, node)
	if !ok || now.Dead || now.Addr == member.Addr {
		return nil, err
	}
	return m.send(&now, r)
}

// again tells whether a request that failed has reached nobody and can be sent once
// more.
func again(r *http.Request, err error) bool {
	var op *net.OpError
	unsent := errors.As(err, &op) && op.Op == "dial" ||
		errors.Is(err, errOther) && (r.Body == nil || r.Body == http.NoBody)
	return unsent && r.Context().Err() == nil
}

func (m *Mesh) send(to *Member, r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.Host = "http", to.Addr, ""
	if m.opts.Call != nil {
		out.URL.Scheme = "https"
	}
	if out.Body != nil && out.Body != http.NoBody {
		out.Body = io.NopCloser(out.Body) // it may be sent once more when nobody was reached
	}
	authorize(out.Header, m.opts.Secret, m.opts.Node, to.Node)
	resp, err := m.transport.RoundTrip(out)
	if err != nil {
		if isTLS(err) && m.first(to.Addr) {
			m.opts.Log.Error("the TLS of another node and of this one do not go together: see node.tls", "node", to.Node, "addr", to.Addr, "err", err)
		}
		return nil, fmt.Errorf("ask node %q at %s: %w", to.Node, to.Addr, err)
	}
	switch resp.Header.Get(refusalHeader) {
	case "":
		return resp, nil
	case refusedOther:
		err = errOther
	default:
		err = ErrSecret
		m.opts.Log.Error("a node does not accept this one's node.secret", "node", to.Node, "addr", to.Addr)
	}
	_ = resp.Body.Close()
	return nil, fmt.Errorf("ask node %q at %s: %w", to.Node, to.Addr, err)
}

// isTLS tells whether a call failed because one of the ends does not take the other, or
// does not speak TLS. A caller whom the other end does not take may see no more than that
// the connection broke; that end knows why.
func isTLS(err error) bool {
	text := err.Error()
	return strings.Contains(text, "tls: ") || strings.Contains(text, "x509: ")
}
