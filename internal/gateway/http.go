package gateway

import (
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"holdfast/engineio"
	"holdfast/internal/message"
	"holdfast/internal/session"
)

// httpAnswer is what a shard answers to a poll or a post.
type httpAnswer struct {
	ok     bool
	status int                // when not ok; 0: an Engine.IO error with code
	code   engineio.ErrorCode // when not ok
	body   []byte
	binary bool
	absent bool // when not ok: this node has no such session, but another may
}

// ServeHTTP serves the endpoints, and the client bundle below the Socket.IO ones.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e := g.endpoint(r.URL.Path)
	if e == nil {
		http.NotFound(w, r)
		return
	}
	if tooManyHeaders(r, g.cfg.MaxHeaders) {
		w.Header().Set("Connection", "close")
		http.Error(w, "too many header lines", http.StatusRequestHeaderFieldsTooLarge)
		return
	}
	if g.cors(w, r) || g.serveBundle(w, r, e) {
		return
	}
	q := parseQuery(r.URL.RawQuery)
	h := &request{g: g, e: e, w: w, r: r, q: q}
	code, problem := h.check()
	if problem {
		h.fail(code, "")
		return
	}
	switch {
	case q.sid == "" && q.transport == "websocket":
		h.openWebSocket()
	case q.sid == "":
		h.openPolling()
	case q.transport == "websocket":
		h.upgrade()
	case r.Method == http.MethodGet:
		h.poll()
	default:
		h.post()
	}
}

func tooManyHeaders(r *http.Request, limit int) bool {
	n := 0
	for _, lines := range r.Header {
		n += len(lines)
	}
	return n > limit
}

// Serves tells whether a request's path is for one of the endpoints.
func (g *Gateway) Serves(path string) bool { return g.endpoint(path) != nil }

// endpoint finds the endpoint whose path the request's begins with, of several the one
// with the longest; a path without its last slash counts as well.
func (g *Gateway) endpoint(path string) (found *endpoint) {
	for _, e := range g.endpoints {
		if found != nil && len(found.Path) >= len(e.Path) {
			continue
		}
		if strings.HasPrefix(path, e.Path) || path == strings.TrimSuffix(e.Path, "/") {
			found = e
		}
	}
	return found
}

// query is an Engine.IO request's query: its own parameters apart from the
// application's.
type query struct {
	eio, transport, sid, j string
	base64, jsonp          bool
	user                   map[string]string
}

// maxQuery bounds the application's parameters.
const maxQuery = 64

func parseQuery(raw string) query {
	var q query
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, value, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if name == "" || err1 != nil || err2 != nil {
			continue
		}
		switch name {
		case "EIO":
			q.eio = value
		case "transport":
			q.transport = value
		case "sid":
			q.sid = value
		case "t":
		case "b64":
			q.base64 = value != "" && value != "0" && value != "false"
		case "j":
			q.j, q.jsonp = digits(value), true
		default:
			if q.user == nil {
				q.user = make(map[string]string)
			}
			if len(q.user) < maxQuery {
				q.user[name] = value
			}
		}
	}
	return q
}

// request is one HTTP request to an endpoint.
type request struct {
	g *Gateway
	e *endpoint
	w http.ResponseWriter
	r *http.Request
	q query

	forwarded bool // by another node: nobody else is asked
}

// check makes the checks that need no session, in the order in which stock servers
// make them: transport, Origin, method of a handshake, version.
func (h *request) check() (code engineio.ErrorCode, problem bool) {
	q := &h.q
	switch {
	case q.transport != "polling" && q.transport != "websocket",
		q.transport == "polling" && !h.e.Polling,
		q.transport == "websocket" && !h.e.WebSocket:
		return engineio.UnknownTransport, true
	case !cleanHeader(h.r.Header.Get("Origin")), q.jsonp && (q.j == "" || !h.e.JSONP):
		return engineio.BadRequest, true
	case q.sid != "":
		return 0, false // the session knows the rest
	case h.r.Method != http.MethodGet:
		return engineio.BadHandshakeMethod, true
	case q.transport == "websocket" && !strings.EqualFold(h.r.Header.Get("Upgrade"), "websocket"):
		return engineio.BadRequest, true
	}
	v, ok := engineio.ParseVersion(q.eio)
	if !ok || v == 3 && !h.e.V3 || v == 4 && !h.e.V4 {
		return engineio.UnsupportedVersion, true
	}
	return 0, false
}

