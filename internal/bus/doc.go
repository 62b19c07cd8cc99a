// Package bus carries events from gateways to ws-api, and records from ws-api to
// the gateways that hold their receivers.
//
//	gateway ──Publish──▶ upstream queue ──Consume──▶ ws-api
//	gateway ◀──receive── node's inbox  ◀──Send────── ws-api
//	gateway ──Reply────▶ ws-api's inbox ──receive──▶ ws-api
//
// Upstream is a queue: what was accepted is handed over and in order. In memory the
// inboxes are calls: nothing is kept for a node that is not there, and a node
// without room says so. Losing a record to a node is no harm, since the room's
// log is the truth and the node repairs from it.
//
// # Redis
//
// A record is one entry of a stream: its headers are fields, the field "body" is
// the rest (see message.Up.Record). The keys, with their default prefix:
//
//	ws:{up}:events:0 … :15     streams: events that are not settled yet, by a hash of Up.Order
//	ws:{up}:producer:P         string: number of a gateway's last event; a day
//	ws:{up}:beats, :owners     hashes: which ws-apis live, which partition is whose
//	ws:node:{N}:inbox, :reader stream and string: what a node is to read, and who reads
//	ws:api:{A}:inbox, :reader  the same for a ws-api
//
// Publish puts an event into a bounded queue of this process, from which one
// goroutine appends batches by a script. The script numbers them, so that a batch
// whose answer was lost is appended once.
//
// Upstream is not a consumer group. A group gives the next event to whichever
// consumer asks, so two ws-apis would work on one session at the same time and its
// order would be gone. Instead each of 16 partitions has one owner at a time. That
// also makes taking over simple: whatever is in a stream is not settled, so the new
// owner reads from its start; settling removes the entry, and the stream's length
// is the backlog, for which it is bounded: a full one is not trimmed but refuses,
// the gateways' queues fill, and sockets are no longer read.
//
// What a dead owner has had comes again to the next one, and so does what it has relayed
// already. So events that it may have been given are marked (message.Up.Again), for which
// the logs can be asked.
//
// An inbox is a stream rather than a Pub/Sub channel, since a reader that was cut
// off for a moment goes on where it was, and since one may ask whether it is there:
// XADD NOMKSTREAM answers nil for an inbox without a reader, as the reader alone
// makes it and keeps its time to live up. A slow reader loses its oldest records.
//
// # Kafka
//
// A record is one of Kafka's, with headers and body as they are. The topics, with
// their default prefix:
//
//	holdfast-up       events, by Up.Order; ws-apis consume it as group holdfast-up
//	holdfast-inbox    what nodes are to read, a partition for each (see Directory)
//	holdfast-replies  what ws-apis are to read; several may share a partition
//	holdfast-push     what backends push by themselves; group holdfast-push
//
// Publish puts an event into a bounded queue, from which one goroutine feeds the
// client; the client writes each event once and in order, for as long as it takes.
// What is consumed is committed as far as everything before it is settled. Nothing is
// removed, so the topic bounds nobody: a backlog is what ws-api has to catch up with.
//
// An inbox is read without a group, from a mark that the reader writes when it
// attaches; at the mark of another reader the former one ends. Each record says whose
// it is, for a partition outlives its node.
package bus
