package gateway

import (
	"io"
	"strings"
	"testing"

	"holdfast/internal/netpoll"
)

// TestManyPings sends some in one piece: the last is answered, which stands for all.
func TestManyPings(t *testing.T) {
	w := newWorld(t, netpoll.Auto, nil)
	nc := w.connect(t)
	ping := func(c string) string { return "\x89\x81\x00\x00\x00\x00" + c }
	if _, err := io.WriteString(nc, shake+ping("a")+ping("b")+ping("c")+"\x81\x82\x00\x00\x00\x0040"); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for b := make([]byte, 1024); !strings.Contains(got.String(), `40{"sid":"`); {
		n, err := nc.Read(b)
		if err != nil {
			t.Fatalf("%v after %q", err, got.String())
		}
		got.Write(b[:n])
	}
	for pong, want := range map[string]bool{"\x8a\x01a": false, "\x8a\x01b": false, "\x8a\x01c": true} {
		if strings.Contains(got.String(), pong) != want {
			t.Errorf("%q among %q: want %v", pong, got.String(), want)
		}
	}
}
