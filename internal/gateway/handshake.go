package gateway

import (
	"net/http"
	"strings"
	"sync"
)

// handshake is what a handshake told of a session. Those of many sessions are equal
// and shared, so nothing in it changes.
type handshake struct {
	query   map[string]string // what is not Engine.IO's own; nil when empty
	headers map[string]string // those that backends get
	auth    map[string]string // Authorization, for the check of a token; nil when there is none
	later   *handshake        // the same without auth, for after the check; nil when this is it
}

// handshakeTable keeps one copy of equal sets of handshake headers, for a million
// browsers have few user agents.
type handshakeTable struct {
	mu   sync.Mutex
	sets recent[*handshake]
}

func newHandshakeTable() *handshakeTable {
	return &handshakeTable{sets: newRecent[*handshake](maxHeaderSets, maxHeaderBytes)}
}

// of returns what a handshake tells, with the headers that are allowed.
func (t *handshakeTable) of(h http.Header, allowed []string, query map[string]string) *handshake {
	o := t.pick(h, allowed)
	if len(query) > 0 {
		o = &handshake{query: query, headers: o.headers}
	}
	if a := h.Get("Authorization"); a != "" {
		o = &handshake{query: query, headers: o.headers, auth: map[string]string{"Authorization": a}, later: o}
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

// pick returns a handshake with the allowed headers that are there.
func (t *handshakeTable) pick(h http.Header, allowed []string) *handshake {
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
	o := &handshake{headers: set}
	t.sets.put(string(key), o)
	return o
}
