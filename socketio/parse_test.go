package socketio

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// TestWire reads each line and writes it again.
func TestWire(t *testing.T) {
	tests := []struct {
		name string
		wire string
		want Packet
		// again is what the packet is written as where that is not wire.
		again string
	}{
		// type
		{name: "connect", wire: `0`, want: Packet{Type: Connect, Namespace: "/"}},
		{name: "disconnect", wire: `1`, want: Packet{Type: Disconnect, Namespace: "/"}},
		// type, data
		{name: "connect with auth", wire: `0{"token":"a<b>&"}`, want: Packet{Type: Connect, Namespace: "/", Data: []byte(`{"token":"a<b>&"}`)}},
		{name: "event", wire: `2["say","hi"]`, want: Packet{Type: Event, Namespace: "/", Data: []byte(`["say","hi"]`)}},
		{name: "event named by a number", wire: `2[7]`, want: Packet{Type: Event, Namespace: "/", Data: []byte(`[7]`)}},
		{name: "error of protocol 4", wire: `4"no"`, want: Packet{Type: ConnectError, Namespace: "/", Data: []byte(`"no"`)}},
		{name: "error of protocol 5", wire: `4{"message":"no"}`, want: Packet{Type: ConnectError, Namespace: "/", Data: []byte(`{"message":"no"}`)}},
		{name: "white space in the data", wire: "2[ \"a\" ,\t1 ]", want: Packet{Type: Event, Namespace: "/", Data: []byte("[ \"a\" ,\t1 ]")}},
		{name: "white space after the data", wire: "2[\"a\"] \n", again: `2["a"]`, want: Packet{Type: Event, Namespace: "/", Data: []byte(`["a"]`)}},
		// type, namespace, ","
		{name: "connect to a namespace", wire: `0/chat,`, want: Packet{Type: Connect, Namespace: "/chat"}},
		{name: "without the comma", wire: `0/chat`, again: `0/chat,`, want: Packet{Type: Connect, Namespace: "/chat"}},
		{name: "the namespace that is left out", wire: `0/,{}`, again: `0{}`, want: Packet{Type: Connect, Namespace: "/", Data: []byte(`{}`)}},
		{name: "disconnect from a namespace", wire: `1/chat,`, want: Packet{Type: Disconnect, Namespace: "/chat"}},
		{name: "error in a namespace", wire: `4/x,{"message":"Invalid namespace"}`, want: Packet{Type: ConnectError, Namespace: "/x", Data: []byte(`{"message":"Invalid namespace"}`)}},
		// type, namespace, "?", query, ","
		{name: "query", wire: `0/chat?a=1&b=%2C?,`, want: Packet{Type: Connect, Namespace: "/chat", Query: "a=1&b=%2C?"}},
		{name: "query of /", wire: `0/?a=1,`, want: Packet{Type: Connect, Namespace: "/", Query: "a=1"}},
		{name: "empty query", wire: `0/chat?,`, again: `0/chat,`, want: Packet{Type: Connect, Namespace: "/chat"}},
		{name: "no query outside of CONNECT", wire: `2/a?b,["x"]`, want: Packet{Type: Event, Namespace: "/a?b", Data: []byte(`["x"]`)}},
		// type, id, data
		{name: "asks for an ack", wire: `20["say"]`, want: Packet{Type: Event, Namespace: "/", HasID: true, Data: []byte(`["say"]`)}},
		{name: "ack", wire: `317[]`, want: Packet{Type: Ack, Namespace: "/", HasID: true, ID: 17, Data: []byte(`[]`)}},
		{name: "largest id", wire: `318446744073709551615[]`, want: Packet{Type: Ack, Namespace: "/", HasID: true, ID: 1<<64 - 1, Data: []byte(`[]`)}},
		{name: "id with zeros before it", wire: `3007[]`, again: `37[]`, want: Packet{Type: Ack, Namespace: "/", HasID: true, ID: 7, Data: []byte(`[]`)}},
		// type, namespace, ",", id, data
		{name: "all", wire: `2/chat,17["say",{"a":1}]`, want: Packet{Type: Event, Namespace: "/chat", HasID: true, ID: 17, Data: []byte(`["say",{"a":1}]`)}},
		// type, attachments, "-", …
		{
			name: "binary event", wire: `51-["f",{"_placeholder":true,"num":0}]`,
			want: Packet{Type: BinaryEvent, Namespace: "/", Attachments: 1, Data: []byte(`["f",{"_placeholder":true,"num":0}]`)},
		},
		{
			name: "binary ack", wire: `61-/chat,3[{"_placeholder":true,"num":0}]`,
			want: Packet{Type: BinaryAck, Namespace: "/chat", HasID: true, ID: 3, Attachments: 1, Data: []byte(`[{"_placeholder":true,"num":0}]`)},
		},
		{name: "binary event without attachments", wire: `50-["f"]`, again: `2["f"]`, want: Packet{Type: Event, Namespace: "/", Data: []byte(`["f"]`)}},
		{name: "binary ack without attachments", wire: `60-1[]`, again: `31[]`, want: Packet{Type: Ack, Namespace: "/", HasID: true, ID: 1, Data: []byte(`[]`)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse([]byte(tt.wire), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Parse = %+v\nwant %+v", got, tt.want)
			}
			again := tt.again
			if again == "" {
				again = tt.wire
			}
			if s := string(Append([]byte("4"), tt.want)); s != "4"+again {
				t.Errorf("Append = %s, want 4%s", s, again)
			}
		})
	}
}

