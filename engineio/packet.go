package engineio

import "encoding/base64"

// The type of a binary message in Engine.IO 3 is a value, not a digit.
const binaryMessage = byte(Message)

// ParseText reads one packet in text form: a WebSocket text frame, or one packet
// of a payload. A message in base64 (`b…` in Engine.IO 4, `b4…` in 3) comes back
// as a binary one.
//
// Data aliases b, except that of a base64 message, which is new. The errors are
// ErrEmpty, ErrType and ErrBase64. Whether b is UTF-8 is not checked: a WebSocket
// has done it already, and ParsePayload does it for whole bodies.
func ParseText(v Version, b []byte) (Packet, error) {
	if len(b) == 0 {
		return Packet{}, ErrEmpty
	}
	if b[0] == 'b' {
		return parseBase64(v, b[1:])
	}
	if b[0] < Open.Byte() || b[0] > Noop.Byte() {
		return Packet{}, ErrType
	}
	return Packet{Type: PacketType(b[0] - '0'), Data: b[1:]}, nil
}

// parseBase64 reads what follows the 'b'. Browsers pad, and some encoders of
// other languages do not; both are unambiguous, so both are taken.
func parseBase64(v Version, b []byte) (Packet, error) {
	if v == V3 {
		if len(b) == 0 || b[0] != Message.Byte() {
			return Packet{}, ErrType
		}
		b = b[1:]
	}
	enc := base64.RawStdEncoding
	if len(b) > 0 && b[len(b)-1] == '=' {
		enc = base64.StdEncoding
	}
	data, err := enc.AppendDecode(nil, b)
	if err != nil {
		return Packet{}, ErrBase64
	}
	return Packet{Type: Message, Binary: true, Data: data}, nil
}

// ParseBinary reads one WebSocket binary frame. In Engine.IO 4 all of it is the
// message, which may be empty; in Engine.IO 3 a byte 0x04 comes first, and any
// other is ErrType, its absence ErrEmpty. Data aliases b.
func ParseBinary(v Version, b []byte) (Packet, error) {
	if v == V3 {
		if len(b) == 0 {
			return Packet{}, ErrEmpty
		}
		if b[0] != binaryMessage {
			return Packet{}, ErrType
		}
		b = b[1:]
	}
	return Packet{Type: Message, Binary: true, Data: b}, nil
}

// AppendText appends p in text form, its digit and its data, whatever p.Binary
// says. It is the same in both versions.
func AppendText(dst []byte, p Packet) []byte {
	dst = append(dst, p.Type.Byte())
	return append(dst, p.Data...)
}

// AppendBinary appends a binary message as a WebSocket binary frame carries it.
// In Engine.IO 4 that is data itself, so a caller that need not copy may send
// data as it is.
func AppendBinary(v Version, dst, data []byte) []byte {
	if v == V3 {
		dst = append(dst, binaryMessage)
	}
	return append(dst, data...)
}

// AppendBase64 appends a binary message in text form, for payloads and for
// clients that asked for text with the b64 query parameter.
func AppendBase64(v Version, dst, data []byte) []byte {
	dst = append(dst, 'b')
	if v == V3 {
		dst = append(dst, Message.Byte())
	}
	return base64.StdEncoding.AppendEncode(dst, data)
}
