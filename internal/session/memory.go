package session

// pieces cuts small pieces of bytes from larger ones, so that an event costs a part of
// an allocation. A larger piece lives as long as any part of it does, and some are held
// for long, by a backend that does not answer: so it is no more than a few events large,
// and what is bounded by the sum of its bytes takes no more than a few times that.
type pieces struct{ free []byte }

// In bytes: what is cut, and the most that is cut from it.
const (
	pieceSize = 1 << 10
	pieceMost = pieceSize / 4
)

// take returns an empty slice with room for n bytes, which belongs to the caller.
func (p *pieces) take(n int) []byte {
	if n > pieceMost {
		return make([]byte, 0, n)
	}
	if n > len(p.free) {
		p.free = make([]byte, pieceSize)
	}
	piece := p.free[:0:n]
	p.free = p.free[n:]
	return piece
}

// clone returns a copy of b that belongs to the caller, nil for nil.
func (p *pieces) clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append(p.take(len(b)), b...)
}

// What is kept of packets that were for one session alone, so that an acknowledgement
// allocates nothing: how many, and up to how many bytes each.
const (
	spareMost = 256
	spareSize = 128
)

// outgoing returns a packet for one session, with memory for its text.
func (a *Actions) outgoing() *Outgoing {
	if n := len(a.spare); n > 0 {
		o := a.spare[n-1]
		a.spare[n-1] = nil
		a.spare = a.spare[:n-1]
		return o
	}
	return &Outgoing{lone: true}
}

// Reuse takes back a message of [Session.Next] of whose bytes nobody needs any. Those of
// several sessions, which others may still have, are left alone.
func (a *Actions) Reuse(o *Outgoing) {
	if !o.lone || o.attachments != nil || cap(o.text) > spareSize || len(a.spare) >= spareMost {
		return
	}
	*o = Outgoing{lone: true, text: o.text[:0]}
	a.spare = append(a.spare, o)
}
