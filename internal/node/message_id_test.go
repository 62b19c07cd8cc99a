package node

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

func TestMessageIDBits(t *testing.T) {
	at := time.UnixMilli(0x0123_4567_89ab).Add(250 * time.Microsecond)
	for _, tt := range []struct{ random, want string }{
		{strings.Repeat("\x00", 8), "01234567-89ab-7400-8000-000000000000"},
		{strings.Repeat("\xff", 8), "01234567-89ab-7400-bfff-ffffffffffff"},
		{"\x12\x34\x56\x78\x9a\xbc\xde\xf0", "01234567-89ab-7400-9234-56789abcdef0"},
	} {
		source := io.MultiReader(strings.NewReader(tt.random), bytes.NewReader(make([]byte, entropyBuffer)))
		got, err := appendMessageID([]byte("x"), at, NewEntropy(source))
		if err != nil || string(got) != "x"+tt.want {
			t.Errorf("got %q, %v, want x%s", got, err, tt.want)
		}
	}
	last := at.Truncate(time.Millisecond).Add(time.Millisecond - 1)
	if got, err := appendMessageID(nil, last, new(Entropy)); err != nil || string(got[15:18]) != "fff" {
		t.Errorf("at the end of a millisecond %q, %v", got, err)
	}
	if _, err := appendMessageID(nil, at, NewEntropy(bytes.NewReader(nil))); err == nil {
		t.Error("a source that fails is not noticed")
	}
}

func TestMessageIDs(t *testing.T) {
	var entropy Entropy
	at, last := time.Now(), ""
	for range 1000 {
		id, err := appendMessageID(nil, at, &entropy)
		if err != nil {
			t.Fatal(err)
		}
		if string(id) <= last {
			t.Fatalf("%s after %s", id, last)
		}
		at, last = at.Add(250*time.Nanosecond), string(id)
	}
	room := make([]byte, 0, 36)
	if n := testing.AllocsPerRun(100, func() { _, _ = appendMessageID(room, at, &entropy) }); n > 0 {
		t.Errorf("an ID allocates %v times", n)
	}
}
