package boot

import (
	"fmt"
	"strings"
)

// Problem is one thing wrong with the configuration.
type Problem struct {
	Where string // "holdfast.yaml:12", "HOLDFAST_LISTEN", "command line"; empty for a default
	Path  string // the key, as in routes[2].ack; empty for the source as a whole
	Text  string // what is wrong and what is wanted
}

// String is one line: where, path, text.
func (p Problem) String() string {
	parts := make([]string, 0, 3)
	for _, s := range []string{p.Where, p.Path, p.Text} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ": ")
}

// InvalidError is every problem of a configuration. The process must not start.
type InvalidError struct{ Problems []Problem }

var _ error = (*InvalidError)(nil)

// Error is one line for one problem, else a heading and a line for each.
func (e *InvalidError) Error() string {
	if len(e.Problems) == 1 {
		return "configuration: " + e.Problems[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "configuration: %d problems", len(e.Problems))
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}
