package gateway

import (
	"net/http"
	"strings"
	"sync"
)

// originTable keeps one copy of equal sets of handshake headers, for a million
// browsers have few user agents.
type originTable struct {
	mu   sync.Mutex
	sets recent[*origin]
}

func newOriginTable() *originTable {
	return &originTable{sets: newRecent[*origin](maxHeaderSets, maxHeaderBytes)}
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

// maxHeaderSets and maxHeaderBytes bound what is recent in the table; the sets hold
// about as many bytes again as their keys. Longer values than maxHeaderValue are cut.
const (
	maxHeaderSets  = 4096
	maxHeaderBytes = 1 << 20
	maxHeaderValue = 8 << 10
)

// pick returns an origin with the allowed headers that are there.
func (t *originTable) pick(h http.Header, allowed []string) *origin {
	var key []byte
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
		key = append(append(key, name...), 0)
		key = append(append(key, value...), 0)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if same, ok := t.sets.get(key); ok {
		return same
	}
	o := &origin{headers: set}
	t.sets.put(string(key), o)
	return o
}
