// Package boot is what a holdfast process needs before and around its services:
// configuration, logging, metrics, the debug port, and an orderly start and stop.
// Only cmd/holdfast imports it; services get plain values of their own.
//
//	defaults (dev's where the command is dev)
//	   └▶ file ─▶ HOLDFAST_* variables ─▶ flags ─▶ Config ─▶ cross checks ─▶ services start
//	                 each later source replaces what an earlier one said; any problem
//	                 anywhere stops the process before the first listener is opened
//
// The key paths of the file (heartbeat.interval) are the only names: a variable
// is the path in capitals (HOLDFAST_HEARTBEAT_INTERVAL), a flag maps to a path.
// [Config] is the single source of truth for the keys; docs/config.md is made of
// its field comments and tags, and a test fails when that page is stale.
package boot
