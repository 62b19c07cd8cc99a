// Package testnet is what a node's tests stand in for the rest of the world with:
// stores and a bus in memory that lose, stall and fail when they are told to, and
// small Engine.IO clients over real connections. Only tests import it.
//
//	 test ── Send ──▶ Bus (drops, repeats, reorders) ──▶ node ──▶ shards ──▶ sockets
//	                                                      │                    │
//	Registry, Log (stall, fail) ◀─────────────────────────┘     Client, Poller ◀┘
//
// Nothing in it starts a goroutine or reads a clock but for the deadlines of
// connections. What is random comes from a seed that the test names.
package testnet
