package socketio

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"
)

// JSONToMsgpack appends the MessagePack form of a JSON text as notepack writes it, with the attachments (bin) in the places
// of their placeholders; with no attachments an object that looks like a placeholder is one like any other. The order of
// keys is kept, and equal keys stay. A number without point or exponent becomes an integer when 64 bits hold it,
// every other number a float 64.
//
// The text is checked as by [CheckPlaceholders]; dst is returned as it was when that fails.
func JSONToMsgpack(dst, json []byte, attachments [][]byte) ([]byte, error) {
	if len(json) > math.MaxInt32 {
		return dst, overLimit("the JSON text is larger than 2 GiB")
	}
	if !utf8.Valid(json) {
		return dst, malformed("the JSON text is not valid UTF-8")
	}
	// MessagePack writes the number of elements before them, JSON does not know it until the end; so the first pass
	// counts, and checks all that there is to check, and the second writes.
	o := newOutline(len(attachments))
	o.keep, o.literal = true, len(attachments) == 0
	s := scanner{data: json, outline: &o}
	if err := s.document(); err != nil {
		return dst, err
	}
	w := msgpackWriter{text: scanner{data: json}, sizes: o.sizes, attachments: attachments, out: dst}
	w.value()
	return w.out, nil
}

// msgpackWriter writes a text that a scanner has found valid, so it can ignore the errors of its own.
type msgpackWriter struct {
	text        scanner
	sizes       []uint32 // of the arrays and objects to come
	attachments [][]byte

	out []byte
	buf []byte // for strings with escapes
}

func (w *msgpackWriter) value() {
	w.text.space()
	switch w.text.peek() {
	case '"':
		w.str()
	case '[':
		w.array()
	case '{':
		w.object()
	case 't':
		w.text.pos += len("true")
		w.out = append(w.out, 0xc3)
	case 'f':
		w.text.pos += len("false")
		w.out = append(w.out, 0xc2)
	case 'n':
		w.text.pos += len("null")
		w.out = append(w.out, 0xc0)
	default:
		w.number()
	}
}

func (w *msgpackWriter) size() uint32 {
	n := w.sizes[0]
	w.sizes = w.sizes[1:]
	return n
}

func (w *msgpackWriter) array() {
	n := int(w.size())
	w.out = appendArrayHeader(w.out, n)
	w.text.pos++
	for range n {
		w.value()
		w.text.comma()
	}
	w.text.space()
	w.text.pos++
}

func (w *msgpackWriter) object() {
	n := w.size()
	if n&placeholderFlag != 0 {
		w.out = appendBin(w.out, w.attachments[n&^placeholderFlag])
		_ = w.text.value()
		return
	}
	w.out = appendMapHeader(w.out, int(n))
	w.text.pos++
	for range n {
		w.text.space()
		w.str()
		w.text.space()
		w.text.pos++ // the colon
		w.value()
		w.text.comma()
	}
	w.text.space()
	w.text.pos++
}

func (w *msgpackWriter) str() {
	start := w.text.pos + 1
	_ = w.text.str()
	raw := w.text.data[start : w.text.pos-1]
	if bytes.IndexByte(raw, '\\') >= 0 {
		w.buf = appendUnescaped(w.buf[:0], raw)
		raw = w.buf
	}
	w.out = appendStr(w.out, raw)
}

func (w *msgpackWriter) number() {
	start := w.text.pos
	_ = w.text.number()
	text := string(w.text.data[start:w.text.pos])
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		w.out = appendInt(w.out, i)
		return
	}
	if u, err := strconv.ParseUint(text, 10, 64); err == nil {
		w.out = appendUint(w.out, u)
		return
	}
	// Out of range gives an infinity, which is what JavaScript's parser makes of it as well.
	f, _ := strconv.ParseFloat(text, 64)
	w.out = append(w.out, 0xcb)
	w.out = binary.BigEndian.AppendUint64(w.out, math.Float64bits(f))
}

func appendInt(dst []byte, i int64) []byte {
	switch {
	case i >= 0:
		return appendUint(dst, uint64(i))
	case i >= -32:
		return append(dst, byte(i))
	case i >= math.MinInt8:
		return append(dst, 0xd0, byte(i))
	case i >= math.MinInt16:
		return binary.BigEndian.AppendUint16(append(dst, 0xd1), uint16(i))
	case i >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(dst, 0xd2), uint32(i))
	default:
		return binary.BigEndian.AppendUint64(append(dst, 0xd3), uint64(i))
	}
}

func appendUint(dst []byte, u uint64) []byte {
	switch {
	case u < 0x80:
		return append(dst, byte(u))
	case u <= math.MaxUint8:
		return append(dst, 0xcc, byte(u))
	case u <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, 0xcd), uint16(u))
	case u <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, 0xce), uint32(u))
	default:
		return binary.BigEndian.AppendUint64(append(dst, 0xcf), u)
	}
}

func appendStr[S string | []byte](dst []byte, s S) []byte {
	switch n := len(s); {
	case n < 32:
		dst = append(dst, 0xa0|byte(n))
	case n <= math.MaxUint8:
		dst = append(dst, 0xd9, byte(n))
	case n <= math.MaxUint16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0xda), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint32(append(dst, 0xdb), uint32(n))
	}
	return append(dst, s...)
}

func appendBin(dst, b []byte) []byte {
	switch n := len(b); {
	case n <= math.MaxUint8:
		dst = append(dst, 0xc4, byte(n))
	case n <= math.MaxUint16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0xc5), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint32(append(dst, 0xc6), uint32(n))
	}
	return append(dst, b...)
}

func appendArrayHeader(dst []byte, n int) []byte {
	switch {
	case n < 16:
		return append(dst, 0x90|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, 0xdc), uint16(n))
	default:
		return binary.BigEndian.AppendUint32(append(dst, 0xdd), uint32(n))
	}
}

func appendMapHeader(dst []byte, n int) []byte {
	switch {
	case n < 16:
		return append(dst, 0x80|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, 0xde), uint16(n))
	default:
		return binary.BigEndian.AppendUint32(append(dst, 0xdf), uint32(n))
	}
}
