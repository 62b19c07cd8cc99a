package session

import (
	"bytes"
	"fmt"
	"strconv"

	"holdfast/internal/message"
)

// Oversize is told of a text message that is larger than Config.MaxPayload before
// its body is read. head is its beginning, from the digit of its Engine.IO packet
// on, some hundred bytes suffice. When it is an event that asks for an
// acknowledgement, that is an error, and true means that the session goes on once
// the caller has skipped the rest: a client that resends what was not acknowledged
// would come back with the same message again and again. On false the caller ends
// the session with TooLarge.
//
//	42/chat,17["file",…      →      43/chat,17[{"error":{"code":"INVALID_ARGUMENT","message":"…"}}]
//
// See [Session.OversizePost] for polling.
func (s *Session) Oversize(head []byte, now int64, acts *Actions) bool {
	namespace, id, ok := cutHead(head)
	if !ok || s.state != Open || s.cfg.Raw || s.msgpack || s.pending != nil {
		return false
	}
	c := s.client(namespace)
	if c == nil || !c.connected {
		return false
	}
	s.beat.alive(s, now)
	text := fmt.Sprintf(`[{"error":{"code":"INVALID_ARGUMENT","message":"the message is larger than %d bytes"}}]`, s.cfg.MaxPayload)
	return s.SendAck(c, id, &message.Payload{JSON: []byte(text)}, now, acts) == nil
}

// OversizePost is Oversize for a post that was announced by [Session.BeginPost]:
// head is the beginning of a text body of size bytes. Clients of Engine.IO 4 put a
// packet that is larger than the handshake allows into a body of its own; one of
// Engine.IO 3 has to be a single packet by its own count, or what follows it would
// be lost. The post is done with on true, and the caller answers "ok".
func (s *Session) OversizePost(head []byte, size, now int64, acts *Actions) bool {
	if s.hello.Version == 3 {
		count, packet, _ := bytes.Cut(head, []byte(":"))
		n, err := strconv.ParseInt(string(count), 10, 64)
		if err != nil || size != int64(len(count))+1+n {
			return false
		}
		head = packet
	}
	if !s.Oversize(head, now, acts) {
		return false
	}
	s.posting = false
	return true
}

// cutHead reads what stands before the data of an event with an ack ID.
func cutHead(b []byte) (namespace string, id uint64, ok bool) {
	rest, ok := bytes.CutPrefix(b, []byte("42"))
	if !ok {
		return "", 0, false
	}
	namespace = "/"
	if len(rest) > 0 && rest[0] == '/' {
		name, after, found := bytes.Cut(rest, []byte(","))
		if !found {
			return "", 0, false
		}
		namespace, rest = string(name), after
	}
	digits, _, ok := bytes.Cut(rest, []byte("["))
	if !ok {
		return "", 0, false
	}
	id, err := strconv.ParseUint(string(digits), 10, 64)
	return namespace, id, err == nil
}
