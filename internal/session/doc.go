// Package session is one Engine.IO session as a state machine: packets go in,
// actions come out, and what waits for the peer is pulled from it. It does no I/O,
// reads no clock and starts no goroutine; a shard owns each session and calls it
// with the time.
//
//	            Text, Binary, Post                    Actions
//	transport ───────────────────────▶ ┌─────────┐ ─────────────▶ shard: Connect, Event, Ack, Leave, Ended
//	            Get, Probe, Lost, Tick │ Session │
//	transport ◀─────────────────────── └─────────┘ ◀───────────── shard: Accept, Refuse, Send, SendAck, Kick, End
//	            Next, AppendPayload
//
// The life of a session:
//
//	state     input                              next      what happens
//	Open      any packet in its place            Open      actions; the peer counts as alive
//	Open      1 from the client                  Closed    Leave for each client, Ended; a waiting poll gets a noop
//	Open      a Socket.IO packet out of place    Closing   Leave for each client
//	Open      End by the shard                   Closing   the same, with the shard's reason
//	Open      the peer does not take its output  Closing   the same, "slow consumer"; what waits is let go
//	Open      garbage, an Engine.IO packet out   Closing   the same; Closed with Ended when no poll waits
//	          of place, two polls or posts at
//	          once, no sign of life in time
//	Open      the transport is lost              Closed    Leave for each client, Ended; what waits is let go
//	Closing   a poll, while something is queued  Closing   it gets that
//	Closing   the waiting or the next poll       Closed    it gets a close packet; Ended
//	Closing   30 s without a poll, or Lost       Closed    Ended
//
// Only polling knows Closing: on a WebSocket, where that row says so, the session
// is Closed at once with Ended, and what Next still gives precedes the close frame.
//
// The life of its transport:
//
//	transport              input                           next
//	Polling                probe socket says 2probe        Polling, upgrading: 3probe; each poll is answered at once
//	Polling, upgrading     probe socket says 5             WebSocket: what is queued leaves there
//	Polling, upgrading     the probe socket goes           Polling
//	WebSocket              a poll or post comes late       WebSocket (the request is refused)
//
// What waits for the peer is bounded in messages, bytes and age (Config.Output…).
// Past a bound the session ends as a slow consumer, from which a stock client comes
// back by itself and recovers; a volatile message is dropped when it cannot leave at
// once, and one with a collapse key replaces an older one that has not left.
package session
