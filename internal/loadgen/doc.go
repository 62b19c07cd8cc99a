// Package loadgen makes load for a holdfast and for other WebSocket servers, and
// measures what it does to them.
//
//	        Plan, Load                      Stats
//	scenario ─────────▶ Swarm ─┬─ loop ──┬─▶ connections ──▶ the server, by its pid:
//	   │                       ├─ loop   │   (thousands in     resident memory,
//	   │                       └─ loop   │    one goroutine)   processor time
//	   └── Pusher: one event to all ─────┘
//
// A Swarm is a number of clients in this process, or in others of the same
// program that are driven through their standard input and output (worker.go): a
// process opens 20,000 files on many systems. Each loop owns a netpoll.Engine and
// the clients in it.
//
// The load is open: clients arrive, and messages are sent, at times that were
// fixed beforehand, and a latency counts from that time. A server that stalls for
// a second is charged that second for everything that was due in it; a closed
// loop, which sends the next request when the last was answered, would have
// waited with it and hardly noticed. What the generator itself was late is in
// Stats.Late: where it is not small against the latencies, the machine had no
// processor left for the clients and the latencies are theirs as well.
package loadgen
