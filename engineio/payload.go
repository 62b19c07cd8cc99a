package engineio

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// DefaultMaxPackets bounds the packets of one payload where Limits does not. The
// body's size bounds the bytes but lets a megabyte hold half a million empty
// packets, each of which costs far more to act on than it costs to send. A stock
// client flushes in one body all that it buffered while it was offline, so the
// bound leaves room for a long absence.
const DefaultMaxPackets = 16384

// separator stands between the packets of an Engine.IO 4 payload.
const separator = 0x1e

// Limits bounds what ParsePayload takes. The zero value is useful. The size of
// the body is for the caller to bound before it reads it.
type Limits struct {
	MaxPackets int // packets in one payload; 0 means DefaultMaxPackets
}

func (l Limits) maxPackets() int {
	if l.MaxPackets <= 0 {
		return DefaultMaxPackets
	}
	return l.MaxPackets
}

// ParsePayload reads the body of a polling request (or, on a client, of its
// answer) and calls each with every packet in order. octets says that the body
// came as application/octet-stream, which only Engine.IO 3 allows.
//
// A packet's Data aliases body, except that of a base64 message, which is new.
// Packets before a malformed one have been handed over when the error returns:
// ErrEmpty, ErrType, ErrBase64, ErrUTF8, ErrLength, ErrTooMany or ErrOctets, with
// the packet's index around it. An error of each ends the reading and is returned
// as it is. In the text form of Engine.IO 3 a packet of length zero is skipped.
//
// Text that is not UTF-8 is refused as a whole: it could not be passed on to a
// WebSocket without breaking that one, and stock clients never send it, not even
// for a lone surrogate, which leaves them as U+FFFD.
func ParsePayload(v Version, body []byte, octets bool, lim Limits, each func(Packet) error) error {
	if len(body) == 0 {
		return ErrEmpty
	}
	if octets && v != V3 {
		return ErrOctets
	}
	if !octets && !utf8.Valid(body) {
		return ErrUTF8
	}
	next := next4
	if v == V3 {
		next = next3Text
		if octets {
			next = next3Octets
		}
	}
	limit := lim.maxPackets()
	for i := 0; len(body) > 0; i++ {
		if i == limit {
			return fmt.Errorf("read packet %d of payload: %w", i, ErrTooMany)
		}
		p, rest, skip, err := next(body)
		if err != nil {
			return fmt.Errorf("read packet %d of payload: %w", i, err)
		}
		body = rest
		if skip {
			continue
		}
		if err := each(p); err != nil {
			return err
		}
	}
	return nil
}

// next4 takes the first packet off an Engine.IO 4 payload. A separator at the
// very end announces one more packet, which is missing, so it is ErrEmpty here.
func next4(body []byte) (p Packet, rest []byte, skip bool, err error) {
	one := body
	if end := bytes.IndexByte(body, separator); end >= 0 {
		one, rest = body[:end:end], body[end+1:]
		if len(rest) == 0 {
			return Packet{}, nil, false, ErrEmpty
		}
	}
	p, err = ParseText(V4, one)
	return p, rest, false, err
}

// AppendPayload appends the body that carries packets, and says whether it is
// binary, to be sent as application/octet-stream, or text. base64 says that the
// client cannot take binary bodies (the handshake's b64 query parameter, or
// JSONP). A binary body comes about only in Engine.IO 3, when base64 is false and
// one of the packets is binary.
//
// A poll is not to be answered without packets: send a Noop. For none, Engine.IO
// 3 gives its empty payload `0:` and Engine.IO 4 gives nothing.
//
// Text of a payload must be UTF-8, and in Engine.IO 4 must not hold the separator
// 0x1e: one client's text could else put packets of its choice into another's
// session. Such bytes become U+FFFD. Valid JSON never has the separator.
func AppendPayload(dst []byte, v Version, packets []Packet, base64 bool) (out []byte, binary bool) {
	if v != V3 {
		return appendPayload4(dst, packets), false
	}
	if !base64 {
		for i := range packets {
			if packets[i].Binary {
				return appendOctets3(dst, packets), true
			}
		}
	}
	return appendText3(dst, packets), false
}

func appendPayload4(dst []byte, packets []Packet) []byte {
	for i, p := range packets {
		if i > 0 {
			dst = append(dst, separator)
		}
		if p.Binary {
			dst = AppendBase64(V4, dst, p.Data)
			continue
		}
		dst = append(dst, p.Type.Byte())
		start := len(dst)
		dst = appendUTF8(dst, p.Data)
		if bytes.IndexByte(dst[start:], separator) >= 0 {
			clean := bytes.ReplaceAll(dst[start:], []byte{separator}, []byte(replacement))
			dst = append(dst[:start], clean...)
		}
	}
	return dst
}
