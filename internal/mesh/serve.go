package mesh

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// refusalHeader says in an answer why a request was not served: it comes from the
// link, not from who serves it.
const (
	refusalHeader = "Holdfast-Refused"
	refusedSecret = "secret"
	refusedOther  = "other-node"
)

// logEvery is how often a refusal of the same host is logged.
const logEvery = time.Minute

// maxRefused bounds the hosts of which refusals are remembered.
const maxRefused = 1024

type callerKey struct{}

// Caller returns the node that a request of the link comes from.
func Caller(r *http.Request) string {
	name, _ := r.Context().Value(callerKey{}).(string)
	return name
}

// Server returns the server of this node's end: it passes on to h what comes from
// nodes with the secret, and answers everything else with 401, or 421 where another
// node is meant.
func (m *Mesh) Server(h http.Handler) *http.Server {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	p.SetHTTP1(true) // so that a browser or a probe gets its 401 in a form that it reads
	return &http.Server{
		Handler:           m.guard(h),
		Protocols:         p,
		ReadHeaderTimeout: 10 * time.Second,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: streams, SendPingTimeout: 2 * time.Second, PingTimeout: 2 * time.Second,
		},
		ErrorLog: slog.NewLogLogger(m.opts.Log.Handler(), slog.LevelDebug),
	}
}

func (m *Mesh) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, to, ok := verify(r.Header, m.opts.Secret)
		switch {
		case !ok:
			m.logRefused(r)
			refuse(w, refusedSecret, http.StatusUnauthorized)
		case to != m.opts.Node:
			refuse(w, refusedOther, http.StatusMisdirectedRequest)
		default:
			h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, from)))
		}
	})
}

func refuse(w http.ResponseWriter, why string, status int) {
	w.Header().Set(refusalHeader, why)
	http.Error(w, http.StatusText(status), status)
}

// logRefused tells of a request without the secret, once a minute for each host.
func (m *Mesh) logRefused(r *http.Request) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	now := time.Now()
	m.mu.Lock()
	known := now.Sub(m.refused[host]) < logEvery
	if !known {
		if len(m.refused) >= maxRefused {
			clear(m.refused)
		}
		m.refused[host] = now
	}
	m.mu.Unlock()
	if !known {
		m.opts.Log.Warn("somebody without the right node.secret wants to speak as a node", "remote", r.RemoteAddr, "path", r.URL.Path)
	}
}
