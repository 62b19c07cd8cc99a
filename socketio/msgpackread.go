package socketio

import (
	"encoding/binary"
	"math"
	"time"
	"unicode/utf8"
)

// kind is what a MessagePack value is, with notepack's own use of ext type 0 told apart.
type kind uint8

const (
	kindNone kind = iota
	kindNil
	kindUndefined
	kindBool
	kindUint // an integer that is not negative, whichever form it came in
	kindInt  // a negative integer
	kindFloat
	kindStr
	kindBin
	kindArray
	kindMap
	kindDate
)

// token is one value, or the header of an array or a map.
type token struct {
	kind kind
	u    uint64  // kindUint; kindBool as 0 or 1
	i    int64   // kindInt; kindDate as milliseconds since 1970
	f    float64 // kindFloat
	n    int     // kindArray: elements; kindMap: pairs
	body []byte  // kindStr, kindBin; aliases the input
}

// reader reads tokens. It trusts no length: a string must be there in full, and an array or map is refused when there
// are fewer bytes left than it announces values.
type reader struct {
	data []byte
	pos  int
}

func (r *reader) next() (token, error) {
	head, err := r.take(1)
	if err != nil {
		return token{}, err
	}
	switch c := head[0]; {
	case c < 0x80:
		return token{kind: kindUint, u: uint64(c)}, nil
	case c < 0x90:
		return r.container(kindMap, int(c&0x0f))
	case c < 0xa0:
		return r.container(kindArray, int(c&0x0f))
	case c < 0xc0:
		return r.str(int(c & 0x1f))
	case c >= 0xe0:
		return token{kind: kindInt, i: int64(int8(c))}, nil
	case c == 0xc0:
		return token{kind: kindNil}, nil
	case c == 0xc2 || c == 0xc3:
		return token{kind: kindBool, u: uint64(c & 1)}, nil
	case c >= 0xc4 && c <= 0xc6: // bin 8, 16, 32
		return r.bin(1 << (c - 0xc4))
	case c >= 0xc7 && c <= 0xc9: // ext 8, 16, 32
		return r.ext(1 << (c - 0xc7))
	case c >= 0xca && c <= 0xd3:
		return r.numeric(c)
	case c >= 0xd4 && c <= 0xd8: // fixext 1, 2, 4, 8, 16
		return r.fixext(1 << (c - 0xd4))
	case c >= 0xd9: // str 8, 16, 32, array 16, 32, map 16, 32
		return r.sized(c)
	default:
		return token{}, malformed("the MessagePack value at byte %d is of no type", r.pos-1)
	}
}

func (r *reader) sized(c byte) (token, error) {
	width := [...]int{1, 2, 4, 2, 4, 2, 4}[c-0xd9]
	n, err := r.length(width)
	if err != nil {
		return token{}, err
	}
	switch {
	case c <= 0xdb:
		return r.str(n)
	case c <= 0xdd:
		return r.container(kindArray, n)
	default:
		return r.container(kindMap, n)
	}
}

func (r *reader) container(k kind, n int) (token, error) {
	left := len(r.data) - r.pos
	if k == kindMap {
		left /= 2
	}
	if n < 0 || n > left {
		return token{}, malformed("the MessagePack value before byte %d announces more than there is", r.pos)
	}
	return token{kind: k, n: n}, nil
}

// str refuses what is not UTF-8: a browser's reader throws on it, so passing it on would cut other clients off.
func (r *reader) str(n int) (token, error) {
	b, err := r.take(n)
	if err != nil {
		return token{}, err
	}
	if !utf8.Valid(b) {
		return token{}, malformed("the string before byte %d is not valid UTF-8", r.pos)
	}
	return token{kind: kindStr, body: b}, nil
}

func (r *reader) bin(width int) (token, error) {
	n, err := r.length(width)
	if err != nil {
		return token{}, err
	}
	b, err := r.take(n)
	return token{kind: kindBin, body: b}, err
}

