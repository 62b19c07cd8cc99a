package wsframe_test

import (
	"errors"
	"fmt"

	"holdfast/wsframe"
)

// A server reads what a client has sent in two fragments with a ping in between,
// and cut by the network at an odd place.
func ExampleReader() {
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	var wire []byte
	wire = wsframe.AppendHeader(wire, wsframe.Header{Opcode: wsframe.Text, Masked: true, Length: 3})
	wire = append(wire, "Hel"...)
	wire = wsframe.AppendMaskedFrame(wire, wsframe.Ping, false, mask, []byte("are you there?"))
	wire = wsframe.AppendHeader(wire, wsframe.Header{Fin: true, Masked: true, Length: 2})
	wire = append(wire, "lo"...)

	options := &wsframe.ReaderOptions{MaxMessage: 1000}
	var reader wsframe.Reader
	for _, piece := range [][]byte{wire[:17], wire[17:]} {
		err := reader.Feed(options, piece, func(op wsframe.Opcode, payload []byte) error {
			fmt.Println(op, string(payload))
			return nil
		})
		var offence *wsframe.Error
		if errors.As(err, &offence) {
			answer := wsframe.AppendClose(nil, offence.Code, offence.Reason)
			fmt.Printf("%x\n", wsframe.AppendFrame(nil, wsframe.Close, false, answer))
		}
	}
	// Output:
	// ping are you there?
	// text Hello
}

// A broadcast deflates its message once; one socket gets a few bytes more.
func ExampleAppendStored() {
	shared := wsframe.AppendDeflated(nil, []byte(`42["message","text"`))
	own := wsframe.AppendStored(nil, []byte(`,"offset"]`))
	frame := wsframe.AppendHeader(nil, wsframe.Header{
		Fin: true, RSV1: true, Opcode: wsframe.Text, Length: uint64(len(shared) + len(own)),
	})
	frame = append(append(frame, shared...), own...)

	var reader wsframe.Reader
	err := reader.Feed(&wsframe.ReaderOptions{Client: true, Deflate: true}, frame, func(_ wsframe.Opcode, payload []byte) error {
		fmt.Println(string(payload))
		return nil
	})
	fmt.Println(err)
	// Output:
	// 42["message","text","offset"]
	// <nil>
}
