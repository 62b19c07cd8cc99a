package wsframe

import (
	"encoding/binary"
	"errors"
	"math"
)

// Opcode says what a frame carries (RFC 6455 section 5.2).
type Opcode byte

// The opcodes of RFC 6455 section 11.8. All others are reserved.
const (
	Continuation Opcode = 0
	Text         Opcode = 1
	Binary       Opcode = 2
	Close        Opcode = 8
	Ping         Opcode = 9
	Pong         Opcode = 10
)

// Control reports whether op is a control frame's: such a frame is never
// fragmented and may come between the fragments of a message (section 5.5).
func (op Opcode) Control() bool { return op&8 != 0 }

// String returns the name that RFC 6455 gives the opcode.
func (op Opcode) String() string {
	switch op {
	case Continuation:
		return "continuation"
	case Text:
		return "text"
	case Binary:
		return "binary"
	case Close:
		return "close"
	case Ping:
		return "ping"
	case Pong:
		return "pong"
	default:
		return "reserved"
	}
}

const (
	// MaxControl is the largest payload of a control frame in bytes (section 5.5).
	MaxControl = 125

	// MaxHeader is the largest header in bytes: two, eight of length, four of mask.
	MaxHeader = 14
)

// The bits of a frame's first two bytes, and the lengths that stand for a longer
// field (section 5.2).
const (
	bitFin  = 1 << 7
	bitRSV1 = 1 << 6
	bitRSV2 = 1 << 5
	bitRSV3 = 1 << 4
	bitMask = 1 << 7

	maskOpcode = 0x0f
	maskLength = 0x7f

	length16 = 126
	length64 = 127
)

// ErrShort is the error of [ParseHeader] when the header has more bytes than it
// was given. Nothing is wrong with those that it was given.
var ErrShort = errors.New("wsframe: header is incomplete")

// Header is what stands before a frame's payload (section 5.2).
type Header struct {
	Fin    bool
	RSV1   bool // set on the first frame of a deflated message (RFC 7692 section 6)
	RSV2   bool
	RSV3   bool
	Masked bool
	Opcode Opcode
	Mask   [4]byte // meaningful when Masked is set
	Length uint64  // of the payload, in bytes
}

// AppendHeader appends h to dst with the shortest form of its length, at most
// [MaxHeader] bytes. It does not judge h: a frame that the protocol forbids is
// written as it is.
func AppendHeader(dst []byte, h Header) []byte {
	b0 := byte(h.Opcode & maskOpcode)
	if h.Fin {
		b0 |= bitFin
	}
	if h.RSV1 {
		b0 |= bitRSV1
	}
	if h.RSV2 {
		b0 |= bitRSV2
	}
	if h.RSV3 {
		b0 |= bitRSV3
	}
	var b1 byte
	if h.Masked {
		b1 = bitMask
	}
	switch {
	case h.Length < length16:
		dst = append(dst, b0, b1|byte(h.Length))
	case h.Length <= math.MaxUint16:
		dst = append(dst, b0, b1|length16)
		dst = binary.BigEndian.AppendUint16(dst, uint16(h.Length))
	default:
		dst = append(dst, b0, b1|length64)
		dst = binary.BigEndian.AppendUint64(dst, h.Length)
	}
	if h.Masked {
		dst = append(dst, h.Mask[:]...)
	}
	return dst
}

// ParseHeader reads the header at the start of b and returns its size n in bytes;
// the payload begins at b[n:]. The error is [ErrShort] when b ends within the
// header, or an *[Error] with [ProtocolError] for what no peer may send, whatever
// was negotiated: a reserved opcode, a control frame that is fragmented or longer
// than [MaxControl], a length that is not in its shortest form or has its top bit
// set. Reserved bits and masking depend on the connection and are left to the
// caller.
func ParseHeader(b []byte) (h Header, n int, err error) {
	if len(b) < 2 {
		return Header{}, 0, ErrShort
	}
	b0, b1 := b[0], b[1]
	h = Header{
		Fin:    b0&bitFin != 0,
		RSV1:   b0&bitRSV1 != 0,
		RSV2:   b0&bitRSV2 != 0,
		RSV3:   b0&bitRSV3 != 0,
		Masked: b1&bitMask != 0,
		Opcode: Opcode(b0 & maskOpcode),
		Length: uint64(b1 & maskLength),
	}
	if err := h.checkOpcode(); err != nil {
		return Header{}, 0, err
	}
	n = 2
	switch h.Length {
	case length16:
		if len(b) < n+2 {
			return Header{}, 0, ErrShort
		}
		h.Length = uint64(binary.BigEndian.Uint16(b[n:]))
		n += 2
		if h.Length < length16 {
			return Header{}, 0, fail(ProtocolError, "length is not in its shortest form")
		}
	case length64:
		if len(b) < n+8 {
			return Header{}, 0, ErrShort
		}
		h.Length = binary.BigEndian.Uint64(b[n:])
		n += 8
		if h.Length <= math.MaxUint16 {
			return Header{}, 0, fail(ProtocolError, "length is not in its shortest form")
		}
		if h.Length > math.MaxInt64 {
			return Header{}, 0, fail(ProtocolError, "length has its top bit set")
		}
	}
	if h.Masked {
		if len(b) < n+4 {
			return Header{}, 0, ErrShort
		}
		h.Mask = [4]byte(b[n:])
		n += 4
	}
	return h, n, nil
}

// checkOpcode refuses what the first two bytes alone show to be wrong, so that
// ParseHeader need not wait for the rest of such a header.
func (h *Header) checkOpcode() error {
	switch h.Opcode {
	case Continuation, Text, Binary:
		return nil
	case Close, Ping, Pong:
		if !h.Fin {
			return fail(ProtocolError, "control frame is fragmented")
		}
		if h.Length > MaxControl {
			return fail(ProtocolError, "control frame is longer than 125 bytes")
		}
		return nil
	default:
		return fail(ProtocolError, "reserved opcode")
	}
}

// AppendFrame appends a whole unmasked frame with FIN set, as a server sends it.
// rsv1 marks payload as deflated (see [AppendDeflated]). payload must not overlap
// the spare capacity of dst.
func AppendFrame(dst []byte, op Opcode, rsv1 bool, payload []byte) []byte {
	dst = AppendHeader(dst, Header{Fin: true, RSV1: rsv1, Opcode: op, Length: uint64(len(payload))})
	return append(dst, payload...)
}

// AppendMaskedFrame appends a whole masked frame with FIN set, as a client sends
// it. The mask must be unpredictable to whoever chose the payload (section 10.3).
// payload is not changed; it must not overlap the spare capacity of dst.
func AppendMaskedFrame(dst []byte, op Opcode, rsv1 bool, mask [4]byte, payload []byte) []byte {
	dst = AppendHeader(dst, Header{
		Fin: true, RSV1: rsv1, Opcode: op, Masked: true, Mask: mask, Length: uint64(len(payload)),
	})
	start := len(dst)
	dst = append(dst, payload...)
	MaskBytes(mask, 0, dst[start:])
	return dst
}
