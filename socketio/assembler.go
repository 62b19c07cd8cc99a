package socketio

import "bytes"

// Assembler collects the attachments of one binary packet. The zero value is ready, and is ready again after Take. Keep
// one only while a packet is incomplete, and bound the time for which it is.
//
//	Start ──► Add … Add ──► Take
//	          (a text message in between is the sender's mistake: the transport closes)
type Assembler struct {
	packet    Packet
	maxBinary int
	size      int // bytes of packet.Binary together
	started   bool
}

// Start begins with a packet that [Parse] gave. It checks the placeholders, so that a packet that can never be whole
// costs no memory, and copies what it keeps of the input.
func (a *Assembler) Start(p Packet, lim Limits) error {
	if a.started {
		return malformed("a packet came before the attachments of the one before it")
	}
	if p.Attachments > lim.attachments() {
		return overLimit("the packet announces more than %d attachments", lim.attachments())
	}
	if err := CheckPlaceholders(p.Data, p.Attachments); err != nil {
		return err
	}
	p.Data = bytes.Clone(p.Data)
	p.Binary = nil
	*a = Assembler{packet: p, maxBinary: lim.binary(), started: true}
	return nil
}

// Packet is the packet with the attachments that have come so far. Start with it, and Add for each of them, make another
// assembler that goes on from here.
func (a *Assembler) Packet() Packet { return a.packet }

// Pending is the number of attachments that are still to come.
func (a *Assembler) Pending() int { return a.packet.Attachments - len(a.packet.Binary) }

// Size is the number of bytes that have come so far.
func (a *Assembler) Size() int { return len(a.packet.Data) + a.size }

// Add takes a copy of the next attachment and tells whether it was the last. It fails when none is due, and when the
// attachments have more bytes than Start's limits allow.
func (a *Assembler) Add(bin []byte) (done bool, err error) {
	if a.Pending() <= 0 {
		return false, malformed("a binary message came that no packet announced")
	}
	if len(bin) > a.maxBinary-a.size {
		return false, overLimit("the packet's attachments are larger than %d bytes", a.maxBinary)
	}
	a.size += len(bin)
	// Not nil even when empty: an attachment of no bytes is one.
	a.packet.Binary = append(a.packet.Binary, append([]byte{}, bin...))
	return a.Pending() == 0, nil
}

// Take gives the packet with its attachments in Binary, all the caller's own, and forgets it.
func (a *Assembler) Take() Packet {
	p := a.packet
	*a = Assembler{}
	return p
}
