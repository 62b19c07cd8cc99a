package gateway

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// equalSecret compares two session IDs in constant time.
func equalSecret(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// originOf returns the request's Origin when the configuration permits it.
func (g *Gateway) originOf(r *http.Request) (string, bool) {
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
	_, ok := g.originOf(r)
	return ok
}

// cors sets the headers for a permitted origin and answers a preflight. The origin
// is echoed with credentials allowed: version 2 clients send theirs with every
// request, and * does not go with that.
func (g *Gateway) cors(w http.ResponseWriter, r *http.Request) (answered bool) {
	if len(g.cfg.Origins) > 0 {
		w.Header().Add("Vary", "Origin")
		if origin, ok := g.originOf(r); ok {
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

// originTable keeps one copy of equal sets of handshake headers, for a million
// browsers have few user agents.
type originTable struct {
	mu   sync.Mutex
	sets map[string]*origin
}

// of returns what a handshake tells, with the headers that are allowed.
func (t *originTable) of(h http.Header, allowed []string, query map[string]string) *origin {
	o := t.pick(h, allowed)
	if len(query) > 0 {
		o = &origin{query: query, headers: o.headers}
	}
	if a := h.Get("Authorization"); a != "" {
		o = &origin{query: query, headers: o.headers, auth: map[string]string{"Authorization": a}, later: o}
	}
	return o
}

// maxHeaderSets bounds the table; sets beyond it are not shared. Longer values
// than maxHeaderValue are cut.
const (
	maxHeaderSets  = 4096
	maxHeaderValue = 8 << 10
)

// pick returns an origin with the allowed headers that are there.
func (t *originTable) pick(h http.Header, allowed []string) *origin {
	var key strings.Builder
	var set map[string]string
	for _, name := range allowed {
		value := strings.Join(h.Values(name), ", ")
		if value == "" {
			continue
		}
		value = value[:min(len(value), maxHeaderValue)]
		if set == nil {
			set = make(map[string]string)
		}
		set[http.CanonicalHeaderKey(name)] = value
		key.WriteString(name)
		key.WriteByte(0)
		key.WriteString(value)
		key.WriteByte(0)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if same := t.sets[key.String()]; same != nil {
		return same
	}
	if t.sets == nil {
		t.sets = make(map[string]*origin)
	}
	o := &origin{headers: set}
	if len(t.sets) < maxHeaderSets {
		t.sets[key.String()] = o
	}
	return o
}

// queryObject writes a query string as a JSON object of strings, as a protocol 4
// namespace's query stands for its auth object.
func queryObject(raw string) []byte {
	values, err := url.ParseQuery(raw)
	if err != nil && len(values) == 0 {
		return nil
	}
	object := make(map[string]string, len(values))
	for name, v := range values {
		object[name] = v[0]
	}
	b, err := json.Marshal(object)
	if err != nil {
		return nil
	}
	return b
}