func TestAppendTakesAnEmptyNamespaceForTheRoot(t *testing.T) {
	for want, p := range map[string]Packet{
		"0":           {Type: Connect},
		"0/?a=1,":     {Type: Connect, Query: "a=1"},
		`2["a"]`:      {Type: Event, Query: "only in CONNECT", Data: []byte(`["a"]`)},
		`2["a","\n"]`: {Type: BinaryEvent, Data: []byte(`["a","\n"]`)},
	} {
		if got := string(Append(nil, p)); got != want {
			t.Errorf("Append(%+v) = %s, want %s", p, got, want)
		}
	}
}

func TestParseTakesTheLongestEventName(t *testing.T) {
	for _, wire := range []string{`2["abcd"]`, `2["é\""]`, `2[-1.5,"abcdef"]`, `2[""]`} {
		if _, err := Parse([]byte(wire), Limits{MaxEventName: 4}); err != nil {
			t.Errorf("%s: %v", wire, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	tests := []struct {
		name, wire string
		lim        Limits
		kind       Kind
	}{
		{"nothing", ``, Limits{}, Malformed},
		{"no type", `abc`, Limits{}, Malformed},
		{"unknown type", `7`, Limits{}, Malformed},
		{"invalid UTF-8", "2[\"\xed\xa0\x80\"]", Limits{}, Malformed},
		{"invalid UTF-8 in a namespace", "0/\xff", Limits{}, Malformed},
		{"connect with an array", `0[]`, Limits{}, Malformed},
		{"connect with null", `0null`, Limits{}, Malformed},
		{"disconnect with data", `1{}`, Limits{}, Malformed},
		{"event without data", `2`, Limits{}, Malformed},
		{"event without a name", `2[]`, Limits{}, Malformed},
		{"event with an object", `2{}`, Limits{}, Malformed},
		{"event named null", `2[null,1]`, Limits{}, Malformed},
		{"event named by an object", `2[{}]`, Limits{}, Malformed},
		{"letters before the data", `2abc["a"]`, Limits{}, Malformed},
		{"two values", `2["a"]["b"]`, Limits{}, Malformed},
		{"white space before the data", `2 ["a"]`, Limits{}, Malformed},
		{"ack without data", `31`, Limits{}, Malformed},
		{"ack with an object", `31{}`, Limits{}, Malformed},
		{"id of 65 bits", `318446744073709551616[]`, Limits{}, Malformed},
		{"id far too long", `3` + strings.Repeat("9", 1000) + `[]`, Limits{}, Malformed},
		{"no number of attachments", `5["a"]`, Limits{}, Malformed},
		{"empty number of attachments", `5-["a"]`, Limits{}, Malformed},
		{"number of attachments without its hyphen", `51["a"]`, Limits{}, Malformed},
		{"number of attachments at the end", `51`, Limits{}, Malformed},

		{"attachments", `565-["a"]`, Limits{}, OverLimit},
		{"attachments beyond an int", `599999999999999999999999-["a"]`, Limits{}, OverLimit},
		{"attachments as set", `53-["a"]`, Limits{MaxAttachments: 2}, OverLimit},
		{"namespace", `0/` + strings.Repeat("n", 256), Limits{}, OverLimit},
		{"namespace as set", `0/abc`, Limits{MaxNamespace: 3}, OverLimit},
		{"query", `0/?` + strings.Repeat("q", 16<<10+1), Limits{}, OverLimit},
		{"query as set", `0/?abc`, Limits{MaxQuery: 2}, OverLimit},
		{"event name", `2["` + strings.Repeat("n", 1025) + `"]`, Limits{}, OverLimit},
		{"event name as set", `2["abcde"]`, Limits{MaxEventName: 4}, OverLimit},
		{"event name that is a number", `2[12345]`, Limits{MaxEventName: 4}, OverLimit},
		{"depth", `2["a",` + deep(MaxDepth) + `]`, Limits{}, OverLimit},
		{"depth of a megabyte", `2["a",` + strings.Repeat("[", 1<<20), Limits{}, OverLimit},
		{"depth of objects", `0` + strings.Repeat(`{"a":`, MaxDepth+1), Limits{}, OverLimit},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse([]byte(tt.wire), tt.lim)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("Parse = %+v, %v", p, err)
			}
			if e.Kind != tt.kind {
				t.Errorf("error %v is of kind %d, want %d", err, e.Kind, tt.kind)
			}
			if !reflect.DeepEqual(p, Packet{}) {
				t.Errorf("a packet beside the error: %+v", p)
			}
		})
	}
}

