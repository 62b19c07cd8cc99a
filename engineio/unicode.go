package engineio

import (
	"encoding/binary"
	"unicode/utf8"
)

// replacement is U+FFFD, what stands for bytes that are not UTF-8.
const replacement = "\ufffd"

// notASCII has the top bit of each of eight bytes; most text has none of them.
const notASCII = 0x8080808080808080

// utf16Len counts the UTF-16 code units of b. A byte that is not part of valid
// UTF-8 counts one, the length of the U+FFFD that appendUTF8 makes of it.
func utf16Len(b []byte) int {
	units := 0
	for len(b) > 0 {
		if len(b) >= 8 && binary.LittleEndian.Uint64(b)&notASCII == 0 {
			b, units = b[8:], units+8
			continue
		}
		r, size := utf8.DecodeRune(b)
		b = b[size:]
		units++
		if r > 0xffff {
			units++
		}
	}
	return units
}

// utf16Prefix returns how many bytes of b, which must be UTF-8, hold its first
// units UTF-16 code units, or -1 when b is shorter or the last unit would be half
// of a surrogate pair.
func utf16Prefix(b []byte, units int) int {
	if units > len(b) { // no unit takes less than a byte
		return -1
	}
	i := 0
	for units > 0 {
		if units >= 8 && len(b)-i >= 8 && binary.LittleEndian.Uint64(b[i:])&notASCII == 0 {
			i, units = i+8, units-8
			continue
		}
		if i >= len(b) {
			return -1
		}
		switch c := b[i]; {
		case c < 0x80:
			i, units = i+1, units-1
		case c < 0xe0:
			i, units = i+2, units-1
		case c < 0xf0:
			i, units = i+3, units-1
		default:
			i, units = i+4, units-2
		}
	}
	if units < 0 {
		return -1
	}
	return i
}

// utf8Len is the number of bytes that appendUTF8 appends for b.
func utf8Len(b []byte) int {
	if utf8.Valid(b) {
		return len(b)
	}
	n := 0
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		b = b[size:]
		n += utf8.RuneLen(r) // 3 for the U+FFFD of a bad byte
	}
	return n
}

// appendUTF8 appends b with each byte that is not UTF-8 replaced by U+FFFD.
func appendUTF8(dst, b []byte) []byte {
	if utf8.Valid(b) {
		return append(dst, b...)
	}
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		b = b[size:]
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// appendJSONString appends s as a JSON string that is a JavaScript string too:
// U+2028 and U+2029, which ended a line in JavaScript until 2019, are escaped.
// The escapes are those of JSON.stringify, so that answers equal a stock server's
// byte for byte; encoding/json would escape <, > and & as well. Bytes that are
// not UTF-8 become U+FFFD.
func appendJSONString(dst, s []byte) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRune(s[i:])
			switch r {
			case '\u2028':
				dst = append(dst, `\u2028`...)
			case '\u2029':
				dst = append(dst, `\u2029`...)
			default:
				dst = utf8.AppendRune(dst, r)
			}
			i += size
			continue
		}
		i++
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= ' ':
			dst = append(dst, c)
		case c == '\b':
			dst = append(dst, `\b`...)
		case c == '\f':
			dst = append(dst, `\f`...)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, `\u00`...)
			dst = append(dst, hexDigits[c>>4], hexDigits[c&0xf])
		}
	}
	return append(dst, '"')
}
