package wsframe

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// inflated returns what the payload of a deflated message inflates to.
func inflated(t *testing.T, data []byte, limit int) (string, error) {
	t.Helper()
	inf := getInflater()
	defer inf.release()
	out, err := inf.inflate(data, limit)
	return string(out), err
}

// The payloads of RFC 7692 section 7.2.3, and what real senders and hostile ones
// make of the same rules.
func TestInflate(t *testing.T) {
	tests := []struct {
		name, data, want string
		err              CloseCode
	}{
		{name: "one block", data: "\xf2\x48\xcd\xc9\xc9\x07\x00", want: "Hello"},
		{name: "stored block", data: "\x00\x05\x00\xfa\xffHello\x00", want: "Hello"},
		{name: "final block", data: "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", want: "Hello"},
		{name: "two blocks", data: "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", want: "Hello"},
		{name: "empty", data: "\x00", want: ""},
		{name: "empty as other compressors write it", data: "\x02\x00", want: ""},
		{name: "final block at the end", data: "\xf3\x48\xcd\xc9\xc9\x07\x00", want: "Hello"},
		{name: "final block between", data: "\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x48\xcd\xc9\xc9\x07\x00", want: "HelloHello"},
		{name: "history goes on after a final block", data: "\xf3\x48\xcd\xc9\xc9\x07\x00\x02\x13\x00\x00", want: "HelloHello"},
		{name: "history of an earlier message", data: "\xf2\x00\x11\x00\x00", err: InvalidPayload},
		{name: "no data at all", data: "", err: InvalidPayload},
		{name: "block is cut", data: "\xf2\x48\xcd", err: InvalidPayload},
		{name: "stored block is cut", data: "\x00\x05\x00\xfa\xffHe", err: InvalidPayload},
		{name: "reserved block type", data: "\x06\x00", err: InvalidPayload},
		{name: "not deflated", data: "Hello", err: InvalidPayload},
		{name: "tail was left on", data: "\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff", err: InvalidPayload},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := inflated(t, []byte(tt.data), 100)
			wantError(t, err, tt.err)
			if got != tt.want {
				t.Errorf("inflate = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestInflateLimit(t *testing.T) {
	bomb := AppendDeflated(nil, make([]byte, 2<<20))
	for _, limit := range []int{1, 100, 4095, 4096, 4097, 1 << 20, 2<<20 - 1} {
		inf := newInflater()
		_, err := inf.inflate(bomb, limit)
		wantError(t, err, MessageTooBig)
		if len(inf.out) != limit+1 || cap(inf.out) > limit+1 {
			t.Errorf("limit %d: inflated %d bytes into %d", limit, len(inf.out), cap(inf.out))
		}
	}
	got, err := inflated(t, bomb, 2<<20)
	if len(got) != 2<<20 || err != nil {
		t.Errorf("just the limit: %d bytes, %v", len(got), err)
	}
}

// Each final block makes the inflater start anew, at the price of its window.
func TestInflateFinalBlocks(t *testing.T) {
	_, err := inflated(t, bytes.Repeat([]byte("\x03\x00"), 500_000), 1_000_000)
	wantError(t, err, InvalidPayload)

	// One for each 4 KB is a sender that ends a stream with each of its buffers.
	part := "\x01\x00\x10\xff\xef" + strings.Repeat("x", 4096)
	got, err := inflated(t, []byte(strings.Repeat(part, 200)+"\x00"), 1_000_000)
	if got != strings.Repeat("x", 200*4096) || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestAppendDeflated(t *testing.T) {
	noise := make([]byte, 100_000)
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	tests := []struct {
		name    string
		payload []byte
		max     int // bytes of the result
	}{
		{"empty", nil, 1},
		{"one byte", []byte("x"), 10},
		{"JSON", bytes.Repeat([]byte(`42["message",{"type":"cursor","x":1,"y":2}]`), 50), 120},
		{"zeros", make([]byte, 1<<20), 6000},
		{"noise", noise, len(noise) + 100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := AppendDeflated([]byte("before"), tt.payload)
			data, ok := bytes.CutPrefix(out, []byte("before"))
			if !ok || len(data) > tt.max || len(data) == 0 {
				t.Fatalf("AppendDeflated gave %d bytes", len(data))
			}
			got, err := inflated(t, data, len(tt.payload))
			if got != string(tt.payload) || err != nil {
				t.Errorf("came back as %d bytes, %v", len(got), err)
			}
			if again := AppendDeflated(nil, tt.payload); !bytes.Equal(again, data) {
				t.Error("the same payload gave other bytes: it depends on what went before")
			}
		})
	}
}

func TestAppendStored(t *testing.T) {
	body := AppendDeflated(nil, []byte(`42["message","shared"`))
	if got := AppendStored(nil, []byte("]")); string(got) != "\x00\x00\xff\xff\x00\x01\x00\xfe\xff]\x00" {
		t.Errorf("AppendStored = %x", got)
	}
	for _, tail := range []string{"", "]", `,"offset"]`, strings.Repeat("x", 65535), strings.Repeat("y", 200_000)} {
		data := AppendStored(bytes.Clone(body), []byte(tail))
		got, err := inflated(t, data, 1<<20)
		if want := `42["message","shared"` + tail; got != want || err != nil {
			t.Errorf("tail of %d bytes: came back as %d bytes, %v", len(tail), len(got), err)
		}
	}
}

// The pools are shared by all shards.
func TestDeflateConcurrently(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			payload := bytes.Repeat([]byte{byte(g)}, 10_000*(g+1))
			for range 20 {
				got, err := inflated(t, AppendDeflated(nil, payload), len(payload))
				if got != string(payload) || err != nil {
					t.Errorf("came back as %d bytes, %v", len(got), err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzDeflate(f *testing.F) {
	f.Add([]byte(`42["message",{}]`), []byte("tail"))
	f.Add([]byte{}, []byte{})
	f.Add(bytes.Repeat([]byte("abc"), 100), []byte{0, 0, 255, 255})
	f.Fuzz(func(t *testing.T, payload, tail []byte) {
		data := AppendStored(AppendDeflated(nil, payload), tail)
		got, err := inflated(t, data, len(payload)+len(tail))
		if got != string(payload)+string(tail) || err != nil {
			t.Fatalf("came back as %q, %v", got, err)
		}
	})
}

func FuzzInflate(f *testing.F) {
	f.Add([]byte("\xf3\x48\xcd\xc9\xc9\x07\x00\x02\x13\x00\x00"))
	f.Add([]byte("\x00\x05\x00\xfa\xffHello\x00"))
	f.Add(bytes.Repeat([]byte("\x03\x00"), 40))
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 10_000
		got, err := inflated(t, data, limit)
		if len(got) > limit {
			t.Fatalf("%d bytes", len(got))
		}
		again, errAgain := inflated(t, data, limit)
		if got != again || (err == nil) != (errAgain == nil) {
			t.Fatalf("another result the second time: %v, %v", err, errAgain)
		}
	})
}
