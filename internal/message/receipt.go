package message

import "time"

// Receipt is what is known of a push by its dedup_id when an attempt at it begins. At
// most one of Tried, Busy, Done and Lost is set; with none of them it is the first attempt.
type Receipt struct {
	MessageID string    // of the first attempt, and so of all
	Begun     time.Time // when the first attempt began, by the clock of the logs
	Tried     bool      // an attempt failed, or has not said how it ended: some logs may have the message
	Busy      bool      // another attempt is at it
	Done      bool      // nothing is left to do
	Lost      bool      // clients were asked, and what they answered is not to be had any more
	Nodes     uint32    // of one that is done: how many nodes it was sent to
	Answer    string    // of one that is done and waited for answers: what was noted of them
}
