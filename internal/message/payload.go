package message

// Payload is the arguments of one Socket.IO event, without the event's name.
// Exactly one of JSON and Msgpack is set in a push; an event from a client
// always has JSON, never re-encoded on the way.
//
// The bytes are shared and must not be modified.
type Payload struct {
	JSON        []byte   // text of a JSON array; {"_placeholder":true,"num":n} stands for attachment n
	Msgpack     []byte   // the same array as MessagePack, binary values inline
	Attachments [][]byte // for JSON only
}

// Size returns the payload's bytes, for bounds.
func (p *Payload) Size() int {
	n := len(p.JSON) + len(p.Msgpack)
	for _, a := range p.Attachments {
		n += len(a)
	}
	return n
}
