package gateway

import (
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// serveBundle serves the stock client's files below a Socket.IO endpoint.
func (g *Gateway) serveBundle(w http.ResponseWriter, r *http.Request, e *endpoint) bool {
	name := strings.TrimPrefix(r.URL.Path, e.Path)
	if g.cfg.ClientBundle == "" || e.Raw || name == "" || strings.ContainsAny(name, `/\`) {
		return false
	}
	ext := path.Ext(name)
	if ext != ".js" && ext != ".map" || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	file := filepath.Join(g.cfg.ClientBundle, name)
	if info, err := os.Stat(file); err != nil || info.IsDir() {
		return false
	}
	w.Header().Set("Content-Type", "application/javascript; charset=utf-8")
	if ext == ".map" {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	w.Header().Set("Cache-Control", "public, max-age=0")
	http.ServeFile(w, r, file)
	return true
}