func TestParseTakesWhatIsJustInTheLimits(t *testing.T) {
	for _, wire := range []string{
		`564-["a"]`,
		`0/` + strings.Repeat("n", 255),
		`0/?` + strings.Repeat("q", 16<<10),
		`2["` + strings.Repeat("n", 1022) + `"]`,
		`2["a",` + strings.Repeat("[", MaxDepth-1) + strings.Repeat("]", MaxDepth-1) + `]`,
	} {
		if _, err := Parse([]byte(wire), Limits{}); err != nil {
			t.Errorf("%.20s… is refused: %v", wire, err)
		}
	}
}

func TestReservedNames(t *testing.T) {
	for name, reserved := range map[string]bool{
		`"connect"`: true, `"connect_error"`: true, `"disconnect"`: true, `"disconnecting"`: true,
		`"newListener"`: true, `"removeListener"`: true,
		`"\u0063onnect"`: true, `"\u0072\u0065\u006d\u006f\u0076\u0065\u004c\u0069\u0073\u0074\u0065\u006e\u0065\u0072"`: true,
		`"connecting"`: false, `"error"`: false, `"Connect"`: false, `"connect "`: false, `""`: false, `1`: false,
		`"\u0063onnected"`: false, `"` + strings.Repeat(`\u0063`, 100) + `"`: false,
	} {
		_, err := Parse([]byte("2["+name+"]"), Limits{})
		if (err != nil) != reserved {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIntern(t *testing.T) {
	known := map[string]string{"/chat": "/chat"}
	lim := Limits{Intern: func(b []byte) string { return known[string(b)] }}
	wire := []byte(`2/chat,["say"]`)
	var p Packet
	var err error
	allocs := testing.AllocsPerRun(100, func() { p, err = Parse(wire, lim) })
	if err != nil || p.Namespace != "/chat" || allocs != 0 {
		t.Errorf("namespace %q, error %v, %v allocations", p.Namespace, err, allocs)
	}
}

func TestAllocations(t *testing.T) {
	wire := []byte(`217["message",{"type":"text","body":"hello \"you\" \u00e9 <b>","at":1700000000123,"tags":["a","b"]},null,true,-1.5e3]`)
	file := []byte(`52-["f",{"_placeholder":true,"num":0},{"\u005fplaceholder":true,"num":1}]`)
	dst := make([]byte, 0, 1024)
	p, err := Parse(wire, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := Parse(file, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"Parse":             func() error { _, err := Parse(wire, Limits{}); return err },
		"Parse binary":      func() error { _, err := Parse(file, Limits{}); return err },
		"Append":            func() error { dst = Append(dst[:0], p); return nil },
		"AppendArgs":        func() (err error) { dst, err = AppendArgs(dst[:0], p.Data); return err },
		"AppendEvent":       func() error { dst = AppendEvent(dst[:0], "message", []byte(`[1,2]`)); return nil },
		"ValidArgs":         func() error { return ValidArgs(p.Data) },
		"CheckPlaceholders": func() error { return CheckPlaceholders(f.Data, 2) },
	} {
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := testing.AllocsPerRun(100, func() { _ = do() }); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	wire := []byte(`217["message",{"type":"text","body":"hello \"you\" \u00e9 <b>","at":1700000000123,"tags":["a","b"]},null,true,-1.5e3]`)
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(wire, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
