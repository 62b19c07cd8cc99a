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
