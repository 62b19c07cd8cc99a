// Package node gives a ws-gateway process its number and makes the IDs that bear it.
//
//	 63            22 21        12 11         0
//	┌────────────────┬────────────┬────────────┐
//	│ ms since Epoch │  worker    │  sequence  │   a Snowflake
//	│    41 bits     │  10 bits   │  12 bits   │
//	└────────────────┴────────────┴────────────┘
//	  │
//	  ▼  11 characters of "-0-9A-Z_a-z", six bits each, the first one four: it sorts
//	 0Vr8oKk-F--            public ID, in logs and presence
//	 0Vr8oKk-F--x7Qn_0aBcD3Z  session ID: the same and 12 characters of 72 random bits
//
// The top bit is 0. Ten bits of worker make 1,024 gateways; at a million
// connections each that is far beyond one cluster. Twelve bits of sequence
// make 4,096 IDs a millisecond, so that a storm of reconnects with several
// namespaces for each client never waits for the clock.
//
// The number in a session ID is a hint at the owner and no more: whoever must know
// asks the registry.
//
// [RedisMembers] is the list of the ws-apis, which have no numbers.
package node
