package socketio

import (
	"bytes"
	"unicode/utf8"
)

// Parse reads one packet of the text form and checks it as stock servers do, and a little more strictly: the data is
// valid JSON in UTF-8; CONNECT has an object or nothing; DISCONNECT nothing; an event an array that begins with a name
// (a string or a number) that is not one of Socket.IO's own; an ack an array. Placeholders are not looked at:
// see [CheckPlaceholders].
//
// A binary packet that announces no attachment is whole as it stands, and is given as its plain type.
//
// The packet's Data aliases b. Errors are of type *[Error]; by the protocol the transport closes on each.
func Parse(b []byte, lim Limits) (Packet, error) {
	p := Packet{Namespace: "/"}
	if len(b) == 0 {
		return Packet{}, malformed("the packet is empty")
	}
	if b[0] < '0' || b[0] > '6' {
		return Packet{}, malformed("the packet type is unknown")
	}
	if !utf8.Valid(b) {
		return Packet{}, malformed("the packet is not valid UTF-8")
	}
	p.Type = PacketType(b[0] - '0')
	rest := b[1:]

	var err error
	if p.Type.Binary() {
		if p.Attachments, rest, err = parseAttachments(rest, &lim); err != nil {
			return Packet{}, err
		}
		if p.Attachments == 0 {
			p.Type = p.Type.withoutBinary()
		}
	}
	if len(rest) > 0 && rest[0] == '/' {
		name, after, _ := bytes.Cut(rest, []byte(","))
		if err = p.setNamespace(name, &lim); err != nil {
			return Packet{}, err
		}
		rest = after
	}
	if p.ID, p.HasID, rest, err = parseID(rest); err != nil {
		return Packet{}, err
	}
	if len(rest) > 0 {
		if p.Data, err = parseData(rest); err != nil {
			return Packet{}, err
		}
	}
	if err = checkData(p.Type, p.Data, &lim); err != nil {
		return Packet{}, err
	}
	return p, nil
}

func parseAttachments(b []byte, lim *Limits) (n int, rest []byte, err error) {
	i := 0
	for ; i < len(b) && isDigit(b[i]); i++ {
		if n = n*10 + int(b[i]-'0'); n > lim.attachments() {
			return 0, nil, overLimit("the packet announces more than %d attachments", lim.attachments())
		}
	}
	if i == 0 || i == len(b) || b[i] != '-' {
		return 0, nil, malformed("the binary packet does not begin with its number of attachments")
	}
	return n, b[i+1:], nil
}

// setNamespace takes the namespace as it stands in a packet. The query is cut off a CONNECT only: elsewhere clients send
// none, and a '?' there leads to the answer for an unknown namespace.
func (p *Packet) setNamespace(b []byte, lim *Limits) error {
	if p.Type == Connect {
		name, query, _ := bytes.Cut(b, []byte("?"))
		if len(query) > lim.query() {
			return overLimit("the namespace's query is longer than %d bytes", lim.query())
		}
		if len(query) > 0 {
			p.Query = lim.intern(query)
		}
		b = name
	}
	if len(b) > lim.namespace() {
		return overLimit("the namespace is longer than %d bytes", lim.namespace())
	}
	p.Namespace = "/"
	if len(b) > 1 {
		p.Namespace = lim.intern(b)
	}
	return nil
}

func parseID(b []byte) (id uint64, has bool, rest []byte, err error) {
	const most = 1<<64 - 1
	i := 0
	for ; i < len(b) && isDigit(b[i]); i++ {
		d := uint64(b[i] - '0')
		if id > (most-d)/10 {
			return 0, false, nil, malformed("the ack ID is too large")
		}
		id = id*10 + d
	}
	return id, i > 0, b[i:], nil
}

// parseData refuses white space before the data: a stock parser reads a blank there as an ack ID of 0.
func parseData(b []byte) ([]byte, error) {
	if isSpace(b[0]) {
		return nil, malformed("white space stands before the data")
	}
	s := scanner{data: b}
	if err := s.document(); err != nil {
		return nil, err
	}
	return trimSpace(b), nil
}

// checkData checks data, which is valid JSON without white space around it or nil, against what a packet of type t has.
func checkData(t PacketType, data []byte, lim *Limits) error {
	switch t {
	case Connect:
		if data != nil && data[0] != '{' {
			return malformed("the data of a CONNECT is not an object")
		}
	case Disconnect:
		if data != nil {
			return malformed("a DISCONNECT has data")
		}
	case Event, BinaryEvent:
		return checkEvent(data, lim)
	case Ack, BinaryAck:
		if data == nil || data[0] != '[' {
			return malformed("the data of an ACK is not an array")
		}
	case ConnectError:
		// Protocol 5 has an object here, protocol 4 a string or whatever the application attached to its error.
	}
	return nil
}

func checkEvent(data []byte, lim *Limits) error {
	name, _, err := cutName(data)
	if err != nil {
		return err
	}
	size := len(name)
	if name[0] == '"' {
		size -= len(`""`)
	}
	if size > lim.eventName() {
		return overLimit("the event's name is longer than %d bytes", lim.eventName())
	}
	if isReserved(name) {
		return malformed("the event's name is reserved")
	}
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
