package engineio

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// payloads has whole bodies and the packets in them, to be read both ways.
// forced says that the client asked for base64.
var payloads = []struct {
	name    string
	v       Version
	forced  bool
	octets  bool
	wire    string
	packets []Packet
}{
	{"v4 one", V4, false, false, "4hello", []Packet{text(Message, "hello")}},
	{"v4 three", V4, false, false, "4hello\x1e2\x1e4€", []Packet{
		text(Message, "hello"), text(Ping, ""), text(Message, "€"),
	}},
	{"v4 binary", V4, false, false, "4a\x1ebAQIDBA==\x1eb", []Packet{
		text(Message, "a"), bin("\x01\x02\x03\x04"), bin(""),
	}},
	{"v4 control bytes", V4, false, false, "4\x00\x1d\x1f\x7f", []Packet{text(Message, "\x00\x1d\x1f\x7f")}},

	{"v3 one", V3, false, false, "6:4hello", []Packet{text(Message, "hello")}},
	{"v3 several", V3, false, false, "6:4hello2:4€1:2", []Packet{
		text(Message, "hello"), text(Message, "€"), text(Ping, ""),
	}},
	{"v3 CONNECT and event", V3, false, false, `2:4013:42["auth",{}]`, []Packet{
		text(Message, "0"), text(Message, `2["auth",{}]`),
	}},
	{"v3 two bytes a unit", V3, false, false, "4:4éèà", []Packet{text(Message, "éèà")}},
	{"v3 surrogate pairs", V3, false, false, "5:4😀😀4:4a😀", []Packet{
		text(Message, "😀😀"), text(Message, "a😀"),
	}},
	{"v3 digits and colons in data", V3, false, false, "6:41:4:12:4:", []Packet{
		text(Message, "1:4:1"), text(Message, ":"),
	}},
	{"v3 lone surrogate, as clients send it", V3, false, false, "2:4\ufffd", []Packet{text(Message, "\ufffd")}},
	{"v3 base64", V3, true, false, "4:4abc10:b4AQIDBA==", []Packet{
		text(Message, "abc"), bin("\x01\x02\x03\x04"),
	}},
	{"v3 empty base64", V3, true, false, "2:b41:4", []Packet{bin(""), text(Message, "")}},

	{
		"v3 octets", V3, false, true,
		"\x00\x04\xff" + "4€" + // text: 4 bytes, where the text form counts 2 units
			"\x01\x05\xff" + "\x04\x01\x02\x03\x04",
		[]Packet{text(Message, "€"), bin("\x01\x02\x03\x04")},
	},
	{
		"v3 octets, length of two digits", V3, false, true,
		"\x01\x01\x02\xff" + "\x04" + "abcdefghijk" +
			"\x00\x01\xff" + "2",
		[]Packet{bin("abcdefghijk"), text(Ping, "")},
	},
	{
		"v3 octets, the end mark in data", V3, false, true,
		"\x01\x03\xff" + "\x04\xff\xff" +
			"\x01\x01\xff" + "\x04",
		[]Packet{bin("\xff\xff"), bin("")},
	},
}

func collect(v Version, body []byte, octets bool, lim Limits) ([]Packet, error) {
	var got []Packet
	err := ParsePayload(v, body, octets, lim, func(p Packet) error {
		got = append(got, p)
		return nil
	})
	return got, err
}

func TestPayloads(t *testing.T) {
	for _, tc := range payloads {
		t.Run(tc.name, func(t *testing.T) {
			got, err := collect(tc.v, []byte(tc.wire), tc.octets, Limits{})
			if err != nil || !slices.EqualFunc(got, tc.packets, same) {
				t.Errorf("read %+v, %v; want %+v", got, err, tc.packets)
			}
			out, binary := AppendPayload([]byte("before "), tc.v, tc.packets, tc.forced)
			if string(out) != "before "+tc.wire || binary != tc.octets {
				t.Errorf("wrote %q (binary: %t)\n want %q", out, binary, tc.wire)
			}
		})
	}
}

// TestPayloadsReadOnly has bodies that clients may send and that this side never
// writes.
func TestPayloadsReadOnly(t *testing.T) {
	tests := []struct {
		name    string
		v       Version
		octets  bool
		wire    string
		packets []Packet
	}{
		{"v3 empty payload", V3, false, "0:", nil},
		{"v3 empty packet skipped", V3, false, "1:20:1:3", []Packet{text(Ping, ""), text(Pong, "")}},
		{"v3 leading zeros", V3, false, "002:4a", []Packet{text(Message, "a")}},
		{"v3 base64 without asking", V3, false, "6:b4AQID", []Packet{bin("\x01\x02\x03")}},
		{"v3 base64 text in octets", V3, true, "\x00\x06\xffb4AQID", []Packet{bin("\x01\x02\x03")}},
		{"v3 octets of text alone", V3, true, "\x00\x02\xff4a", []Packet{text(Message, "a")}},
		{"v4 unpadded base64", V4, false, "bAQ\x1e4", []Packet{bin("\x01"), text(Message, "")}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, err := collect(tc.v, []byte(tc.wire), tc.octets, Limits{})
			if err != nil || !slices.EqualFunc(got, tc.packets, same) {
				t.Errorf("read %+v, %v; want %+v", got, err, tc.packets)
			}
		})
	}
}

