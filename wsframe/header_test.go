package wsframe

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
)

// wantError checks that err is an *Error with the code; 0 stands for no error.
func wantError(t *testing.T, err error, code CloseCode) {
	t.Helper()
	var e *Error
	switch {
	case code == 0 && err != nil:
		t.Fatalf("error %v, want none", err)
	case code != 0 && !errors.As(err, &e):
		t.Fatalf("error %v, want code %d", err, code)
	case code != 0 && e.Code != code:
		t.Fatalf("error %v, want code %d", err, code)
	case e != nil && (e.Reason == "" || len(e.Reason) > maxReason):
		t.Fatalf("reason %q does not fit a close frame", e.Reason)
	}
}

// Each header is read from its bytes and written back to them.
func TestHeaderWire(t *testing.T) {
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	tests := []struct {
		name string
		wire string
		h    Header
	}{
		{"text", "\x81\x05", Header{Fin: true, Opcode: Text, Length: 5}},
		{"first fragment", "\x01\x03", Header{Opcode: Text, Length: 3}},
		{"fragment between", "\x00\x03", Header{Length: 3}},
		{"last fragment", "\x80\x02", Header{Fin: true, Length: 2}},
		{"empty binary", "\x82\x00", Header{Fin: true, Opcode: Binary}},
		{"masked text", "\x81\x85\x37\xfa\x21\x3d", Header{Fin: true, Masked: true, Mask: mask, Opcode: Text, Length: 5}},
		{"deflated text", "\xc1\x07", Header{Fin: true, RSV1: true, Opcode: Text, Length: 7}},
		{"all reserved bits", "\xf1\x00", Header{Fin: true, RSV1: true, RSV2: true, RSV3: true, Opcode: Text}},
		{"only the second", "\x22\x00", Header{RSV2: true, Opcode: Binary}},
		{"only the third", "\x12\x00", Header{RSV3: true, Opcode: Binary}},
		{"close", "\x88\x02", Header{Fin: true, Opcode: Close, Length: 2}},
		{"ping of 125", "\x89\x7d", Header{Fin: true, Opcode: Ping, Length: 125}},
		{"masked pong", "\x8a\x80\x00\x00\x00\x00", Header{Fin: true, Masked: true, Opcode: Pong}},
		{"125, the longest short", "\x82\x7d", Header{Fin: true, Opcode: Binary, Length: 125}},
		{"126, the first of 16 bits", "\x82\x7e\x00\x7e", Header{Fin: true, Opcode: Binary, Length: 126}},
		{"256", "\x82\x7e\x01\x00", Header{Fin: true, Opcode: Binary, Length: 256}},
		{"65535, the last of 16 bits", "\x82\x7e\xff\xff", Header{Fin: true, Opcode: Binary, Length: 65535}},
		{"65536, the first of 64 bits", "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", Header{Fin: true, Opcode: Binary, Length: 65536}},
		{"the longest", "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04", Header{
			Fin: true, Opcode: Binary, Masked: true, Mask: [4]byte{1, 2, 3, 4}, Length: math.MaxInt64,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := AppendHeader([]byte("before"), tt.h); string(got) != "before"+tt.wire {
				t.Errorf("AppendHeader = %x, want %x", got[6:], tt.wire)
			}
			h, n, err := ParseHeader([]byte(tt.wire + "payload"))
			if err != nil || h != tt.h || n != len(tt.wire) {
				t.Errorf("ParseHeader = %+v, %d, %v", h, n, err)
			}
			for cut := range len(tt.wire) {
				if h, n, err := ParseHeader([]byte(tt.wire[:cut])); !errors.Is(err, ErrShort) || n != 0 || h != (Header{}) {
					t.Errorf("ParseHeader of %d bytes = %+v, %d, %v; want ErrShort", cut, h, n, err)
				}
			}
		})
	}
}

