package gateway

import (
	"bytes"
	"compress/gzip"
	"errors"
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
		} else {
			answer <- httpAnswer{code: engineio.BadRequest} // the session ended as it began
		}
		sh.settle(c)
	})
	if !posted {
		h.g.admission.leave(c.remote)
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
			answer <- sh.absent(h.q.sid)
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
		if a.absent {
			h.forward()
			return
		}
		h.send(a)
	case <-sh.done:
		h.fail(engineio.UnknownSession, "")
	case <-h.r.Context().Done():
		sh.inbox.post(func() {
			c := sh.find(h.q.sid)
			// An answer that has left for a client that was gone is lost, and the session
			// with it.
			if c == nil || c.poll != answer && len(answer) == 0 || c.session.Transport() != session.Polling {
				return
			}
			if c.poll == answer {
				c.poll = nil
			}
			c.session.Lost(session.TransportError, &sh.acts)
			sh.settle(c)
		})
		// A client that has only ended its own side still reads, and must not take an
		// answer without a body for a payload.
		h.send(httpAnswer{status: http.StatusBadRequest})
	}
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
	if len(body) >= gzipFrom && takesGzip(h.r.Header) {
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

// takesGzip tells whether a client that sends these headers reads gzip.
func takesGzip(h http.Header) bool {
	for coding := range strings.SplitSeq(h.Get("Accept-Encoding"), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		q, ok := strings.CutPrefix(strings.ReplaceAll(weight, " ", ""), "q=")
		return !ok || strings.Trim(q, "0.") != ""
	}
	return false
}
