package mesh

import (
	"context"
	"crypto/tls"
	"log"
	"net"
	"net/http"
	"strings"
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
// node is meant. [Mesh.Listener] is where it serves.
func (m *Mesh) Server(h http.Handler) *http.Server {
	p := m.opts.protocols()
	if m.opts.Listen == nil {
		p.SetHTTP1(true) // so that a browser or a probe gets its 401 in a form that it reads
	}
	return &http.Server{
		Handler:           m.guard(h),
		Protocols:         p,
		TLSConfig:         m.opts.Listen,
		ReadHeaderTimeout: 10 * time.Second,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: streams, SendPingTimeout: 2 * time.Second, PingTimeout: 2 * time.Second,
		},
		ErrorLog: log.New(&serverLog{m}, "", 0),
	}
}

// Listener is l as the server of [Mesh.Server] serves it: with TLS, where there is one.
func (m *Mesh) Listener(l net.Listener) net.Listener {
	if m.opts.Listen == nil {
		return l
	}
	return tls.NewListener(l, m.opts.Listen)
}

// serverLog takes what the server has to say of its connections. That somebody cannot
// show who he is, is said aloud, once a minute for each host.
type serverLog struct{ m *Mesh }

func (s *serverLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	rest, shaking := strings.CutPrefix(text, "http: TLS handshake error from ")
	remote, why, _ := strings.Cut(rest, ": ")
	if shaking && why != "EOF" && s.m.first(hostOf(remote)) { // EOF: a probe that says nothing
		s.m.opts.Log.Warn("somebody wants to speak as a node and does not pass node.tls", "remote", remote, "err", why)
	} else {
		s.m.opts.Log.Debug(text)
	}
	return len(line), nil
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
	if m.first(hostOf(r.RemoteAddr)) {
		m.opts.Log.Warn("somebody without the right node.secret wants to speak as a node", "remote", r.RemoteAddr, "path", r.URL.Path)
	}
}

func hostOf(remote string) string {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		return host
	}
	return remote
}

// first tells whether nothing was said of who for a minute, and takes note that it is now.
func (m *Mesh) first(who string) bool {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.refused[who]) < logEvery {
		return false
	}
	if len(m.refused) >= maxRefused {
		clear(m.refused)
	}
	m.refused[who] = now
	return true
}
