package gateway

import (
	"bytes"

	"holdfast/internal/session"
	"holdfast/wsframe"
)

// part is a piece of what is written to a socket.
type part struct {
	b     []byte
	lasts bool // nobody changes b again, so it may be referred to until it is written
}

// shareFrom is the size in bytes from which a piece that lasts is left where it is. A
// smaller one is copied behind those before it, which costs less than to name it to the
// kernel (BenchmarkLargeFanOut).
const shareFrom = 8 << 10

// output is the frames that leave for a socket in one call. What is large is shared by
// all the sockets of a broadcast, those that do not take it at once included:
//
//	header 42["e", │ a megabyte │ ] header 42["small"] header 42["e", │ …
//	copied         │ shared     │ copied                              │ shared
//
// A shard has one, which it uses for one socket after the other.
type output struct {
	parts  []part
	copied []byte // the bytes of the parts that do not last
	from   int    // where in copied the next part begins
	shared int    // bytes of the parts that last
}

// flushBytes is how much is framed before it is offered to the kernel.
const flushBytes = 64 << 10

// size returns how many bytes there are.
func (o *output) size() int { return len(o.copied) + o.shared }

// add adds bytes that nobody changes again.
func (o *output) add(b []byte) {
	if len(b) < shareFrom {
		o.copied = append(o.copied, b...)
		return
	}
	o.cut()
	o.parts = append(o.parts, part{b: b, lasts: true})
	o.shared += len(b)
}

// cut ends the part that is being copied.
func (o *output) cut() {
	if end := len(o.copied); end > o.from {
		o.parts = append(o.parts, part{b: o.copied[o.from:end:end]})
		o.from = end
	}
}

// all returns what there is, in order. It is valid until the next reset.
func (o *output) all() []part {
	o.cut()
	return o.parts
}

// reset makes the output an empty one, which refers to nobody's bytes.
func (o *output) reset() {
	clear(o.parts)
	o.parts, o.copied, o.from, o.shared = o.parts[:0], o.copied[:0], 0, 0
	if cap(o.copied) > 4*flushBytes {
		o.copied = nil
	}
}

// frame adds one message as the frames that the session of a socket takes.
func (o *output) frame(c *conn, s *socket, out *session.Outgoing, tail string) {
	if text, n := out.Text(tail); text != nil {
		h := wsframe.Header{Fin: true, Opcode: wsframe.Text, Length: uint64(n)}
		if s.deflate && n >= s.sh.g.cfg.DeflateThreshold {
			// The compressed part is shared; what is each one's own follows as a stored block.
			text = out.Deflated(func(text []byte) []byte { return wsframe.AppendDeflated(nil, text) })
			end := wsframe.AppendStored(nil, out.AppendEnd(nil, tail))
			h.RSV1, h.Length = true, uint64(len(text)+len(end))
			o.copied = wsframe.AppendHeader(o.copied, h)
			o.add(text)
			o.copied = append(o.copied, end...)
		} else {
			o.copied = wsframe.AppendHeader(o.copied, h)
			o.add(text)
			o.copied = out.AppendEnd(o.copied, tail)
		}
	}
	for _, data := range out.Binaries(tail) {
		binary, head, payload := c.session.BinaryFrame(data)
		h := wsframe.Header{Fin: true, Opcode: wsframe.Text, Length: uint64(len(head) + len(payload))}
		if binary {
			h.Opcode = wsframe.Binary
		}
		o.copied = append(wsframe.AppendHeader(o.copied, h), head...)
		o.add(payload)
	}
}

// unsent is what a socket has been given and the kernel has not taken. It refers to
// messages and keeps copies of what is small.
type unsent struct {
	parts []part // all of them last
	size  int
}

// leftOver returns what is left of parts after their first n bytes, some of which there
// is.
func leftOver(parts []part, n int) *unsent {
	for n >= len(parts[0].b) {
		n -= len(parts[0].b)
		parts = parts[1:]
	}
	u := &unsent{parts: append(make([]part, 0, len(parts)), parts...)}
	u.parts[0].b = u.parts[0].b[n:]
	for i := range u.parts {
		if p := &u.parts[i]; !p.lasts {
			*p = part{b: bytes.Clone(p.b), lasts: true}
		}
		u.size += len(u.parts[i].b)
	}
	return u
}
