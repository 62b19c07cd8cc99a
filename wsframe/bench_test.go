package wsframe

import (
	"bytes"
	"fmt"
	"testing"
)

// benchFrame is a client's text frame of ASCII whose mask is zero: it costs what
// any mask costs, and the bytes stay text however often they are unmasked.
func benchFrame(dst []byte, size int) []byte {
	return AppendMaskedFrame(dst, Text, false, [4]byte{}, bytes.Repeat([]byte("x"), size))
}

func BenchmarkFeed(b *testing.B) {
	discard := func(Opcode, []byte) error { return nil }
	run := func(name string, o ReaderOptions, wire []byte, piece int) {
		b.Run(name, func(b *testing.B) {
			var r Reader
			b.SetBytes(int64(len(wire)))
			b.ReportAllocs()
			for b.Loop() {
				for rest := wire; len(rest) > 0; {
					n := min(piece, len(rest))
					if err := r.Feed(&o, rest[:n], discard); err != nil {
						b.Fatal(err)
					}
					rest = rest[n:]
				}
			}
		})
	}
	for _, size := range []int{3, 50, 1000, 64_000} {
		run(fmt.Sprintf("whole/%d", size), ReaderOptions{}, benchFrame(nil, size), 1<<20)
	}
	var many []byte
	for range 100 {
		many = benchFrame(many, 50)
	}
	run("100frames/50", ReaderOptions{}, many, 1<<20)
	run("100frames/50/in1460", ReaderOptions{}, many, 1460)
	run("pieces/64000/in4096", ReaderOptions{}, benchFrame(nil, 64_000), 4096)

	event := bytes.Repeat([]byte(`42["message",{"type":"cursor","x":1,"y":2}]`), 50)
	deflated := AppendMaskedFrame(nil, Text, true, [4]byte{}, AppendDeflated(nil, event))
	run("deflated/2150", ReaderOptions{Deflate: true}, deflated, 1<<20)
}

func BenchmarkAppendFrame(b *testing.B) {
	for _, size := range []int{3, 50, 1000, 64_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			payload := bytes.Repeat([]byte("x"), size)
			dst := make([]byte, 0, size+MaxHeader)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				dst = AppendFrame(dst[:0], Text, false, payload)
			}
		})
	}
}

func BenchmarkMaskBytes(b *testing.B) {
	for _, size := range []int{7, 50, 1000, 64_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			payload := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				MaskBytes([4]byte{1, 2, 3, 4}, 1, payload)
			}
		})
	}
}

func BenchmarkAppendDeflated(b *testing.B) {
	payload := bytes.Repeat([]byte(`42["message",{"type":"cursor","x":1,"y":2}]`), 50)
	var dst []byte
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendDeflated(dst[:0], payload)
	}
}
