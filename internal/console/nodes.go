package console

import (
	"encoding/json"
	"net/http"
	"time"
)

// Node is one process, as the admin page shows it.
type Node struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`    // what it was started as: dev, gateway or api
	Version string `json:"version"` // of the program
	// Clients is how many Socket.IO clients it has; nil: it takes none.
	Clients *int64 `json:"clients,omitempty"`
	// Load is how many cores it takes, 0.25 for a quarter of one.
	Load  float64   `json:"load"`
	Since time.Time `json:"since"` // when it was started
	// Silent is for how many seconds nothing was heard of it, Dead whether it counts as
	// dead for that.
	Silent float64 `json:"silent"`
	Dead   bool    `json:"dead,omitempty"`
}

// nodesPath is where the page gets the list, {"nodes": […]}.
const nodesPath = "/console/nodes"

// serveNodes answers with the processes that there are.
func serveNodes(cfg *Config, w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	nodes, err := cfg.Nodes(r.Context())
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(w).Encode(map[string]string{"code": "unavailable", "message": err.Error()})
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"nodes": append([]Node{}, nodes...)})
}
