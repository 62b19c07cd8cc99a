// Package session is one Engine.IO session as a state machine: packets go in,
// actions come out, and what waits for the peer is pulled from it. It does no I/O,
// reads no clock and starts no goroutine; a shard owns each session and calls it
// with the time.
//
//	            Text, Binary, Post                    Actions
//	transport ───────────────────────▶ ┌─────────┐ ─────────────▶ shard: Connect, Event, Ack, Leave, Ended
//	            Get, Probe, Lost, Tick │ Session │
//	transport ◀─────────────────────── └─────────┘ ◀───────────── shard: Accept, Refuse, Send, SendAck, Kick, End
//	            AppendFrames, AppendPayload
//
// The life of a session:
//
//	state     input                              next      what happens
//	Open      any packet in its place            Open      actions; the peer counts as alive
//	Open      1 from the client                  Closed    Leave for each client, Ended; a waiting poll gets a noop
//	Open      a packet out of place, garbage     Closing   Leave for each client, Ended on a WebSocket
//	Open      the transport is lost              Closed    Leave for each client, Ended
//	Open      no sign of life in time            Closing   the same, "ping timeout"
//	Open      End by the shard                   Closing   the same, with the shard's reason
//	Closing   (polling only) the next poll       Closed    it gets what is queued and a close packet
//	Closing   30 s without a poll                Closed    Ended
//
// and of its transport:
//
//	transport              input                           next
//	Polling                probe socket says 2probe        Polling, upgrading: 3probe; each poll is answered at once
//	Polling, upgrading     probe socket says 5             WebSocket: what is queued leaves there
//	Polling, upgrading     the probe socket goes           Polling
//	WebSocket              a poll or post comes late       WebSocket (the request is refused)
package session
