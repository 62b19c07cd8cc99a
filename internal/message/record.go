package message

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A record is what a bus carries of an [Up], a [Down] or a [Reply] between
// processes: headers beside a body that nobody on the way has to understand.
//
//	X-Event: Message          ┐
//	X-Uid: ann                │ headers: names as HTTP has them, values of any bytes
//	X-Body-Parts: j9 a1024    ┘
//	["hello"] \x89PNG…          body: the client's JSON as it is, then the attachments
//
// X-Body-Parts says of each part what it is and how long: j JSON arguments, m
// MessagePack arguments, a an attachment, o the auth object of a CONNECT, d the
// data of a refusal or the reply that a ws-api passes on. A body without that header
// is JSON arguments altogether, so that another producer may write one by hand. What is
// empty or zero has no header. Times are RFC 3339 in UTC, lists and maps as in a URL's
// query (escaped, joined by &), so that any byte survives. Headers of unknown names are
// passed over.

// Header is one header of a record. Its value may hold any bytes.
type Header struct{ Name, Value string }

// Bounds of a record that is parsed. A writer stays far below them, for what goes
// into a record was bounded when it was accepted.
const (
	MaxHeaders     = 128
	MaxHeaderBytes = 4 << 20 // names and values
	MaxBodyParts   = 1 << 12
	MaxListItems   = 1 << 16
)

// ErrRecord says that headers and body are not a record, or one beyond the bounds.
var ErrRecord = errors.New("malformed record")

// The names of headers that several kinds of record have.
const (
	headerID           = "X-ID"
	headerKind         = "X-Kind"
	headerEvent        = "X-Event"
	headerName         = "X-Name"
	headerParts        = "X-Body-Parts"
	headerClient       = "X-Client"
	headerUID          = "X-Uid"
	headerNode         = "X-Node"
	headerProfile      = "X-Profile"
	headerRooms        = "X-Rooms"
	headerAckID        = "X-Ack-ID"
	headerCall         = "X-Call"
	headerReason       = "X-Reason"
	headerTraceID      = "X-Trace-ID"
	headerTraceParent  = "traceparent"
	headerReceived     = "X-Time-Received"
	headerPushClientID = "X-Push-Client-ID"
)

// The kinds of a body's part.
const (
	partJSON       = 'j'
	partMsgpack    = 'm'
	partAttachment = 'a'
	partAuth       = 'o'
	partData       = 'd'
)

// recordWriter collects a record.
type recordWriter struct {
	headers []Header
	body    []byte
	parts   []byte // the value of X-Body-Parts
	only    bool   // the body is one part of JSON
}

func newRecordWriter(bodySize int) *recordWriter {
	return &recordWriter{headers: make([]Header, 0, 24), body: make([]byte, 0, bodySize)}
}

func (w *recordWriter) text(name, value string) {
	if value != "" {
		w.headers = append(w.headers, Header{name, value})
	}
}

func (w *recordWriter) number(name string, n uint64) {
	if n != 0 {
		w.text(name, strconv.FormatUint(n, 10))
	}
}

func (w *recordWriter) flag(name string, b bool) {
	if b {
		w.text(name, "true")
	}
}

func (w *recordWriter) time(name string, t time.Time) {
	if !t.IsZero() {
		w.text(name, t.UTC().Format(time.RFC3339Nano))
	}
}

func (w *recordWriter) list(name string, items []string) {
	if len(items) == 0 {
		return
	}
	var b strings.Builder
	for i, item := range items {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(item))
	}
	// One item that is empty must differ from no list at all.
	w.headers = append(w.headers, Header{name, b.String()})
}

func (w *recordWriter) pairs(name string, m map[string]string) {
	if len(m) == 0 {
		return
	}
	var b strings.Builder
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(k))
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(m[k]))
	}
	w.text(name, b.String())
}

// part adds to the body; a nil part is none, an empty one is one of no bytes.
func (w *recordWriter) part(kind byte, p []byte) {
	if p == nil {
		return
	}
	w.only = len(w.parts) == 0 && kind == partJSON
	if len(w.parts) > 0 {
		w.parts = append(w.parts, ' ')
	}
	w.parts = strconv.AppendInt(append(w.parts, kind), int64(len(p)), 10)
	w.body = append(w.body, p...)
}

func (w *recordWriter) payload(p *Payload) {
	w.part(partJSON, p.JSON)
	w.part(partMsgpack, p.Msgpack)
	for _, a := range p.Attachments {
		if a == nil {
			a = []byte{} // it has its number, so it must be there
		}
		w.part(partAttachment, a)
	}
}

