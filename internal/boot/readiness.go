package boot

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// errStarting is the reason of a check that has not been set.
var errStarting = errors.New("starting")

// Readiness says whether a process wants new work. It has named checks; it is
// ready when each of them is. It is safe for use by many goroutines.
type Readiness struct {
	mu     sync.Mutex
	checks map[string]error // guarded by mu; nil: ready
}

var _ http.Handler = (*Readiness)(nil)

// NewReadiness returns a Readiness that waits for each of the names to be set.
func NewReadiness(names ...string) *Readiness {
	r := &Readiness{checks: make(map[string]error, len(names))}
	for _, name := range names {
		r.checks[name] = errStarting
	}
	return r
}

// Set says how the named check stands: nil for ready, else the reason why not.
// A new name adds a check.
func (r *Readiness) Set(name string, reason error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checks[name] = reason
}

// reasons returns the checks that are not ready.
func (r *Readiness) reasons() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	reasons := map[string]string{}
	for name, err := range r.checks {
		if err != nil {
			reasons[name] = err.Error()
		}
	}
	return reasons
}

// Err returns nil when the process is ready, else an error with all reasons in
// the order of their names.
func (r *Readiness) Err() error {
	reasons := r.reasons()
	if len(reasons) == 0 {
		return nil
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(reasons)) {
		parts = append(parts, name+": "+reasons[name])
	}
	return fmt.Errorf("not ready: %s", strings.Join(parts, "; "))
}

// ServeHTTP answers 200 with {"ready":true}, or 503 with
// {"ready":false,"reasons":{"name":"why"}}.
func (r *Readiness) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	type answer struct {
		Ready   bool              `json:"ready"`
		Reasons map[string]string `json:"reasons,omitempty"`
	}
	reasons := r.reasons()
	if len(reasons) > 0 {
		writeJSON(w, http.StatusServiceUnavailable, answer{Reasons: reasons})
		return
	}
	writeJSON(w, http.StatusOK, answer{Ready: true})
}
