// Package bus carries events from gateways to ws-api, and records from ws-api to
// the gateways that hold their receivers.
//
//	gateway ──Publish──▶ upstream queue ──Consume──▶ ws-api
//	gateway ◀──receive── node's inbox  ◀──Send────── ws-api
//	gateway ──Reply────▶ ws-api's inbox ──receive──▶ ws-api
//
// Upstream is a queue: what was accepted is handed over once and in order. The
// inboxes are calls: nothing is kept for a node that is not there, and a node
// without room says so. Losing a record to a node is no harm, since the room's
// log is the truth and the node repairs from it.
package bus
