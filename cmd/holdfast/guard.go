package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"holdfast/internal/boot"
)

// guard lets only those to api_listen who have one of its tokens.
type guard struct {
	next   http.Handler
	tokens [][sha256.Size]byte
	calls  *connect.ErrorWriter // tells callers in their own protocol
	log    *slog.Logger
}

// newGuard is next itself where there are no tokens.
func newGuard(tokens []boot.Secret, next http.Handler, log *slog.Logger) http.Handler {
	if len(tokens) == 0 {
		return next
	}
	g := &guard{next: next, calls: connect.NewErrorWriter(), log: log}
	for _, t := range tokens {
		g.tokens = append(g.tokens, sha256.Sum256([]byte(t)))
	}
	return g
}

var errNoToken = errors.New("this API wants one of its api_tokens, as in Authorization: Bearer TOKEN")

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isOpen(r.URL.Path) || g.knows(r.Header.Get("Authorization")) {
		g.next.ServeHTTP(w, r)
		return
	}
	g.log.Warn("somebody without one of the api_tokens was refused", "remote", r.RemoteAddr, "path", r.URL.Path)
	err := connect.NewError(connect.CodeUnauthenticated, errNoToken)
	w.Header().Set("WWW-Authenticate", `Bearer realm="holdfast"`)
	if g.calls.IsSupported(r) {
		_ = g.calls.Write(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	_ = json.NewEncoder(w).Encode(map[string]string{"code": err.Code().String(), "message": err.Message()})
}

// knows compares what is as long as its hash is, so that the time tells nothing.
func (g *guard) knows(authorization string) bool {
	kind, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(kind, "Bearer") {
		return false
	}
	sum, known := sha256.Sum256([]byte(token)), 0
	for i := range g.tokens {
		known |= subtle.ConstantTimeCompare(sum[:], g.tokens[i][:])
	}
	return known == 1
}

// isOpen tells of what who checks the health of processes asks for, and of the files of
// the console, which say nothing of anybody.
func isOpen(path string) bool {
	switch {
	case path == "/healthz", path == "/readyz", strings.HasPrefix(path, "/grpc.health."):
		return true
	}
	return isConsole(path) && path != "/console/nodes"
}
