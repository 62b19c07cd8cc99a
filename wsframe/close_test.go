package wsframe

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSendable(t *testing.T) {
	sendable := func(c int) bool {
		switch {
		case c >= 1000 && c <= 1003, c >= 1007 && c <= 1014, c >= 3000 && c <= 4999:
			return true
		default:
			return false
		}
	}
	for c := range 1 << 16 {
		if got := CloseCode(c).Sendable(); got != sendable(c) {
			t.Errorf("CloseCode(%d).Sendable() = %t", c, got)
		}
	}
}

func TestParseClose(t *testing.T) {
	tests := []struct {
		name, payload string
		code          CloseCode
		reason        string
		err           CloseCode
	}{
		{name: "empty", payload: "", code: NoStatusReceived},
		{name: "code", payload: "\x03\xe8", code: NormalClosure},
		{name: "code and reason", payload: "\x03\xe9away", code: GoingAway, reason: "away"},
		{name: "reason of 123 bytes", payload: "\x03\xe8" + strings.Repeat("x", 123), code: NormalClosure, reason: strings.Repeat("x", 123)},
		{name: "UTF-8", payload: "\x03\xe8κόσμε", code: NormalClosure, reason: "κόσμε"},
		{name: "application's code", payload: "\x0f\xa0", code: 4000},
		{name: "one byte", payload: "\x03", err: ProtocolError},
		{name: "reason of 124 bytes", payload: "\x03\xe8" + strings.Repeat("x", 124), err: ProtocolError},
		{name: "code 0", payload: "\x00\x00", err: ProtocolError},
		{name: "code 999", payload: "\x03\xe7", err: ProtocolError},
		{name: "code 1004", payload: "\x03\xec", err: ProtocolError},
		{name: "code 1005", payload: "\x03\xed", err: ProtocolError},
		{name: "code 1006", payload: "\x03\xee", err: ProtocolError},
		{name: "code 1015", payload: "\x03\xf7", err: ProtocolError},
		{name: "code 5000", payload: "\x13\x88", err: ProtocolError},
		{name: "bad code and bad reason", payload: "\x00\x00\xff", err: ProtocolError},
		{name: "not UTF-8", payload: "\x03\xe8\xce\xba\xed\xa0\x80", err: InvalidPayload},
		{name: "rune is cut", payload: "\x03\xe8\xce", err: InvalidPayload},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, reason, err := ParseClose([]byte(tt.payload))
			wantError(t, err, tt.err)
			if code != tt.code || reason != tt.reason {
				t.Errorf("ParseClose = %d %q, want %d %q", code, reason, tt.code, tt.reason)
			}
		})
	}
}

func TestAppendClose(t *testing.T) {
	long := strings.Repeat("x", 122)
	tests := []struct {
		name   string
		code   CloseCode
		reason string
		want   string
	}{
		{"code", NormalClosure, "", "\x03\xe8"},
		{"reason", GoingAway, "draining", "\x03\xe9draining"},
		{"reason of 123 bytes", NormalClosure, long + "y", "\x03\xe8" + long + "y"},
		{"reason of 124 bytes", NormalClosure, long + "yz", "\x03\xe8" + long + "y"},
		{"cut before a rune of two", NormalClosure, long + "é", "\x03\xe8" + long},
		{"cut before a rune of four", NormalClosure, long[:120] + "😀", "\x03\xe8" + long[:120]},
		{"rune of four fits", NormalClosure, long[:119] + "😀", "\x03\xe8" + long[:119] + "😀"},
		{"invalid bytes", NormalClosure, "a\xffb", "\x03\xe8a\uFFFDb"},
		{"no status", NoStatusReceived, "unheard", ""},
		{"abnormal", AbnormalClosure, "unheard", ""},
		{"zero", 0, "unheard", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := AppendClose([]byte("before"), tt.code, tt.reason); string(got) != "before"+tt.want {
				t.Errorf("AppendClose = %q, want %q", got, "before"+tt.want)
			}
		})
	}
}

func TestErrorText(t *testing.T) {
	err := error(&Error{Code: ProtocolError, Reason: "reserved opcode"})
	if got, want := err.Error(), "wsframe: 1002 reserved opcode"; got != want {
		t.Errorf("Error = %q, want %q", got, want)
	}
}

func FuzzClose(f *testing.F) {
	f.Add(uint16(1000), "reason")
	f.Add(uint16(1005), "")
	f.Add(uint16(4999), strings.Repeat("é", 70))
	f.Add(uint16(3000), strings.Repeat("\xff", 130))
	f.Fuzz(func(t *testing.T, c uint16, reason string) {
		payload := AppendClose(nil, CloseCode(c), reason)
		code, got, err := ParseClose(payload)
		if err != nil {
			t.Fatalf("own close frame %q: %v", payload, err)
		}
		if !CloseCode(c).Sendable() {
			if len(payload) != 0 || code != NoStatusReceived {
				t.Fatalf("code %d was sent as %q", c, payload)
			}
			return
		}
		if code != CloseCode(c) {
			t.Fatalf("code %d came back as %d", c, code)
		}
		if utf8.ValidString(reason) && (!strings.HasPrefix(reason, got) || len(got) < min(len(reason), maxReason-3)) {
			t.Fatalf("reason %q came back as %q", reason, got)
		}
	})
}

func FuzzParseClose(f *testing.F) {
	f.Add([]byte("\x03\xe8bye"))
	f.Add([]byte("\x03"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		code, reason, err := ParseClose(payload)
		if err != nil || len(payload) == 0 {
			return
		}
		if got := AppendClose(nil, code, reason); string(got) != string(payload) {
			t.Fatalf("%q came back as %q", payload, got)
		}
	})
}
