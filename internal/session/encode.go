package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"holdfast/internal/message"
	"holdfast/socketio"
)

// Form is a way to write a Socket.IO packet.
type Form uint8

// The forms.
const (
	JSON Form = iota
	Msgpack
	Raw
	Forms // how many there are
)

// Form returns the form in which the session takes events.
func (s *Session) Form() Form {
	switch {
	case s.cfg.Raw:
		return Raw
	case s.msgpack:
		return Msgpack
	}
	return JSON
}

// EncodeEvent writes a push for the clients of one namespace that take form. With
// hasID the clients are asked to acknowledge it under id. nil without an error
// means that it is not for them: a raw session has no use for an event's name.
func EncodeEvent(form Form, namespace string, p *message.Push, id uint64, hasID bool) (*Outgoing, error) {
	var (
		o   *Outgoing
		err error
	)
	switch form {
	case Raw:
		o, err = encodeRaw(p)
	case Msgpack:
		o, err = encodeMsgpack(namespace, p, id, hasID)
	default:
		o, err = encodeJSON(namespace, p, id, hasID)
	}
	if o != nil {
		o.volatile = p.Volatile
		if p.CollapseKey != "" {
			// One key in two namespaces of a session is two messages.
			o.collapse = namespace + "," + p.CollapseKey
		}
	}
	return o, err
}

func encodeJSON(namespace string, p *message.Push, id uint64, hasID bool) (*Outgoing, error) {
	if p.Event == "" {
		return nil, nil
	}
	args, attachments, err := jsonOf(&p.Payload)
	if err != nil {
		return nil, fmt.Errorf("write the push as JSON: %w", err)
	}
	b := make([]byte, 0, len(args)+len(p.Event)+len(namespace)+32)
	b = append(b, '4')
	if len(attachments) > 0 {
		b = append(b, '5')
		b = strconv.AppendInt(b, int64(len(attachments)), 10)
		b = append(b, '-')
	} else {
		b = append(b, '2')
	}
	if namespace != "/" {
		b = append(b, namespace...)
		b = append(b, ',')
	}
	if hasID {
		b = strconv.AppendUint(b, id, 10)
	}
	b = socketio.AppendEvent(b, p.Event, args)
	if hasID {
		return &Outgoing{text: b, attachments: attachments}, nil
	}
	return &Outgoing{text: b[:len(b)-1], open: true, attachments: attachments}, nil
}

func encodeMsgpack(namespace string, p *message.Push, id uint64, hasID bool) (*Outgoing, error) {
	if p.Event == "" {
		return nil, nil
	}
	raw := p.Payload.Msgpack
	if raw == nil {
		args := p.Payload.JSON
		if len(args) == 0 {
			args = []byte("[]")
		}
		var err error
		if raw, err = socketio.JSONToMsgpack(nil, args, p.Payload.Attachments); err != nil {
			return nil, fmt.Errorf("write the push as MessagePack: %w", err)
		}
	}
	count, elements, ok := cutArray(raw)
	if !ok {
		return nil, errors.New("write the push as MessagePack: the arguments are not an array")
	}
	return &Outgoing{open: !hasID, packed: &packed{
		namespace: namespace, id: id, hasID: hasID, count: count + 1,
		elements: append(appendStr(nil, p.Event), elements...),
	}}, nil
}

// encodeRaw sends ["text"] as a text message and a lone attachment as a binary one.
func encodeRaw(p *message.Push) (*Outgoing, error) {
	if p.Event != "" {
		return nil, nil
	}
	args, attachments, err := jsonOf(&p.Payload)
	if err != nil {
		return nil, fmt.Errorf("write the push as a raw message: %w", err)
	}
	if len(attachments) == 1 {
		return &Outgoing{attachments: attachments}, nil
	}
	text, err := soleString(args)
	if err != nil {
		return nil, err
	}
	return &Outgoing{text: append([]byte{'4'}, text...)}, nil
}

// jsonOf gives a payload in the JSON form, whichever it has.
func jsonOf(p *message.Payload) (args []byte, attachments [][]byte, err error) {
	if p.Msgpack != nil {
		return socketio.MsgpackToJSON(p.Msgpack)
	}
	return p.JSON, p.Attachments, nil
}

// soleString is the text in ["text"].
func soleString(args []byte) (string, error) {
	var texts []string
	if err := json.Unmarshal(args, &texts); err != nil || len(texts) != 1 {
		return "", errors.New(`a push to a raw Engine.IO session takes ["text"] or one attachment`)
	}
	return texts[0], nil
}
