package gateway

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"holdfast/engineio"
	"holdfast/internal/session"
)

// gzipFrom is the smallest body that is worth compressing, in bytes.
const gzipFrom = 1024

// noopPayload is the polling payload that says nothing.
func noopPayload(v engineio.Version) []byte {
	b, _ := engineio.AppendPayload(nil, v, []engineio.Packet{{Type: engineio.Noop}}, true)
	return b
}

// openPolling answers a handshake with the open packet.
func (h *request) openPolling() {
	c, hello, ok := h.begin(session.Polling)
	if !ok {
		return
	}
	sh := h.g.shardOf(hello.ID)
	answer := make(chan httpAnswer, 1)
	posted := sh.inbox.post(func() {
		sh.open(c, h.e, hello)
		if c.session.Poll(sh.now, &sh.acts) == session.Reply {
			body, binary := c.session.AppendPayload(nil, sh.g.cfg.PollingResponse, &sh.acts)
			answer <- httpAnswer{ok: true, body: body, binary: binary}
		}
		sh.settle(c)
	})
	if !posted {
		h.busy("this node is going away; try again")
		return
	}
	select {
	case a := <-answer:
		h.send(a)
	case <-sh.done:
		h.busy("this node is going away; try again")
	}
}

// poll answers a GET: at once, or when there is something to say.
func (h *request) poll() {
	answer := make(chan httpAnswer, 1)
	sh := h.g.shardOf(h.q.sid)
	posted := sh.inbox.post(func() {
		c := sh.find(h.q.sid)
		if c == nil {
			answer <- httpAnswer{code: engineio.UnknownSession}
			return
		}
		switch c.session.Poll(sh.now, &sh.acts) {
		case session.Reply, session.Wait:
			c.poll = answer
		case session.Refused:
			answer <- httpAnswer{code: engineio.BadRequest}
		case session.Conflict:
			answer <- httpAnswer{status: http.StatusBadRequest}
		default:
			answer <- httpAnswer{code: engineio.UnknownSession}
		}
		sh.settle(c)
	})
	if !posted {
		h.fail(engineio.UnknownSession, "")
		return
	}
	select {
	case a := <-answer:
		h.send(a)
	case <-sh.done:
		h.fail(engineio.UnknownSession, "")
	case <-h.r.Context().Done():
		sh.inbox.post(func() {
			if c := sh.find(h.q.sid); c != nil && c.poll == answer {
				c.poll = nil
				c.session.Lost(session.TransportError, &sh.acts)
				sh.settle(c)
			}
		})
	}
}

// post takes what a client sends by polling.
func (h *request) post() {
	sh := h.g.shardOf(h.q.sid)
	answer := make(chan httpAnswer, 1)
	posted := sh.inbox.post(func() { answer <- sh.beginPost(h) })
	if !posted {
		h.fail(engineio.UnknownSession, "")
		return
	}
	var a httpAnswer
	select {
	case a = <-answer:
	case <-sh.done:
		h.fail(engineio.UnknownSession, "")
		return
	}
	if !a.ok {
		h.send(a)
		return
	}
	octets := mediaType(h.r) == "application/octet-stream"
	body, tooLarge, err := h.readBody()
	switch {
	case tooLarge:
		sh.inbox.post(func() {
			if c := sh.find(h.q.sid); c != nil {
				c.session.AbandonPost()
			}
		})
		h.w.Header().Set("Connection", "close")
		h.w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	case err != nil:
		sh.inbox.post(func() {
			if c := sh.find(h.q.sid); c != nil {
				c.session.Lost(session.TransportError, &sh.acts)
				sh.settle(c)
			}
		})
		h.fail(engineio.BadRequest, "")
		return
	}
	sh.inbox.post(func() { sh.finishPost(h, body, octets, answer) })
	select {
	case a = <-answer:
	case <-sh.done:
		a = httpAnswer{code: engineio.UnknownSession}
	}
	if !a.ok {
		h.send(a)
		return
	}
	h.w.Header().Set("Content-Type", "text/html")
	h.w.Header().Set("Cache-Control", "no-store")
	h.w.Header().Set("Content-Length", "2")
	_, _ = io.WriteString(h.w, "ok")
}

func (sh *shard) beginPost(h *request) httpAnswer {
	c := sh.find(h.q.sid)
	if c == nil {
		return httpAnswer{code: engineio.UnknownSession}
	}
	if h.r.Method != http.MethodPost {
		return httpAnswer{status: http.StatusInternalServerError}
	}
	defer sh.settle(c)
	switch c.session.BeginPost(sh.now, &sh.acts) {
	case session.Reply:
		return httpAnswer{ok: true}
	case session.Refused:
		return httpAnswer{code: engineio.BadRequest}
	case session.Conflict:
		return httpAnswer{status: http.StatusBadRequest}
	}
	return httpAnswer{code: engineio.UnknownSession}
}

func (sh *shard) finishPost(h *request, body []byte, octets bool, answer chan httpAnswer) {
	c := sh.find(h.q.sid)
	if c == nil {
		answer <- httpAnswer{code: engineio.UnknownSession}
		return
	}
	err := c.session.Post(body, octets, sh.now, &sh.acts)
	if err != nil {
		sh.malformed(c, err)
		answer <- httpAnswer{code: engineio.BadRequest}
		sh.settle(c)
		return
	}
	sh.settle(c)
	if c.paused && !c.dropped {
		// The bus is full: the client may post again when what it has posted is there.
		c.post = answer
		return
	}
	answer <- httpAnswer{ok: true}
}

// readBody reads a post up to the limit. A JSONP post is a form of which the
// payload is one field, so there the limit holds for the decoded payload.
func (h *request) readBody() (body []byte, tooLarge bool, err error) {
	limit := h.e.session.MaxPayload
	raw := limit
	if h.q.jsonp {
		raw = 3*limit + 2
	}
	if h.r.ContentLength > raw {
		return nil, true, nil
	}
	body, err = io.ReadAll(io.LimitReader(h.r.Body, raw+1))
	switch {
	case err != nil:
		return nil, false, err
	case int64(len(body)) > raw:
		return nil, true, nil
	case !h.q.jsonp:
		return body, false, nil
	}
	body, err = engineio.ParseJSONPForm(body)
	return body, int64(len(body)) > limit, err
}

func mediaType(r *http.Request) string {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// send writes the answer to a poll.
func (h *request) send(a httpAnswer) {
	if !a.ok {
		if a.status != 0 {
			h.w.WriteHeader(a.status)
			return
		}
		h.fail(a.code, "")
		return
	}
	kind := "text/plain; charset=UTF-8"
	if a.binary {
		kind = "application/octet-stream"
	}
	body := a.body
	if h.q.jsonp {
		kind = "text/javascript; charset=UTF-8"
		var err error
		if body, err = engineio.AppendJSONP(nil, h.q.j, body); err != nil {
			h.fail(engineio.BadRequest, "")
			return
		}
	}
	header := h.w.Header()
	header.Set("Content-Type", kind)
	header.Set("Cache-Control", "no-store")
	if h.q.jsonp {
		header.Set("X-Content-Type-Options", "nosniff")
	}
	if len(body) >= gzipFrom && strings.Contains(h.r.Header.Get("Accept-Encoding"), "gzip") {
		var z bytes.Buffer
		zw := gzip.NewWriter(&z)
		_, err1 := zw.Write(body)
		if err := errors.Join(err1, zw.Close()); err == nil && z.Len() < len(body) {
			body = z.Bytes()
			header.Set("Content-Encoding", "gzip")
		}
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = h.w.Write(body)
}
