package message

import "time"

// Credentials is what a client has shown of itself: its CONNECT packet's auth
// object, and the query and headers of its handshake.
type Credentials struct {
	Namespace string
	Auth      []byte // JSON object, nil when absent
	Query     map[string]string
	Headers   map[string]string // canonical names
}

// Identity is who a client is, and which rooms it may ask for.
type Identity struct {
	UID       string
	Anonymous bool     // no token was shown
	Rooms     []string // patterns that its token permits; an anonymous client may ask for any
	Profile   string   // JSON object, "" when none
	AuthType  string
	Expires   time.Time // zero: never
}
