package gateway

import (
	"bytes"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"holdfast/internal/netpoll"
	"holdfast/internal/session"
	"holdfast/wsframe"
)

// greeter hears of a connection until it is known what it wants. It belongs to its
// shard.
type greeter struct {
	sh   *shard
	door *door
	nc   netpoll.Received
	peer netip.Addr
	head []byte // of the request, as far as it has come
}

var _ netpoll.Handler = (*greeter)(nil)

// OnData implements netpoll.Handler.
func (gr *greeter) OnData(b []byte) {
	gr.sh.now = gr.sh.g.now()
	if gr.head != nil {
		gr.head = append(gr.head, b...)
		b = gr.head
	}
	if !maybeHandshake(b) {
		gr.pass(b)
		return
	}
	end := bytes.Index(b, []byte("\r\n\r\n"))
	switch {
	case end < 0 && len(b) >= gr.sh.g.cfg.HeaderBytes:
		gr.pass(b)
	case end < 0:
		if gr.head == nil {
			gr.head = bytes.Clone(b)
		}
	case !gr.open(b[:end+4], b[end+4:]):
		gr.pass(b)
	}
}

// maybeHandshake tells by the first line, as far as it is there, whether this may be a
// WebSocket that opens a session.
func maybeHandshake(b []byte) bool {
	line, _, whole := bytes.Cut(b, []byte("\r\n"))
	const get = "GET /"
	if n := min(len(line), len(get)); string(line[:n]) != get[:n] {
		return false
	}
	return !whole || bytes.Contains(line, []byte("transport=websocket")) && !bytes.Contains(line, []byte("sid="))
}

// OnWritable implements netpoll.Handler. Nothing has been written.
func (gr *greeter) OnWritable() {}

// OnClosed implements netpoll.Handler: the peer has thought better of it.
func (gr *greeter) OnClosed(error) { gr.close() }

func (gr *greeter) close() {
	delete(gr.sh.greeters, gr)
	gr.nc.Close()
}

// pass leaves the connection to net/http, with the bytes that have come.
func (gr *greeter) pass(b []byte) {
	delete(gr.sh.greeters, gr)
	nc, err := gr.nc.Return()
	if err != nil {
		gr.sh.g.cfg.Logger.Warn("a connection is lost on its way to net/http", "remote", gr.peer, "err", err)
		return
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		_ = nc.Close()
		return
	}
	gr.door.hand(&begun{TCPConn: tcp, first: bytes.Clone(b)})
}

// open opens the session that a request asks for: the 101 and the open packet leave in
// one write. False: the request is another, or not in order.
func (gr *greeter) open(head, rest []byte) bool {
	sh := gr.sh
	h, key := gr.request(head)
	if h == nil {
		return false
	}
	c, hello, why := h.g.begin(h.r, &h.q, session.WebSocket, sh)
	if why != "" {
		return false // net/http is told the same, and says so
	}
	delete(sh.greeters, gr)
	s := &socket{sh: sh, conn: c, nc: gr.nc}
	gr.nc.Pass(s)
	answer := h.switching(key, s)
	c.sock = s
	sh.open(c, h.e, hello)
	sh.writeFrames(c, s, answer)
	if len(rest) > 0 {
		s.OnData(rest)
	}
	sh.settle(c)
	return true
}

// request reads and checks a handshake's request; nil when there is anything about it
// that is not for the shard to deal with.
func (gr *greeter) request(head []byte) (h *request, key string) {
	g := gr.sh.g
	gr.sh.text.Reset(head)
	gr.sh.lines.Reset(&gr.sh.text)
	r, err := http.ReadRequest(gr.sh.lines)
	if err != nil || r.ContentLength != 0 || len(r.TransferEncoding) > 0 || r.Host == "" || tooManyHeaders(r, g.cfg.MaxHeaders) {
		return nil, ""
	}
	for name, values := range r.Header {
		if strings.ContainsAny(name, " \t") || slices.ContainsFunc(values, func(v string) bool { return !cleanHeader(v) }) {
			return nil, "" // what http.ReadRequest lets pass and its server does not
		}
	}
	e := g.endpoint(r.URL.Path)
	if e == nil || strings.TrimSuffix(r.URL.Path, "/") != strings.TrimSuffix(e.Path, "/") {
		return nil, ""
	}
	r.RemoteAddr = gr.peer.String()
	h = &request{g: g, e: e, r: r, q: parseQuery(r.URL.RawQuery)}
	if _, problem := h.check(); problem || h.q.sid != "" || h.q.transport != "websocket" || !g.originAllowed(r) {
		return nil, ""
	}
	if key, err = wsframe.CheckHandshake(r); err != nil {
		return nil, ""
	}
	return h, key
}
