// Package message is the vocabulary that gateway, ws-api and the stores behind
// them share: who a client is, which key a message goes to, what a record says.
// It holds plain data and the few rules that all sides must agree on (how a key
// is spelt, what an ID looks like), and does no I/O.
//
//	client ── Up ──▶ ws-api          events, acks of pushes, answers to calls
//	client ◀─ Down ─ ws-api          pushes, verdicts on CONNECT, acks, calls
//
// Bodies stay opaque on the way: a [Payload] is the client's or the backend's
// bytes, carried by reference. Whoever receives a record must not modify it, for
// it is shared among shards, logs and buses.
package message
