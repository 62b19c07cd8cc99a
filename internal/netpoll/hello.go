package netpoll

import (
	"encoding/binary"
	"io"
)

// hello hands the peer's first message, a client's ClientHello, to crypto/tls in
// several records instead of the one in which it came:
//
//	16 03 01 05dc  1500 bytes  ─▶  16 03 01 0177  375 bytes, four times
//
// A peer may cut it so itself (RFC 8446 section 5.1), and what the handshake signs
// are messages, not records. The reason is memory: crypto/tls keeps, for as long
// as the connection lives, a buffer for the largest record that it has read and
// another for the message that was put together from them. With the post-quantum
// key in it the message is the largest thing that an idle client has ever sent, and
// the buffers were half of what its connection takes.
type hello struct {
	head  [5]byte // of the record that is handed out
	given int     // bytes of head that are
	left  int     // bytes of the record after head
	rest  int     // bytes of the message after that record
	piece int     // size of a record
	ended bool    // all that comes now is as it came
}

// The header of a record, RFC 8446 section 5.1: type, version, length.
const (
	recordHandshake = 22
	recordLength    = 3 // where it is
)

// helloPiece is the largest record made: with header and what crypto/tls adds
// before it reads, it fits where a first header has been read.
const helloPiece = 512

// read reads from the socket r, of which the hello has been read so far by nobody
// else.
func (h *hello) read(r io.Reader, p []byte) (n int, err error) {
	if h.piece == 0 {
		if err := h.begin(r); err != nil {
			return 0, err
		}
	}
	n = copy(p, h.head[h.given:])
	h.given += n
	if n < len(p) && h.left > 0 {
		m, err := r.Read(p[n:min(len(p), n+h.left)])
		h.left -= m
		n += m
		if err != nil {
			return n, err
		}
	}
	if h.given == len(h.head) && h.left == 0 {
		h.next()
	}
	return n, nil
}

// begin reads the first header.
func (h *hello) begin(r io.Reader) error {
	if _, err := io.ReadFull(r, h.head[:]); err != nil {
		return err
	}
	h.piece = helloPiece
	if h.head[0] != recordHandshake {
		return nil // what is no TLS is crypto/tls's to refuse
	}
	h.rest = int(binary.BigEndian.Uint16(h.head[recordLength:]))
	if h.rest == 0 || h.rest > 1<<14 {
		h.rest = 0
		return nil
	}
	// crypto/tls's buffer for the message grows by doubling, so it ends tight when
	// the message is cut in two, in four, in eight.
	for h.piece = h.rest; h.piece > helloPiece; {
		h.piece = (h.piece + 1) / 2
	}
	h.next()
	return nil
}

// next begins the next record, if there is one.
func (h *hello) next() {
	h.left = min(h.rest, h.piece)
	h.rest -= h.left
	if h.left == 0 {
		h.ended = true
		return
	}
	binary.BigEndian.PutUint16(h.head[recordLength:], uint16(h.left))
	h.given = 0
}
