package engineio

import (
	"bytes"
	"errors"
	"testing"
)

func text(t PacketType, s string) Packet { return Packet{Type: t, Data: []byte(s)} }

func bin(s string) Packet { return Packet{Type: Message, Binary: true, Data: []byte(s)} }

// same compares what packets mean: nil and empty data are one.
func same(a, b Packet) bool {
	return a.Type == b.Type && a.Binary == b.Binary && bytes.Equal(a.Data, b.Data)
}

// textFrames has the text form of single packets; both ways unless back is set,
// which is then what our side writes for the same packet.
var textFrames = []struct {
	name   string
	v      Version
	wire   string
	packet Packet
	back   string
}{
	{name: "open", v: V4, wire: "0{}", packet: text(Open, "{}")},
	{name: "close", v: V4, wire: "1", packet: text(Close, "")},
	{name: "ping", v: V4, wire: "2", packet: text(Ping, "")},
	{name: "probe", v: V4, wire: "2probe", packet: text(Ping, "probe")},
	{name: "pong to a probe", v: V3, wire: "3probe", packet: text(Pong, "probe")},
	{name: "event", v: V4, wire: `42["chat","hé"]`, packet: text(Message, `2["chat","hé"]`)},
	{name: "empty message", v: V3, wire: "4", packet: text(Message, "")},
	{name: "upgrade", v: V4, wire: "5", packet: text(Upgrade, "")},
	{name: "noop", v: V3, wire: "6", packet: text(Noop, "")},
	{name: "v4 base64", v: V4, wire: "bAQID", packet: bin("\x01\x02\x03")},
	{name: "v4 base64, one byte", v: V4, wire: "b/w==", packet: bin("\xff")},
	{name: "v4 base64, unpadded", v: V4, wire: "b/w", packet: bin("\xff"), back: "b/w=="},
	{name: "v4 empty base64", v: V4, wire: "b", packet: bin("")},
	{name: "v4 base64 that begins with a 4", v: V4, wire: "b4AAA", packet: bin("\xe0\x00\x00")},
	{name: "v3 base64", v: V3, wire: "b4AQID", packet: bin("\x01\x02\x03")},
	{name: "v3 base64, two bytes", v: V3, wire: "b4//4=", packet: bin("\xff\xfe")},
	{name: "v3 empty base64", v: V3, wire: "b4", packet: bin("")},
}

func TestTextFrames(t *testing.T) {
	for _, tc := range textFrames {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseText(tc.v, []byte(tc.wire))
			if err != nil || !same(got, tc.packet) {
				t.Fatalf("ParseText(%d, %q) = %+v, %v; want %+v", tc.v, tc.wire, got, err, tc.packet)
			}
			want := tc.wire
			if tc.back != "" {
				want = tc.back
			}
			out := []byte("before ")
			if tc.packet.Binary {
				out = AppendBase64(tc.v, out, tc.packet.Data)
			} else {
				out = AppendText(out, tc.packet)
			}
			if string(out) != "before "+want {
				t.Errorf("appended %q, want %q", out, want)
			}
		})
	}
}

func TestParseTextErrors(t *testing.T) {
	tests := []struct {
		name string
		v    Version
		wire string
		want error
	}{
		{"empty", V4, "", ErrEmpty},
		{"empty v3", V3, "", ErrEmpty},
		{"type 7", V4, "7", ErrType},
		{"type 9", V3, "9x", ErrType},
		{"below the digits", V4, "/", ErrType},
		{"a letter", V4, "abc", ErrType},
		{"a value for a digit", V4, "\x04x", ErrType},
		{"v4 bad base64", V4, "b!", ErrBase64},
		{"v4 base64 of one digit", V4, "bA", ErrBase64},
		{"v4 base64 with too much padding", V4, "bAA===", ErrBase64},
		{"v4 base64, URL alphabet", V4, "b_w==", ErrBase64},
		{"v3 b alone", V3, "b", ErrType},
		{"v3 base64 of a ping", V3, "b2AAAA", ErrType},
		{"v3 bad base64", V3, "b4*", ErrBase64},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if got, err := ParseText(tc.v, []byte(tc.wire)); !errors.Is(err, tc.want) {
				t.Errorf("ParseText(%d, %q) = %+v, %v; want %v", tc.v, tc.wire, got, err, tc.want)
			}
		})
	}
}

