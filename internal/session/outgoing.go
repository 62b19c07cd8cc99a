package session

import "holdfast/engineio"

// Outgoing is one message in the form in which some sessions get it: encoded once
// and shared by all of them. It belongs to one shard; after it was made nothing of
// it changes but what it remembers of its own forms.
//
// An event's text lacks its closing bracket, and its MessagePack array its
// header, so that each session can add an argument of its own, the offset that it
// recovers from:
//
//	42["cursor",{"x":1}        shared
//	,"k3.1.0-9x"]              the session's tail
//
// An event that asks for an acknowledgement takes no tail: the client would hand it
// to the application in the place of the callback.
type Outgoing struct {
	text        []byte   // Engine.IO packet with its type digit; nil: none
	attachments [][]byte // binary messages, after the text if there is one
	open        bool     // takes a tail
	packed      *packed  // an event for MessagePack clients
	volatile    bool     // dropped when the session is not writable
	collapse    string   // replaces an unsent one with the same; "" never does
	deflated    []byte   // text, deflated, when that is worth it
	lone        bool     // for one session alone, which has the only reference to it
}

// The packets that are the same for everybody.
var (
	packetPing  = &Outgoing{text: []byte("2")}
	packetPong  = &Outgoing{text: []byte("3")}
	packetNoop  = &Outgoing{text: []byte("6")}
	packetClose = &Outgoing{text: []byte("1")}
)

// size is what the message costs in a queue, in bytes.
func (o *Outgoing) size() int {
	n := len(o.text)
	for _, a := range o.attachments {
		n += len(a)
	}
	if o.packed != nil {
		n += len(o.packed.elements) + 32
	}
	return n
}

// Text returns the part that all share of the text frame with which the message begins
// on a WebSocket, and how many bytes that frame carries with what [Outgoing.AppendEnd]
// has for one of them; nil when it begins with none. Nobody may change the part: it is
// the same for all, and for as long as somebody refers to it.
func (o *Outgoing) Text(tail string) (shared []byte, size int) {
	size = len(o.text)
	if o.open {
		size++
		if tail != "" {
			size += len(tail) + 3
		}
	}
	return o.text, size
}

// Deflated returns the shared part of the text, compressed once by deflate for all
// who get it, and AppendEnd what follows it for one of them. It is shared as that is.
func (o *Outgoing) Deflated(deflate func(text []byte) []byte) []byte {
	if len(o.text) == 1 {
		return deflate(o.text) // one of the packets above, which other shards have as well
	}
	if o.deflated == nil {
		o.deflated = deflate(o.text)
	}
	return o.deflated
}

// AppendEnd appends what follows the shared part of the text for one who gets it.
func (o *Outgoing) AppendEnd(dst []byte, tail string) []byte {
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

// Binaries returns the binary messages, after the text if there is one. Nobody may
// change them.
func (o *Outgoing) Binaries(tail string) [][]byte {
	if o.packed != nil {
		return o.packed.pack(tail)
	}
	return o.attachments
}

// appendPackets gives the message as Engine.IO packets, for a polling payload.
func (o *Outgoing) appendPackets(dst []engineio.Packet, tail string) []engineio.Packet {
	if o.text != nil {
		data := o.text[1:]
		if o.open {
			data = o.AppendEnd(append(make([]byte, 0, len(data)+len(tail)+4), data...), tail)
		}
		dst = append(dst, engineio.Packet{Type: engineio.PacketType(o.text[0] - '0'), Data: data})
	}
	for _, b := range o.Binaries(tail) {
		dst = append(dst, engineio.Packet{Type: engineio.Message, Binary: true, Data: b})
	}
	return dst
}

// binaryHead begins a binary frame of Engine.IO 3.
var binaryHead = engineio.AppendBinary(3, nil, nil)

// BinaryFrame returns what a frame carries that brings a binary message to the session's
// client on a WebSocket: head and behind it payload, in a binary frame or a text one.
func (s *Session) BinaryFrame(data []byte) (binary bool, head, payload []byte) {
	switch {
	case s.hello.Version == 3 && s.hello.Base64:
		return false, nil, engineio.AppendBase64(3, nil, data)
	case s.hello.Version == 3:
		return true, binaryHead, data
	}
	return true, nil, data
}
