package wsframe

import (
	"compress/flate"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"sync"
)

// syncTail is what a DEFLATE compressor writes when it is flushed: an empty stored
// block, but for its header bits. The sender of a message takes it off, and the
// receiver puts it back (RFC 7692 section 7.2).
const syncTail = "\x00\x00\xff\xff"

// finalBlock is an empty stored block marked as the last. It follows what the
// receiver puts back, for compress/flate reports a clean end only after such a
// block.
const finalBlock = "\x01\x00\x00\xff\xff"

// maxWindow is the distance that DEFLATE can refer back (RFC 1951 section 2).
const maxWindow = 1 << 15

// maxPooled is the largest buffer that goes back to a pool. One that served a
// larger message is left to the collector.
const maxPooled = 64 << 10

// A flate.Writer has 1.2 MB of tables and a reader 40 KB, so they are shared by
// all connections; without context takeover none has state between two messages.
// A pool is no configuration and no queue: two users cannot tell that they share it.
var (
	deflaters = sync.Pool{New: func() any { return newDeflater() }}
	inflaters = sync.Pool{New: func() any { return newInflater() }}
)

// deflater appends what its flate.Writer writes to out.
type deflater struct {
	w   *flate.Writer
	out []byte
}

func newDeflater() *deflater {
	d := new(deflater)
	// The error is for a level out of range. The fastest level is the only one
	// that can be reset without clearing 640 KB of tables, which for a message of
	// a few KB costs more than the compression.
	d.w, _ = flate.NewWriter(d, flate.BestSpeed)
	return d
}

// Write implements io.Writer for d.w.
func (d *deflater) Write(b []byte) (int, error) {
	d.out = append(d.out, b...)
	return len(b), nil
}

// AppendDeflated appends payload as permessage-deflate sends it (RFC 7692 section
// 7.2.1), without context takeover: each message stands for itself, so the result
// may go to any number of connections. The frame is to be sent with RSV1. The
// result may be longer than payload, which the caller may then send as it is.
// payload must not overlap the spare capacity of dst.
func AppendDeflated(dst, payload []byte) []byte {
	d := deflaters.Get().(*deflater)
	d.out = dst
	d.w.Reset(d)
	// Neither fails: the only source of an error is Write above.
	_, _ = d.w.Write(payload)
	_ = d.w.Flush()
	out := d.out[:len(d.out)-len(syncTail)]
	d.out = nil
	deflaters.Put(d)
	return out
}

// AppendStored appends b to a message that AppendDeflated has made, as blocks
// without compression (RFC 1951 section 3.2.4). dst may be empty while the
// deflated part is shared and goes to the socket before it:
//
//	deflated part | 00 00 ff ff | 00 len ^len b | 00
//	              '---------- AppendStored ----------'
//
// The result is what follows the deflated part; together they inflate to the
// payload and b. An empty b appends nothing.
func AppendStored(dst, b []byte) []byte {
	for len(b) > 0 {
		n := min(len(b), math.MaxUint16)
		dst = append(dst, syncTail...)
		dst = append(dst, 0)
		dst = binary.LittleEndian.AppendUint16(dst, uint16(n))
		dst = binary.LittleEndian.AppendUint16(dst, ^uint16(n))
		dst = append(dst, b[:n]...)
		dst = append(dst, 0) // the header of the empty block whose rest the receiver adds
		b = b[n:]
	}
	return dst
}

// inflater inflates one message at a time.
type inflater struct {
	fr  io.ReadCloser // also a flate.Resetter
	src source
	out []byte
}

func newInflater() *inflater {
	inf := new(inflater)
	inf.fr = flate.NewReader(&inf.src)
	return inf
}

func getInflater() *inflater { return inflaters.Get().(*inflater) }

// release gives inf back; the result of inflate must not be used any more.
func (inf *inflater) release() {
	inf.src = source{}
	if cap(inf.out) > maxPooled {
		inf.out = nil
	}
	inflaters.Put(inf)
}

// inflate returns what a message's payload inflates to (RFC 7692 section 7.2.2),
// at most limit bytes. The result is inf's. The error is an *Error:
// [MessageTooBig] past limit, [InvalidPayload] when data is not DEFLATE.
//
// A sender may mark any block as the last of a DEFLATE stream; the message goes on
// after it, on the next byte and with the same history (sections 7.2.1 and
// 7.2.3.5). compress/flate stops there and is set up anew, with the history as
// its dictionary.
func (inf *inflater) inflate(data []byte, limit int) ([]byte, error) {
	inf.src = source{data: data}
	inf.out = inf.out[:0]
	for streams := 0; ; streams++ {
		// Setting up copies up to 36 KB and a stream can be two bytes long, so a
		// message of 1 MB could ask for 18 GB of copying. An honest sender ends a
		// stream, if at all, once for each of its buffers.
		if streams > 16+len(inf.out)/1024 {
			return nil, fail(InvalidPayload, "deflated data has too many final blocks")
		}
		history := inf.out[max(0, len(inf.out)-maxWindow):]
		if err := inf.fr.(flate.Resetter).Reset(&inf.src, history); err != nil {
			return nil, fail(InvalidPayload, "data does not inflate")
		}
		if err := inf.readStream(limit); err != nil {
			return nil, err
		}
		// Usually it was the added final block that ended. Some senders let their
		// own final block be the end of the payload: then what was added to it is
		// no part of the message.
		if inf.src.pos >= len(data) {
			return inf.out, nil
		}
	}
}

// readStream appends to inf.out until a final block ends.
func (inf *inflater) readStream(limit int) error {
	for {
		if len(inf.out) == cap(inf.out) {
			// One byte more than the limit must fit, or the end of a message of
			// just the limit would not be seen.
			size := min(max(2*cap(inf.out), 4096), limit+1)
			out := make([]byte, len(inf.out), size)
			copy(out, inf.out)
			inf.out = out
		}
		n, err := inf.fr.Read(inf.out[len(inf.out):cap(inf.out)])
		inf.out = inf.out[:len(inf.out)+n]
		if len(inf.out) > limit {
			return fail(MessageTooBig, "message is too big when inflated")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fail(InvalidPayload, "data does not inflate")
		}
	}
}

// source reads the payload of a deflated message, then what the receiver adds. It
// is an io.ByteReader because compress/flate reads ahead of others, and it must be
// known where a stream ended.
type source struct {
	data []byte
	pos  int // in data and addedTail together
}

const addedTail = syncTail + finalBlock

var _ flate.Reader = (*source)(nil)

// ReadByte implements io.ByteReader.
func (s *source) ReadByte() (byte, error) {
	i := s.pos - len(s.data)
	switch {
	case i < 0:
		s.pos++
		return s.data[s.pos-1], nil
	case i < len(addedTail):
		s.pos++
		return addedTail[i], nil
	default:
		return 0, io.EOF
	}
}

// Read implements io.Reader.
func (s *source) Read(b []byte) (int, error) {
	i := s.pos - len(s.data)
	var n int
	switch {
	case i < 0:
		n = copy(b, s.data[s.pos:])
	case i < len(addedTail):
		n = copy(b, addedTail[i:])
	default:
		return 0, io.EOF
	}
	s.pos += n
	return n, nil
}