func TestParsePayloadErrors(t *testing.T) {
	tests := []struct {
		name   string
		v      Version
		octets bool
		wire   string
		before int // packets handed over first
		want   error
	}{
		{"v4 empty", V4, false, "", 0, ErrEmpty},
		{"v4 octets", V4, true, "4a", 0, ErrOctets},
		{"v4 unknown type", V4, false, "abc", 0, ErrType},
		{"v4 unknown type later", V4, false, "4a\x1e9", 1, ErrType},
		{"v4 separator first", V4, false, "\x1e4a", 0, ErrEmpty},
		{"v4 two separators", V4, false, "4a\x1e\x1e4b", 1, ErrEmpty},
		{"v4 separator last", V4, false, "4a\x1e4b\x1e", 1, ErrEmpty},
		{"v4 base64", V4, false, "b?", 0, ErrBase64},
		{"v4 not UTF-8", V4, false, "4a\x1e4\xed\xa0\x80", 0, ErrUTF8},
		{"v4 half a rune before the separator", V4, false, "4\xe2\x82\x1e4a", 0, ErrUTF8},

		{"v3 empty", V3, false, "", 0, ErrEmpty},
		{"v3 no colon", V3, false, "abc", 0, ErrLength},
		{"v3 digits only", V3, false, "12", 0, ErrLength},
		{"v3 colon only", V3, false, ":", 0, ErrLength},
		{"v3 no length", V3, false, "1:2:4a", 1, ErrLength},
		{"v3 too long", V3, false, "3:4a", 0, ErrLength},
		{"v3 too short", V3, false, "1:4a", 1, ErrLength},
		{"v3 bytes for units", V3, false, "4:4€", 0, ErrLength},
		{"v3 runes for units", V3, false, "2:4😀", 0, ErrLength},
		{"v3 half a surrogate pair", V3, false, "4:4😀😀", 0, ErrLength},
		{"v3 exponent", V3, false, "1e0:2", 0, ErrLength},
		{"v3 negative", V3, false, "-1:2", 0, ErrLength},
		{"v3 endless digits", V3, false, strings.Repeat("9", 400) + ":4", 0, ErrLength},
		{"v3 ten digits", V3, false, "0000000001:2", 0, ErrLength},
		{"v3 unknown type", V3, false, "1:22:7a", 1, ErrType},
		{"v3 binary of a ping", V3, false, "6:b2AAAA", 0, ErrType},
		{"v3 not UTF-8", V3, false, "2:4\xff", 0, ErrUTF8},
		{"v3 v4's separator", V3, false, "4a\x1e4b", 0, ErrLength},

		{"v3 octets empty", V3, true, "", 0, ErrEmpty},
		{"v3 octets kind", V3, true, "\x02\x01\xff4", 0, ErrType},
		{"v3 octets kind alone", V3, true, "\x00", 0, ErrLength},
		{"v3 octets no length", V3, true, "\x00\xff4", 0, ErrLength},
		{"v3 octets ASCII digits", V3, true, "\x001\xff4", 0, ErrLength},
		{"v3 octets endless digits", V3, true, "\x01" + strings.Repeat("\x09", 400) + "\xff\x04", 0, ErrLength},
		{"v3 octets no end", V3, true, "\x00\x01", 0, ErrLength},
		{"v3 octets too long", V3, true, "\x00\x01\xff2\x01\x03\xff\x04a", 1, ErrLength},
		{"v3 octets empty text", V3, true, "\x00\x00\xff", 0, ErrEmpty},
		{"v3 octets empty binary", V3, true, "\x01\x00\xff", 0, ErrEmpty},
		{"v3 octets digit for a value", V3, true, "\x01\x02\xff4a", 0, ErrType},
		{"v3 octets not UTF-8", V3, true, "\x00\x02\xff4\xff", 0, ErrUTF8},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, err := collect(tc.v, []byte(tc.wire), tc.octets, Limits{})
			if !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			if len(got) != tc.before {
				t.Errorf("%d packets handed over, want %d", len(got), tc.before)
			}
		})
	}
}

