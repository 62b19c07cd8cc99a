package loadgen

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// reply is an answer of HTTP/1.1, as much of it as clients look at.
type reply struct {
	status int
	accept string // Sec-WebSocket-Accept
	octets bool   // the body is application/octet-stream
	closes bool   // the server closes the connection after it
	body   []byte
}

// refusal is what a reply says to a client that had hoped for another one: its
// status, and the message where the body is an error of Engine.IO or a line of text.
func (r *reply) refusal() refusal {
	var said struct {
		Message string `json:"message"`
	}
	line := strings.TrimSpace(string(r.body[:min(len(r.body), 1000)]))
	switch {
	case json.Unmarshal(r.body, &said) == nil:
		line = said.Message
	case strings.ContainsAny(line, "<\r\n"): // a page, and no word
		line = ""
	}
	return refusal(strings.TrimSpace(fmt.Sprintf("HTTP %d %.80s", r.status, line)))
}

// part is what a replyReader reads next.
//
//	head ──length──▶ body ─────────────────────────────▶ head of the next
//	  ├────chunked─▶ size ─▶ chunk ─▶ chunkEnd ─▶ size … trailer ──▶ head
//	  ├────neither─▶ rest, until the connection ends
//	  └────101, 204, 304: no body ─────────────────────▶ head
type part uint8

const (
	headPart part = iota
	bodyPart
	sizePart
	chunkPart
	chunkEndPart
	trailerPart
	restPart
)

// replyReader reads the replies of one connection, one after the other, however
// they are cut. Its zero value waits for the first.
type replyReader struct {
	reply
	part part
	left int    // bytes of the body or the chunk that are still to come
	line []byte // a head or a line that is not whole yet
}

const (
	maxHead = 16 << 10 // of a reply's head, and of a line between chunks
	maxBody = 16 << 20 // what a poll may bring
)

var (
	errNotHTTP  = errors.New("the answer is not HTTP")
	errLongHead = errors.New("the head of the answer is too long")
	errLongBody = errors.New("the body of the answer is too long")
)

// feed reads on. When whole is true the reply can be looked at, whose body may
// alias b and is valid until the next feed; rest is what follows it in b.
func (r *replyReader) feed(b []byte) (rest []byte, whole bool, err error) {
	if r.part == headPart && len(r.line) == 0 {
		r.reply = reply{}
	}
	for {
		switch r.part {
		case bodyPart, chunkPart:
			n := min(len(b), r.left)
			if r.part == bodyPart && len(r.body) == 0 && n == r.left {
				r.body = b[:n:n] // nothing is appended to it
			} else {
				r.body = append(r.body, b[:n]...)
			}
			b, r.left = b[n:], r.left-n
			if r.left > 0 {
				return nil, false, nil
			}
			if r.part == bodyPart {
				r.part = headPart
				return b, true, nil
			}
			r.part = chunkEndPart
		case restPart:
			if r.body = append(r.body, b...); len(r.body) > maxBody {
				return nil, false, errLongBody
			}
			return nil, false, nil
		case headPart, sizePart, chunkEndPart, trailerPart:
			end := "\r\n"
			if r.part == headPart {
				end = "\r\n\r\n"
			}
			text, after, found := r.until(b, end)
			switch {
			case !found && len(r.line) > maxHead:
				return nil, false, errLongHead
			case !found:
				return nil, false, nil
			}
			b = after
			done, err := r.read(text)
			if err != nil || done {
				return b, done, err
			}
		}
	}
}

// until cuts what was read at an end, which may itself be cut in two.
func (r *replyReader) until(b []byte, end string) (text, rest []byte, found bool) {
	if len(r.line) == 0 {
		if text, rest, found = bytes.Cut(b, []byte(end)); found {
			return text, rest, true
		}
	}
	seen := max(len(r.line)-len(end)+1, 0)
	had := len(r.line)
	r.line = append(r.line, b...)
	at := bytes.Index(r.line[seen:], []byte(end))
	if at < 0 {
		return nil, nil, false
	}
	at += seen
	text, rest = r.line[:at], b[at+len(end)-had:]
	r.line = nil
	return text, rest, true
}

// read takes a head, or a line between chunks. done: the reply ends with it.
func (r *replyReader) read(text []byte) (done bool, err error) {
	switch r.part {
	case headPart:
		return r.readHead(string(text))
	case sizePart:
		digits, _, _ := strings.Cut(string(text), ";")
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 16, 31)
		switch {
		case err != nil:
			return false, errNotHTTP
		case len(r.body)+int(n) > maxBody:
			return false, errLongBody
		}
		r.left, r.part = int(n), chunkPart
		if n == 0 {
			r.part = trailerPart
		}
	case chunkEndPart:
		if len(text) > 0 {
			return false, errNotHTTP
		}
		r.part = sizePart
	case trailerPart:
		if len(text) == 0 {
			r.part = headPart
			return true, nil
		}
	case bodyPart, chunkPart, restPart: // have no lines
	}
	return false, nil
}

func (r *replyReader) readHead(text string) (done bool, err error) {
	status, text, _ := strings.Cut(text, "\r\n")
	f := strings.Fields(status)
	if len(f) < 2 || !strings.HasPrefix(f[0], "HTTP/1.") {
		return false, errNotHTTP
	}
	if r.status, err = strconv.Atoi(f[1]); err != nil {
		return false, errNotHTTP
	}
	r.closes = f[0] == "HTTP/1.0"
	length, chunked := -1, false
	for line := range strings.SplitSeq(text, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "content-length":
			if length, err = strconv.Atoi(value); err != nil || length < 0 {
				return false, errNotHTTP
			}
		case "transfer-encoding":
			chunked = strings.EqualFold(value, "chunked")
		case "connection":
			r.closes = r.closes || strings.EqualFold(value, "close")
		case "content-type":
			r.octets = strings.HasPrefix(value, "application/octet-stream")
		case "sec-websocket-accept":
			r.accept = value
		}
	}
	switch {
	case r.status >= 100 && r.status < 200 && r.status != 101:
		r.reply = reply{} // the real one follows
		return false, nil
	case r.status == 101, r.status == 204, r.status == 304, length == 0 && !chunked:
		return true, nil
	case chunked:
		r.part = sizePart
	case length > maxBody:
		return false, errLongBody
	case length > 0:
		r.part, r.left = bodyPart, length
	default:
		r.part, r.closes = restPart, true
	}
	return false, nil
}

// ended is called when the connection was closed, and says whether that makes the
// reply whole.
func (r *replyReader) ended() bool {
	whole := r.part == restPart
	r.part = headPart
	return whole
}

// begun says whether a part of a reply has come.
func (r *replyReader) begun() bool { return r.part != headPart || len(r.line) > 0 }
