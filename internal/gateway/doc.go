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
package gateway
