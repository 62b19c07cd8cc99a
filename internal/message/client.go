package message

import "time"

// Client is what all sides know of one Socket.IO socket (one namespace of a
// session). It is written once at its CONNECT; rooms live in the registry.
type Client struct {
	ID            string // public form, see [PublicID]
	Namespace     string
	UID           string // "" when nobody knows who this is
	Node          string // the node that holds it
	AuthType      string // X-Auth-Type: sdk, site, mobile …
	ClientVersion string // X-Client-Version: the application's, a semantic version
	Locale        string
	Transport     string // "polling" or "websocket"
	Protocol      string // "socket.io/4", "socket.io/5", "engine.io/3", "engine.io/4"
	RemoteAddr    string
	ConnectedAt   time.Time
	Profile       string // JSON object, "" when none
}

// Held is a client as the registry has it for a node, see the audit of gateways.
type Held struct {
	ID      string // public form
	Version string // grows with each change; "" when no client is recorded there
}

// ClientInfo is a client with what changes during its life.
type ClientInfo struct {
	Client
	Rooms      []string // names, without the key's prefix
	LastSeenAt time.Time
}
