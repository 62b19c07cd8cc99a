package node

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

// appendMessageID appends a UUID of version 7 (RFC 9562, section 5.7). The 12 bits
// behind the version are the fraction of the millisecond (section 6.2, method 3), so
// that IDs of one node sort by the time when they were made, to a quarter of a
// microsecond; 62 bits are random.
//
//	milliseconds since 1970 (48) │ 0111 │ fraction (12) │ 10 │ random (62)
//
// It allocates nothing, for every event of a client takes one.
func appendMessageID(dst []byte, at time.Time, entropy *Entropy) ([]byte, error) {
	var id [16]byte
	if _, err := entropy.Read(id[8:]); err != nil {
		return dst, fmt.Errorf("make a message ID: %w", err)
	}
	fraction := at.Nanosecond() % int(time.Millisecond) << 12 / int(time.Millisecond)
	binary.BigEndian.PutUint64(id[:], uint64(at.UnixMilli())<<16|0x7000|uint64(fraction))
	id[8] = id[8]&0x3f | 0x80
	for i, group := range [][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, group)
	}
	return dst, nil
}
