package socketio

import (
	"errors"
	"reflect"
	"testing"
)

func binaryPacket(t *testing.T, wire string) Packet {
	t.Helper()
	p, err := Parse([]byte(wire), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAssembler(t *testing.T) {
	wire := []byte(`52-/chat,7["f",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
	p, err := Parse(wire, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := p
	want.Data = []byte(string(p.Data))
	want.Binary = [][]byte{{1, 2}, {}}

	var a Assembler
	for range 2 { // ready again after Take
		if err := a.Start(p, Limits{}); err != nil {
			t.Fatal(err)
		}
		bin := []byte{1, 2}
		if done, err := a.Add(bin); done || err != nil || a.Pending() != 1 {
			t.Fatalf("first: done %v, error %v, %d pending", done, err, a.Pending())
		}
		bin[0] = 9 // the sender's buffers are used again
		if done, err := a.Add(nil); !done || err != nil || a.Pending() != 0 {
			t.Fatalf("second: done %v, error %v, %d pending", done, err, a.Pending())
		}
		if _, err := a.Add(bin); err == nil {
			t.Error("a third is taken")
		}
		if got := a.Take(); !reflect.DeepEqual(got, want) {
			t.Errorf("Take = %+v\nwant %+v", got, want)
		}
		if a.Pending() != 0 {
			t.Errorf("%d pending after Take", a.Pending())
		}
	}

	if err := a.Start(p, Limits{}); err != nil {
		t.Fatal(err)
	}
	clear(wire)
	if _, err := a.Add([]byte{1, 2}); err != nil {
		t.Fatal(err)
	}
	if got := a.Take(); string(got.Data) != string(want.Data) {
		t.Errorf("the data is not a copy: %s", got.Data)
	}
}

func TestAssemblerRefuses(t *testing.T) {
	one := binaryPacket(t, `51-["f",{"_placeholder":true,"num":0}]`)
	var a Assembler
	if _, err := a.Add(nil); err == nil {
		t.Error("a binary message that nothing announced is taken")
	}
	if err := a.Start(binaryPacket(t, `51-["f",{"_placeholder":true,"num":1}]`), Limits{}); err == nil {
		t.Error("a placeholder without an attachment is taken")
	}
	if err := a.Start(one, Limits{}); err != nil {
		t.Fatal(err)
	}
	if err := a.Start(one, Limits{}); err == nil {
		t.Error("a packet before the attachments of another is taken")
	}

	kind := func(err error) Kind {
		var e *Error
		errors.As(err, &e)
		if e == nil {
			return 0
		}
		return e.Kind
	}
	two := binaryPacket(t, `52-["f"]`)
	a = Assembler{}
	if err := a.Start(two, Limits{MaxAttachments: 1}); kind(err) != OverLimit {
		t.Errorf("two attachments where one is allowed: %v", err)
	}
	if err := a.Start(two, Limits{MaxBinary: 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Add([]byte{1, 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Add([]byte{1, 2}); kind(err) != OverLimit {
		t.Errorf("four bytes where three are allowed: %v", err)
	}
	a = Assembler{}
	if err := a.Start(two, Limits{}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Add(make([]byte, 10_000_001)); kind(err) != OverLimit {
		t.Errorf("more than the default of bytes: %v", err)
	}
	if done, err := a.Add(make([]byte, 10_000_000)); done || err != nil {
		t.Errorf("the default of bytes: done %v, %v", done, err)
	}
}
