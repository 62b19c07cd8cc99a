package message

// Position is a place in a key's log. Sequences begin at the store's clock in
// microseconds when a log is made and only grow, so that a log which expired for
// want of messages does not look like one that was lost; the epoch changes only
// when the store lost its data.
type Position struct {
	Epoch uint64
	Seq   uint64 // of the last record; 0: unknown
}

// Appended is what a log answers to an append.
type Appended struct {
	Position
	Prev    uint64 // sequence of the record before it; 0: the log was empty or expired
	Version uint64 // of the key's membership at that moment; rooms only
}

// Stamp places one message in the log of one of its keys.
type Stamp struct {
	Key   Key
	Epoch uint64
	Seq   uint64 // 0: the message is not in the log (volatile, or it asks for an ack)
	Prev  uint64
}

// Logged is one record of a log.
type Logged struct {
	Seq, Prev uint64
	Push      *Push
}
