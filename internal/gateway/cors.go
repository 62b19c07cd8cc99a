package gateway

import (
	"net/http"
	"slices"
)

// corsOrigin returns the request's Origin when the configuration permits it.
func (g *Gateway) corsOrigin(r *http.Request) (string, bool) {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return "", false
	}
	return origin, slices.ContainsFunc(g.cfg.Origins, func(p string) bool { return match(p, origin) })
}

// originAllowed checks the Origin of a WebSocket, which CORS does not cover, where
// origins are configured at all.
func (g *Gateway) originAllowed(r *http.Request) bool {
	if len(g.cfg.Origins) == 0 || r.Header.Get("Origin") == "" {
		return true
	}
	_, ok := g.corsOrigin(r)
	return ok
}

// cors sets the headers for a permitted origin and answers a preflight. The origin
// is echoed with credentials allowed: version 2 clients send theirs with every
// request, and * does not go with that.
func (g *Gateway) cors(w http.ResponseWriter, r *http.Request) (answered bool) {
	if len(g.cfg.Origins) > 0 {
		w.Header().Add("Vary", "Origin")
		if origin, ok := g.corsOrigin(r); ok {
			w.Header().Set("Access-Control-Allow-Origin", origin)
			w.Header().Set("Access-Control-Allow-Credentials", "true")
		}
	}
	if r.Method != http.MethodOptions || len(g.cfg.Origins) == 0 {
		return false
	}
	if h := r.Header.Get("Access-Control-Request-Headers"); h != "" {
		w.Header().Set("Access-Control-Allow-Headers", h)
	}
	w.Header().Set("Access-Control-Allow-Methods", "GET,POST")
	w.Header().Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}
