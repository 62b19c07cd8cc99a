package loadgen

import (
	"testing"

	"holdfast/engineio"
)

// The server's side of JSONP reads what this one writes, and the other way round.
func TestJSONP(t *testing.T) {
	for _, payload := range []string{
		`5:42["a"]`, "11:42[\"a\\nb\"]", "a newline\nand \\n one that is escaped \\\\n twice", "ü\u2028& =+%",
	} {
		if got, err := engineio.ParseJSONPForm(form([]byte(payload))); err != nil || string(got) != payload {
			t.Errorf("the form of %q is read as %q, %v", payload, got, err)
		}
		body, err := engineio.AppendJSONP(nil, "0", []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := script(body); err != nil || string(got) != payload {
			t.Errorf("%s is read as %q, %v", body, got, err)
		}
	}
	for _, other := range []string{"", `5:42["a"]`, `___eio[0]("a"`, `___eio[1]("a");`, `___eio[0](a);`} {
		if _, err := script([]byte(other)); err == nil {
			t.Errorf("%q is a script", other)
		}
	}
}