// numeric reads float 32, 64, uint 8 to 64 and int 8 to 64, which have neighbouring heads.
func (r *reader) numeric(c byte) (token, error) {
	width := [...]int{4, 8, 1, 2, 4, 8, 1, 2, 4, 8}[c-0xca]
	b, err := r.take(width)
	if err != nil {
		return token{}, err
	}
	u := bigEndian(b)
	switch {
	case c == 0xca:
		return token{kind: kindFloat, f: float64(math.Float32frombits(uint32(u)))}, nil
	case c == 0xcb:
		return token{kind: kindFloat, f: math.Float64frombits(u)}, nil
	case c <= 0xcf:
		return token{kind: kindUint, u: u}, nil
	}
	shift := 64 - 8*width
	i := int64(u<<shift) >> shift
	if i >= 0 {
		return token{kind: kindUint, u: uint64(i)}, nil
	}
	return token{kind: kindInt, i: i}, nil
}

// ext reads the forms with a length. Type 0 is an ArrayBuffer to notepack; the timestamp is there for other writers.
func (r *reader) ext(width int) (token, error) {
	n, err := r.length(width)
	if err != nil {
		return token{}, err
	}
	typ, err := r.take(1)
	if err != nil {
		return token{}, err
	}
	b, err := r.take(n)
	if err != nil {
		return token{}, err
	}
	switch {
	case typ[0] == 0:
		return token{kind: kindBin, body: b}, nil
	case int8(typ[0]) == -1 && n == 12:
		return timestamp(int64(binary.BigEndian.Uint64(b[4:])), binary.BigEndian.Uint32(b))
	default:
		return token{}, malformed("ext type %d with %d bytes is unknown", int8(typ[0]), n)
	}
}

// fixext reads the forms without a length. Type 0 is undefined with 1 byte and a date with 8 to notepack.
func (r *reader) fixext(n int) (token, error) {
	b, err := r.take(1 + n)
	if err != nil {
		return token{}, err
	}
	typ, b := int8(b[0]), b[1:]
	switch {
	case typ == 0 && n == 1:
		return token{kind: kindUndefined}, nil
	case typ == 0 && n == 8:
		return token{kind: kindDate, i: int64(bigEndian(b))}, nil
	case typ == -1 && n == 4:
		return timestamp(int64(bigEndian(b)), 0)
	case typ == -1 && n == 8:
		u := bigEndian(b)
		return timestamp(int64(u&(1<<34-1)), uint32(u>>34))
	default:
		return token{}, malformed("ext type %d with %d bytes is unknown", typ, n)
	}
}

func timestamp(sec int64, nsec uint32) (token, error) {
	if nsec >= uint32(time.Second) {
		return token{}, malformed("a timestamp has a second or more of nanoseconds")
	}
	// Far beyond what a JavaScript date holds, which jsonWriter turns to null; cut so that the product does not overflow.
	sec = min(max(sec, -maxDate), maxDate)
	return token{kind: kindDate, i: sec*1000 + int64(nsec/1_000_000)}, nil
}

// skip passes one value with all that is in it. It counts instead of calling itself, so no depth is too great.
func (r *reader) skip() error {
	for left := 1; left > 0; left-- {
		t, err := r.next()
		if err != nil {
			return err
		}
		switch t.kind {
		case kindArray:
			left += t.n
		case kindMap:
			left += 2 * t.n
		}
	}
	return nil
}

func (r *reader) length(width int) (int, error) {
	b, err := r.take(width)
	return int(bigEndian(b)), err
}

func (r *reader) take(n int) ([]byte, error) {
	if n < 0 || n > len(r.data)-r.pos {
		return nil, malformed("the MessagePack value at byte %d is cut off", r.pos)
	}
	b := r.data[r.pos : r.pos+n : r.pos+n]
	r.pos += n
	return b, nil
}

func bigEndian(b []byte) (u uint64) {
	for _, c := range b {
		u = u<<8 | uint64(c)
	}
	return u
}
