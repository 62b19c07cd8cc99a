package session

import (
	"errors"
	"fmt"

	"holdfast/engineio"
	"holdfast/internal/message"
	"holdfast/socketio"
)

// pending is a packet of which attachments are still to come.
type pending struct {
	socketio.Assembler
	until int64
}

// Text takes one text frame of the session's WebSocket. b is the caller's and may
// change after the call. An error says why the session is over; the actions for
// that are in acts already.
func (s *Session) Text(b []byte, now int64, acts *Actions) error {
	p, err := engineio.ParseText(s.hello.Version, b)
	return s.feed(p, err, now, acts)
}

// Binary takes one binary frame of the session's WebSocket; see Text.
func (s *Session) Binary(b []byte, now int64, acts *Actions) error {
	p, err := engineio.ParseBinary(s.hello.Version, b)
	return s.feed(p, err, now, acts)
}

func (s *Session) feed(p engineio.Packet, err error, now int64, acts *Actions) error {
	if s.state != Open {
		return nil
	}
	if err != nil {
		s.End(ParseError, now, acts)
		return err
	}
	s.beat.alive(s, now)
	if err := s.engine(p, now, acts); err != nil {
		why := ParseError
		if errors.Is(err, errUnknownFrame) {
			why = TransportError
		}
		s.End(why, now, acts)
		return err
	}
	return nil
}

// engine handles one Engine.IO packet in its place.
func (s *Session) engine(p engineio.Packet, now int64, acts *Actions) error {
	switch p.Type {
	case engineio.Message:
		if s.cfg.Raw {
			s.rawMessage(p, acts)
			return nil
		}
		if p.Binary {
			return s.binary(p.Data, now, acts)
		}
		return s.text(p.Data, now, acts)
	case engineio.Ping:
		if s.hello.Version != 3 {
			return errUnknownFrame
		}
		s.out.push(item{out: packetPong, at: now})
		return nil
	case engineio.Pong:
		if s.hello.Version == 3 {
			return errUnknownFrame
		}
		return nil
	case engineio.Close:
		// The client has said its last word; a waiting poll gets a noop, not a close.
		s.leaveAll(TransportClose, acts)
		s.reason = TransportClose
		s.out.clear()
		if s.waiting {
			s.out.push(item{out: packetNoop, at: now})
		}
		s.finish(acts)
		return nil
	case engineio.Noop:
		return nil
	default:
		return fmt.Errorf("%w: %s", errUnknownFrame, p.Type)
	}
}

func (s *Session) text(b []byte, now int64, acts *Actions) error {
	if s.pending != nil {
		return errInterleaved
	}
	p, err := socketio.Parse(b, s.cfg.Packet)
	if err != nil {
		return err
	}
	if p.Attachments == 0 {
		return s.packet(&p, now, acts)
	}
	if _, c := s.client(p.Namespace); c == nil || !c.connected {
		return errNotIn
	}
	held := &pending{until: now + s.cfg.AttachmentTime}
	if err := held.Start(p, s.cfg.Packet); err != nil {
		return err
	}
	s.pending = held
	return nil
}

func (s *Session) binary(b []byte, now int64, acts *Actions) error {
	if s.pending != nil {
		done, err := s.pending.Add(b)
		if err != nil || !done {
			return err
		}
		p := s.pending.Take()
		s.pending = nil
		return s.packet(&p, now, acts)
	}
	if !s.msgpack && (s.spoken || !socketio.IsMsgpack(b)) {
		return errNoBinary
	}
	p, err := socketio.ParseMsgpack(b, s.cfg.Packet)
	if err != nil {
		return err
	}
	// A client of the MessagePack parser is known by its first packet; from then on
	// it is spoken to in the same form.
	s.msgpack = true
	return s.packet(&p, now, acts)
}

// rawMessage makes an event without a name of a message: text as ["text"], binary
// as one attachment with its placeholder.
func (s *Session) rawMessage(p engineio.Packet, acts *Actions) {
	_, c := s.client("/")
	if c == nil || !c.connected {
		return
	}
	payload := message.Payload{JSON: []byte(`[{"_placeholder":true,"num":0}]`), Attachments: [][]byte{append([]byte{}, p.Data...)}}
	if !p.Binary {
		payload = message.Payload{JSON: append(socketio.AppendString([]byte{'['}, string(p.Data)), ']')}
	}
	acts.add(Action{Kind: Event, Client: c, Payload: payload})
}
