package socketio

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

func TestCheckPlaceholders(t *testing.T) {
	ph := func(num string) string { return `{"_placeholder":true,"num":` + num + `}` }
	many := make([]string, 300)
	for i := range many {
		many[i] = ph(strconv.Itoa(i))
	}
	tests := []struct {
		data string
		n    int
		want string // a part of the error
	}{
		{`["a"]`, 0, ""},
		{`["a"]`, 3, ""},
		{`["a",` + ph("0") + `]`, 1, ""},
		{`["a",` + ph("0") + `]`, 0, "beyond the 0"},
		{`["a",` + ph("1") + `]`, 1, "beyond the 1"},
		{`["a",` + ph("1") + `,{"b":[` + ph("0") + `]}]`, 2, ""},
		{`["a",` + ph("99999999999999999999999") + `]`, 2, "beyond"},
		{`["a",` + ph("0") + `,` + ph("0") + `]`, 1, "two placeholders"},
		{`["a",` + ph("-1") + `]`, 1, "decimal digits"},
		{`["a",` + ph("0.0") + `]`, 1, "decimal digits"},
		{`["a",` + ph("1e0") + `]`, 2, "decimal digits"},
		{`["a",` + ph(`"0"`) + `]`, 1, "decimal digits"},
		{`["a",` + ph("null") + `]`, 1, "decimal digits"},
		{`["a",{"_placeholder":true}]`, 1, "decimal digits"},
		{`["a",{"num":0,"_placeholder":true,"more":[]}]`, 1, ""},
		{"[\"a\",{ \"_placeholder\" :\ttrue , \"num\" : 0 }]", 1, ""},
		{`["a",{"\u005fplaceholder":true,"n\u0075m":0}]`, 1, ""},
		{`["a",{"\u005fplaceholder":true,"n\u0075m":1}]`, 1, "beyond"},
		{`["a",{"_placeholder":false,"num":9}]`, 1, ""},
		{`["a",{"_placeholder":"true","num":9}]`, 1, ""},
		{`["a",{"_placeholder":1,"num":9}]`, 1, ""},
		{`["a",{"_placeholder":true,"_placeholder":null,"num":9}]`, 1, ""},
		{`["a",{"_placeholder":true,"num":9,"num":0}]`, 1, ""},
		{`["a",{"x":{"_placeholder":true},"num":0}]`, 1, "decimal digits"},
		{`["a",` + ph("0"), 1, "not valid at byte"},
		{"[\"\xff\"]", 1, "UTF-8"},
		{`[` + strings.Join(many, ",") + `]`, 300, ""},
		{`[` + strings.Join(many, ",") + `,` + ph("299") + `]`, 300, "two placeholders refer to attachment 299"},
		{`[` + strings.Join(many[:256], ",") + `,` + ph("255") + `]`, 256, "two placeholders refer to attachment 255"},
	}
	for _, tt := range tests {
		err := CheckPlaceholders([]byte(tt.data), tt.n)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("CheckPlaceholders(%.80s, %d) = %v, want %q", tt.data, tt.n, err, tt.want)
		}
	}
}

func TestCheckAllPlaced(t *testing.T) {
	ph := func(num int) string { return `{"_placeholder":true,"num":` + strconv.Itoa(num) + `}` }
	many := make([]string, 300)
	for i := range many {
		many[i] = ph(i)
	}
	for _, tt := range []struct {
		data string
		n    int
		want string // a part of the error
	}{
		{`[]`, 0, ""},
		{`[` + ph(0) + `,{"a":` + ph(1) + `}]`, 2, ""},
		{`[1]`, 1, "attachment 0 has no placeholder"},
		{`[` + ph(0) + `,` + ph(2) + `]`, 3, "attachment 1 has no placeholder"},
		{`[` + ph(0) + `]`, 0, "beyond the 0"},
		{`[` + ph(0) + `,` + ph(0) + `]`, 2, "two placeholders"},
		{`[` + strings.Join(many, ",") + `]`, 300, ""},
		{`[` + strings.Join(many[:299], ",") + `]`, 300, "attachment 299 has no placeholder"},
	} {
		err := CheckAllPlaced([]byte(tt.data), tt.n)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("CheckAllPlaced(%.80s, %d) = %v, want %q", tt.data, tt.n, err, tt.want)
		}
	}
}

// FuzzCheckPlaceholders compares with the same rule over a tree.
func FuzzCheckPlaceholders(f *testing.F) {
	for _, s := range []string{
		`["a",{"_placeholder":true,"num":0}]`, `[{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]`,
		`[{"_placeholder":true,"num":0,"x":{"_placeholder":true,"num":0}}]`, `[{"\u005fplaceholder":true,"n\u0075m":5}]`,
		`{"_placeholder":true,"_placeholder":false,"num":0}`, `[{"_placeholder":true,"num":1.5}]`,
	} {
		f.Add([]byte(s), 2)
	}
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		n = int(uint(n) % 1000)
		err := CheckPlaceholders(b, n)
		if validate(b) != nil {
			return
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.UseNumber()
		var tree any
		if err := dec.Decode(&tree); err != nil {
			t.Fatal(err)
		}
		if countMembers(tree) != countMembersInText(b) {
			return // equal keys, which a tree has once
		}
		if want := checkTree(tree, n, map[int]bool{}); (want == nil) != (err == nil) {
			t.Errorf("CheckPlaceholders(%q, %d) = %v, want %v", b, n, err, want)
		}
	})
}

func checkTree(v any, n int, seen map[int]bool) error {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := checkTree(e, n, seen); err != nil {
				return err
			}
		}
	case map[string]any:
		if v["_placeholder"] == true {
			num, _ := v["num"].(json.Number)
			i, err := strconv.Atoi(num.String())
			if err != nil || strconv.Itoa(i) != num.String() || i < 0 || i >= n || seen[i] {
				return fmt.Errorf("num %v", v["num"])
			}
			seen[i] = true
		}
		for _, e := range v {
			if err := checkTree(e, n, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

func countMembers(v any) (n int) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			n += 1 + countMembers(e)
		}
	case map[string]any:
		for _, e := range v {
			n += 1 + countMembers(e)
		}
	}
	return n
}

func countMembersInText(b []byte) (n int) {
	o := outline{keep: true, literal: true}
	s := scanner{data: b, outline: &o}
	_ = s.document()
	for _, size := range o.sizes {
		n += int(size)
	}
	return n
}