func TestParsePayloadBounds(t *testing.T) {
	tests := []struct {
		name string
		v    Version
		body []byte
		lim  Limits
		want error
	}{
		{"v4 at the limit", V4, []byte("2\x1e2\x1e2"), Limits{MaxPackets: 3}, nil},
		{"v4 above", V4, []byte("2\x1e2\x1e2"), Limits{MaxPackets: 2}, ErrTooMany},
		{"v3 at the limit", V3, []byte("1:21:2"), Limits{MaxPackets: 2}, nil},
		{"v3 empty ones count", V3, []byte("0:0:1:2"), Limits{MaxPackets: 2}, ErrTooMany},
		{"default", V3, bytes.Repeat([]byte("1:2"), DefaultMaxPackets), Limits{}, nil},
		{"above the default", V3, bytes.Repeat([]byte("1:2"), DefaultMaxPackets+1), Limits{}, ErrTooMany},
		{"negative is the default", V3, []byte("1:2"), Limits{MaxPackets: -1}, nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := collect(tc.v, tc.body, false, tc.lim); !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
		})
	}
}

func TestParsePayloadStopsAtCallersError(t *testing.T) {
	stop := errors.New("stop")
	calls := 0
	err := ParsePayload(V4, []byte("2\x1e2\x1e9"), false, Limits{}, func(Packet) error { calls++; return stop })
	if err != stop || calls != 1 { //nolint:errorlint // the very error is promised, unwrapped
		t.Errorf("error %v after %d calls", err, calls)
	}
}

// TestPayloadDataIsCapped: an append to one packet's data must not reach into the
// next packet of the same body.
func TestPayloadDataIsCapped(t *testing.T) {
	for _, tc := range payloads {
		body := []byte(tc.wire)
		got, err := collect(tc.v, body, tc.octets, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range got {
			_ = append(p.Data, "overwritten"...)
		}
		if string(body) != tc.wire {
			t.Errorf("%s: body changed to %q", tc.name, body)
		}
	}
}

func TestAppendPayloadOfNothing(t *testing.T) {
	if out, binary := AppendPayload(nil, V4, nil, false); len(out) != 0 || binary {
		t.Errorf("v4: %q %t", out, binary)
	}
	if out, binary := AppendPayload(nil, V3, nil, false); string(out) != "0:" || binary {
		t.Errorf("v3: %q %t", out, binary)
	}
}

// TestAppendPayloadKeepsFrames: what applications send must not be able to break
// the frame of a payload, or to smuggle packets into it.
func TestAppendPayloadKeepsFrames(t *testing.T) {
	packets := []Packet{text(Message, "a\x1e1"), text(Message, "\xff€\xed\xa0\x80\xe2\x82"), text(Ping, "")}
	clean := "\ufffd€\ufffd\ufffd\ufffd\ufffd\ufffd"
	want4 := []Packet{text(Message, "a\ufffd1"), text(Message, clean), text(Ping, "")}
	want3 := []Packet{text(Message, "a\x1e1"), text(Message, clean), text(Ping, "")}
	tests := []struct {
		name    string
		v       Version
		packets []Packet
		want    []Packet
	}{
		{"v4", V4, packets, want4},
		{"v3 text", V3, packets, want3},
		{"v3 octets", V3, append(slices.Clone(packets), bin("\x1e\xff")), append(slices.Clone(want3), bin("\x1e\xff"))},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			out, binary := AppendPayload(nil, tc.v, tc.packets, false)
			got, err := collect(tc.v, out, binary, Limits{})
			if err != nil || !slices.EqualFunc(got, tc.want, same) {
				t.Errorf("%q reads %+v, %v; want %+v", out, got, err, tc.want)
			}
		})
	}
	if string(packets[0].Data) != "a\x1e1" {
		t.Error("the caller's data was changed")
	}
}

func BenchmarkParsePayload(b *testing.B) {
	each := func(Packet) error { return nil }
	ascii := text(Message, `2["chat",{"text":"the quick brown fox jumps over the lazy dog","n":12345}]`)
	emoji := text(Message, `2["chat",{"text":"schöne Grüße 😀😀😀 привет мир, 你好世界","n":12345}]`)
	for _, tc := range []struct {
		name   string
		v      Version
		packet Packet
	}{
		{"v4", V4, ascii}, {"v3", V3, ascii}, {"v3-wide", V3, emoji},
	} {
		b.Run(tc.name, func(b *testing.B) {
			body, _ := AppendPayload(nil, tc.v, slices.Repeat([]Packet{tc.packet}, 1000), false)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := ParsePayload(tc.v, body, false, Limits{}, each); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
