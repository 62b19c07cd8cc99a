package gateway

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"sync"
	"time"

	"holdfast/engineio"
	"holdfast/internal/session"
	"holdfast/wsframe"
)

// post takes what a client sends by polling.
func (h *request) post() {
	sh := h.g.shardOf(h.q.sid)
	answer := make(chan httpAnswer, 1)
	body := &cutBody{control: http.NewResponseController(h.w)}
	posted := sh.inbox.post(func() { answer <- sh.beginPost(h, body) })
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
	if a.absent {
		h.forward()
		return
	}
	if !a.ok {
		h.send(a)
		return
	}
	octets := mediaType(h.r) == "application/octet-stream"
	counted := &countedBody{Reader: h.r.Body, g: h.g}
	defer counted.done()
	payload, tooLarge, err := h.readBody(counted)
	if !tooLarge {
		body.end()
	}
	switch {
	case tooLarge:
		h.oversizePost(sh, payload, octets)
		body.end()
		sh.inbox.post(func() { sh.forgetBody(body) })
		return
	case err != nil:
		sh.inbox.post(func() {
			sh.forgetBody(body)
			sh.abortPost(h.q.sid)
		})
		if errors.Is(err, errCrowded) {
			h.g.Stats.CrowdedOut.Add(1)
			h.busy(err.Error())
			return
		}
		h.fail(engineio.BadRequest, "")
		return
	}
	sh.inbox.post(func() {
		sh.forgetBody(body)
		sh.finishPost(h, payload, octets, answer)
	})
	select {
	case a = <-answer:
	case <-sh.done:
		a = httpAnswer{code: engineio.UnknownSession}
	}
	if !a.ok {
		h.send(a)
		return
	}
	h.postDone()
}

// cutBody is the body of a post that is being read. When its session ends the reading
// does, for the client may be in no hurry.
type cutBody struct {
	control *http.ResponseController
	session *conn // owned by the shard; nil before it has begun

	mu   sync.Mutex
	over bool // the handler does not read any more, and the connection may be another request's
}

func (b *cutBody) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
}

func (b *cutBody) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		_ = b.control.SetReadDeadline(time.Unix(1, 0)) // where it is not to be had the server's timeout does it
	}
}

// forgetBody notes that a body is not being read any more.
func (sh *shard) forgetBody(body *cutBody) {
	if body.session != nil && sh.bodies[body.session] == body {
		delete(sh.bodies, body.session)
	}
}

// cutBodyOf ends the reading of a post of a session that is over.
func (sh *shard) cutBodyOf(c *conn) {
	if body := sh.bodies[c]; body != nil {
		delete(sh.bodies, c)
		body.cut()
	}
}

func (h *request) postDone() {
	h.w.Header().Set("Content-Type", "text/html")
	h.w.Header().Set("Cache-Control", "no-store")
	h.w.Header().Set("Content-Length", "2")
	_, _ = io.WriteString(h.w, "ok")
}

// abortPost says that a post's body broke off, which ends the session unless a
// WebSocket carries it by now.
func (sh *shard) abortPost(sid string) {
	if c := sh.find(sid); c != nil && c.session.Transport() == session.Polling {
		c.session.Lost(session.TransportError, &sh.acts)
		sh.settle(c)
	}
}

// oversizeSkip bounds what is read of a body beyond the limit, in limits.
const oversizeSkip = 64

// oversizePost answers a post beyond the limit: with 413, or, where its one packet
// asks for an acknowledgement, with an error in that. A client that sends again
// what was not acknowledged would else do so for ever.
func (h *request) oversizePost(sh *shard, head []byte, octets bool) {
	size := h.r.ContentLength
	answered := make(chan bool, 1)
	posted := sh.inbox.post(func() {
		c := sh.find(h.q.sid)
		if c == nil {
			answered <- false
			return
		}
		if size > 0 && size/oversizeSkip <= h.e.session.MaxPayload && !octets && !h.q.jsonp && c.session.OversizePost(head, size, sh.now, &sh.acts) {
			answered <- true
		} else {
			c.session.AbandonPost()
			answered <- false
		}
		sh.settle(c)
	})
	ok := false
	if posted {
		select {
		case ok = <-answered:
		case <-sh.done:
		}
	}
	if ok {
		if _, err := io.Copy(io.Discard, h.r.Body); err == nil {
			h.postDone()
		}
		return
	}
	if !h.forwarded { // else it is the link, which others use
		h.w.Header().Set("Connection", "close")
	}
	h.w.WriteHeader(http.StatusRequestEntityTooLarge)
}

func (sh *shard) beginPost(h *request, body *cutBody) httpAnswer {
	c := sh.find(h.q.sid)
	if c == nil {
		return sh.absent(h.q.sid)
	}
	if h.r.Method != http.MethodPost {
		return httpAnswer{status: http.StatusInternalServerError}
	}
	defer sh.settle(c)
	if sh.backlog.posts[c] != nil {
		// The one before has not been answered yet: two posts at once.
		c.session.End(session.TransportError, sh.now, &sh.acts)
		return httpAnswer{status: http.StatusBadRequest}
	}
	switch c.session.BeginPost(sh.now, &sh.acts) {
	case session.Reply:
		body.session = c
		sh.bodies[c] = body
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
	sh.holds(c, c.session.Held(), true)
	if err != nil {
		sh.malformed(c, err)
		answer <- httpAnswer{code: engineio.BadRequest}
		sh.settle(c)
		return
	}
	sh.settle(c)
	if c.paused && c.session.State() == session.Open {
		// The bus is full: the client may post again when what it has posted is there.
		sh.backlog.hold(c, answer)
		return
	}
	answer <- httpAnswer{ok: true}
}

// readBody reads a post up to the limit. Of one that is too large it gives no more
// than the beginning. A JSONP post is a form of which the payload is one field, so
// there the limit holds for the decoded payload.
func (h *request) readBody(from io.Reader) (body []byte, tooLarge bool, err error) {
	limit := h.e.session.MaxPayload
	raw := limit
	if h.q.jsonp {
		raw = 3*limit + 2
	}
	if h.r.ContentLength > raw {
		head := make([]byte, min(wsframe.OversizedHead, h.r.ContentLength))
		_, err := io.ReadFull(from, head)
		return head, true, err
	}
	body, err = io.ReadAll(io.LimitReader(from, raw+1))
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
