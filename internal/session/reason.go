package session

// Reason is why a session or a client is over: the text that backends see as the
// reason of a Disconnect event, and the WebSocket close code that the peer gets.
type Reason struct {
	Text string
	Code uint16 // RFC 6455 section 7.4; 0: the socket is closed without one
}

// The reasons that Socket.IO knows, by its own names, and the two it lacks. From
// each but the namespace disconnects a stock client comes back by itself.
var (
	TransportClose   = Reason{"transport close", 0}
	TransportError   = Reason{"transport error", 1002}
	PingTimeout      = Reason{"ping timeout", 1000}
	ParseError       = Reason{"parse error", 1002}
	ClientDisconnect = Reason{"client namespace disconnect", 1000}
	ServerDisconnect = Reason{"server namespace disconnect", 1000}
	ForcedClose      = Reason{"forced close", 1000}
	ForcedServer     = Reason{"forced server close", 1000}
	ShuttingDown     = Reason{"server shutting down", 1001}
	TooLarge         = Reason{"message too large", 1009}
	SlowConsumer     = Reason{"slow consumer", 1013}
)
