package message

import "time"

// Saved is what lets a client come back after its connection was lost
// (connection state recovery): who it was and where it stood in each of its
// keys' logs. It is stored under its private ID while the client lives.
type Saved struct {
	PID    string // private session ID, a secret
	Client Client
	Tag    string // short tag of this life; an offset that bears another is a stale one
	Gen    uint32 // grows with each save; an offset names the one that it counts from
	Places []Place
	// Had is the last pushes to several keys that had been sent to it before this save:
	// who shows an offset that counts from here has received them.
	Had     []string
	SavedAt time.Time
	// Claim is the last attempt to come back. Saving leaves it as it is.
	Claim Claim
}

// Claim is an attempt of a client to come back. Of several at once the last one wins.
type Claim struct {
	Number uint64 // grows with each attempt; 0: there was none
	Node   string // where it is; "" where there is only one node
}

// Place is a position in one key's log.
type Place struct {
	Key Key
	Position
}
