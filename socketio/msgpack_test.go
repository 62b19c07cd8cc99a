package socketio

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

// msgpackSeeds are packets, right and wrong, for the fuzz test.
var msgpackSeeds = []string{
	"\x82\xa4type\x00\xa3nsp\xa1/",
	"\x83\xa4type\x02\xa4data\x92\xa3say\xa2hi\xa3nsp\xa1/",
	"\x85\xa4type\x02\xa4data\x93\xa1f\xc4\x02\x01\x02\xc7\x01\x00\xff\xa7options\x81\xa8compress\xc3\xa2id\x05\xa3nsp\xa5/chat",
	"\x83\xa4type\x00\xa4data\xd4\x00\x00\xa3nsp\xa1/",
	"\x83\xa4type\x02\xa4data\x94\xa1d\xd7\x00\x00\x00\x01\x8b\xcf\xe5\x68\x7b\xd6\xff\x65\x53\xf1\x00\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00\xa3nsp\xa1/",
	"\xdf\x00\x00\x00\x02\xa4type\xcc\x01\xd9\x03nsp\xda\x00\x02/a",
	"\x83\xa4type\x02\xa4data\x93\xa1a\x82\x01\xc0\xff\xca\x3f\x80\x00\x00\xdd\x00\x00\x00\x01\xd0\x80\xa3nsp\xa1/",
	"\x83\xa4type\x02\xa4data\xdd\xff\xff\xff\xff",
}

func TestMsgpackWire(t *testing.T) {
	tests := []struct {
		name string
		wire string
		want Packet
	}{
		{
			"connect",
			"\x82" + "\xa4type\x00" + "\xa3nsp\xa1/",
			Packet{Type: Connect, Namespace: "/"},
		},
		{
			"connect with auth",
			"\x83" + "\xa4type\x00" + "\xa4data\x81\xa1a\x01" + "\xa3nsp\xa1/",
			Packet{Type: Connect, Namespace: "/", Data: []byte(`{"a":1}`), Msgpack: []byte("\x81\xa1a\x01")},
		},
		{
			"connect of protocol 4",
			"\x82" + "\xa4type\x00" + "\xa3nsp\xa6/a?b=1",
			Packet{Type: Connect, Namespace: "/a", Query: "b=1"},
		},
		{
			"disconnect",
			"\x82" + "\xa4type\x01" + "\xa3nsp\xa5/chat",
			Packet{Type: Disconnect, Namespace: "/chat"},
		},
		{
			"event with an id",
			"\x84" + "\xa4type\x02" + "\xa4data\x92\xa3say\xa2hi" + "\xa2id\xcc\x80" + "\xa3nsp\xa1/",
			Packet{Type: Event, Namespace: "/", HasID: true, ID: 128, Data: []byte(`["say","hi"]`), Msgpack: []byte("\x92\xa3say\xa2hi")},
		},
		{
			"ack with binary",
			"\x84" + "\xa4type\x03" + "\xa4data\x91\xc4\x02\x01\x02" + "\xa2id\x00" + "\xa3nsp\xa1/",
			Packet{
				Type: BinaryAck, Namespace: "/", HasID: true, Attachments: 1, Data: []byte(`[{"_placeholder":true,"num":0}]`),
				Binary: [][]byte{{1, 2}}, Msgpack: []byte("\x91\xc4\x02\x01\x02"),
			},
		},
		{
			"error",
			"\x83" + "\xa4type\x04" + "\xa4data\x81\xa7message\xa2no" + "\xa3nsp\xa1/",
			Packet{Type: ConnectError, Namespace: "/", Data: []byte(`{"message":"no"}`), Msgpack: []byte("\x81\xa7message\xa2no")},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !IsMsgpack([]byte(tt.wire)) {
				t.Error("not recognised")
			}
			got, err := ParseMsgpack([]byte(tt.wire), Limits{})
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("ParseMsgpack = %+v, %v\nwant %+v", got, err, tt.want)
			}
			out, err := AppendMsgpack([]byte("x"), tt.want)
			if err != nil || string(out) != "x"+tt.wire {
				t.Errorf("AppendMsgpack = %q, %v\nwant x%q", out, err, tt.wire)
			}
			tt.want.Msgpack = nil
			if out, err = AppendMsgpack(nil, tt.want); err != nil || string(out) != tt.wire {
				t.Errorf("AppendMsgpack from JSON = %q, %v\nwant %q", out, err, tt.wire)
			}
		})
	}
}

