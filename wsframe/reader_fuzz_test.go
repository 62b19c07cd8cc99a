package wsframe

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"unicode/utf8"
)

// However a stream is cut, the messages and the error are the same.
func FuzzReader(f *testing.F) {
	deflated := string(AppendDeflated(nil, []byte("Hello, hello, hello")))
	for _, wire := range []string{
		masked(0x81, "Hello") + masked(0x82, "\xff") + masked(0x89, "ping"),
		masked(0x01, "κ") + masked(0x89, "") + masked(0x00, "\xcf") + masked(0x80, "\x8c"),
		masked(0xc1, deflated) + masked(0x41, deflated[:4]) + masked(0x80, deflated[4:]),
		masked(0x81, "bad \xff") + masked(0x81, "never"),
		masked(0x88, "\x03\xe8bye") + "ignored",
		"\x82\xfe\x01\x00\x00\x00\x00\x00",
		plain(0x81, "Hello") + plain(0x01, "a") + plain(0x80, "b") + plain(0xc2, deflated),
		plain(0x01, "a") + plain(0x01, "b"),
	} {
		f.Add([]byte(wire), uint64(1), false, true)
		f.Add([]byte(wire), uint64(2), true, false)
	}
	f.Fuzz(func(t *testing.T, wire []byte, seed uint64, client, deflate bool) {
		o := ReaderOptions{Client: client, Deflate: deflate, MaxMessage: 300}
		_, want, wantErr := feed(o, string(wire))
		checkEvents(t, &o, want, wantErr)

		rnd := rand.New(rand.NewPCG(seed, 0))
		var cuts []string
		for rest := string(wire); rest != ""; {
			n := 1 + rnd.IntN(min(len(rest), 1+rnd.IntN(40)))
			cuts = append(cuts, rest[:n])
			rest = rest[n:]
		}
		r, got, err := feed(o, cuts...)
		if !reflect.DeepEqual(got, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Fatalf("in pieces %q:\n%v, %v\nwhole:\n%v, %v", cuts, got, err, want, wantErr)
		}
		if r.Buffered() > int(o.MaxMessage)+MaxControl || r.Buffered() > len(wire) {
			t.Fatalf("%d bytes kept", r.Buffered())
		}
	})
}

// checkEvents checks what holds for every stream.
func checkEvents(t *testing.T, o *ReaderOptions, events []event, err error) {
	t.Helper()
	for i, e := range events {
		switch {
		case e.op == Text && !utf8.ValidString(e.payload):
			t.Fatalf("text %q is not UTF-8", e.payload)
		case e.op.Control() && len(e.payload) > MaxControl:
			t.Fatalf("control frame of %d bytes", len(e.payload))
		case !e.op.Control() && len(e.payload) > int(o.MaxMessage):
			t.Fatalf("message of %d bytes", len(e.payload))
		case e.op == Continuation:
			t.Fatal("a fragment was emitted")
		case e.op == Close:
			if _, _, closeErr := ParseClose([]byte(e.payload)); closeErr != nil || i != len(events)-1 || err != nil {
				t.Fatalf("close frame %q, then %v, %v: %v", e.payload, events[i+1:], err, closeErr)
			}
		}
	}
	var offence *Error
	if err != nil && (!errors.As(err, &offence) || !offence.Code.Sendable() || len(offence.Reason) > maxReason) {
		t.Fatalf("error %v does not fit a close frame", err)
	}
}

// What a client writes, a server reads, and the other way round.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("payload"), uint32(0x37fa213d), true)
	f.Add(make([]byte, 126), uint32(0), false)
	f.Fuzz(func(t *testing.T, payload []byte, key uint32, client bool) {
		mask := [4]byte{byte(key >> 24), byte(key >> 16), byte(key >> 8), byte(key)}
		var wire []byte
		if client {
			wire = AppendMaskedFrame(nil, Binary, false, mask, payload)
		} else {
			wire = AppendFrame(nil, Binary, false, payload)
		}
		_, events, err := feed(ReaderOptions{Client: !client, MaxMessage: 1 << 30}, string(wire))
		if err != nil || !reflect.DeepEqual(events, []event{{Binary, string(payload)}}) {
			t.Fatalf("%x came back as %v, %v", payload, events, err)
		}
	})
}
