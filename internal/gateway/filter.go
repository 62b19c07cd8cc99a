package gateway

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/message"
)

// filter is a push's filter, made ready for many clients.
type filter struct {
	*message.Filter
	minimum version // not known: there is none
}

// newFilter returns nil when everybody passes.
func newFilter(p *message.Push) *filter {
	if p.Filter == nil {
		return nil
	}
	f := &filter{Filter: p.Filter}
	if v := p.Filter.MinClientVersion; v != "" {
		f.minimum = parseVersion(v)
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
		f.minimum.known && !parseVersion(t.clientVersion).atLeast(f.minimum):
		return false
	}
	return true
}

// version is a semantic version. The zero value is that of a client that told none, or
// something that is none.
type version struct {
	known      bool
	numbers    [3]int
	preRelease []string // its identifiers; none: a release
}

// parseVersion reads a version. What does not begin with a number is none; what is missing,
// or cannot be read further on, is 0.
func parseVersion(s string) (v version) {
	s, _, _ = strings.Cut(strings.TrimPrefix(s, "v"), "+")
	s, pre, _ := strings.Cut(s, "-")
	for i, part := range strings.SplitN(s, ".", len(v.numbers)) {
		digits := part[:len(part)-len(strings.TrimLeft(part, "0123456789"))]
		n, err := strconv.Atoi(digits)
		if i == 0 && err != nil {
			return version{}
		}
		v.numbers[i] = n
	}
	v.known = true
	if pre != "" {
		v.preRelease = strings.Split(pre, ".")
	}
	return v
}

// atLeast tells whether v has the precedence of other or a higher one (Semantic Versioning
// 2.0.0, §11). A version that is not known is above none.
func (v version) atLeast(other version) bool {
	if !v.known {
		return false
	}
	if c := slices.Compare(v.numbers[:], other.numbers[:]); c != 0 {
		return c > 0
	}
	if len(v.preRelease) == 0 || len(other.preRelease) == 0 {
		return len(v.preRelease) == 0 // a pre-release is below its release
	}
	return slices.CompareFunc(v.preRelease, other.preRelease, compareIdentifiers) >= 0
}

// compareIdentifiers compares two identifiers of pre-releases: numbers by their value and
// below words.
func compareIdentifiers(a, b string) int {
	m, errA := strconv.ParseUint(a, 10, 64)
	n, errB := strconv.ParseUint(b, 10, 64)
	switch {
	case errA == nil && errB == nil:
		return cmp.Compare(m, n)
	case errA == nil:
		return -1
	case errB == nil:
		return 1
	}
	return strings.Compare(a, b)
}
