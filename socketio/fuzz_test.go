package socketio

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func validUTF8(b []byte) bool { return utf8.Valid(b) }

// toValidUTF8 replaces each byte that is not UTF-8, where strings.ToValidUTF8 replaces a run of them.
func toValidUTF8(s string) string { return string([]rune(s)) }

// FuzzParse shows that what was read is written so that it is read the same, and that the parts of an event fit together.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`0`, `0{"token":"x"}`, `0/chat?a=1,`, `1/chat,`, `2["say","hi"]`, `2/chat,17["say",{"a":[1,2.5,null]}]`, `3/chat,17[]`, `4"no"`,
		`52-/a,1["f",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]`, `60-1[]`, `2["\ud83d\ude00\n"]`, `2[-1e5, 1 ]`, `2abc["a"]`, "2[\"\xff\"]",
		`218446744073709551615["x",18446744073709551615,-9223372036854775808,18446744073709551616,1e400]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.Clone(b)
		p, err := Parse(b, Limits{})
		if !bytes.Equal(in, b) {
			t.Fatal("the input was written to")
		}
		if err != nil {
			if !reflect.DeepEqual(p, Packet{}) {
				t.Fatalf("a packet beside the error: %+v", p)
			}
			return
		}
		wire := Append(nil, p)
		again, err := Parse(wire, Limits{})
		if err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("%q is written %q and read as %+v, %v", b, wire, again, err)
		}
		if p.Type.withoutBinary() == Event {
			checkEventParts(t, p.Data)
		}
		if p.Data != nil && p.Attachments == 0 {
			checkThroughMsgpack(t, p)
		}
	})
}

func checkEventParts(t *testing.T, data []byte) {
	t.Helper()
	name, _, err := EventName(data)
	if err != nil {
		t.Fatal(err)
	}
	args, err := AppendArgs(nil, data)
	if err != nil {
		t.Fatal(err)
	}
	if err = ValidArgs(args); err != nil {
		t.Fatalf("the arguments %q of %q: %v", args, data, err)
	}
	event := AppendEvent(nil, name, args)
	name2, _, err := EventName(event)
	if err != nil || name2 != name {
		t.Fatalf("%q became %q: %v", data, event, err)
	}
	if args2, err := AppendArgs(nil, event); err != nil || !bytes.Equal(args2, args) {
		t.Fatalf("%q became %q: %v", data, event, err)
	}
}

// checkThroughMsgpack shows that the MessagePack form says the same. It compares that form with itself, as JSON has many
// ways to write a number.
func checkThroughMsgpack(t *testing.T, p Packet) {
	t.Helper()
	once, err := AppendMsgpack(nil, p)
	if err != nil {
		t.Fatal(err)
	}
	q, err := ParseMsgpack(once, Limits{MaxNamespace: 1 << 20, MaxEventName: 1 << 20})
	if err != nil {
		// A number that became null or shorter may have been a name, and a name may now be longer or reserved: JSON's
		// infinity is the one that matters.
		if strings.Contains(err.Error(), "the event has no name") {
			return
		}
		t.Fatalf("%x of %q: %v", once, p.Data, err)
	}
	raw := q.Msgpack
	q.Msgpack = nil
	again, err := JSONToMsgpack(nil, q.Data, q.Binary)
	if err != nil {
		t.Fatal(err)
	}
	third, _, err := MsgpackToJSON(again)
	if err != nil || !bytes.Equal(third, q.Data) {
		t.Fatalf("%q became %q by %x: %v", q.Data, third, raw, err)
	}
	if q.Namespace != p.Namespace || q.Query != p.Query || q.HasID != p.HasID || q.ID != p.ID || q.Type != p.Type {
		t.Fatalf("%+v became %+v", p, q)
	}
}

func FuzzParseMsgpack(f *testing.F) {
	for _, s := range msgpackSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.Clone(b)
		p, err := ParseMsgpack(b, Limits{})
		if !bytes.Equal(in, b) {
			t.Fatal("the input was written to")
		}
		if err != nil {
			if !reflect.DeepEqual(p, Packet{}) {
				t.Fatalf("a packet beside the error: %+v", p)
			}
			return
		}
		if p.Data != nil {
			if err := validate(p.Data); err != nil {
				t.Fatalf("%x gives %q: %v", b, p.Data, err)
			}
			if json, atts, err := MsgpackToJSON(p.Msgpack); err != nil || !bytes.Equal(json, p.Data) || !reflect.DeepEqual(atts, p.Binary) {
				t.Fatalf("%x gives %q, and alone %q: %v", b, p.Data, json, err)
			}
		}
		wire, err := AppendMsgpack(nil, p)
		if err != nil {
			t.Fatal(err)
		}
		if q, err := ParseMsgpack(wire, Limits{}); err != nil || !reflect.DeepEqual(p, q) {
			t.Fatalf("%+v became %+v, %v", p, q, err)
		}
		text, err := Parse(Append(nil, p), Limits{})
		switch {
		case strings.Contains(p.Namespace+p.Query, ","):
			// The text form ends a namespace and its query there, so that no server may have such a one.
			if text.Namespace == p.Namespace && text.Query == p.Query {
				t.Fatalf("%+v in text is %+v, %v", p, text, err)
			}
		case p.Type != ConnectError && (err != nil || !bytes.Equal(text.Data, p.Data)):
			t.Fatalf("%+v in text is %+v, %v", p, text, err)
		}
		if p.Attachments > 0 {
			p.Msgpack = nil
			if _, err := AppendMsgpack(nil, p); err != nil {
				t.Fatalf("from JSON %q: %v", p.Data, err)
			}
		}
	})
}
