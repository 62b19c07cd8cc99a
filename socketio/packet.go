package socketio

import "strconv"

// PacketType is the first digit of a packet.
type PacketType byte

// The packet types of protocols 4 and 5. Type 4 is ERROR in protocol 4.
const (
	Connect PacketType = iota
	Disconnect
	Event
	Ack
	ConnectError
	BinaryEvent
	BinaryAck
)

func (t PacketType) String() string {
	switch t {
	case Connect:
		return "CONNECT"
	case Disconnect:
		return "DISCONNECT"
	case Event:
		return "EVENT"
	case Ack:
		return "ACK"
	case ConnectError:
		return "CONNECT_ERROR"
	case BinaryEvent:
		return "BINARY_EVENT"
	case BinaryAck:
		return "BINARY_ACK"
	default:
		return "packet type " + strconv.Itoa(int(t))
	}
}

// Binary reports whether binary messages follow the packet in the text form.
func (t PacketType) Binary() bool { return t == BinaryEvent || t == BinaryAck }

// withoutBinary gives the type that a binary packet has when nothing is attached to it.
func (t PacketType) withoutBinary() PacketType {
	switch t {
	case BinaryEvent:
		return Event
	case BinaryAck:
		return Ack
	default:
		return t
	}
}

// withBinary gives the type that an event or ack has when something is attached to it.
func (t PacketType) withBinary() PacketType {
	switch t {
	case Event:
		return BinaryEvent
	case Ack:
		return BinaryAck
	default:
		return t
	}
}

// Packet is one Socket.IO packet.
type Packet struct {
	Type      PacketType
	Namespace string // begins with "/"; "/" where the packet has none; [Append] takes "" for "/"
	Query     string // CONNECT of protocol 4 only: what follows the first '?' of the namespace
	HasID     bool   // whether an ack ID was given
	ID        uint64

	// Attachments is the announced number of binary messages. It is 0 unless Type is a binary type, and more than 0 then.
	Attachments int

	// Data is JSON text without white space around it, nil when absent. After Parse it aliases the input.
	Data []byte

	// Binary has the attachments once they are there: [Assembler.Take] and [ParseMsgpack] fill it. [Parse] leaves it nil,
	// and [Append] does not write it: the caller sends each as a binary message of its own.
	Binary [][]byte

	// Msgpack is what ParseMsgpack made Data from, as it came. It aliases the input.
	Msgpack []byte
}

// Limits bounds what a packet may hold. The zero value is useful: a field that is zero has the default that its
// comment names. The packet's size and the time that attachments may take are for the caller to bound.
type Limits struct {
	MaxAttachments int // attachments of a packet; 64
	MaxBinary      int // bytes of all attachments of a packet together; 10 MB (10^7)
	MaxNamespace   int // bytes of a namespace's name; 256
	MaxQuery       int // bytes of a namespace's query; 16 KiB, as it may hold a token
	MaxEventName   int // bytes of an event's name as it stands in the packet, escapes included, its quotes not; 1024

	// Intern makes the string of a namespace other than "/", or of a query. The argument is valid during the call only. nil
	// copies it. A caller that knows its namespaces can return its own string and save the allocation.
	Intern func(b []byte) string
}

// MaxDepth is how deeply arrays and objects may be nested. encoding/json allows 10,000, which costs a reader a large
// stack; applications stay far below both.
const MaxDepth = 512

func (l *Limits) attachments() int { return orDefault(l.MaxAttachments, 64) }
func (l *Limits) binary() int      { return orDefault(l.MaxBinary, 10_000_000) }
func (l *Limits) namespace() int   { return orDefault(l.MaxNamespace, 256) }
func (l *Limits) query() int       { return orDefault(l.MaxQuery, 16<<10) }
func (l *Limits) eventName() int   { return orDefault(l.MaxEventName, 1024) }

func (l *Limits) intern(b []byte) string {
	if l.Intern != nil {
		return l.Intern(b)
	}
	return string(b)
}

func orDefault(v, def int) int {
	if v == 0 {
		return def
	}
	return v
}

// Append appends p in the text form. Data is written as it is. The type follows the attachments: a packet of a binary
// type with none is written as a plain one, because clients refuse "50-" since parsers 4.2.7 and 3.3.6.
//
// The form cannot tell a bare number as the data of a CONNECT_ERROR from an ack ID; do not send one.
func Append(dst []byte, p Packet) []byte {
	t := p.Type
	if p.Attachments == 0 {
		t = t.withoutBinary()
	}
	dst = append(dst, '0'+byte(t))
	if t.Binary() {
		dst = strconv.AppendInt(dst, int64(p.Attachments), 10)
		dst = append(dst, '-')
	}
	query := t == Connect && p.Query != ""
	if nsp := p.Namespace; query || nsp != "" && nsp != "/" {
		if nsp == "" {
			nsp = "/"
		}
		dst = append(dst, nsp...)
		if query {
			dst = append(dst, '?')
			dst = append(dst, p.Query...)
		}
		dst = append(dst, ',')
	}
	if p.HasID {
		dst = strconv.AppendUint(dst, p.ID, 10)
	}
	return append(dst, p.Data...)
}
