package wsframe

import (
	"math"
	"unicode/utf8"
)

// DefaultMaxMessage is the bound of a message when ReaderOptions names none: that
// of Node's Socket.IO server (maxHttpBufferSize).
const DefaultMaxMessage = 1_000_000

// ReaderOptions is what all the connections of an endpoint have in common. It is
// given with each call so that a connection need not hold it. It must stay the
// same while a message is unfinished.
type ReaderOptions struct {
	// Client makes the Reader that of a client: frames must come unmasked. The
	// zero value is the server's side: frames must come masked.
	Client bool

	// MaxMessage bounds a message in bytes: its fragments together as they are on
	// the wire, and again when inflated. Zero or less is DefaultMaxMessage. Each
	// connection can make its Reader hold so much.
	MaxMessage int64

	// Deflate says that permessage-deflate was negotiated for this connection, so
	// that RSV1 is allowed.
	Deflate bool

	// TellOversized gives a text message beyond MaxMessage a chance, if it comes in
	// one frame without compression and is not absurdly large (oversizedLimit): emit
	// is called with [Oversized] and the message's beginning, up to OversizedHead
	// bytes. When it returns nil the rest is skipped and the connection goes on; its
	// error ends the Reader as ever.
	TellOversized bool
}

func (o *ReaderOptions) limit() uint64 {
	if o.MaxMessage <= 0 {
		return DefaultMaxMessage
	}
	return uint64(min(o.MaxMessage, math.MaxInt-1)) // room for one more: see inflater
}

// EmitFunc receives what a Reader has assembled: [Text] and [Binary] messages
// whole, and each control frame as it comes. payload is valid during the call
// only, and the callee may change it. An error stops the Reader.
type EmitFunc = func(op Opcode, payload []byte) error

// Reader assembles the messages of one connection from its bytes. The zero value
// is ready; one that waits for the next frame holds no memory but its pointer.
// It is not safe for concurrent use.
//
//	waiting (p == nil)
//	   | whole message or control frame: emit, stay
//	   | part of a header, part of a frame, or a fragment
//	   v
//	holding (p != nil)
//	   | the rest of it: emit; back to waiting when no fragment is left over
//	   v
//	ended (p.ended): a close frame, an offence, or an error of emit
type Reader struct {
	p *partial
}

// partial is what a Reader keeps of something unfinished.
type partial struct {
	// The frame that has not come whole.
	head    [MaxHeader]byte // what has come of its header
	headLen uint8
	inFrame bool   // its header is complete; left bytes of payload are to come
	frame   Header // its header; frame.Length is the whole payload's
	left    uint64
	control []byte // what has come of its payload, for a control frame

	// The message that has not come whole. Continuation means that there is none.
	op       Opcode
	deflated bool
	data     []byte // what has come of its payload, unmasked
	valid    int    // data[:valid] is UTF-8; used for text that is not deflated

	skipping bool // the frame is beyond the limit; data is its beginning until emit was told
	told     bool

	ended bool
	err   error // why it ended; nil after a close frame
}

// Feed takes the next bytes of the connection, of any number, and calls emit for
// everything that they complete. b is the caller's: it is unmasked in place, and
// not kept. A payload given to emit may alias b or the Reader's own memory. A frame
// that is whole in b and is not deflated costs neither a copy nor an allocation.
//
// Text is checked to be UTF-8 as it comes, so that bad text ends the connection
// at once rather than with its message. The payload of a close frame was checked
// as by [ParseClose]. After a close frame everything else is ignored (RFC 6455
// section 1.4).
//
// The error is an *[Error] for an offence of the peer: [ProtocolError] (1002),
// [InvalidPayload] (1007: text that is not UTF-8, data that does not inflate) or
// [MessageTooBig] (1009, decided from the header before the payload is kept). An
// error of emit is returned as it is. Either ends the Reader: what was left of b is
// lost, and another Feed returns the same error.
func (r *Reader) Feed(o *ReaderOptions, b []byte, emit EmitFunc) error {
	for {
		if r.p != nil && r.p.ended {
			return r.p.err
		}
		if len(b) == 0 {
			return nil
		}
		n, err := r.step(o, b, emit)
		if err != nil {
			r.end(err)
			return err
		}
		b = b[n:]
	}
}

// Buffered returns the number of payload bytes that the Reader holds, for the
// accounting of its owner. It is 0 between messages.
func (r *Reader) Buffered() int {
	if r.p == nil {
		return 0
	}
	return len(r.p.data) + len(r.p.control)
}

// Idle reports whether the Reader waits for the first byte of a message: a peer
// that leaves it otherwise for long is stuck or hostile.
func (r *Reader) Idle() bool { return r.p == nil }

