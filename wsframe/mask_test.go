package wsframe

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// All lengths around the strides, at all offsets of the key and all alignments,
// against the definition in RFC 6455 section 5.3.
func TestMaskBytes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	for length := range 200 {
		for offset := range 9 {
			buf := make([]byte, length+8)
			for i := range buf {
				buf[i] = byte(rnd.Uint32())
			}
			want := bytes.Clone(buf)
			start := offset % 8
			for i := range length {
				want[start+i] ^= mask[(offset+i)%4]
			}
			next := MaskBytes(mask, offset, buf[start:start+length])
			if next != (offset+length)%4 {
				t.Fatalf("length %d, offset %d: next offset %d", length, offset, next)
			}
			if !bytes.Equal(buf, want) {
				t.Fatalf("length %d, offset %d: wrong bytes", length, offset)
			}
		}
	}
}

func FuzzMaskBytes(f *testing.F) {
	f.Add([]byte("a payload of some bytes, more than one stride of eight"), uint8(3), uint8(10))
	f.Fuzz(func(t *testing.T, b []byte, offset, cut uint8) {
		mask := [4]byte{1, 0x20, 0xff, 0x80}
		whole, pieces := bytes.Clone(b), bytes.Clone(b)
		end := MaskBytes(mask, int(offset), whole)
		at := min(int(cut), len(b))
		next := MaskBytes(mask, int(offset), pieces[:at])
		if got := MaskBytes(mask, next, pieces[at:]); got != end || !bytes.Equal(whole, pieces) {
			t.Fatalf("in pieces %x, whole %x", pieces, whole)
		}
		MaskBytes(mask, int(offset), whole)
		if !bytes.Equal(whole, b) {
			t.Fatalf("twice is not the identity: %x", whole)
		}
	})
}
