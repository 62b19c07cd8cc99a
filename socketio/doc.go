// Package socketio reads and writes Socket.IO packets: bytes in, bytes out. It has no I/O, goroutine, clock or
// pool, and it never builds a tree from what an application sent: JSON stays the text that came, byte for byte.
//
// # Text form
//
// A packet is one text message of Engine.IO. Protocol 4 (clients v2, over Engine.IO 3) and protocol 5 (clients v3 and
// v4, over Engine.IO 4) share the form:
//
//	<type> [<attachments> "-"] [<namespace> ["?" <query>] ","] [<ack id>] [<JSON>]
//	  │      │                    │             │                │          └ data; none for DISCONNECT
//	  │      │                    │             │                └ decimal digits, read greedily
//	  │      │                    │             └ CONNECT of protocol 4 only
//	  │      │                    └ begins with "/"; "/" itself is left out; the comma may be missing at the end
//	  │      └ decimal number of the binary messages that follow; BINARY_EVENT and BINARY_ACK only
//	  └ one digit
//
//	0{"token":"x"}                                     CONNECT to "/" with an auth object
//	0/chat?room=7,                                     CONNECT of protocol 4, credentials in the query
//	2["say","hi"]                                      EVENT
//	2/chat,17["say","hi"]                              EVENT in /chat that asks for an ack
//	3/chat,17["seen"]                                  its ACK
//	51-["file",{"_placeholder":true,"num":0}]          BINARY_EVENT; one binary message follows
//	4{"message":"not allowed"}                         CONNECT_ERROR of protocol 5
//	4"not allowed"                                     ERROR of protocol 4
//
// The Engine.IO message digit (a "4" before all of these) belongs to package engineio.
//
// # Attachments
//
// After a binary packet come exactly the announced number of binary messages, in order, with no text message in
// between. [Assembler] collects them, and is kept only while some are missing.
//
// # MessagePack form
//
// With socket.io-msgpack-parser a packet is one binary message of Engine.IO, and binary values stand in place:
//
//	map{ "type": int, "data": any, "options": map, "id": int, "nsp": str }      data, options and id may be missing
//
//	83 a4 type 02  a4 data 92 a3 say a2 hi  a3 nsp a1 /
//
// [ParseMsgpack] gives the same [Packet] as [Parse] would, with the data converted to JSON, and the original bytes
// beside it. Values that JSON lacks: bin and the ext type 0 that notepack uses for an ArrayBuffer become placeholders;
// a date (ext 0 in the fixext 8 form, or the standard timestamp, ext -1) its ISO 8601 string; undefined (fixext 1 of
// type 0) is null in an array and is left out of a map; a float that is not a number is null.
package socketio
