package loadgen

import (
	"strings"
	"testing"
	"time"
)

func TestRoomsHaveTheSizesOfDocuments(t *testing.T) {
	r := Rooms{Name: "doc-", Least: 2, Most: 300, Seed: 1}
	names := r.Names(50_000)
	if len(names) != 50_000 {
		t.Fatalf("%d clients have rooms", len(names))
	}
	sizes := make(map[string]int)
	for _, n := range names {
		sizes[n]++
	}
	delete(sizes, names[len(names)-1]) // it may be cut off
	small := 0
	for name, n := range sizes {
		if n < 2 || n > 300 {
			t.Errorf("%s has %d people", name, n)
		}
		if n < 77 {
			small++
		}
	}
	if small*2 < len(sizes) {
		t.Errorf("only %d of %d documents are small", small, len(sizes))
	}
	// Who comes later is in the same rooms, as if all had come at once.
	if more := r.Names(60_000); more[49_000] != names[49_000] {
		t.Errorf("client 49000 is in %s or %s", more[49_000], names[49_000])
	}
}

func TestRoomsOfOne(t *testing.T) {
	if got := (Rooms{Name: "all"}).Names(2); len(got) != 2 || got[0] != "all" || got[1] != "all" {
		t.Errorf("one room for all: %q", got)
	}
	if (Rooms{}).Names(2) != nil {
		t.Error("rooms without a name")
	}
}

func TestTargetIsChecked(t *testing.T) {
	for url, ok := range map[string]bool{
		"http://127.0.0.1:8000": true, "https://example.com": true,
		"ws://host": true, "wss://host:1/": true,
		"127.0.0.1:8000": false, "ftp://host": false, "http://": false, "http://a b": false, "http://host/deep": false, "http://host?a=b": false,
	} {
		if _, err := (&Target{URL: url}).withDefaults(); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := (&Target{URL: "http://h", Protocol: "soap"}).withDefaults(); err == nil {
		t.Error("an unknown protocol was taken")
	}
}

// A message carries its due time, and is as long as it is meant to be.
func TestEventText(t *testing.T) {
	due := time.Unix(1_700_000_000, 123_456_789)
	text := EventText("ev", 200, due)
	if len(text) != 200 || !strings.HasPrefix(text, `42["ev",{"at":1700000000123456789,`) {
		t.Errorf("%d bytes: %s", len(text), text)
	}
	if got, ok := dueTime([]byte(text)); !ok || !got.Equal(due) {
		t.Errorf("due at %v, %v", got, ok)
	}
	for _, other := range []string{"", `{"at":`, `{"at":"soon"}`, `{"att":1}`} {
		if _, ok := dueTime([]byte(other)); ok {
			t.Errorf("%q has a due time", other)
		}
	}
	if short := EventText("ev", 1, due); !strings.HasSuffix(short, `"pad":""}]`) {
		t.Errorf("the shortest event is %s", short)
	}
}
