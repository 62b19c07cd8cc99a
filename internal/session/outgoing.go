package session

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"holdfast/engineio"
	"holdfast/internal/message"
	"holdfast/socketio"
)

// Outgoing is one message in the form in which some sessions get it: encoded once
// and shared by all of them. It is immutable after it was made.
//
// An event's text lacks its closing bracket, and its MessagePack array its
// header, so that each session can add an argument of its own, the offset that it
// recovers from:
//
//	42["cursor",{"x":1}        shared
//	,"k3.1.0-9x"]              the session's tail
type Outgoing struct {
	text        []byte // Engine.IO packet with its type digit; nil: binary
	binary      []byte // one binary message, whole
	attachments [][]byte
	open        bool    // takes a tail
	packed      *packed // an event for MessagePack clients
	volatile    bool    // dropped when the session is not writable
	collapse    string  // replaces an unsent one with the same key
	deflated    []byte  // text, deflated, when that is worth it
}

// packed is an event in the MessagePack form, in parts.
type packed struct {
	namespace string
	id        uint64
	hasID     bool
	count     int    // elements of the array, the name included
	elements  []byte // their bytes
}

// The packets that are the same for everybody.
var (
	packetPing  = &Outgoing{text: []byte("2")}
	packetPong  = &Outgoing{text: []byte("3")}
	packetNoop  = &Outgoing{text: []byte("6")}
	packetClose = &Outgoing{text: []byte("1")}
)

// Form is a way to write a Socket.IO packet.
type Form uint8

// The forms.
const (
	JSON Form = iota
	Msgpack
	Raw
	Forms // how many there are
)

// Form returns the form in which the session takes events.
func (s *Session) Form() Form {
	switch {
	case s.cfg.Raw:
		return Raw
	case s.msgpack:
		return Msgpack
	}
	return JSON
}

// EncodeEvent writes a push for the clients of one namespace that take form. With
// hasID the clients are asked to acknowledge it under id. nil without an error
// means that it is not for them: a raw session has no use for an event's name.
func EncodeEvent(form Form, namespace string, p *message.Push, id uint64, hasID bool) (*Outgoing, error) {
	var (
		o   *Outgoing
		err error
	)
	switch form {
	case Raw:
		o, err = encodeRaw(p)
	case Msgpack:
		o, err = encodeMsgpack(namespace, p, id, hasID)
	default:
		o, err = encodeJSON(namespace, p, id, hasID)
	}
	if o != nil {
		o.volatile, o.collapse = p.Volatile, p.CollapseKey
	}
	return o, err
}

func encodeJSON(namespace string, p *message.Push, id uint64, hasID bool) (*Outgoing, error) {
	if p.Event == "" {
		return nil, nil
	}
	args, attachments := p.Payload.JSON, p.Payload.Attachments
	if p.Payload.Msgpack != nil {
		var err error
		if args, attachments, err = socketio.MsgpackToJSON(p.Payload.Msgpack); err != nil {
			return nil, fmt.Errorf("write the push as JSON: %w", err)
		}
	}
	b := make([]byte, 0, len(args)+len(p.Event)+len(namespace)+32)
	b = append(b, '4')
	if len(attachments) > 0 {
		b = append(b, '5')
		b = strconv.AppendInt(b, int64(len(attachments)), 10)
		b = append(b, '-')
	} else {
		b = append(b, '2')
	}
	if namespace != "/" {
		b = append(b, namespace...)
		b = append(b, ',')
	}
	if hasID {
		b = strconv.AppendUint(b, id, 10)
	}
	b = socketio.AppendEvent(b, p.Event, args)
	return &Outgoing{text: b[:len(b)-1], open: true, attachments: attachments}, nil
}

func encodeMsgpack(namespace string, p *message.Push, id uint64, hasID bool) (*Outgoing, error) {
	if p.Event == "" {
		return nil, nil
	}
	raw := p.Payload.Msgpack
	if raw == nil {
		args := p.Payload.JSON
		if len(args) == 0 {
			args = []byte("[]")
		}
		var err error
		if raw, err = socketio.JSONToMsgpack(nil, args, p.Payload.Attachments); err != nil {
			return nil, fmt.Errorf("write the push as MessagePack: %w", err)
		}
	}
	count, elements, ok := cutArray(raw)
	if !ok {
		return nil, fmt.Errorf("write the push as MessagePack: the arguments are not an array")
	}
	return &Outgoing{open: true, packed: &packed{
		namespace: namespace, id: id, hasID: hasID, count: count + 1,
		elements: append(appendStr(nil, p.Event), elements...),
	}}, nil
}

