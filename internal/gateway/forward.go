package gateway

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"holdfast/engineio"
)

// A balancer may bring any request to any node. One about a session that is not here
// goes over the link to the node that made the session's ID, which serves it as if it
// had come there, and its answer goes back as it is:
//
//	client ── GET ?sid=… ──▶ node b ── /forward?sid=… ──▶ node a: poll or post
//	       ◀── headers, body ───────◀─────────────────────
//
// Headers for CORS and the limit of header lines are the business of the node that
// the client speaks to. A client that goes away ends the request on both nodes, and a
// node that cannot be reached has no sessions.

// pathForward is where nodes pass requests of clients on to each other.
const pathForward = "/forward"

// headerEndpoint names the path of the endpoint that a forwarded request came to.
const headerEndpoint = "Holdfast-Endpoint"

// The headers that matter to the owner of a session, and those of its answers.
var (
	forwardedHeaders = []string{"Content-Type", "Accept-Encoding"}
	answeredHeaders  = []string{
		"Content-Type", "Cache-Control", "Content-Encoding", "Content-Length", "X-Content-Type-Options",
	}
)

// forwardSlack is how much longer than a heartbeat a forwarded request may take.
const forwardSlack = 30 * time.Second

// PeerHandler serves what other nodes ask of this one. Whoever mounts it has made
// sure that nobody else does.
func (g *Gateway) PeerHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(pathForward, g.serveForwarded)
	g.servePeers(mux)
	return mux
}

// forward has the owner of the session answer, if there is another node that is.
func (h *request) forward() {
	owner := h.owner()
	if owner == "" {
		h.fail(engineio.UnknownSession, "")
		return
	}
	g := h.g
	limit := time.Duration(g.cfg.Session.PingInterval+g.cfg.Session.PingTimeout)*time.Millisecond + forwardSlack
	ctx, cancel := context.WithTimeout(h.r.Context(), limit)
	defer cancel()
	out, err := http.NewRequestWithContext(ctx, h.r.Method, pathForward+"?"+h.r.URL.RawQuery, nil)
	if err != nil {
		h.fail(engineio.BadRequest, "")
		return
	}
	if h.r.Body != nil && h.r.Body != http.NoBody {
		out.Body = &counted{ReadCloser: h.r.Body, n: &g.Stats.LinkBytesOut}
		out.ContentLength = h.r.ContentLength
	}
	copyHeaders(out.Header, h.r.Header, forwardedHeaders)
	out.Header.Set(headerEndpoint, h.e.Path)
	g.Stats.ForwardedOut.Add(1)
	resp, err := g.cfg.Peers.Do(owner, out)
	if err != nil {
		if h.r.Context().Err() == nil {
			g.cfg.Logger.Debug("the owner of a session cannot be reached", "node", owner, "err", err)
			h.fail(engineio.UnknownSession, "")
		}
		return
	}
	defer func() { _ = resp.Body.Close() }()
	copyHeaders(h.w.Header(), resp.Header, answeredHeaders)
	if resp.StatusCode == http.StatusRequestEntityTooLarge {
		h.w.Header().Set("Connection", "close") // the rest of the body is not read
	}
	if resp.StatusCode >= 400 {
		g.Stats.Refused.Add(1)
	}
	h.w.WriteHeader(resp.StatusCode)
	// Half an answer does not look like a whole one: its length has been told.
	_, _ = io.Copy(h.w, &counted{ReadCloser: resp.Body, n: &g.Stats.LinkBytesIn})
}

// owner is the other node that may have the session, "" for none.
func (h *request) owner() string {
	if h.g.cfg.Peers == nil || h.forwarded {
		return ""
	}
	owner := h.g.cfg.Peers.Owner(h.r.Context(), h.q.sid)
	if owner == h.g.cfg.Node {
		return ""
	}
	return owner
}

func copyHeaders(to, from http.Header, names []string) {
	for _, name := range names {
		if values := from[name]; len(values) > 0 {
			to[name] = values
		}
	}
}

// serveForwarded serves a poll or post that came to another node.
func (g *Gateway) serveForwarded(w http.ResponseWriter, r *http.Request) {
	g.Stats.ForwardedIn.Add(1)
	r.Body = &counted{ReadCloser: r.Body, n: &g.Stats.LinkBytesIn}
	h := &request{
		g: g, e: g.endpoint(r.Header.Get(headerEndpoint)), r: r, q: parseQuery(r.URL.RawQuery), forwarded: true,
		w: &countedWriter{ResponseWriter: w, n: &g.Stats.LinkBytesOut},
	}
	switch {
	case h.e == nil: // the nodes are configured differently
		h.fail(engineio.UnknownSession, "")
	case r.Method == http.MethodGet:
		h.poll()
	default:
		h.post()
	}
}

// counted counts the bytes that are read.
type counted struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// countedWriter counts the bytes that are written.
type countedWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *countedWriter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}