func cleanHeader(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// digits returns the decimal digits of s, up to 16 of them.
func digits(s string) string {
	var out []byte
	for i := 0; i < len(s) && len(out) < 16; i++ {
		if s[i] >= '0' && s[i] <= '9' {
			out = append(out, s[i])
		}
	}
	return string(out)
}

// fail answers with an Engine.IO error; msg "" is the code's own.
func (h *request) fail(code engineio.ErrorCode, msg string) {
	h.g.Stats.Refused.Add(1)
	if h.r.Header.Get("Upgrade") != "" {
		h.failUpgrade(code, msg)
		return
	}
	body := engineio.AppendError(nil, code, msg)
	h.w.Header().Set("Content-Type", "application/json")
	h.w.Header().Set("Cache-Control", "no-store")
	h.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	h.w.WriteHeader(code.Status())
	_, _ = h.w.Write(body)
}

// failUpgrade refuses a WebSocket as stock servers do: the message alone, and the
// connection is closed.
func (h *request) failUpgrade(code engineio.ErrorCode, msg string) {
	if msg == "" {
		msg = code.Message()
	}
	h.w.Header().Set("Content-Type", "text/html")
	h.w.Header().Set("Connection", "close")
	h.w.Header().Set("Content-Length", strconv.Itoa(len(msg)))
	h.w.WriteHeader(code.Status())
	_, _ = io.WriteString(h.w, msg)
}

// busy answers a handshake for which there is no room now.
func (h *request) busy(why string) {
	h.g.Stats.Refused.Add(1)
	h.w.Header().Set("Retry-After", "1")
	h.w.Header().Set("Cache-Control", "no-store")
	http.Error(h.w, why, http.StatusServiceUnavailable)
}

// begin makes the parts of a new session; false when the request was answered.
func (h *request) begin(t session.Transport) (c *conn, hello session.Hello, ok bool) {
	c, hello, why := h.g.begin(h.r, &h.q, t, nil)
	if why != "" {
		h.busy(why)
		return nil, hello, false
	}
	return c, hello, true
}

// begin makes the parts of a new session, for the given shard or else any; a non-empty
// why says why there is no room for it now.
func (g *Gateway) begin(r *http.Request, q *query, t session.Transport, sh *shard) (c *conn, hello session.Hello, why string) {
	if g.draining.Load() {
		return nil, hello, "this node is going away; try again"
	}
	ip := g.remoteIP(r)
	if why := g.admission.enter(ip); why != "" {
		return nil, hello, why
	}
	id, err := g.sessionID(sh)
	if err == nil && g.crowded(g.shardOf(id)) {
		g.admission.leave(ip)
		return nil, hello, "this node has too much to do; try again"
	}
	if err != nil {
		g.admission.leave(ip)
		g.cfg.Logger.Warn("a handshake is refused: no ID can be made", "err", err)
		return nil, hello, "no session can be opened at the moment"
	}
	v, _ := engineio.ParseVersion(q.eio)
	hello = session.Hello{ID: id, Version: v, Transport: t, Base64: q.base64 || q.jsonp}
	c = &conn{remote: ip, from: g.told.of(r.Header, g.cfg.HTTPHeaders, q.user)}
	if v == 3 {
		var interval int64
		c.device, interval = g.devices.find(ip, r)
		hello.PingInterval = int32(interval)
	}
	g.Stats.Handshakes.Add(1)
	return c, hello, ""
}

// errNoShare is for a shard that no ID has fallen to, of many that were made.
var errNoShare = errors.New("no ID falls to the shard")

// sessionID makes an ID that falls to a shard, nil for any.
func (g *Gateway) sessionID(sh *shard) (string, error) {
	for range 64 * len(g.shards) {
		id, err := g.cfg.IDs.SessionID()
		if err != nil || sh == nil || g.shardOf(id) == sh {
			return id, err
		}
	}
	return "", errNoShare
}

// crowded tells whether a shard, or what it writes to, is too far behind for another
// session.
func (g *Gateway) crowded(sh *shard) bool {
	return sh.inbox.crowded() || sh.backlog.over.Load() || g.registrar.behind()
}

// open makes c a session of the shard. It runs there.
func (sh *shard) open(c *conn, e *endpoint, hello session.Hello) {
	c.timer.Value = c
	sh.sessions[message.PublicID(hello.ID)] = c
	sh.g.Stats.Sessions.Add(1)
	c.session.Init(&e.session, hello, sh.now, &sh.acts)
}

// find returns the session with a secret ID, nil when there is none.
func (sh *shard) find(sid string) *conn {
	if c := sh.sessions[message.PublicID(sid)]; c != nil && equalSecret(c.session.ID(), sid) {
		return c
	}
	return nil
}

// equalSecret compares two session IDs in a time that does not depend on where they
// differ. Their lengths are no secret.
func equalSecret(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// remoteIP returns the address of the client: the peer's, or the one that a
// trusted proxy names.
func (g *Gateway) remoteIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		host = plain(addr)
	}
	if len(g.cfg.Proxies) == 0 {
		return host
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		if !g.trusted(host) {
			break
		}
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		host = plain(hop)
	}
	return host
}

// plain spells an address in one way, so that an address counts as one.
func plain(addr netip.Addr) string { return addr.Unmap().WithZone("").String() }

func (g *Gateway) trusted(host string) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	for _, p := range g.cfg.Proxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
