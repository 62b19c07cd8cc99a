// Package wsframe is the wire format of WebSocket: frames, masking, messages,
// close codes, the opening handshake (RFC 6455) and permessage-deflate (RFC
// 7692). It turns bytes into values and back; it does no I/O, starts no goroutine
// and reads no clock.
//
// A frame (RFC 6455 section 5.2):
//
//	 byte 0           byte 1           0, 2 or 8 bytes   0 or 4 bytes
//	+-+-+-+-+-------+-+-------------+-----------------+------------+---------+
//	|F|R|R|R|opcode |M| length      | length when it  | masking    | payload |
//	|I|S|S|S|       |A|             | is 126 (uint16) | key, when  |         |
//	|N|V|V|V|       |S|  7 bits     | or 127 (uint64) | M is set   |         |
//	| |1|2|3| 4 bits|K|             | big endian      |            |         |
//	+-+-+-+-+-------+-+-------------+-----------------+------------+---------+
//
// A client masks every frame, a server none. A message is one frame with FIN, or
// a first frame without it, continuation frames and a last one with FIN; whole
// control frames (close, ping, pong) may come in between:
//
//	Text "Hel"   Ping "x"   Continuation+FIN "lo"   =>   Ping "x", Text "Hello"
//
// # Reading
//
// A [Reader] takes the bytes of one connection in pieces of any size and calls
// back with each message and control frame:
//
//	bytes --> Feed --> frame whole in the piece --> unmask in place --> emit
//	            |                                                         ^
//	            +----> part of a frame, or a fragment --> kept copy ------+
//
// A Reader that waits for the next frame is one nil pointer. What is kept of an
// unfinished frame or message grows with the bytes that came, never with the
// length that the peer announced, and is dropped as soon as it has been emitted.
//
// # Writing
//
// [AppendFrame] makes a server's frame. A broadcast appends one [AppendHeader]
// for each socket and shares the payload, deflated ([AppendDeflated]) or not; a
// few bytes of the socket's own may follow a shared deflated payload
// ([AppendStored]).
package wsframe
