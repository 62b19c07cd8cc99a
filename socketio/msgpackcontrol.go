package socketio

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// ParseMsgpackControl reads one packet of the text that clients of the MessagePack parser for protocol 4 send in place
// of a binary message: a CONNECT or a DISCONNECT, as a JSON object. Only these two types are taken, and their data is not
// looked at, for they have none.
//
//	{"type":0,"query":"room=7","nsp":"/chat?room=7"}
func ParseMsgpackControl(b []byte, lim Limits) (Packet, error) {
	if !utf8.Valid(b) {
		return Packet{}, malformed("the packet is not valid UTF-8")
	}
	var fields struct {
		Type      *int   `json:"type"`
		Namespace string `json:"nsp"`
	}
	if err := json.Unmarshal(b, &fields); err != nil {
		return Packet{}, malformed("the packet is not a JSON object with a type and a namespace")
	}
	if fields.Type == nil || *fields.Type != int(Connect) && *fields.Type != int(Disconnect) {
		return Packet{}, malformed("a packet of this type is not text in this form")
	}
	if fields.Namespace == "" || fields.Namespace[0] != '/' {
		return Packet{}, malformed("the packet has no namespace")
	}
	p := Packet{Type: PacketType(*fields.Type), Namespace: "/"}
	if err := p.setNamespace([]byte(fields.Namespace), &lim); err != nil {
		return Packet{}, err
	}
	return p, nil
}

// AppendMsgpackControl appends what [ParseMsgpackControl] is the other side of: the text of a CONNECT, DISCONNECT or
// ERROR for such a client. Its parser takes a string alone as the data of an ERROR and nothing elsewhere, so p.Data
// is written for an ERROR only, where it must be a JSON string.
func AppendMsgpackControl(dst []byte, p Packet) []byte {
	dst = append(dst, `{"type":`...)
	dst = strconv.AppendInt(dst, int64(p.Type), 10)
	if p.Type == ConnectError {
		dst = append(append(dst, `,"data":`...), p.Data...)
	}
	namespace := p.Namespace
	if namespace == "" {
		namespace = "/"
	}
	dst = append(dst, `,"nsp":`...)
	return append(AppendString(dst, namespace), '}')
}
