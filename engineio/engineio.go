// Package engineio reads and writes the packets of Engine.IO 3 and 4: single
// ones as WebSocket frames carry them, and the payloads that join several in
// one body of HTTP long-polling. Bytes go in and bytes come out; sessions,
// heartbeats and HTTP live elsewhere.
//
// A packet is a type and data. In text form the type is one ASCII digit:
//
//	+------+---------+      0 open     3 pong      6 noop
//	| type |  data   |      1 close    4 message
//	| '0'… |  UTF-8  |      2 ping     5 upgrade
//	+------+---------+
//
// Only messages can be binary, and the two versions write them differently:
//
//	                 Engine.IO 3             Engine.IO 4
//	binary frame     04 <bytes>              <bytes>
//	in text          "b4" <base64>           "b" <base64>
//
// A payload of Engine.IO 4 is text; packets are set apart by one byte, 0x1e,
// which the JSON inside them never holds unescaped:
//
//	packet 1e packet 1e packet
//
// One of Engine.IO 3 has two forms. The text form counts each packet, its type
// included, in UTF-16 code units, because that is what a JavaScript string
// calls its length; a packet outside the basic plane thus counts more than its
// characters and less than its bytes:
//
//	<decimal length> ':' packet <decimal length> ':' packet …
//
// The binary form (application/octet-stream) writes the digits of the length as
// the values 0 to 9, and counts bytes:
//
//	+----+--------+----+----------------+
//	| 00 | digits | ff | "4" UTF-8 text |    a text packet
//	+----+--------+----+----------------+
//	| 01 | digits | ff | 04 bytes       |    a binary message
//	+----+--------+----+----------------+
//
// The specification is the Engine.IO protocol, revisions 3 and 4:
// https://socket.io/docs/v4/engine-io-protocol/.
package engineio

// Version is the revision of the protocol that a session speaks, the value of
// its EIO query parameter. Functions that take a Version treat V3 as revision 3
// and every other value as revision 4.
type Version uint8

// The revisions that stock clients speak: V3 those of socket.io-client 1 and 2,
// V4 those of 3 and 4.
const (
	V3 Version = 3
	V4 Version = 4
)

// ParseVersion reads the EIO query parameter. Only "3" and "4" are versions; the
// answer to anything else is UnsupportedVersion.
func ParseVersion(eio string) (Version, bool) {
	switch eio {
	case "3":
		return V3, true
	case "4":
		return V4, true
	}
	return 0, false
}

// PacketType says what a packet is for ("Packet types" of the specification).
type PacketType byte

// The packet types, by their number on the wire.
const (
	Open    PacketType = 0 // server to client: the session's parameters
	Close   PacketType = 1 // ends the session; polling only
	Ping    PacketType = 2 // from the server in Engine.IO 4, from the client in 3 and in a probe
	Pong    PacketType = 3 // the answer to a ping, with the ping's data
	Message PacketType = 4 // application data, the only type that may be binary
	Upgrade PacketType = 5 // client to server: the WebSocket takes over now
	Noop    PacketType = 6 // answers a pending poll during an upgrade
)

// Byte returns the ASCII digit that stands for t in the text form.
func (t PacketType) Byte() byte { return '0' + byte(t) }

// String returns the specification's name of t.
func (t PacketType) String() string {
	switch t {
	case Open:
		return "open"
	case Close:
		return "close"
	case Ping:
		return "ping"
	case Pong:
		return "pong"
	case Message:
		return "message"
	case Upgrade:
		return "upgrade"
	case Noop:
		return "noop"
	}
	return "unknown"
}

// Packet is one Engine.IO packet.
type Packet struct {
	Type   PacketType
	Binary bool   // Data is bytes rather than text; only if Type is Message
	Data   []byte // without the type; each parser says whether it aliases the input
}

// Error is what a parser says of input that breaks the protocol. Parsers may
// wrap it: compare with errors.Is.
type Error string

// Error implements error.
func (e Error) Error() string { return "engineio: " + string(e) }

// What can be wrong with the input.
const (
	ErrEmpty    Error = "empty packet or payload"
	ErrType     Error = "unknown packet type"
	ErrBase64   Error = "malformed base64"
	ErrUTF8     Error = "text is not UTF-8"
	ErrLength   Error = "malformed or wrong length of a packet"
	ErrTooMany  Error = "too many packets in one payload"
	ErrOctets   Error = "binary payload in Engine.IO 4"
	ErrForm     Error = "malformed form of a JSONP request"
	ErrCallback Error = "JSONP callback index is not a number"
	ErrOpen     Error = "malformed open packet"
)

var _ error = Error("")
