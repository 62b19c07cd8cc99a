package console

import (
	"context"
	"embed"
	"net/http"
)

//go:embed admin
var adminFiles embed.FS

// Config is what the admin page has to know.
type Config struct {
	// Page is the URL of the shared document, to link to it. Empty: no link.
	Page string
	// Version of holdfast, to show. Empty: none is shown.
	Version string
	// Locked says that ws-api wants a token with each call: the page asks for one.
	Locked bool
	// Nodes returns the processes that there are, to show. Nil: none are shown.
	Nodes func(ctx context.Context) ([]Node, error)
}

// Console serves the admin page at / and its files below /console/; anything else
// gets 404. The page calls ws-api on the host and port that it came from, so it is
// mounted beside [holdfast/internal/api.Server.Handler].
func Console(cfg Config) http.Handler {
	site := newSite(adminFiles, "console", cfg)
	if cfg.Nodes == nil {
		return site
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == nodesPath && r.Method == http.MethodGet {
			serveNodes(&cfg, w, r)
			return
		}
		site.ServeHTTP(w, r)
	})
}
