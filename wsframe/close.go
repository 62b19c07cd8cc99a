package wsframe

import (
	"encoding/binary"
	"strconv"
	"strings"
	"unicode/utf8"
)

// CloseCode is the reason for closing, as a number (RFC 6455 section 7.4).
type CloseCode uint16

// The codes of RFC 6455 section 7.4.1, and those that were registered with IANA
// since (section 11.7): 1012 to 1014.
const (
	NormalClosure      CloseCode = 1000
	GoingAway          CloseCode = 1001
	ProtocolError      CloseCode = 1002
	UnsupportedData    CloseCode = 1003
	NoStatusReceived   CloseCode = 1005 // never on the wire: the close frame was empty
	AbnormalClosure    CloseCode = 1006 // never on the wire: there was no close frame
	InvalidPayload     CloseCode = 1007
	PolicyViolation    CloseCode = 1008
	MessageTooBig      CloseCode = 1009
	MandatoryExtension CloseCode = 1010
	InternalError      CloseCode = 1011
	ServiceRestart     CloseCode = 1012
	TryAgainLater      CloseCode = 1013
	BadGateway         CloseCode = 1014
	TLSHandshake       CloseCode = 1015 // never on the wire: the TLS handshake failed
)

// Sendable reports whether c may stand in a close frame: the codes that are
// defined for it, and 3000 to 4999, which belong to libraries and applications
// (section 7.4.2).
func (c CloseCode) Sendable() bool {
	switch {
	case c >= NormalClosure && c <= UnsupportedData:
		return true
	case c >= InvalidPayload && c <= BadGateway:
		return true
	default:
		return c >= 3000 && c <= 4999
	}
}

// maxReason is what a close frame has left after the code.
const maxReason = MaxControl - 2

// Error is a peer's offence: the connection fails (section 7.1.7) and Code is what
// the close frame should tell the peer.
type Error struct {
	Code   CloseCode
	Reason string // in English, without a period; short enough for a close frame
}

var _ error = (*Error)(nil)

// Error returns the code and the reason.
func (e *Error) Error() string {
	return "wsframe: " + strconv.Itoa(int(e.Code)) + " " + e.Reason
}

func fail(code CloseCode, reason string) error {
	return &Error{Code: code, Reason: reason}
}

// AppendClose appends the payload of a close frame (section 5.5.1): the code, then
// the reason, which is made valid UTF-8 and cut between two runes to 123 bytes. A
// code that is not [CloseCode.Sendable] gives the empty payload, which the peer
// sees as [NoStatusReceived].
func AppendClose(dst []byte, code CloseCode, reason string) []byte {
	if !code.Sendable() {
		return dst
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	reason = strings.ToValidUTF8(reason, string(utf8.RuneError))
	if len(reason) > maxReason {
		cut := maxReason
		for !utf8.RuneStart(reason[cut]) {
			cut--
		}
		reason = reason[:cut]
	}
	return append(dst, reason...)
}

// ParseClose reads the payload of a close frame: [NoStatusReceived] and no reason
// when it is empty. The error is an *[Error]: [ProtocolError] for a payload of one
// byte or more than [MaxControl], or a code that is not [CloseCode.Sendable];
// [InvalidPayload] for a reason that is not UTF-8. The reason does not alias payload.
func ParseClose(payload []byte) (CloseCode, string, error) {
	if len(payload) == 0 {
		return NoStatusReceived, "", nil
	}
	if err := checkClose(payload); err != nil {
		return 0, "", err
	}
	return CloseCode(binary.BigEndian.Uint16(payload)), string(payload[2:]), nil
}

func checkClose(payload []byte) error {
	switch {
	case len(payload) == 0:
		return nil
	case len(payload) == 1:
		return fail(ProtocolError, "close frame has half a code")
	case len(payload) > MaxControl:
		return fail(ProtocolError, "control frame is longer than 125 bytes")
	case !CloseCode(binary.BigEndian.Uint16(payload)).Sendable():
		return fail(ProtocolError, "close code may not be sent")
	case !utf8.Valid(payload[2:]):
		return fail(InvalidPayload, "close reason is not UTF-8")
	default:
		return nil
	}
}
