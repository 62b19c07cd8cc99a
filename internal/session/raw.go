package session

import (
	"holdfast/engineio"
	"holdfast/internal/message"
	"holdfast/socketio"
)

// maxEarly is how many messages of a raw client wait for its being let in; their
// bytes are bounded by Config.MaxPayload.
const maxEarly = 64

// rawMessage makes an event without a name of a message: text as ["text"], binary
// as one attachment with its placeholder. A raw client has no CONNECT whose answer
// it could wait for and may speak at once, so what it says is kept until the shard
// has decided about it.
func (s *Session) rawMessage(p engineio.Packet, acts *Actions) error {
	var m message.Payload
	if p.Binary {
		m = message.Payload{JSON: []byte(`[{"_placeholder":true,"num":0}]`), Attachments: [][]byte{append([]byte{}, p.Data...)}}
	} else {
		text := append(make([]byte, 0, len(p.Data)+8), '[')
		m = message.Payload{JSON: append(socketio.AppendString(text, string(p.Data)), ']')}
	}
	if c := s.clients; c.connected {
		s.releaseEarly(acts)
		acts.add(Action{Kind: Event, Client: c, Payload: m})
		return nil
	}
	size := m.Size()
	f := s.set()
	for i := range f.early {
		size += f.early[i].Size()
	}
	if len(f.early) >= maxEarly || len(f.early) > 0 && int64(size) > s.cfg.MaxPayload {
		return errManyEarly
	}
	f.early = append(f.early, m)
	return nil
}

// earlyReady tells whether a client that was let in has said something before.
func (s *Session) earlyReady() bool {
	return s.few != nil && s.few.early != nil && s.clients != nil && s.clients.connected
}

func (s *Session) releaseEarly(acts *Actions) {
	if !s.earlyReady() {
		return
	}
	for _, m := range s.few.early {
		acts.add(Action{Kind: Event, Client: s.clients, Payload: m})
	}
	s.few.early = nil
}