func TestBinaryFrames(t *testing.T) {
	tests := []struct {
		name string
		v    Version
		wire string
		data string
		err  error
	}{
		{"v4", V4, "\x01\x02", "\x01\x02", nil},
		{"v4, nothing taken for a type", V4, "\x04\x02", "\x04\x02", nil},
		{"v4 empty", V4, "", "", nil},
		{"v3", V3, "\x04\x01\x02", "\x01\x02", nil},
		{"v3 empty message", V3, "\x04", "", nil},
		{"v3 empty frame", V3, "", "", ErrEmpty},
		{"v3 digit for a value", V3, "4\x01", "", ErrType},
		{"v3 another type", V3, "\x02\x01", "", ErrType},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseBinary(tc.v, []byte(tc.wire))
			if !errors.Is(err, tc.err) {
				t.Fatalf("ParseBinary(%d, %q): %v, want %v", tc.v, tc.wire, err, tc.err)
			}
			if tc.err != nil {
				return
			}
			if !same(got, bin(tc.data)) {
				t.Errorf("got %+v, want %q", got, tc.data)
			}
			if out := AppendBinary(tc.v, []byte("x"), got.Data); string(out) != "x"+tc.wire {
				t.Errorf("appended %q, want %q", out, tc.wire)
			}
		})
	}
}

func TestVersionsAndTypes(t *testing.T) {
	for eio, want := range map[string]Version{"3": V3, "4": V4, "": 0, "2": 0, "5": 0, "abc": 0, "04": 0, "4 ": 0} {
		if v, ok := ParseVersion(eio); v != want || ok != (want != 0) {
			t.Errorf("ParseVersion(%q) = %d, %t", eio, v, ok)
		}
	}
	names := []string{"open", "close", "ping", "pong", "message", "upgrade", "noop", "unknown"}
	for i, name := range names {
		if p := PacketType(i); p.String() != name || p.Byte() != '0'+byte(i) {
			t.Errorf("type %d is %q %q, want %q", i, p, p.Byte(), name)
		}
	}
}

func TestParsersDoNotAllocate(t *testing.T) {
	event := []byte(`42["chat",{"text":"hello","n":1}]`)
	frame := []byte("\x04binary")
	body4 := []byte("42[\"a\",1]\x1e3\x1e42[\"b\",\"😀\"]")
	body3 := []byte("9:42[\"a\",1]1:213:42[\"b\",\"😀é\"]")
	octets := []byte("\x00\x09\xff42[\"a\",1]\x01\x03\xff\x04\x01\x02")
	count := 0
	each := func(Packet) error { count++; return nil }
	tests := []struct {
		name string
		run  func() error
	}{
		{"ParseText", func() error { _, err := ParseText(V4, event); return err }},
		{"ParseBinary v4", func() error { _, err := ParseBinary(V4, frame); return err }},
		{"ParseBinary v3", func() error { _, err := ParseBinary(V3, frame); return err }},
		{"ParsePayload v4", func() error { return ParsePayload(V4, body4, false, Limits{}, each) }},
		{"ParsePayload v3", func() error { return ParsePayload(V3, body3, false, Limits{}, each) }},
		{"ParsePayload v3 octets", func() error { return ParsePayload(V3, octets, true, Limits{}, each) }},
	}
	for _, tc := range tests {
		if err := tc.run(); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if n := testing.AllocsPerRun(100, func() { _ = tc.run() }); n != 0 {
			t.Errorf("%s allocates %v times", tc.name, n)
		}
	}
	if count == 0 {
		t.Error("no packet was handed over")
	}
}

func TestAppendersDoNotAllocateWithRoom(t *testing.T) {
	packets := []Packet{text(Message, `2["a","é"]`), bin("\x01\x02\x03"), text(Noop, "")}
	buf := make([]byte, 0, 512)
	for name, run := range map[string]func(){
		"v4":        func() { AppendPayload(buf, V4, packets, true) },
		"v3 text":   func() { AppendPayload(buf, V3, packets, true) },
		"v3 octets": func() { AppendPayload(buf, V3, packets, false) },
		"open":      func() { AppendOpen(buf, OpenPacket{SID: "abc", PingInterval: 25000}) },
		"error":     func() { AppendError(buf, Forbidden, "") },
		"jsonp":     func() { _, _ = AppendJSONP(buf, "0", packets[0].Data) },
	} {
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
