package engineio

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

// known tells whether err is of this package, as every parser promises.
func known(err error) bool {
	var e Error
	return errors.As(err, &e)
}

func FuzzParseText(f *testing.F) {
	for _, tc := range textFrames {
		f.Add(tc.v == V3, []byte(tc.wire))
	}
	f.Fuzz(func(t *testing.T, v3 bool, b []byte) {
		v := version(v3)
		p, err := ParseText(v, b)
		if err != nil {
			if !known(err) {
				t.Errorf("%q: %v", b, err)
			}
			return
		}
		out := AppendText(nil, p)
		if p.Binary {
			out = AppendBase64(v, nil, p.Data)
		} else if !bytes.Equal(out, b) {
			t.Errorf("%q is written as %q", b, out)
		}
		if again, err := ParseText(v, out); err != nil || !same(again, p) {
			t.Errorf("%+v comes back as %+v, %v", p, again, err)
		}
	})
}

func FuzzParseBinary(f *testing.F) {
	f.Add(true, []byte("\x04\x01"))
	f.Add(true, []byte("4"))
	f.Add(false, []byte(""))
	f.Fuzz(func(t *testing.T, v3 bool, b []byte) {
		v := version(v3)
		p, err := ParseBinary(v, b)
		if err != nil {
			if !known(err) {
				t.Errorf("%q: %v", b, err)
			}
			return
		}
		if out := AppendBinary(v, nil, p.Data); !bytes.Equal(out, b) {
			t.Errorf("%q is written as %q", b, out)
		}
	})
}

func version(v3 bool) Version {
	if v3 {
		return V3
	}
	return V4
}

// FuzzParsePayload reads anything. What it takes must survive being written and
// read again, and must be what a reader that goes by JavaScript's own terms (an
// array of UTF-16 code units) takes.
func FuzzParsePayload(f *testing.F) {
	for _, tc := range payloads {
		f.Add(tc.v == V3, tc.octets, []byte(tc.wire))
	}
	f.Add(true, false, []byte("4:4😀😀"))
	f.Add(true, true, []byte("\x01\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff\x04"))
	f.Add(false, false, []byte("4a\x1e"))
	f.Fuzz(func(t *testing.T, v3, octets bool, body []byte) {
		v := version(v3)
		before := bytes.Clone(body)
		got, err := collect(v, body, octets, Limits{})
		if !bytes.Equal(body, before) {
			t.Fatalf("the body changed from %q to %q", before, body)
		}
		if err != nil && !known(err) {
			t.Fatalf("%q: %v", body, err)
		}
		if v3 && !octets && utf8.Valid(body) && len(body) > 0 {
			want, ok := referenceText3(string(body))
			if ok != (err == nil) || ok && !slices.EqualFunc(got, want, same) {
				t.Errorf("%q: got %+v, %v; the reference says %+v, %t", body, got, err, want, ok)
			}
		}
		if err != nil || len(got) == 0 {
			return
		}
		rewrite(t, v, got)
	})
}

// rewrite checks that packets come back from each form in which they can be sent.
func rewrite(t *testing.T, v Version, packets []Packet) {
	t.Helper()
	for _, base64 := range []bool{false, true} {
		out, binary := AppendPayload(nil, v, packets, base64)
		again, err := collect(v, out, binary, Limits{})
		if err != nil || !slices.EqualFunc(again, packets, same) {
			t.Errorf("v%d %+v come back from %q as %+v, %v", v, packets, out, again, err)
		}
	}
}

// referenceText3 is a slow reader of Engine.IO 3 text payloads over code units.
func referenceText3(body string) ([]Packet, bool) {
	units := utf16.Encode([]rune(body))
	var packets []Packet
	for count := 0; len(units) > 0; count++ {
		n, i := 0, 0
		for ; i < len(units) && units[i] >= '0' && units[i] <= '9'; i++ {
			n = n*10 + int(units[i]-'0')
			if i == maxLengthDigits {
				return nil, false
			}
		}
		if i == 0 || i == len(units) || units[i] != ':' || count == DefaultMaxPackets {
			return nil, false
		}
		units = units[i+1:]
		if n > len(units) {
			return nil, false
		}
		one := units[:n]
		units = units[n:]
		if n == 0 {
			continue
		}
		if utf16.IsSurrogate(rune(one[n-1])) && one[n-1] < 0xdc00 {
			return nil, false // cut inside a pair
		}
		p, err := ParseText(V3, []byte(string(utf16.Decode(one))))
		if err != nil {
			return nil, false
		}
		packets = append(packets, p)
	}
	return packets, true
}

