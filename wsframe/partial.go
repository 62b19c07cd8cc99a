package wsframe

import "unicode/utf8"

// hold returns r.p, which it makes when there is none.
func (r *Reader) hold() *partial {
	if r.p == nil {
		r.p = new(partial)
	}
	return r.p
}

// letGo drops r.p unless it holds fragments of a message.
func (r *Reader) letGo() {
	if r.p.op == Continuation {
		r.p = nil
	}
}

// resumeHeader adds the first bytes of b to a header whose start is kept. It adds
// one byte at a time, so that it never takes what belongs to the payload.
func (r *Reader) resumeHeader(o *ReaderOptions, b []byte, emit EmitFunc) (int, error) {
	p := r.p
	for i, c := range b {
		p.head[p.headLen] = c
		p.headLen++
		h, _, err := ParseHeader(p.head[:p.headLen])
		if err == ErrShort { //nolint:errorlint // never wrapped
			continue
		}
		if err != nil {
			return 0, err
		}
		p.headLen = 0
		r.letGo()
		n, err := r.start(o, &h, b[i+1:], emit)
		return i + 1 + n, err
	}
	return len(b), nil
}

// begin notes a frame that has passed check and whose payload has not come whole.
func (r *Reader) begin(h *Header) {
	p := r.hold()
	p.inFrame = true
	p.frame = *h
	p.left = h.Length
	if h.Opcode.Control() {
		p.control = make([]byte, 0, h.Length)
	} else {
		p.open(h)
	}
}

// resume takes more payload of the frame that was begun.
func (r *Reader) resume(o *ReaderOptions, b []byte, emit EmitFunc) (int, error) {
	p := r.p
	if uint64(len(b)) > p.left {
		b = b[:p.left]
	}
	if p.frame.Masked {
		MaskBytes(p.frame.Mask, int((p.frame.Length-p.left)&3), b)
	}
	p.left -= uint64(len(b))
	if p.skipping {
		return len(b), r.skip(b, emit)
	}
	if p.frame.Opcode.Control() {
		p.control = append(p.control, b...)
	} else if err := p.take(o, b, p.frame.Fin); err != nil {
		return 0, err
	}
	if p.left > 0 {
		return len(b), nil
	}
	p.inFrame = false
	switch {
	case p.frame.Opcode.Control():
		return len(b), r.resumeControl(emit)
	case p.frame.Fin:
		return len(b), r.finish(o, emit)
	default:
		return len(b), nil
	}
}

// resumeControl emits the control frame that is now whole in r.p.control.
func (r *Reader) resumeControl(emit EmitFunc) error {
	p := r.p
	payload := p.control
	p.control = nil
	r.letGo()
	return r.control(p.frame.Opcode, payload, emit)
}

// open notes the message that a data frame begins; a continuation frame begins
// none.
func (p *partial) open(h *Header) {
	if h.Opcode != Continuation {
		p.op = h.Opcode
		p.deflated = h.RSV1
	}
}

// take adds unmasked payload to the message. last says that the current frame,
// of which p.left more bytes are to come, is the message's last.
func (p *partial) take(o *ReaderOptions, b []byte, last bool) error {
	p.grow(o, len(b), last)
	p.data = append(p.data, b...)
	if p.op != Text || p.deflated {
		return nil
	}
	n, ok := validPrefix(p.data[p.valid:])
	if !ok {
		return errText()
	}
	p.valid += n
	return nil
}

// minBuffer is the smallest buffer of an unfinished message. It is small because
// a hostile peer can make every connection hold one for a few bytes.
const minBuffer = 512

// grow makes room for n bytes, which check has found to be within the limit. The
// buffer doubles, so that the copying stays linear, but neither beyond the limit
// nor beyond what is known to be the whole message.
func (p *partial) grow(o *ReaderOptions, n int, last bool) {
	need := len(p.data) + n
	if need <= cap(p.data) {
		return
	}
	size := max(need, 2*cap(p.data), minBuffer)
	size = min(size, max(need, int(o.limit())))
	if last && uint64(size-need) > p.left {
		size = need + int(p.left)
	}
	data := make([]byte, len(p.data), size)
	copy(data, p.data)
	p.data = data
}

// validPrefix returns the length of the longest start of b that is whole UTF-8.
// ok is false when what follows it cannot become a rune, whatever comes next.
func validPrefix(b []byte) (n int, ok bool) {
	n = len(b)
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if !utf8.RuneStart(b[len(b)-i]) {
			continue
		}
		// FullRune is false only for a proper start of an encoding: it takes bytes
		// that are already wrong for a full rune, the replacement character.
		if !utf8.FullRune(b[len(b)-i:]) {
			n -= i
		}
		break
	}
	return n, utf8.Valid(b[:n])
}
