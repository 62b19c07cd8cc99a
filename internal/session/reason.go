package session

import (
	"errors"

	"holdfast/engineio"
	"holdfast/socketio"
)

// Reason is why a session or a client is over: the text that backends see as the
// reason of a Disconnect event, and the WebSocket close code that the peer gets.
type Reason struct {
	Text string
	Code uint16 // RFC 6455 section 7.4; 0: the socket is closed without one
}

// The reasons that Socket.IO knows, by its own names, and the three it lacks. From
// each but the namespace disconnects a stock client comes back by itself.
var (
	TransportClose   = Reason{"transport close", 1000}
	TransportError   = Reason{"transport error", 1002}
	PingTimeout      = Reason{"ping timeout", 1000}
	ParseError       = Reason{"parse error", 1002}
	ClientDisconnect = Reason{"client namespace disconnect", 1000}
	ServerDisconnect = Reason{"server namespace disconnect", 1000}
	ForcedServer     = Reason{"forced server close", 1000}
	ShuttingDown     = Reason{"server shutting down", 1001}
	TooLarge         = Reason{"message too large", 1009} // of [socketio.Limits], or too many packets in a post
	LimitExceeded    = Reason{"limit exceeded", 1008}    // of what one session may hold
	SlowConsumer     = Reason{"slow consumer", 1013}
)

// Errors that end a session. They are for the log: the peer learns no more than
// that its transport closed.
var (
	errTwice        = errors.New("a second CONNECT to a namespace that the session is in")
	errNotIn        = errors.New("a packet for a namespace that the session is not in")
	errManyClients  = errors.New("too many namespaces on one session")
	errManyConnects = errors.New("too many CONNECTs in too short a time")
	errManyEarly    = errors.New("too many messages before the client was let in")
	errFromClient   = errors.New("a packet type that only a server sends")
	errInterleaved  = errors.New("a packet came between another and its attachments")
	errNoBinary     = errors.New("a binary message that no packet announced")
	errNoText       = errors.New("a text packet from a client that speaks MessagePack")
	errUnknownFrame = errors.New("a packet that a client does not send")
)

// reasonOf gives what a session is over for when its client did err.
func reasonOf(err error) Reason {
	var bad *socketio.Error
	switch {
	case errors.Is(err, errManyClients), errors.Is(err, errManyConnects), errors.Is(err, errManyEarly):
		return LimitExceeded
	case errors.As(err, &bad) && bad.Kind == socketio.OverLimit, errors.Is(err, engineio.ErrTooMany):
		return TooLarge
	}
	return ParseError
}