// FuzzPayloadRoundTrip cuts its input into packets, writes them, reads them back,
// and then damages one byte and cuts the end off: the reader may take that or
// not, but must not panic nor hand over more than the body holds.
func FuzzPayloadRoundTrip(f *testing.F) {
	f.Add([]byte("hello😀\xff\x1ebinary\x00"), uint64(0x0102030405), uint16(3), byte(0x80))
	f.Add([]byte("4:4:4:"), uint64(0xffffffff), uint16(0), byte(1))
	f.Add([]byte(""), uint64(7), uint16(9), byte(0xff))
	f.Fuzz(func(t *testing.T, data []byte, cuts uint64, at uint16, flip byte) {
		packets := cut(data, cuts)
		for _, v := range []Version{V3, V4} {
			sent := make([]Packet, len(packets))
			for i, p := range packets {
				if !p.Binary {
					p.Data = appendUTF8(nil, p.Data)
					if v == V4 {
						p.Data = []byte(strings.ReplaceAll(string(p.Data), "\x1e", replacement))
					}
				}
				sent[i] = p
			}
			for _, base64 := range []bool{false, true} {
				out, binary := AppendPayload(nil, v, packets, base64)
				got, err := collect(v, out, binary, Limits{})
				if err != nil || !slices.EqualFunc(got, sent, same) {
					t.Errorf("v%d %+v come back from %q as %+v, %v", v, sent, out, got, err)
				}
				damage(t, v, out, binary, int(at), flip)
			}
		}
	})
}

// cut makes packets of data: each takes five bits of cuts, three for its length
// and two for its kind.
func cut(data []byte, cuts uint64) []Packet {
	packets := []Packet{}
	for range 12 {
		n := min(int(cuts&7), len(data))
		p := Packet{Type: PacketType(cuts >> 3 & 3 * 2), Data: data[:n]}
		if cuts>>3&3 == 1 {
			p.Type, p.Binary = Message, true
		}
		packets = append(packets, p)
		data, cuts = data[n:], cuts>>5
	}
	return append(packets, Packet{Type: Message, Data: data})
}

func damage(t *testing.T, v Version, body []byte, octets bool, at int, flip byte) {
	t.Helper()
	at %= len(body)
	flipped := bytes.Clone(body)
	flipped[at] ^= flip
	for _, b := range [][]byte{flipped, body[:at], body[at:]} {
		for _, asOctets := range []bool{octets, !octets} {
			got, err := collect(v, b, asOctets, Limits{})
			if err != nil && !known(err) {
				t.Errorf("%q: %v", b, err)
			}
			total := 0
			for _, p := range got {
				total += len(p.Data)
			}
			if total > len(b) {
				t.Errorf("%d bytes of packets from %d bytes", total, len(b))
			}
		}
	}
}

func FuzzUTF16(f *testing.F) {
	for _, s := range []string{"", "abcdefghijkl", "éèà", "€uro", "12345678😀", "\xff\xed\xa0\x80\xf0\x9f"} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		clean := appendUTF8(nil, b)
		units := utf16.Encode([]rune(string(clean)))
		if got := utf16Len(b); got != len(units) {
			t.Errorf("utf16Len(%q) = %d, want %d", b, got, len(units))
		}
		if got := utf8Len(b); got != len(clean) {
			t.Errorf("utf8Len(%q) = %d, want %d", b, got, len(clean))
		}
		if n < 0 {
			return
		}
		n %= len(units) + 2
		got := utf16Prefix(clean, n)
		halved := n <= len(units) && n > 0 && units[n-1]&0xfc00 == 0xd800
		switch {
		case n > len(units) || halved:
			if got != -1 {
				t.Errorf("utf16Prefix(%q, %d) = %d, want -1", clean, n, got)
			}
		default:
			if want := len(string(utf16.Decode(units[:n]))); got != want {
				t.Errorf("utf16Prefix(%q, %d) = %d, want %d", clean, n, got, want)
			}
		}
	})
}
