// Package gateway is ws-gateway: it shakes hands with clients, holds their
// connections and moves messages between them and the bus.
//
//	            net/http                         shard goroutine (one for each CPU)
//	client ──▶ handshake, polls, posts ─inbox─▶ ┌───────────────────────────────┐
//	client ◀─────────── answers ──────────────  │ conn ─ session ─ hub ─ wheel  │ ── Up ──▶ Bus
//	client ◀──▶ WebSocket ◀──── netpoll ──────▶ │ jobs: fan-out in slices       │ ◀─ Down ─ Bus
//	                                            └───────────────────────────────┘
//	                                                    │ ops            ▲ results
//	                                                    ▼                │
//	                                             registrar goroutine ── Registry, Log
//
// A session's socket, protocol state, rooms, timers and pending output belong to
// one shard, and only its goroutine touches them: there is no lock and no atomic
// for a connection. Others reach a shard through its inbox, which is bounded; no
// shard and no reader of the bus ever waits on one. What may block (the
// registry, the logs, the check of a token) is asked by other goroutines, and
// the answer comes back through the inbox.
//
// Where to look, by the names of files:
//
//	seams                              what is needed of others
//	gateway, shard, inbox              the node, its shards, and how others reach those
//	door, greeter                      connections from their first byte, before they say what they want
//	http…, endpoint, admission,        handshakes, polls, posts and upgrades that net/http serves
//	handshake, recent, cors, bundle,
//	devices
//	conn, socket, output, unfinished   a session with what carries it, in both directions
//	connect, verdict, join             clients come in, and into rooms
//	up, backlog, quota                 events go up
//	calls, deliver, jobs, filter       records come down
//	heads, producers                   records that the bus has lost
//	recovery, offset, save, claims     clients that come back
//	twice                              what a client has had and does not get again
//	passage, arrive, adopt, depart,    sessions that go from node to node, and requests that are passed on
//	moved, peers, forward
//	registrar, walk, audit             what is written to the registry
//	stats, observe                     what is counted and measured
package gateway
