package socketio

import (
	"math"
	"strconv"
	"time"
)

// MsgpackToJSON converts one MessagePack value to JSON text as [ParseMsgpack] does for a packet's data, within the default
// [Limits]. attachments are the binary values in the order of their placeholders; they alias raw.
//
// The text has at most some six bytes for each byte of raw, and some thirty for each attachment.
func MsgpackToJSON(raw []byte) (json []byte, attachments [][]byte, err error) {
	r := reader{data: raw}
	w := jsonWriter{reader: &r, lim: &Limits{}}
	if json, attachments, err = w.convert(); err != nil {
		return nil, nil, err
	}
	if r.pos != len(raw) {
		return nil, nil, malformed("something follows the MessagePack value")
	}
	return json, attachments, nil
}

// jsonWriter writes the values of a reader as JSON text.
type jsonWriter struct {
	reader *reader
	lim    *Limits

	out    []byte
	binary [][]byte
	size   int // bytes of binary together
	depth  int
}

func (w *jsonWriter) convert() ([]byte, [][]byte, error) {
	t, err := w.reader.next()
	if err != nil {
		return nil, nil, err
	}
	if err = w.value(t); err != nil {
		return nil, nil, err
	}
	if len(w.binary) > 0 {
		// Each attachment has its placeholder, so a map of the sender's that looks like one is now a second
		// reference to the same attachment, or one to none.
		if err = CheckPlaceholders(w.out, len(w.binary)); err != nil {
			return nil, nil, err
		}
	}
	return w.out, w.binary, nil
}

func (w *jsonWriter) value(t token) error {
	switch t.kind {
	case kindNil, kindUndefined:
		w.out = append(w.out, "null"...)
	case kindBool:
		w.out = strconv.AppendBool(w.out, t.u == 1)
	case kindUint:
		w.out = strconv.AppendUint(w.out, t.u, 10)
	case kindInt:
		w.out = strconv.AppendInt(w.out, t.i, 10)
	case kindFloat:
		w.out = appendFloat(w.out, t.f)
	case kindStr:
		w.out = AppendString(w.out, string(t.body))
	case kindDate:
		w.out = appendDate(w.out, t.i)
	case kindBin:
		return w.attach(t.body)
	case kindArray:
		return w.array(t.n)
	case kindMap:
		return w.object(t.n)
	}
	return nil
}

func (w *jsonWriter) attach(b []byte) error {
	if len(w.binary) >= w.lim.attachments() {
		return overLimit("the packet has more than %d attachments", w.lim.attachments())
	}
	if len(b) > w.lim.binary()-w.size {
		return overLimit("the packet's attachments are larger than %d bytes", w.lim.binary())
	}
	w.out = append(w.out, `{"_placeholder":true,"num":`...)
	w.out = strconv.AppendInt(w.out, int64(len(w.binary)), 10)
	w.out = append(w.out, '}')
	w.size += len(b)
	w.binary = append(w.binary, b)
	return nil
}

func (w *jsonWriter) array(n int) error {
	if err := w.descend(); err != nil {
		return err
	}
	w.out = append(w.out, '[')
	for i := range n {
		if i > 0 {
			w.out = append(w.out, ',')
		}
		t, err := w.reader.next()
		if err != nil {
			return err
		}
		if err = w.value(t); err != nil {
			return err
		}
	}
	w.out = append(w.out, ']')
	w.depth--
	return nil
}

func (w *jsonWriter) object(n int) error {
	if err := w.descend(); err != nil {
		return err
	}
	w.out = append(w.out, '{')
	first := true
	for range n {
		before := len(w.out)
		if !first {
			w.out = append(w.out, ',')
		}
		if err := w.key(); err != nil {
			return err
		}
		t, err := w.reader.next()
		if err != nil {
			return err
		}
		if t.kind == kindUndefined {
			// JSON.stringify leaves such a member out.
			w.out = w.out[:before]
			continue
		}
		if err = w.value(t); err != nil {
			return err
		}
		first = false
	}
	w.out = append(w.out, '}')
	w.depth--
	return nil
}

func (w *jsonWriter) key() error {
	t, err := w.reader.next()
	if err != nil {
		return err
	}
	switch t.kind {
	case kindStr:
		w.out = AppendString(w.out, string(t.body))
	case kindUint:
		w.out = append(strconv.AppendUint(append(w.out, '"'), t.u, 10), '"')
	case kindInt:
		w.out = append(strconv.AppendInt(append(w.out, '"'), t.i, 10), '"')
	default:
		return malformed("the key before byte %d is neither text nor an integer", w.reader.pos)
	}
	w.out = append(w.out, ':')
	return nil
}

func (w *jsonWriter) descend() error {
	if w.depth++; w.depth > MaxDepth {
		return overLimit("the MessagePack value is nested more than %d deep", MaxDepth)
	}
	return nil
}

// appendFloat writes a number as JavaScript does: plain digits from 1e-6 up to 1e21, and null for what JSON lacks.
func appendFloat(dst []byte, f float64) []byte {
	abs := math.Abs(f)
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return append(dst, "null"...)
	case abs == 0:
		return append(dst, '0')
	case abs >= 1e-6 && abs < 1e21:
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// strconv writes two digits of exponent at least: 1e-07.
	if n := len(dst); dst[n-4] == 'e' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

// maxDate is the largest number of milliseconds before and after 1970 that a JavaScript date holds.
const maxDate = 8_640_000_000_000_000

// appendDate writes what JavaScript's toJSON gives for a date: years outside of 0 to 9999 have a sign and six digits.
func appendDate(dst []byte, ms int64) []byte {
	if ms < -maxDate || ms > maxDate {
		return append(dst, "null"...)
	}
	t := time.UnixMilli(ms).UTC()
	dst = append(dst, '"')
	if y := t.Year(); y < 0 || y > 9999 {
		sign := byte('+')
		if y < 0 {
			sign, y = '-', -y
		}
		dst = append(dst, sign)
		for unit := 100_000; unit > 0; unit /= 10 {
			dst = append(dst, '0'+byte(y/unit%10))
		}
		dst = t.AppendFormat(dst, "-01-02T15:04:05.000Z")
	} else {
		dst = t.AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	}
	return append(dst, '"')
}
