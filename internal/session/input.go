package session

import (
	"errors"
	"fmt"

	"holdfast/engineio"
	"holdfast/socketio"
)

// pending is a packet of which attachments are still to come.
type pending struct {
	socketio.Assembler
	until int64
}

// Held returns how many bytes the session holds of a packet whose attachments are still
// to come.
func (s *Session) Held() int {
	if s.pending == nil {
		return 0
	}
	return s.pending.Size()
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
	if err == nil {
		s.beat.alive(s, now)
		err = s.engine(p, now, acts)
	}
	switch {
	case errors.Is(err, errUnknownFrame):
		s.fail(TransportError, now, acts)
	case err != nil:
		s.End(reasonOf(err), now, acts)
	case s.slow && s.state == Open:
		s.endSlow(now, acts) // the answers to what it sends are not fetched
	}
	return err
}

// engine handles one Engine.IO packet in its place.
func (s *Session) engine(p engineio.Packet, now int64, acts *Actions) error {
	switch p.Type {
	case engineio.Message:
		switch {
		case s.cfg.Raw:
			return s.rawMessage(p, acts)
		case p.Binary:
			return s.binary(p.Data, now, acts)
		}
		return s.text(p.Data, now, acts)
	case engineio.Ping:
		if s.hello.Version != 3 {
			return errUnknownFrame
		}
		s.beat.ping()
		s.push(item{out: packetPong, at: now})
		return nil
	case engineio.Pong:
		if s.hello.Version == 3 {
			return errUnknownFrame
		}
		return nil
	case engineio.Close:
		// The client has said its last word; a waiting poll gets a noop, not a close.
		s.leaveAll(TransportClose, acts)
		s.set().reason = TransportClose
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
	switch {
	case s.pending != nil:
		return errInterleaved
	case s.controlText():
		p, err := socketio.ParseMsgpackControl(b, s.cfg.Packet)
		if err != nil {
			return err
		}
		return s.packet(&p, false, acts, now)
	case s.msgpack:
		return errNoText
	}
	p, err := socketio.Parse(b, s.cfg.Packet)
	if err != nil {
		return err
	}
	if p.Attachments == 0 {
		return s.packet(&p, false, acts, now)
	}
	// One from somebody who is not there must not make the server hold anything.
	if _, err := s.speaker(&p); err != nil {
		return err
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
		return s.packet(&p, true, acts, now)
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
	return s.packet(&p, false, acts, now)
}
