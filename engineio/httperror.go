package engineio

import "strconv"

// ErrorCode says why a request was refused, in the JSON body of the answer:
//
//	HTTP/1.1 400 Bad Request
//	Content-Type: application/json
//
//	{"code":1,"message":"Session ID unknown"}
//
// Its zero value is a code too, so it needs a bool or an error beside it where
// there may be none. The numbers are those of stock servers; clients show them.
type ErrorCode int

// The codes. Stock servers check a request in their order, but for BadRequest,
// which any step may give.
const (
	UnknownTransport   ErrorCode = 0 // the transport query parameter
	UnknownSession     ErrorCode = 1 // the sid query parameter
	BadHandshakeMethod ErrorCode = 2 // a handshake that is not a GET
	BadRequest         ErrorCode = 3 // also a transport that the session has left
	Forbidden          ErrorCode = 4 // refused by the application; its text replaces the message
	UnsupportedVersion ErrorCode = 5 // the EIO query parameter
)

// Message returns the text that stock servers send with c. A number that is not
// a code has the text of BadRequest.
func (c ErrorCode) Message() string {
	switch c {
	case UnknownTransport:
		return "Transport unknown"
	case UnknownSession:
		return "Session ID unknown"
	case BadHandshakeMethod:
		return "Bad handshake method"
	case Forbidden:
		return "Forbidden"
	case UnsupportedVersion:
		return "Unsupported protocol version"
	case BadRequest:
	}
	return "Bad request"
}

// Status returns the HTTP status that goes with c: 403 for Forbidden, else 400.
func (c ErrorCode) Status() int {
	if c == Forbidden {
		return 403
	}
	return 400
}

// AppendError appends the JSON body that reports c. An empty message stands for
// c.Message().
func AppendError(dst []byte, c ErrorCode, message string) []byte {
	if message == "" {
		message = c.Message()
	}
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendInt(dst, int64(c), 10)
	dst = append(dst, `,"message":`...)
	dst = appendJSONString(dst, []byte(message))
	return append(dst, '}')
}
