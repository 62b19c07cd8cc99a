package socketio

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestEventParts(t *testing.T) {
	tests := []struct{ data, name, args, array string }{
		{`["chat",1,{"a":2}]`, "chat", `1,{"a":2}`, `[1,{"a":2}]`},
		{`["chat"]`, "chat", ``, `[]`},
		{`[ "chat" ]`, "chat", ``, `[]`},
		{"[\n\"chat\" , 1 ,\t[ ] ]", "chat", "1 ,\t[ ]", "[1 ,\t[ ]]"},
		{`[42,"x"]`, "42", `"x"`, `["x"]`},
		{`[-1.5e3]`, "-1.5e3", ``, `[]`},
		{`["","x"]`, "", `"x"`, `["x"]`},
		{`["a\"b\\c\/\u00e9\ud83d\ude00\n,]",1]`, "a\"b\\c/é😀\n,]", `1`, `[1]`},
		{`["\ud83d"]`, "\uFFFD", ``, `[]`},
		{`["\ud83dx\ude00"]`, "\uFFFDx\uFFFD", ``, `[]`},
		{`["a","<b>&\u2028 1.0 1e2"]`, "a", `"<b>&\u2028 1.0 1e2"`, `["<b>&\u2028 1.0 1e2"]`},
	}
	for _, tt := range tests {
		name, args, err := EventName([]byte(tt.data))
		if err != nil || name != tt.name || string(args) != tt.args {
			t.Errorf("EventName(%s) = %q, %s, %v", tt.data, name, args, err)
		}
		array, err := AppendArgs([]byte("x"), []byte(tt.data))
		if err != nil || string(array) != "x"+tt.array {
			t.Errorf("AppendArgs(%s) = %s, %v", tt.data, array, err)
		}
		if err := ValidArgs(array[1:]); err != nil {
			t.Errorf("the arguments of %s are not valid: %v", tt.data, err)
		}
	}
}

func TestEventNameOfOtherText(t *testing.T) {
	for _, data := range []string{"", "[", "]", "[]", "{}", "[null]", "[true]", `["a`, `["a"`, `["]`, `["a"x]`, `["a"]]`, `["a"]x`, `["\x"]`, "[-]", "[1", "[01]", `["a":1]`} {
		if name, args, err := EventName([]byte(data)); err == nil {
			t.Errorf("EventName(%s) = %q, %s", data, name, args)
		}
		if dst, err := AppendArgs([]byte("x"), []byte(data)); err == nil || string(dst) != "x" {
			t.Errorf("AppendArgs(%s) = %s, %v", data, dst, err)
		}
	}
}

func TestAppendEvent(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"chat", `[1,{"a":2}]`, `["chat",1,{"a":2}]`},
		{"chat", `[]`, `["chat"]`},
		{"chat", ``, `["chat"]`},
		{"chat", " [ \n] ", `["chat"]`},
		{"chat", ` [ 1.0 , "<&>\u2028" ] `, `["chat",1.0 , "<&>\u2028"]`},
		{"a\"\\\n\x00\x1e\x7f<é\xff\u2028", `[]`, "[\"a\\\"\\\\\\n\\u0000\\u001e\x7f<é\uFFFD\u2028\"]"},
	}
	for _, tt := range tests {
		if got := string(AppendEvent(nil, tt.name, []byte(tt.args))); got != tt.want {
			t.Errorf("AppendEvent(%q, %s) = %s, want %s", tt.name, tt.args, got, tt.want)
		}
	}
}

func TestValidArgs(t *testing.T) {
	for _, ok := range []string{`[]`, ` [1] `, `[{"a":[null,true,false]}]`, `[-0.5e-7]`, "[\"\u2028\"]", strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)} {
		if err := ValidArgs([]byte(ok)); err != nil {
			t.Errorf("ValidArgs(%.20s): %v", ok, err)
		}
	}
	for bad, what := range map[string]string{
		``:                                      "empty",
		`  `:                                    "empty",
		`{}`:                                    "not a JSON array",
		`"a"`:                                   "not a JSON array",
		`[1,]`:                                  "at byte 3: a value is missing",
		`[1 2]`:                                 "at byte 3: neither a comma nor the array's end",
		`[{"a":1 "b":2}]`:                       "at byte 8: neither a comma nor the object's end",
		`[{"a"}]`:                               "at byte 5: a colon is missing",
		`[{1:2}]`:                               "at byte 2: a key is missing",
		`[1]x`:                                  "at byte 3: something follows",
		`[nul]`:                                 "at byte 1: an unknown word",
		`["a]`:                                  "at byte 4: a string has no end",
		"[\"\x1e\"]":                            "at byte 2: a control character",
		`["\q"]`:                                "at byte 3: an escape is unknown",
		`["\u12g4"]`:                            "at byte 6: an escape is not four",
		`[-]`:                                   "at byte 2: a number has no digits",
		`[1.]`:                                  "at byte 3: a number has no digits after its point",
		`[1e]`:                                  "at byte 3: a number has no digits in its exponent",
		"[\"\xff\"]":                            "not valid UTF-8",
		strings.Repeat("[", MaxDepth+1) + "]":   "nested more than 512 deep",
		`[` + strings.Repeat(`{"a":`, MaxDepth): "nested more than 512 deep",
	} {
		err := ValidArgs([]byte(bad))
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), what) {
			t.Errorf("ValidArgs(%.20s): %v, want %q", bad, err, what)
		}
	}
}

func FuzzValidArgs(f *testing.F) {
	for _, s := range []string{`[]`, `[1,-0.5e+7,"a\u00e9\n",{"a":[null,true,false]}]`, `[01]`, `[1,]`, "[\"\x00\"]", `["\ud800"]`, `{"a":1}`, ` [ ] `, "[\"\xff\"]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var array []json.RawMessage
		want := json.Unmarshal(b, &array) == nil && array != nil && validUTF8(b)
		err := ValidArgs(b)
		var e *Error
		if errors.As(err, &e) && e.Kind == OverLimit {
			return // encoding/json goes deeper
		}
		if (err == nil) != want {
			t.Errorf("ValidArgs(%q) = %v, encoding/json says %v", b, err, want)
		}
	})
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "a", "\"\\/\b\f\n\r\t\x00\x1f\x7f", "<>&\u2028\u2029", "é€😀", "\xff\xed\xa0\x80x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		b := AppendString(nil, s)
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if want := toValidUTF8(s); got != want {
			t.Errorf("%q is read as %q, want %q", b, got, want)
		}
		if raw := appendUnescaped(nil, b[1:len(b)-1]); string(raw) != got {
			t.Errorf("%q is unescaped to %q", b, raw)
		}
	})
}
