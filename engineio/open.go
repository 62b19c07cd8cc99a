package engineio

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// OpenPacket is what the server tells a new session first ("Handshake" of the
// specification). ParseOpen and AppendOpen map it to and from JSON.
type OpenPacket struct {
	SID          string   `json:"sid"`          // the session's ID, a secret
	Upgrades     []string `json:"upgrades"`     // transports to go on to: "websocket", or none
	PingInterval int64    `json:"pingInterval"` // milliseconds
	PingTimeout  int64    `json:"pingTimeout"`  // milliseconds
	MaxPayload   int64    `json:"maxPayload"`   // bytes; Engine.IO 4 clients cut their POST bodies to it
}

// AppendOpen appends the open packet in text form, `0{…}`, with exactly the five
// keys of OpenPacket in their order.
func AppendOpen(dst []byte, o OpenPacket) []byte {
	dst = append(dst, Open.Byte())
	dst = append(dst, `{"sid":`...)
	dst = appendJSONString(dst, []byte(o.SID))
	dst = append(dst, `,"upgrades":[`...)
	for i, u := range o.Upgrades {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendJSONString(dst, []byte(u))
	}
	dst = append(dst, `],"pingInterval":`...)
	dst = strconv.AppendInt(dst, o.PingInterval, 10)
	dst = append(dst, `,"pingTimeout":`...)
	dst = strconv.AppendInt(dst, o.PingTimeout, 10)
	dst = append(dst, `,"maxPayload":`...)
	dst = strconv.AppendInt(dst, o.MaxPayload, 10)
	return append(dst, '}')
}

// ParseOpen reads an open packet in text form, as a client gets it. Nothing in the
// result aliases b. Keys that are not known are ignored, and old servers send no
// maxPayload; ErrOpen tells of anything else, with what is wrong around it.
func ParseOpen(b []byte) (OpenPacket, error) {
	if len(b) == 0 || b[0] != Open.Byte() {
		return OpenPacket{}, ErrOpen
	}
	var o OpenPacket
	if err := json.Unmarshal(b[1:], &o); err != nil {
		return OpenPacket{}, fmt.Errorf("%w: %w", ErrOpen, err)
	}
	if o.SID == "" {
		return OpenPacket{}, fmt.Errorf("%w: no sid", ErrOpen)
	}
	if o.PingInterval < 0 || o.PingTimeout < 0 || o.MaxPayload < 0 {
		return OpenPacket{}, fmt.Errorf("%w: negative number", ErrOpen)
	}
	return o, nil
}
