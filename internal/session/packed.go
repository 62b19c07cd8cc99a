package session

import (
	"encoding/binary"

	"holdfast/socketio"
)

// packed is an event in the MessagePack form, in parts.
type packed struct {
	namespace string
	id        uint64
	hasID     bool
	count     int      // elements of the array, the name included
	elements  []byte   // their bytes
	whole     [][]byte // the packet without a tail, once somebody has asked for it
}

// pack writes the MessagePack form of an event, one binary message.
func (p *packed) pack(tail string) [][]byte {
	if tail == "" && p.whole != nil {
		return p.whole
	}
	count := p.count
	if tail != "" {
		count++
	}
	data := appendArrayHeader(make([]byte, 0, len(p.elements)+len(tail)+16), count)
	data = append(data, p.elements...)
	if tail != "" {
		data = appendStr(data, tail)
	}
	b := [][]byte{socketio.AppendMsgpackPacket(nil, socketio.Event, p.namespace, p.id, p.hasID, data)}
	if tail == "" {
		p.whole = b
	}
	return b
}

// cutArray splits a MessagePack array into its length and its elements' bytes.
func cutArray(raw []byte) (n int, elements []byte, ok bool) {
	switch {
	case len(raw) >= 1 && raw[0]&0xf0 == 0x90:
		return int(raw[0] & 0x0f), raw[1:], true
	case len(raw) >= 3 && raw[0] == 0xdc:
		return int(binary.BigEndian.Uint16(raw[1:])), raw[3:], true
	case len(raw) >= 5 && raw[0] == 0xdd:
		return int(binary.BigEndian.Uint32(raw[1:])), raw[5:], true
	}
	return 0, nil, false
}

func appendArrayHeader(dst []byte, n int) []byte {
	switch {
	case n < 16:
		return append(dst, 0x90|byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 0xdc), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(dst, 0xdd), uint32(n))
}

func appendStr(dst []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		dst = append(dst, 0xa0|byte(n))
	case n < 1<<8:
		dst = append(dst, 0xd9, byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0xda), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint32(append(dst, 0xdb), uint32(n))
	}
	return append(dst, s...)
}
