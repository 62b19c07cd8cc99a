package engineio

import (
	"bytes"
	"fmt"
	"net/url"
)

// JSONP is polling through script elements and forms, which browsers without
// XMLHttpRequest across origins need (socket.io-client 2 with forceJSONP):
//
//	POST body    d=<payload, escaped as below, then form-encoded>
//	GET answer   ___eio[<j>]("<payload as a JSON string>");

// maxCallbackDigits bounds the index of a JSONP callback; clients count from 0.
const maxCallbackDigits = 16

// ParseJSONPForm returns the payload in the body of a JSONP POST, a form with one
// field d, as a new slice for ParsePayload (it is never binary). Browsers turn
// newlines in a form into CR LF, so the client writes a newline as `\n` and what
// was `\n` before as `\\n`; both are undone here. The error is ErrForm for a body
// without d or with broken percent-encoding.
func ParseJSONPForm(body []byte) ([]byte, error) {
	for field := range bytes.SplitSeq(body, []byte{'&'}) {
		value, ok := bytes.CutPrefix(field, []byte("d="))
		if !ok {
			continue
		}
		text, err := url.QueryUnescape(string(value))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrForm, err)
		}
		return unescapeNewlines([]byte(text)), nil
	}
	return nil, ErrForm
}

// unescapeNewlines works in place: what it writes is never longer than what it
// has read. A pair of backslashes before an n is looked for first, so that in
// `\\n` the second one is not taken for the beginning of a newline.
func unescapeNewlines(b []byte) []byte {
	if bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	out := b[:0]
	for len(b) > 0 {
		switch {
		case bytes.HasPrefix(b, []byte(`\\n`)):
			out = append(out, `\n`...)
			b = b[3:]
		case bytes.HasPrefix(b, []byte(`\n`)):
			out = append(out, '\n')
			b = b[2:]
		default:
			out = append(out, b[0])
			b = b[1:]
		}
	}
	return out
}

// AppendJSONP appends the script that hands payload, a text payload, to the
// client's callback number j, the j query parameter. j becomes part of a script,
// so anything but decimal digits is ErrCallback and dst is returned as it was.
func AppendJSONP(dst []byte, j string, payload []byte) ([]byte, error) {
	if j == "" || len(j) > maxCallbackDigits {
		return dst, ErrCallback
	}
	for i := range len(j) {
		if j[i] < '0' || j[i] > '9' {
			return dst, ErrCallback
		}
	}
	dst = append(dst, "___eio["...)
	dst = append(dst, j...)
	dst = append(dst, "]("...)
	dst = appendJSONString(dst, payload)
	return append(dst, ");"...), nil
}
