package engineio

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"
)

// What begins a packet of the binary form, and what ends its length.
const (
	octetsText   = 0x00
	octetsBinary = 0x01
	octetsEnd    = 0xff
)

// maxLengthDigits bounds the digits of a packet's length. Nine hold any body that
// fits in memory here and cannot overflow an int of 32 bits.
const maxLengthDigits = 9

// next3Text takes the first packet off a text payload, which must be UTF-8.
func next3Text(body []byte) (p Packet, rest []byte, skip bool, err error) {
	units, body, err := parseLength(body, '0', ':')
	if err != nil {
		return Packet{}, nil, false, err
	}
	end := utf16Prefix(body, units)
	if end < 0 {
		return Packet{}, nil, false, ErrLength
	}
	one, rest := body[:end:end], body[end:]
	if len(one) == 0 {
		return Packet{}, rest, true, nil
	}
	p, err = ParseText(V3, one)
	return p, rest, false, err
}

// next3Octets takes the first packet off a binary payload.
func next3Octets(body []byte) (p Packet, rest []byte, skip bool, err error) {
	kind := body[0]
	if kind != octetsText && kind != octetsBinary {
		return Packet{}, nil, false, ErrType
	}
	size, body, err := parseLength(body[1:], 0, octetsEnd)
	if err != nil {
		return Packet{}, nil, false, err
	}
	if size > len(body) {
		return Packet{}, nil, false, ErrLength
	}
	one, rest := body[:size:size], body[size:]
	switch {
	case kind == octetsBinary:
		p, err = ParseBinary(V3, one)
	case !utf8.Valid(one):
		err = ErrUTF8
	default:
		p, err = ParseText(V3, one)
	}
	return p, rest, false, err
}

// parseLength reads decimal digits, the first of which is the byte zero, up to
// the byte end, and returns what follows that.
func parseLength(b []byte, zero, end byte) (n int, rest []byte, err error) {
	for i, c := range b {
		if c == end && i > 0 {
			return n, b[i+1:], nil
		}
		digit := c - zero
		if digit > 9 || i == maxLengthDigits {
			return 0, nil, ErrLength
		}
		n = n*10 + int(digit)
	}
	return 0, nil, ErrLength
}

func appendText3(dst []byte, packets []Packet) []byte {
	if len(packets) == 0 {
		return append(dst, "0:"...)
	}
	for _, p := range packets {
		if p.Binary {
			dst = strconv.AppendInt(dst, int64(len("b4")+base64.StdEncoding.EncodedLen(len(p.Data))), 10)
			dst = append(dst, ':')
			dst = AppendBase64(V3, dst, p.Data)
			continue
		}
		// A byte that is not UTF-8 becomes one U+FFFD, and counts as one unit in
		// utf16Len as well, so the length can be written before the text.
		dst = strconv.AppendInt(dst, int64(1+utf16Len(p.Data)), 10)
		dst = append(dst, ':', p.Type.Byte())
		dst = appendUTF8(dst, p.Data)
	}
	return dst
}

func appendOctets3(dst []byte, packets []Packet) []byte {
	for _, p := range packets {
		if p.Binary {
			dst = append(dst, octetsBinary)
			dst = appendOctetLength(dst, 1+len(p.Data))
			dst = AppendBinary(V3, dst, p.Data)
			continue
		}
		dst = append(dst, octetsText)
		dst = appendOctetLength(dst, 1+utf8Len(p.Data))
		dst = append(dst, p.Type.Byte())
		dst = appendUTF8(dst, p.Data)
	}
	return dst
}

// appendOctetLength appends n in decimal, its digits as values, and the end mark.
func appendOctetLength(dst []byte, n int) []byte {
	start := len(dst)
	dst = strconv.AppendInt(dst, int64(n), 10)
	for i := start; i < len(dst); i++ {
		dst[i] -= '0'
	}
	return append(dst, octetsEnd)
}