func TestMsgpackReadOnly(t *testing.T) {
	tests := []struct {
		name, wire string
		want       Packet
	}{
		{"other order, options and unknown keys", "\x85\xa3nsp\xa1/\xa7options\x81\xa8compress\xc3\xa1x\x92\x90\x81\xa1y\xc0\xa4data\x91\xa1a\xa4type\x02", Packet{Type: Event, Namespace: "/", Data: []byte(`["a"]`), Msgpack: []byte("\x91\xa1a")}},
		{"undefined data and id", "\x84\xa4type\x00\xa4data\xd4\x00\x00\xa2id\xd4\x00\x00\xa3nsp\xa1/", Packet{Type: Connect, Namespace: "/"}},
		{"null data and id", "\x84\xa4type\x00\xa4data\xc0\xa2id\xc0\xa3nsp\xa1/", Packet{Type: Connect, Namespace: "/"}},
		{"long forms", "\xdf\x00\x00\x00\x02\xd9\x04type\xd0\x01\xda\x00\x03nsp\xdb\x00\x00\x00\x01/", Packet{Type: Disconnect, Namespace: "/"}},
		{"binary type of protocol 4 without binary", "\x83\xa4type\x05\xa4data\x91\xa1a\xa3nsp\xa1/", Packet{Type: Event, Namespace: "/", Data: []byte(`["a"]`), Msgpack: []byte("\x91\xa1a")}},
	}
	for _, tt := range tests {
		got, err := ParseMsgpack([]byte(tt.wire), Limits{})
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v\nwant %+v", tt.name, got, err, tt.want)
		}
	}
}

func TestParseMsgpackRefuses(t *testing.T) {
	event := func(data string) string { return "\x83\xa4type\x02\xa4data" + data + "\xa3nsp\xa1/" }
	tests := []struct {
		name, wire string
		lim        Limits
		kind       Kind
	}{
		{"nothing", "", Limits{}, Malformed},
		{"no map", "\x90", Limits{}, Malformed},
		{"text", `2["a"]`, Limits{}, Malformed},
		{"empty map", "\x80", Limits{}, Malformed},
		{"cut off", "\x82\xa4type\x00\xa3ns", Limits{}, Malformed},
		{"trailing byte", "\x82\xa4type\x00\xa3nsp\xa1/\x00", Limits{}, Malformed},
		{"key that is no text", "\x82\x01\x00\xa3nsp\xa1/", Limits{}, Malformed},
		{"no type", "\x81\xa3nsp\xa1/", Limits{}, Malformed},
		{"unknown type", "\x82\xa4type\x07\xa3nsp\xa1/", Limits{}, Malformed},
		{"type as text", "\x82\xa4type\xa10\xa3nsp\xa1/", Limits{}, Malformed},
		{"type twice", "\x83\xa4type\x00\xa4type\x01\xa3nsp\xa1/", Limits{}, Malformed},
		{"data twice", "\x84\xa4type\x02\xa4data\x91\xa1a\xa4data\x91\xa1b\xa3nsp\xa1/", Limits{}, Malformed},
		{"no namespace", "\x81\xa4type\x00", Limits{}, Malformed},
		{"namespace without a slash", "\x82\xa4type\x00\xa3nsp\xa1a", Limits{}, Malformed},
		{"empty namespace", "\x82\xa4type\x00\xa3nsp\xa0", Limits{}, Malformed},
		{"negative id", "\x84\xa4type\x02\xa4data\x91\xa1a\xa2id\xff\xa3nsp\xa1/", Limits{}, Malformed},
		{"connect with an array", "\x83\xa4type\x00\xa4data\x90\xa3nsp\xa1/", Limits{}, Malformed},
		{"connect with binary", "\x83\xa4type\x00\xa4data\x81\xa1a\xc4\x00\xa3nsp\xa1/", Limits{}, Malformed},
		{"disconnect with data", "\x83\xa4type\x01\xa4data\x80\xa3nsp\xa1/", Limits{}, Malformed},
		{"event without data", "\x82\xa4type\x02\xa3nsp\xa1/", Limits{}, Malformed},
		{"event without a name", event("\x90"), Limits{}, Malformed},
		{"reserved name", event("\x91\xa7connect"), Limits{}, Malformed},
		{"ack with a map", "\x83\xa4type\x03\xa4data\x80\xa3nsp\xa1/", Limits{}, Malformed},
		{"invalid UTF-8", event("\x91\xa1\xff"), Limits{}, Malformed},
		{"unused type", event("\x91\xc1"), Limits{}, Malformed},
		{"unknown ext", event("\x92\xa1a\xd4\x05\x00"), Limits{}, Malformed},
		{"ext of a length that notepack does not write", event("\x92\xa1a\xd5\x00\x00\x00"), Limits{}, Malformed},
		{"long ext", event("\x92\xa1a\xc7\x01\x05\x00"), Limits{}, Malformed},
		{"timestamp with a second of nanoseconds", event("\x92\xa1a\xc7\x0c\xff\x3b\x9a\xca\x00\x00\x00\x00\x00\x00\x00\x00\x00"), Limits{}, Malformed},
		{"map key that is an array", event("\x92\xa1a\x81\x90\x00"), Limits{}, Malformed},
		{"array longer than the packet", event("\xdd\xff\xff\xff\xff"), Limits{}, Malformed},
		{"map longer than the packet", event("\x92\xa1a\xdf\x7f\xff\xff\xff"), Limits{}, Malformed},
		{"map of as many bytes as are left", event("\x92\xa1a\x87"), Limits{}, Malformed},
		{"string longer than the packet", event("\x91\xdb\xff\xff\xff\xff"), Limits{}, Malformed},
		{"options longer than the packet", "\x82\xa7options\xdd\xff\xff\xff\xff\xa4type\x00", Limits{}, Malformed},
		{"map that looks like a placeholder beside an attachment", event("\x93\xa1a\xc4\x01\x01\x82\xac_placeholder\xc3\xa3num\x00"), Limits{}, Malformed},
		{"map that looks like one to nothing", event("\x93\xa1a\xc4\x01\x01\x82\xac_placeholder\xc3\xa3num\x05"), Limits{}, Malformed},

		{"depth", event("\x92\xa1a" + strings.Repeat("\x91", MaxDepth) + "\xc0"), Limits{}, OverLimit},
		{"depth of maps", event("\x92\xa1a" + strings.Repeat("\x81\xa0", MaxDepth) + "\xc0"), Limits{}, OverLimit},
		{"attachments", event("\xdc\x00\x42\xa1a" + strings.Repeat("\xc4\x00", 65)), Limits{}, OverLimit},
		{"attachments as set", event("\x93\xa1a\xc4\x00\xc4\x00"), Limits{MaxAttachments: 1}, OverLimit},
		{"bytes of attachments as set", event("\x93\xa1a\xc4\x01\x00\xc4\x01\x00"), Limits{MaxBinary: 1}, OverLimit},
		{"namespace", "\x82\xa4type\x00\xa3nsp\xda\x01\x01/" + strings.Repeat("n", 256), Limits{}, OverLimit},
		{"event name", event("\x91\xda\x04\x01" + strings.Repeat("n", 1025)), Limits{}, OverLimit},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := ParseMsgpack([]byte(tt.wire), tt.lim)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("ParseMsgpack = %+v, %v", p, err)
			}
			if e.Kind != tt.kind {
				t.Errorf("error %v is of kind %d, want %d", err, e.Kind, tt.kind)
			}
		})
	}
}