// step does one thing with the start of b, which is not empty, and returns how
// many bytes that took.
func (r *Reader) step(o *ReaderOptions, b []byte, emit EmitFunc) (int, error) {
	if p := r.p; p != nil {
		if p.inFrame {
			return r.resume(o, b, emit)
		}
		if p.headLen > 0 {
			return r.resumeHeader(o, b, emit)
		}
	}
	h, n, err := ParseHeader(b)
	if err == ErrShort { //nolint:errorlint // never wrapped, and on the hot path
		p := r.hold()
		p.headLen = uint8(copy(p.head[:], b))
		return len(b), nil
	}
	if err != nil {
		return 0, err
	}
	m, err := r.start(o, &h, b[n:], emit)
	return n + m, err
}

// start takes a frame whose header is complete: its payload when b has all of it,
// else nothing but a note. It returns how many bytes of b that took.
func (r *Reader) start(o *ReaderOptions, h *Header, b []byte, emit EmitFunc) (int, error) {
	if err := r.check(o, h); err != nil {
		if !r.mayTell(o, h, err) {
			return 0, err
		}
		r.beginSkipping(h)
		return 0, nil
	}
	if h.Length > uint64(len(b)) {
		r.begin(h)
		return 0, nil
	}
	payload := b[:h.Length]
	if h.Masked {
		MaskBytes(h.Mask, 0, payload)
	}
	return len(payload), r.whole(o, h, payload, emit)
}

// check refuses a frame that has no place here: its masking and reserved bits
// (RFC 6455 sections 5.1 and 5.2, RFC 7692 section 6), its place in a fragmented
// message (section 5.4), and its size.
func (r *Reader) check(o *ReaderOptions, h *Header) error {
	switch {
	case h.RSV2 || h.RSV3:
		return fail(ProtocolError, "reserved bit is set")
	case h.Masked && o.Client:
		return fail(ProtocolError, "server's frame is masked")
	case !h.Masked && !o.Client:
		return fail(ProtocolError, "client's frame is not masked")
	case h.RSV1 && (!o.Deflate || h.Opcode.Control() || h.Opcode == Continuation):
		return fail(ProtocolError, "reserved bit is set")
	case h.Opcode.Control():
		return nil
	}
	var have uint64
	open := r.p != nil && r.p.op != Continuation
	switch {
	case open && h.Opcode != Continuation:
		return fail(ProtocolError, "message begins within another")
	case !open && h.Opcode == Continuation:
		return fail(ProtocolError, "continuation of no message")
	case open:
		have = uint64(len(r.p.data))
	}
	if limit := o.limit(); have > limit || h.Length > limit-have {
		return fail(MessageTooBig, "message is too big")
	}
	return nil
}

// whole takes a frame that has passed check, with its unmasked payload.
func (r *Reader) whole(o *ReaderOptions, h *Header, payload []byte, emit EmitFunc) error {
	if h.Opcode.Control() {
		return r.control(h.Opcode, payload, emit)
	}
	if h.Fin && h.Opcode != Continuation {
		if h.RSV1 {
			return emitInflated(o, h.Opcode, payload, emit)
		}
		if h.Opcode == Text && !utf8.Valid(payload) {
			return errText()
		}
		return emit(h.Opcode, payload)
	}
	p := r.hold()
	p.open(h)
	if err := p.take(o, payload, h.Fin); err != nil {
		return err
	}
	if h.Fin {
		return r.finish(o, emit)
	}
	return nil
}

// control takes a whole control frame.
func (r *Reader) control(op Opcode, payload []byte, emit EmitFunc) error {
	if op != Close {
		return emit(op, payload)
	}
	if err := checkClose(payload); err != nil {
		return err
	}
	r.end(nil)
	return emit(op, payload)
}

// finish emits the message that is now whole in r.p, and lets go of it.
func (r *Reader) finish(o *ReaderOptions, emit EmitFunc) error {
	p := r.p
	r.p = nil
	if p.deflated {
		return emitInflated(o, p.op, p.data, emit)
	}
	if p.op == Text && p.valid != len(p.data) {
		return errText()
	}
	return emit(p.op, p.data)
}

// emitInflated emits a message that came with RSV1.
func emitInflated(o *ReaderOptions, op Opcode, data []byte, emit EmitFunc) error {
	inf := getInflater()
	defer inf.release()
	out, err := inf.inflate(data, int(o.limit()))
	if err != nil {
		return err
	}
	if op == Text && !utf8.Valid(out) {
		return errText()
	}
	return emit(op, out)
}

// end drops everything and makes Feed return err from now on.
func (r *Reader) end(err error) {
	r.p = &partial{ended: true, err: err}
}

func errText() error { return fail(InvalidPayload, "text is not UTF-8") }
