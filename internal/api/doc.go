// Package api is ws-api: what backends talk to, and what decides where a
// client's event goes.
//
//	backend ── Push ──▶ targets → keys ─▶ Log.Append ─▶ Registry.Nodes ─▶ one Down to each node
//	                     (push.go)         (route.go)     (nodes.go)        (Bus.Send)
//
//	            ┌ ack: durable ───────────────────────────▶ Down{Ack}
//	client ─ Up ┤ relay ──────▶ as a push, to the sender's rooms
//	 (intake.go)│ backend ────▶ dispatcher ─▶ HandleEvent ─▶ reply: joins, pushes, ack
//	            │                (dispatch.go)  (backend.go)   (reply.go)
//	            └ groups ─────▶ Subscribe streams ──────────▶ the same
//	                             (group.go, subscribe.go)
//
// Beside this way: who may come in (connect.go), who is there (clients.go, presence.go),
// what nodes are told so that nothing gets lost on the way (heads.go), what is not done
// twice (dedup.go, receipts.go, waited.go for PushAndWait, again.go for events), pushes
// that backends write to the bus (push_topic.go), and the other ws-apis (peers.go, with
// guests.go for the events that these lend).
//
// # Order
//
// Events of one session pass through one lane of the intake, and then wait in
// each backend's and each group's [lineup], which hands out one event of a
// session at a time. The next one follows when the reply to the one before has
// been carried out.
//
// # Bounds
//
//	intake lanes        items, bytes   full: Consume's handle waits, and so does the bus
//	backend's queue     items, bytes   full: the event gets an error ack, a CONNECT is refused with retry:true
//	  its DISCONNECTs   items, bytes   full: the oldest is dropped and counted
//	group's queue       items, bytes   full: the oldest that no consumer holds is dropped and counted
//	calls under way     number         full: RESOURCE_EXHAUSTED
//	acks of one call    items, bytes   full: counted as missing
//	deduplicated IDs    number         full: the least recently used is forgotten
//	lists of nodes      number         full: the least recently used is forgotten
//	presence's rooms    number         full: the change is not announced, and counted
//
// JSON arrays of arguments pass through as the bytes that they came as; nothing
// here decodes or writes one.
package api
