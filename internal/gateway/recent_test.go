package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestRecent fills it with names that are never said again, between one that is.
func TestRecent(t *testing.T) {
	for _, bounds := range []struct{ most, bytes int }{{100, 1 << 20}, {1 << 20, 1000}} {
		r := newRecent[int](bounds.most, bounds.bytes)
		r.put("said by many", 7)
		for i := range 10_000 {
			r.put(fmt.Sprintf("made up %d", i), i)
			if i%20 == 0 {
				if v, ok := r.get([]byte("said by many")); !ok || v != 7 {
					t.Fatalf("%+v: forgotten after %d others", bounds, i)
				}
			}
		}
		if _, ok := r.get([]byte("made up 1")); ok {
			t.Errorf("%+v: what nobody says any more is remembered", bounds)
		}
		bytes := 0
		for name := range r.young {
			bytes += len(name)
		}
		if len(r.young) > bounds.most || bytes > bounds.bytes || bytes != r.bytes || len(r.old) > bounds.most {
			t.Errorf("%+v: %d and %d names, %d bytes counted as %d", bounds, len(r.young), len(r.old), bytes, r.bytes)
		}
	}
}

// TestMadeUpHeaders is TestRecent for the headers of handshakes: their sets are bounded
// in bytes, and browsers go on to share theirs.
func TestMadeUpHeaders(t *testing.T) {
	handshakes := newHandshakeTable()
	browser := http.Header{"User-Agent": {"a browser"}}
	names := []string{"User-Agent", "Accept-Language"}
	first := handshakes.pick(browser, names)
	for i := range 5000 {
		made := http.Header{"User-Agent": {fmt.Sprint(i) + strings.Repeat("x", 7000)}, "Accept-Language": {strings.Repeat("y", 7000)}}
		if handshakes.pick(made, names) == first {
			t.Fatal("two sets of headers are one")
		}
		if i%50 == 0 && handshakes.pick(browser, names) != first {
			t.Fatalf("the browser's headers are forgotten after %d others", i)
		}
	}
	bytes := 0
	for _, half := range []map[string]*handshake{handshakes.sets.young, handshakes.sets.old} {
		for name := range half {
			bytes += len(name)
		}
	}
	if bytes > 2*maxHeaderBytes {
		t.Errorf("the table holds %d bytes", bytes)
	}
}