func TestIsMsgpack(t *testing.T) {
	for b, want := range map[string]bool{
		"\x82\xa4type\x00\xa3nsp\xa1/":         true,
		"\x82\xa3nsp\xa1/\xa4type\x00":         true,
		"\xde\x00\x01\xa4data\x00":             true,
		"\xdf\x00\x00\x00\x01\xd9\x04data\x00": true,
		"":                                     false,
		"\x80":                                 false,
		"\x82":                                 false,
		"\x82\xa4typ":                          false,
		"\x81\xa4tyqe\x00":                     false,
		"\x81\x01\x00":                         false,
		"\x91\xa4type":                         false,
		"0{}":                                  false,
		"\xff\xd8\xff\xe0 a picture":           false,
		"\x89PNG\r\n\x1a\n and what is in a picture": false,
	} {
		if got := IsMsgpack([]byte(b)); got != want {
			t.Errorf("IsMsgpack(%q) = %v", b, got)
		}
	}
}

func TestMsgpackToJSON(t *testing.T) {
	tests := []struct{ raw, want string }{
		{"\xc0", `null`},
		{"\xc2", `false`},
		{"\xc3", `true`},
		{"\x7f", `127`},
		{"\xe0", `-32`},
		{"\xcc\xff", `255`},
		{"\xcd\xff\xff", `65535`},
		{"\xce\xff\xff\xff\xff", `4294967295`},
		{"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", `18446744073709551615`},
		{"\xd0\x80", `-128`},
		{"\xd0\x7f", `127`},
		{"\xd1\x80\x00", `-32768`},
		{"\xd2\x80\x00\x00\x00", `-2147483648`},
		{"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", `-9223372036854775808`},
		{"\xca\x3d\xcc\xcc\xcd", `0.10000000149011612`},
		{"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", `0.1`},
		{"\xcb\x40\x14\x00\x00\x00\x00\x00\x00", `5`},
		{"\xcb\x80\x00\x00\x00\x00\x00\x00\x00", `0`},
		{"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", `null`},
		{"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", `null`},
		{"\xa0", `""`},
		{"\xa4\"\\\n\x1e", `"\"\\\n\u001e"`},
		{"\xa3\xe2\x80\xa8", "\"\u2028\""},
		{"\x90", `[]`},
		{"\x93\x01\xd4\x00\x00\x80", `[1,null,{}]`},
		{"\x83\xa1a\x01\xa1b\xd4\x00\x00\xa1c\x02", `{"a":1,"c":2}`},
		{"\x82\xa1a\xd4\x00\x00\xa1b\x01", `{"b":1}`},
		{"\x81\xa1a\xd4\x00\x00", `{}`},
		{"\x82\x05\x01\xff\x02", `{"5":1,"-1":2}`},
		{"\x82\xa1b\x01\xa1a\x02", `{"b":1,"a":2}`},
		{"\xd7\x00\x00\x00\x00\x00\x00\x00\x00\x00", `"1970-01-01T00:00:00.000Z"`},
		{"\xd7\x00\xff\xff\xff\xff\xff\xff\xff\xff", `"1969-12-31T23:59:59.999Z"`},
		{"\xd7\x00\x00\x1e\xb2\x08\xc2\xdc\x00\x00", `"+275760-09-13T00:00:00.000Z"`},
		{"\xd7\x00\x00\x1e\xb2\x08\xc2\xdc\x00\x01", `null`},
		{"\xd7\x00\xff\xe1\x4d\xf7\x3d\x24\x00\x00", `"-271821-04-20T00:00:00.000Z"`},
		{"\xd6\xff\x65\x53\xf1\x00", `"2023-11-14T22:13:20.000Z"`},
		{"\xd7\xff\x1d\x4c\x22\x00\x65\x53\xf1\x00", `"2023-11-14T22:13:20.122Z"`},
		{"\xc7\x0c\xff\x07\x54\xd4\xc0\xff\xff\xff\xff\xff\xff\xff\xff", `"1969-12-31T23:59:59.123Z"`},
		{"\xc7\x0c\xff\x00\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff", `null`},
		{"\x82\xac_placeholder\xc3\xa3num\x05", `{"_placeholder":true,"num":5}`},
	}
	for _, tt := range tests {
		got, atts, err := MsgpackToJSON([]byte(tt.raw))
		if err != nil || string(got) != tt.want || atts != nil {
			t.Errorf("MsgpackToJSON(%x) = %s, %x, %v, want %s", tt.raw, got, atts, err, tt.want)
		}
	}

	got, atts, err := MsgpackToJSON([]byte("\x93\xc4\x01\x07\x81\xa1a\xc7\x02\x00\x08\x09\xc4\x00"))
	want := `[{"_placeholder":true,"num":0},{"a":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":2}]`
	if err != nil || string(got) != want || !reflect.DeepEqual(atts, [][]byte{{7}, {8, 9}, {}}) {
		t.Errorf("binary values give %s, %x, %v", got, atts, err)
	}
	for _, bad := range []string{"", "\xc0\xc0", "\x91", strings.Repeat("\xc7", 3)} {
		if got, _, err := MsgpackToJSON([]byte(bad)); err == nil {
			t.Errorf("MsgpackToJSON(%x) = %s", bad, got)
		}
	}
}