// record returns what was collected.
func (w *recordWriter) record() ([]Header, []byte) {
	if len(w.parts) > 0 && (!w.only || len(w.body) == 0) {
		w.text(headerParts, string(w.parts))
	}
	return w.headers, w.body
}

// recordReader reads the values of headers; the first error stays.
type recordReader struct{ err error }

func (r *recordReader) fail(h Header, why string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s %s", ErrRecord, h.Name, why)
	}
}

// number32 reads a number of 32 bits.
func (r *recordReader) number32(h Header) uint32 {
	n := r.number(h)
	if n > math.MaxUint32 {
		r.fail(h, "is out of range")
	}
	return uint32(n)
}

func (r *recordReader) number(h Header) uint64 {
	n, err := strconv.ParseUint(h.Value, 10, 64)
	if err != nil {
		r.fail(h, "is not a number")
	}
	return n
}

func (r *recordReader) flag(h Header) bool {
	if h.Value != "true" && h.Value != "false" {
		r.fail(h, `is neither "true" nor "false"`)
	}
	return h.Value == "true"
}

func (r *recordReader) time(h Header) time.Time {
	t, err := time.Parse(time.RFC3339Nano, h.Value)
	if err != nil {
		r.fail(h, "is not a time of RFC 3339")
		return time.Time{}
	}
	return t.UTC()
}

func (r *recordReader) list(h Header) []string {
	n := strings.Count(h.Value, "&") + 1
	if n > MaxListItems {
		r.fail(h, "has too many items")
		return nil
	}
	items := make([]string, 0, n)
	for item := range strings.SplitSeq(h.Value, "&") {
		s, err := url.QueryUnescape(item)
		if err != nil {
			r.fail(h, "is not escaped rightly")
			return nil
		}
		items = append(items, s)
	}
	return items
}

func (r *recordReader) pairs(h Header) map[string]string {
	if strings.Count(h.Value, "&") >= MaxListItems {
		r.fail(h, "has too many items")
		return nil
	}
	m := make(map[string]string)
	for pair := range strings.SplitSeq(h.Value, "&") {
		k, v, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(k)
		value, err2 := url.QueryUnescape(v)
		if err != nil || err2 != nil {
			r.fail(h, "is not escaped rightly")
			return nil
		}
		m[key] = value
	}
	return m
}

// checkHeaders applies the bounds.
func checkHeaders(headers []Header) error {
	if len(headers) > MaxHeaders {
		return fmt.Errorf("%w: %d headers", ErrRecord, len(headers))
	}
	size := 0
	for _, h := range headers {
		size += len(h.Name) + len(h.Value)
	}
	if size > MaxHeaderBytes {
		return fmt.Errorf("%w: %d bytes of headers", ErrRecord, size)
	}
	return nil
}

// recordBody is the parts of a body, which they alias.
type recordBody struct {
	payload Payload
	auth    []byte
	data    []byte
}

// readBody takes a body apart as parts, the value of X-Body-Parts, tells. Without
// one, all of it is JSON.
func readBody(parts string, body []byte) (b recordBody, err error) {
	if parts == "" {
		if len(body) > 0 {
			b.payload.JSON = slices.Clip(body)
		}
		return b, nil
	}
	if strings.Count(parts, " ") >= MaxBodyParts {
		return recordBody{}, fmt.Errorf("%w: %s has too many parts", ErrRecord, headerParts)
	}
	for part := range strings.SplitSeq(parts, " ") {
		if len(part) < 2 {
			return recordBody{}, fmt.Errorf("%w: %s has a part without a length", ErrRecord, headerParts)
		}
		n, err := strconv.ParseUint(part[1:], 10, 31)
		if err != nil || n > uint64(len(body)) {
			return recordBody{}, fmt.Errorf("%w: %s has a length beyond the body", ErrRecord, headerParts)
		}
		piece := body[:n:n]
		body = body[n:]
		if !b.set(part[0], piece) {
			return recordBody{}, fmt.Errorf("%w: %s has an unknown part, or one twice", ErrRecord, headerParts)
		}
	}
	if len(body) > 0 {
		return recordBody{}, fmt.Errorf("%w: the body is longer than its parts", ErrRecord)
	}
	return b, nil
}

func (b *recordBody) set(kind byte, piece []byte) bool {
	var to *[]byte
	switch kind {
	case partAttachment:
		b.payload.Attachments = append(b.payload.Attachments, piece)
		return true
	case partJSON:
		to = &b.payload.JSON
	case partMsgpack:
		to = &b.payload.Msgpack
	case partAuth:
		to = &b.auth
	case partData:
		to = &b.data
	default:
		return false
	}
	if *to != nil {
		return false
	}
	*to = piece
	return true
}
