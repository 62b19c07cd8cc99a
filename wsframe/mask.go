package wsframe

import (
	"encoding/binary"
	"math/bits"
)

// MaskBytes XORs b in place with the masking key (RFC 6455 section 5.3); doing it
// twice gives b back. offset is the place of b[0] in the payload (only offset mod
// 4 counts), so that a payload may be done in pieces: the result is the offset for
// the piece that follows b, 0 to 3.
func MaskBytes(mask [4]byte, offset int, b []byte) (newOffset int) {
	newOffset = (offset + len(b)) & 3

	// The key is turned so that its lowest byte belongs to b[0], then doubled. All
	// strides are multiples of four, so it stays right to the end.
	key32 := bits.RotateLeft32(binary.LittleEndian.Uint32(mask[:]), -8*(offset&3))
	key := uint64(key32)<<32 | uint64(key32)

	// Working on arrays lets the compiler drop the bounds checks of each word.
	for len(b) >= 64 {
		p := (*[64]byte)(b)
		for i := 0; i < 64; i += 32 {
			xor8(p[i:i+8], key)
			xor8(p[i+8:i+16], key)
			xor8(p[i+16:i+24], key)
			xor8(p[i+24:i+32], key)
		}
		b = b[64:]
	}
	for len(b) >= 8 {
		xor8(b, key)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(key)
		key >>= 8
	}
	return newOffset
}

func xor8(b []byte, key uint64) {
	binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^key)
}