// TestMsgpackGrowth holds the promise about the size of the text.
func TestMsgpackGrowth(t *testing.T) {
	for name, raw := range map[string]string{
		"nulls":             "\xdd\x00\x01\x00\x00" + strings.Repeat("\xc0", 1<<16),
		"false":             "\xdd\x00\x01\x00\x00" + strings.Repeat("\xc2", 1<<16),
		"control character": "\xdb\x00\x01\x00\x00" + strings.Repeat("\x01", 1<<16),
		"floats":            "\xdd\x00\x01\x00\x00" + strings.Repeat("\xca\x80\x00\x00\x01", 1<<16),
		"dates":             "\xdd\x00\x01\x00\x00" + strings.Repeat("\xd6\xff\x00\x00\x00\x00", 1<<16),
	} {
		got, _, err := MsgpackToJSON([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		if len(got) > 6*len(raw) {
			t.Errorf("%s: %d bytes became %d", name, len(raw), len(got))
		}
	}
}

func TestJSONToMsgpack(t *testing.T) {
	tests := []struct{ json, want string }{
		{`null`, "\xc0"},
		{` true `, "\xc3"},
		{`false`, "\xc2"},
		{`0`, "\x00"},
		{`-0`, "\x00"},
		{`127`, "\x7f"},
		{`128`, "\xcc\x80"},
		{`255`, "\xcc\xff"},
		{`256`, "\xcd\x01\x00"},
		{`65536`, "\xce\x00\x01\x00\x00"},
		{`4294967296`, "\xcf\x00\x00\x00\x01\x00\x00\x00\x00"},
		{`18446744073709551615`, "\xcf\xff\xff\xff\xff\xff\xff\xff\xff"},
		{`18446744073709551616`, "\xcb\x43\xf0\x00\x00\x00\x00\x00\x00"},
		{`-1`, "\xff"},
		{`-32`, "\xe0"},
		{`-33`, "\xd0\xdf"},
		{`-129`, "\xd1\xff\x7f"},
		{`-32769`, "\xd2\xff\xff\x7f\xff"},
		{`-2147483649`, "\xd3\xff\xff\xff\xff\x7f\xff\xff\xff"},
		{`-9223372036854775809`, "\xcb\xc3\xe0\x00\x00\x00\x00\x00\x00"},
		{`1.0`, "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"},
		{`1e0`, "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"},
		{`1e999`, "\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00"},
		{`""`, "\xa0"},
		{`"é\n\ud83d\ude00\ud83d"`, "\xaaé\n😀\uFFFD"},
		{`[]`, "\x90"},
		{"[ 1 ,\n[ ] , { } ]", "\x93\x01\x90\x80"},
		{`{"b":1,"a":{"c":[2]},"b":3}`, "\x83\xa1b\x01\xa1a\x81\xa1c\x91\x02\xa1b\x03"},
		{`{"\u0061" : [ 1 , 2 ] }`, "\x81\xa1a\x92\x01\x02"},
		{`{"_placeholder":true,"num":0}`, "\x82\xac_placeholder\xc3\xa3num\x00"},
	}
	for _, tt := range tests {
		got, err := JSONToMsgpack([]byte("x"), []byte(tt.json), nil)
		if err != nil || string(got) != "x"+tt.want {
			t.Errorf("JSONToMsgpack(%s) = %x, %v, want %x", tt.json, got, err, tt.want)
		}
	}

	got, err := JSONToMsgpack(nil, []byte(`["f",{"num":1,"x":[[],{}],"_placeholder":true},[[]],{"a":{"_placeholder":true,"num":0}},{}]`), [][]byte{{1}, {2, 3}})
	if want := "\x95\xa1f\xc4\x02\x02\x03\x91\x90\x81\xa1a\xc4\x01\x01\x80"; err != nil || string(got) != want {
		t.Errorf("with attachments: %x, %v, want %x", got, err, want)
	}
	for _, bad := range []string{``, `[`, `[1,]`, "\"\xff\"", `{"_placeholder":true,"num":1}`, `[{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]`} {
		if got, err := JSONToMsgpack([]byte("x"), []byte(bad), [][]byte{{1}}); err == nil || string(got) != "x" {
			t.Errorf("JSONToMsgpack(%s) = %x, %v", bad, got, err)
		}
	}
}

// TestMsgpackSizes passes each size at which the form of a header changes, there and back.
func TestMsgpackSizes(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16, 31, 32, 255, 256, math.MaxUint16, math.MaxUint16 + 1} {
		array := "[" + strings.TrimSuffix(strings.Repeat("0,", n), ",") + "]"
		object := "{" + strings.TrimSuffix(strings.Repeat(`"k":0,`, n), ",") + "}"
		str := `"` + strings.Repeat("x", n) + `"`
		for _, json := range []string{array, object, str} {
			raw, err := JSONToMsgpack(nil, []byte(json), nil)
			if err != nil {
				t.Fatal(err)
			}
			if back, _, err := MsgpackToJSON(raw); err != nil || string(back) != json {
				t.Errorf("%d: %.20s became %.20s, %v", n, json, back, err)
			}
		}
		bin := bytes.Repeat([]byte{7}, n)
		raw, err := JSONToMsgpack(nil, []byte(`{"_placeholder":true,"num":0}`), [][]byte{bin})
		if err != nil {
			t.Fatal(err)
		}
		if _, atts, err := MsgpackToJSON(raw); err != nil || len(atts) != 1 || !bytes.Equal(atts[0], bin) {
			t.Errorf("%d bytes came back as %d, %v", n, len(atts[0]), err)
		}
	}
}
