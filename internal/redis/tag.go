package redis

import "strings"

// Brace returns name as a hash tag: what is between the braces decides on which node
// of a Cluster a key lives. Braces, percent signs and control characters in it are
// escaped as in a URL, so that one name has one tag and shows well in a terminal.
func Brace(name string) string {
	var b strings.Builder
	b.Grow(len(name) + 2)
	b.WriteByte('{')
	escape(&b, name)
	b.WriteByte('}')
	return b.String()
}

// Tag returns the hash tag of a room or user in a namespace, "{/chat,doc-7}". A
// whole namespace has the empty name.
func Tag(namespace, name string) string {
	var b strings.Builder
	b.Grow(len(namespace) + len(name) + 3)
	b.WriteByte('{')
	escape(&b, namespace)
	b.WriteByte(',') // a namespace contains none, so the first one ends it
	escape(&b, name)
	b.WriteByte('}')
	return b.String()
}

const hexDigits = "0123456789ABCDEF"

func escape(b *strings.Builder, s string) {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '{', c == '}', c == '%', c < 0x20, c == 0x7f:
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		default:
			b.WriteByte(c)
		}
	}
}
