package gateway

import (
	"strings"
	"sync"

	"holdfast/internal/message"
	"holdfast/internal/session"
)

// endpoint is one path with what its sessions share.
type endpoint struct {
	Endpoint
	session session.Config

	exact    map[string]string
	patterns []string
	mu       sync.Mutex
	dynamic  recent[string] // namespaces that a pattern let in, one copy of each name
}

// maxDynamic and maxDynamicBytes bound the names of dynamic namespaces of which there is
// one copy for all sessions.
const (
	maxDynamic      = 65_536
	maxDynamicBytes = 4 << 20
)

func newEndpoint(cfg *Config, e *Endpoint) *endpoint {
	ep := &endpoint{Endpoint: *e, session: cfg.Session, exact: make(map[string]string), dynamic: newRecent[string](maxDynamic, maxDynamicBytes)}
	if !strings.HasSuffix(ep.Path, "/") {
		ep.Path += "/"
	}
	if len(ep.Namespaces) == 0 {
		ep.Namespaces = []string{"/"}
	}
	for _, ns := range ep.Namespaces {
		if strings.Contains(ns, "*") {
			ep.patterns = append(ep.patterns, ns)
		} else {
			ep.exact[ns] = ns
		}
	}
	ep.session.Raw = e.Raw
	ep.session.PollingOnly = !e.WebSocket
	ep.session.Msgpack3 = e.Msgpack3
	ep.session.Namespace = ep.namespace
	ep.session.Packet.Intern = ep.intern
	return ep
}

// intern makes the string of a namespace as a packet has it: without an allocation
// for one that is known.
func (e *endpoint) intern(b []byte) string {
	if ns, ok := e.exact[string(b)]; ok {
		return ns
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if ns, ok := e.dynamic.get(b); ok {
		return ns
	}
	return string(b)
}

// namespace tells whether a namespace exists here and returns one copy of its name.
func (e *endpoint) namespace(name string) (string, bool) {
	if ns, ok := e.exact[name]; ok {
		return ns, true
	}
	for _, p := range e.patterns {
		if match(p, name) && message.CheckNamespace(name) == nil {
			e.mu.Lock()
			defer e.mu.Unlock()
			if ns, ok := e.dynamic.get([]byte(name)); ok {
				return ns, true
			}
			e.dynamic.put(name, name)
			return name, true
		}
	}
	return "", false
}

// match tells whether name fits a pattern in which * stands for any characters.
// It takes time linear in the name for each star.
func match(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return pattern == name
	}
	if len(name) < len(first)+len(last) || !strings.HasPrefix(name, first) || !strings.HasSuffix(name, last) {
		return false
	}
	name = name[len(first) : len(name)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
	return true
}
