package wsframe

// Oversized is given to emit instead of an opcode for the beginning of a message
// beyond the limit; see [ReaderOptions.TellOversized]. It is never on the wire.
const Oversized Opcode = 0x10

// OversizedHead is how many bytes of such a message emit gets.
const OversizedHead = 512

// oversizedLimit bounds what is skipped, in limits: reading costs time too.
const oversizedLimit = 64

// mayTell tells whether a frame that check has refused is one to be skipped.
func (r *Reader) mayTell(o *ReaderOptions, h *Header, refused error) bool {
	bad, ok := refused.(*Error) //nolint:errorlint // check's own, not wrapped
	return o.TellOversized && ok && bad.Code == MessageTooBig &&
		h.Opcode == Text && h.Fin && !h.RSV1 && h.Length/oversizedLimit <= o.limit()
}

// beginSkipping notes a frame that is read and not kept.
func (r *Reader) beginSkipping(h *Header) {
	p := r.hold()
	p.inFrame, p.skipping, p.told = true, true, false
	p.frame, p.left = *h, h.Length
	p.data = make([]byte, 0, OversizedHead)
}

// skip takes unmasked bytes of such a frame.
func (r *Reader) skip(b []byte, emit EmitFunc) error {
	p := r.p
	if !p.told {
		p.data = append(p.data, b[:min(len(b), OversizedHead-len(p.data))]...)
		if len(p.data) == OversizedHead || p.left == 0 {
			head := p.data
			p.told, p.data = true, nil
			if err := emit(Oversized, head); err != nil {
				return err
			}
		}
	}
	if p.left == 0 && !p.ended {
		r.p = nil
	}
	return nil
}
