package message

import "slices"

// Record returns the reply as a bus carries it; key is the call. The body is a copy.
func (r *Reply) Record() (key string, headers []Header, body []byte) {
	if r.Peer != nil {
		return r.Peer.record()
	}
	size := 0
	if r.Ack != nil {
		size = r.Ack.Payload.Size()
	}
	w := newRecordWriter(size)
	w.text(headerCall, r.Call)
	w.text(headerNode, r.Node)
	w.number(headerClients, uint64(r.Clients))
	if r.Ack != nil {
		w.headers = append(w.headers, Header{headerAnswer, r.Ack.Client}) // even "": there is an answer
		w.payload(&r.Ack.Payload)
	}
	w.flag(headerDone, r.Done)
	w.text(headerError, r.Err)
	headers, body = w.record()
	return r.Call, headers, body
}

// ParseReply reads what [Reply.Record] wrote. The reply aliases the headers' values
// and the body. It fails with [ErrRecord].
func ParseReply(headers []Header, body []byte) (*Reply, error) {
	if err := checkHeaders(headers); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(headers, func(h Header) bool { return h.Name == headerPeer }) {
		p, err := parsePeer(headers, body)
		if err != nil {
			return nil, err
		}
		return &Reply{Peer: p}, nil
	}
	var r recordReader
	reply, parts := &Reply{}, ""
	for _, h := range headers {
		switch h.Name {
		case headerCall:
			reply.Call = h.Value
		case headerNode:
			reply.Node = h.Value
		case headerClients:
			reply.Clients = r.number32(h)
		case headerAnswer:
			reply.Ack = &AckReply{Client: h.Value}
		case headerDone:
			reply.Done = r.flag(h)
		case headerError:
			reply.Err = h.Value
		case headerParts:
			parts = h.Value
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	b, err := readBody(parts, body)
	if err != nil {
		return nil, err
	}
	if reply.Ack != nil {
		reply.Ack.Payload = b.payload
	}
	return reply, nil
}