func TestHeaderOffences(t *testing.T) {
	tests := []struct{ name, wire string }{
		{"opcode 3", "\x83\x00"},
		{"opcode 4", "\x84\x00"},
		{"opcode 5", "\x85\x00"},
		{"opcode 6", "\x86\x00"},
		{"opcode 7", "\x87\x00"},
		{"opcode 11", "\x8b\x00"},
		{"opcode 12", "\x8c\x00"},
		{"opcode 13", "\x8d\x00"},
		{"opcode 14", "\x8e\x00"},
		{"opcode 15", "\x8f\x00"},
		{"fragmented close", "\x08\x00"},
		{"fragmented ping", "\x09\x00"},
		{"fragmented pong", "\x0a\x00"},
		{"close of 126, before its length", "\x88\x7e"},
		{"ping of 126, masked", "\x89\xfe\x00\x7e"},
		{"pong of 65536", "\x8a\x7f\x00\x00\x00\x00\x00\x01\x00\x00"},
		{"5 in 16 bits", "\x82\x7e\x00\x05"},
		{"125 in 16 bits", "\x82\x7e\x00\x7d"},
		{"125 in 64 bits", "\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x7d"},
		{"65535 in 64 bits", "\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff"},
		{"top bit", "\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00"},
		{"all bits", "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, n, err := ParseHeader([]byte(tt.wire))
			wantError(t, err, ProtocolError)
			if n != 0 || h != (Header{}) {
				t.Errorf("ParseHeader = %+v, %d beside an error", h, n)
			}
		})
	}
}

// The examples of RFC 6455 section 5.7.
func TestFrameWire(t *testing.T) {
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	tests := []struct {
		name string
		got  []byte
		want string
	}{
		{"text", AppendFrame(nil, Text, false, []byte("Hello")), "\x81\x05Hello"},
		{"masked text", AppendMaskedFrame(nil, Text, false, mask, []byte("Hello")), "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"},
		{"ping", AppendFrame(nil, Ping, false, []byte("Hello")), "\x89\x05Hello"},
		{"masked pong", AppendMaskedFrame(nil, Pong, false, mask, []byte("Hello")), "\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"},
		{"deflated", AppendFrame(nil, Text, true, []byte("\xf2\x48\xcd\xc9\xc9\x07\x00")), "\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"},
		{"deflated, masked", AppendMaskedFrame(nil, Text, true, [4]byte{}, []byte{0}), "\xc1\x81\x00\x00\x00\x00\x00"},
		{"256 bytes", AppendFrame(nil, Binary, false, make([]byte, 256)), "\x82\x7e\x01\x00" + strings.Repeat("\x00", 256)},
		{
			"64 KiB", AppendFrame(nil, Binary, false, make([]byte, 65536)),
			"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + strings.Repeat("\x00", 65536),
		},
		{"second frame", AppendFrame([]byte("\x81\x01a"), Text, false, []byte("b")), "\x81\x01a\x81\x01b"},
	}
	for _, tt := range tests {
		if string(tt.got) != tt.want {
			t.Errorf("%s: %.40x, want %.40x", tt.name, tt.got, tt.want)
		}
	}
}

func TestAppendMaskedFrameKeepsPayload(t *testing.T) {
	payload := []byte("Hello")
	AppendMaskedFrame(nil, Text, false, [4]byte{1, 2, 3, 4}, payload)
	if string(payload) != "Hello" {
		t.Errorf("the caller's payload became %q", payload)
	}
}

func TestOpcodeString(t *testing.T) {
	for op, want := range map[Opcode]string{
		Continuation: "continuation", Text: "text", Binary: "binary", Close: "close", Ping: "ping", Pong: "pong", 3: "reserved",
	} {
		if got := op.String(); got != want {
			t.Errorf("Opcode(%d) = %q, want %q", byte(op), got, want)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add([]byte("\x81\x85\x37\xfa\x21\x3d"))
	f.Add([]byte("\x82\x7e\x01\x00"))
	f.Add([]byte("\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00\x01\x02\x03\x04"))
	f.Add([]byte("\x89\x7e\x00\x7e"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := ParseHeader(b)
		if err != nil {
			var e *Error
			if !errors.Is(err, ErrShort) && (!errors.As(err, &e) || e.Code != ProtocolError) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if n > MaxHeader {
			t.Fatalf("header of %d bytes", n)
		}
		if got := AppendHeader(nil, h); !bytes.Equal(got, b[:n]) {
			t.Fatalf("%x came back as %x", b[:n], got)
		}
	})
}
