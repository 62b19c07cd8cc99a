package gateway

import (
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/message"
)

// filter is a push's filter, made ready for many clients.
type filter struct {
	*message.Filter
	minimum []int
}

// newFilter returns nil when everybody passes.
func newFilter(p *message.Push) *filter {
	if p.Filter == nil {
		return nil
	}
	f := &filter{Filter: p.Filter}
	if v := p.Filter.MinClientVersion; v != "" {
		f.minimum = version(v)
	}
	return f
}

func (f *filter) passes(cl *client) bool {
	if f == nil {
		return true
	}
	t := cl.traits.get()
	switch {
	case slices.Contains(f.ExceptClients, cl.id),
		len(f.AuthTypes) > 0 && !slices.Contains(f.AuthTypes, t.authType),
		len(f.Locales) > 0 && !slices.Contains(f.Locales, t.locale),
		f.minimum != nil && slices.Compare(version(t.clientVersion), f.minimum) < 0:
		return false
	}
	return true
}

// version reads the three numbers of a semantic version; what cannot be read is 0. A
// pre-release counts as its release.
func version(s string) []int {
	s = strings.TrimPrefix(s, "v")
	if i := strings.IndexAny(s, "-+"); i >= 0 {
		s = s[:i]
	}
	out := make([]int, 3)
	for i, part := range strings.SplitN(s, ".", 3) {
		out[i], _ = strconv.Atoi(part)
	}
	return out
}
