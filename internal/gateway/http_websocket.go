package gateway

import (
	"errors"
	"net"
	"net/http"
	"time"

	"holdfast/engineio"
	"holdfast/internal/session"
	"holdfast/wsframe"
)

// openWebSocket opens a session that begins on a WebSocket.
func (h *request) openWebSocket() {
	key, ok := h.handshakeKey()
	if !ok {
		return
	}
	c, hello, ok := h.begin(session.WebSocket)
	if !ok {
		return
	}
	s := &socket{conn: c}
	nc, first, err := h.hijack(key, s)
	if err != nil {
		h.g.admission.leave(c.remote)
		return
	}
	sh := h.g.shardOf(hello.ID)
	s.sh = sh
	posted := sh.inbox.post(func() {
		c.sock = s
		sh.open(c, h.e, hello)
		if err := sh.attach(s, nc, first); err != nil {
			sh.g.cfg.Logger.Warn("a connection cannot be served", "remote", c.remote, "err", err)
			_ = nc.Close()
			c.sock = nil
			c.session.Lost(session.TransportError, &sh.acts)
		}
		sh.settle(c)
	})
	if !posted {
		h.g.admission.leave(c.remote)
		_ = nc.Close()
	}
}

// upgrade brings the socket on which a polling client tries the WebSocket.
func (h *request) upgrade() {
	sh := h.g.shardOf(h.q.sid)
	known, ok := runOn(sh, func() bool { return sh.find(h.q.sid) != nil || sh.departure(h.q.sid) != nil })
	switch {
	case !ok:
		h.fail(engineio.UnknownSession, "")
		return
	case !known:
		h.upgradeElsewhere()
		return
	}
	if h.r.Method != http.MethodGet {
		h.fail(engineio.BadHandshakeMethod, "")
		return
	}
	key, ok := h.handshakeKey()
	if !ok {
		return
	}
	s := &socket{sh: sh, probe: true}
	nc, first, err := h.hijack(key, s)
	if err != nil {
		return
	}
	if !sh.inbox.post(func() { sh.probe(s, h.q.sid, nc, first) }) {
		_ = nc.Close()
	}
}

// probe begins a probe on the shard, unless the session is past that.
func (sh *shard) probe(s *socket, sid string, nc net.Conn, first []byte) {
	c := sh.find(sid)
	if c == nil || !c.mayBeProbed() {
		sh.g.turnAway(nc)
		return
	}
	s.conn = c
	c.setProbing(s)
	sh.probes[s] = sh.now + sh.g.cfg.UpgradeTimeout.Milliseconds()
	if err := sh.attach(s, nc, first); err != nil {
		delete(sh.probes, s)
		c.setProbing(nil)
		_ = nc.Close()
	}
}

// turnAway closes a WebSocket that nobody takes.
func (g *Gateway) turnAway(nc net.Conn) {
	g.wg.Go(func() { // a write may wait for the peer
		_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = nc.Write(wsframe.AppendFrame(nil, wsframe.Close, false, nil))
		_ = nc.Close()
	})
}

// upgraded notes that the WebSocket carries the session now.
func (c *conn) upgraded(stats *Stats) {
	c.setProbing(nil)
	if c.paused {
		c.pauseReading()
	}
	for _, sc := range c.session.Clients() {
		if cl, ok := sc.Owner.(*client); ok && cl.accepted {
			stats.upgraded(&c.session)
		}
	}
}

// handshakeKey checks the request of RFC 6455 section 4.2.1 and answers it when
// something is wrong with it.
func (h *request) handshakeKey() (key string, ok bool) {
	if !h.g.originAllowed(h.r) {
		h.fail(engineio.Forbidden, "this origin is not allowed")
		return "", false
	}
	key, err := wsframe.CheckHandshake(h.r)
	if err == nil {
		return key, true
	}
	var bad *wsframe.HandshakeError
	if errors.As(err, &bad) && bad.Status == http.StatusUpgradeRequired {
		bad.SetHeader(h.w.Header())
		http.Error(h.w, bad.Reason, bad.Status)
		return "", false
	}
	h.fail(engineio.BadRequest, "")
	return "", false
}

// hijack takes the connection from net/http and answers with 101. first is what
// the client has sent already.
func (h *request) hijack(key string, s *socket) (nc net.Conn, first []byte, err error) {
	hj, ok := h.w.(http.Hijacker)
	if !ok {
		h.fail(engineio.BadRequest, "")
		return nil, nil, errors.New("the connection cannot be taken over")
	}
	nc, rw, err := hj.Hijack()
	if err != nil {
		h.fail(engineio.BadRequest, "")
		return nil, nil, err
	}
	_ = nc.SetDeadline(time.Time{})
	_ = nc.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if _, err := nc.Write(h.switching(key, s)); err != nil {
		_ = nc.Close()
		return nil, nil, err
	}
	_ = nc.SetWriteDeadline(time.Time{})
	if n := rw.Reader.Buffered(); n > 0 {
		peeked, _ := rw.Reader.Peek(n)
		first = append(first, peeked...)
	}
	if b, ok := nc.(*begun); ok {
		nc, first = b.TCPConn, append(first, b.first...)
	}
	return nc, first, nil
}

// switching is the answer that makes the connection a WebSocket, with the extensions
// that s speaks from then on.
func (h *request) switching(key string, s *socket) []byte {
	answer := append([]byte(nil), "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	answer = append(answer, wsframe.AcceptKey(key)...)
	if h.g.cfg.Deflate {
		if ext, ok := wsframe.NegotiateDeflate(h.r.Header.Values("Sec-WebSocket-Extensions")); ok {
			answer = append(answer, "\r\nSec-WebSocket-Extensions: "...)
			answer = append(answer, ext...)
			s.deflate = true
		}
	}
	return append(answer, "\r\n\r\n"...)
}
