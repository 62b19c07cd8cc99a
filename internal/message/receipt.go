package message

import "time"

// Receipt is what is known of a push by its dedup_id when an attempt at it begins. At
// most one of Tried, Busy and Done is set; with none of them it is the first attempt.
type Receipt struct {
	MessageID string    // of the first attempt, and so of all
	Begun     time.Time // when the first attempt began, by the clock of the logs
	Tried     bool      // an attempt failed, or has not said how it ended: some logs may have the message
	Busy      bool      // another attempt is at it
	Done      bool      // nothing is left to do
	Nodes     uint32    // of one that is done: how many nodes it was sent to
}
