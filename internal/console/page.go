package console

import (
	"embed"
	"net/http"
	"strings"
)

//go:embed page
var pageFiles embed.FS

// PageConfig is what the shared document has to know.
type PageConfig struct {
	// API is the base URL of ws-api as people reach it, for the commands that the
	// page shows. Default: http://127.0.0.1:8001.
	API string
	// Program is how this program is called, for the same. Default: holdfast.
	Program string
	// Path is that of the Socket.IO endpoint, with a slash at its end. Default: /socket.io/.
	Path string
	// PresenceEvent is the event that tells who is there. Default: message.
	PresenceEvent string
	// Stock lets the page use the stock client, which is served at Path +
	// "socket.io.js" where the configuration names a client_bundle, instead of its
	// own few lines.
	Stock bool
}

func (c *PageConfig) setDefaults() {
	if c.API == "" {
		c.API = "http://127.0.0.1:8001"
	}
	c.API = strings.TrimSuffix(c.API, "/")
	if c.Program == "" {
		c.Program = "holdfast"
	}
	if c.Path == "" {
		c.Path = "/socket.io/"
	}
	if c.PresenceEvent == "" {
		c.PresenceEvent = "message"
	}
}

// Page serves the shared document at / and its files below /page/; anything else
// gets 404. The document shown is the room in the address: /?guid=doc-1.
func Page(cfg PageConfig) http.Handler {
	cfg.setDefaults()
	return newSite(pageFiles, "page", cfg)
}