// encodeRaw sends ["text"] as a text message and a lone attachment as a binary one.
func encodeRaw(p *message.Push) (*Outgoing, error) {
	if p.Event != "" {
		return nil, nil
	}
	if len(p.Payload.Attachments) == 1 {
		return &Outgoing{binary: p.Payload.Attachments[0]}, nil
	}
	text, err := soleString(p.Payload.JSON)
	if err != nil {
		return nil, err
	}
	return &Outgoing{text: append([]byte{'4'}, text...)}, nil
}

// soleString is the text in ["text"].
func soleString(args []byte) (string, error) {
	var texts []string
	if err := json.Unmarshal(args, &texts); err != nil || len(texts) != 1 {
		return "", errors.New(`a push to a raw Engine.IO session takes ["text"] or one attachment`)
	}
	return texts[0], nil
}

// size is what the message costs in a queue, in bytes.
func (o *Outgoing) size() int {
	n := len(o.text) + len(o.binary)
	for _, a := range o.attachments {
		n += len(a)
	}
	if o.packed != nil {
		n += len(o.packed.elements) + 32
	}
	return n
}

// Text tells whether the message begins with a text frame on a WebSocket, and how
// many bytes that has with the tail.
func (o *Outgoing) Text(tail string) (size int, ok bool) {
	if o.text == nil {
		return 0, false
	}
	size = len(o.text)
	if o.open {
		size++
		if tail != "" {
			size += len(tail) + 3
		}
	}
	return size, true
}

// AppendText appends the text that [Outgoing.Text] speaks of.
func (o *Outgoing) AppendText(dst []byte, tail string) []byte {
	return o.appendEnd(append(dst, o.text...), tail)
}

// Deflated returns the shared part of the text, compressed once by deflate for all
// who get it, and AppendEnd what follows it for one of them.
func (o *Outgoing) Deflated(deflate func(text []byte) []byte) []byte {
	if o.deflated == nil {
		o.deflated = deflate(o.text)
	}
	return o.deflated
}

// AppendEnd appends what follows the shared part of the text; see Deflated.
func (o *Outgoing) AppendEnd(dst []byte, tail string) []byte { return o.appendEnd(dst, tail) }

// Binaries returns the binary messages, after the text if there is one.
func (o *Outgoing) Binaries(tail string) [][]byte {
	switch {
	case o.packed != nil:
		return [][]byte{o.packed.pack(tail)}
	case o.binary != nil:
		return [][]byte{o.binary}
	}
	return o.attachments
}

func (o *Outgoing) appendEnd(dst []byte, tail string) []byte {
	if !o.open {
		return dst
	}
	if tail != "" {
		dst = append(dst, `,"`...)
		dst = append(dst, tail...) // made of letters that need no escaping
		dst = append(dst, '"')
	}
	return append(dst, ']')
}

// pack writes the MessagePack form of an event.
func (p *packed) pack(tail string) []byte {
	count := p.count
	if tail != "" {
		count++
	}
	data := appendArrayHeader(make([]byte, 0, len(p.elements)+len(tail)+16), count)
	data = append(data, p.elements...)
	if tail != "" {
		data = appendStr(data, tail)
	}
	return socketio.AppendMsgpackPacket(nil, socketio.Event, p.namespace, p.id, p.hasID, data)
}

// appendPackets gives the message as Engine.IO packets, for a polling payload.
func (o *Outgoing) appendPackets(dst []engineio.Packet, tail string) []engineio.Packet {
	switch {
	case o.packed != nil:
		return append(dst, engineio.Packet{Type: engineio.Message, Binary: true, Data: o.packed.pack(tail)})
	case o.text == nil:
		return append(dst, engineio.Packet{Type: engineio.Message, Binary: true, Data: o.binary})
	}
	data := o.text[1:]
	if o.open {
		data = o.appendEnd(append(make([]byte, 0, len(data)+len(tail)+4), data...), tail)
	}
	dst = append(dst, engineio.Packet{Type: engineio.PacketType(o.text[0] - '0'), Data: data})
	for _, a := range o.attachments {
		dst = append(dst, engineio.Packet{Type: engineio.Message, Binary: true, Data: a})
	}
	return dst
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

// AppendBinaryFrame writes a binary message in the way that the session's client
// takes it on a WebSocket: frame appends one frame.
func (s *Session) AppendBinaryFrame(dst, data []byte, frame func(dst []byte, binary bool, payload []byte) []byte) []byte {
	switch {
	case s.hello.Version == 3 && s.hello.Base64:
		return frame(dst, false, engineio.AppendBase64(3, nil, data))
	case s.hello.Version == 3:
		return frame(dst, true, engineio.AppendBinary(3, nil, data))
	}
	return frame(dst, true, data)
}
