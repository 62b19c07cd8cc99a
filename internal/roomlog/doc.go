// Package roomlog keeps, for each key, the last messages that were sent to it, so
// that a client or a node that has missed some can be told them.
//
//	seq:        … 41   42   43   44   45
//	                 │ ▓▓   ▓▓   ▓▓   ▓▓ │◀── Append: position 46, prev 45
//	         trimmed─┘                   └─── Heads: 45
//	                   Range(after 43) ──▶ 44, 45
//
// A position is an epoch and a sequence. The epoch is made once for each store and
// changes only when the store has lost its data. A log's sequence begins at the
// clock in microseconds and counts up from there; when the log has expired for
// want of messages, the next one begins above all that was ever given out. So a
// position stays comparable while the room is quiet, however long.
//
// A log is bounded in messages, in bytes and in age. Who asks for what was trimmed
// by count or by bytes is told that the answer is not complete. Age is different:
// a log need not remember what is older than the longest absence after which a
// client may come back, so that Options.Window must exceed the recovery window by
// the time that it takes to notice a dead connection.
package roomlog
