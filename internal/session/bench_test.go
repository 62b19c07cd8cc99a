package session

import (
	"testing"

	"holdfast/internal/message"
)

// inside is a WebSocket session with "/" and "/a" let in, without a driver.
func inside(t testing.TB) (*Session, *Actions) {
	cfg := Config{Namespace: func(n string) (string, bool) { return n, n == "/" || n == "/a" }}.WithDefaults()
	var acts Actions
	s := &Session{}
	s.Init(&cfg, ws4, 0, &acts)
	for _, connect := range []string{"40", "40/a"} {
		if err := s.Text([]byte(connect), 0, &acts); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range acts.Take() {
		s.Accept(a.Client, "c", "", 0)
	}
	for s.Pending() {
		s.Next()
	}
	return s, &acts
}

var usual = []byte(`4217["cursor",{"x":17,"y":4,"doc":"a-document","selection":[1,2,3]}]`)

// BenchmarkText is an event with an ack ID on its way to an action.
func BenchmarkText(b *testing.B) {
	s, acts := inside(b)
	b.ReportAllocs()
	for b.Loop() {
		err := s.Text(usual, 1, acts)
		list := acts.Take()
		if err != nil || len(list) != 1 {
			b.Fatal(err, len(list))
		}
		acts.Done(list)
	}
}

// BenchmarkSend is one session's part of a broadcast: queued, taken, written.
func BenchmarkSend(b *testing.B) {
	s, acts := inside(b)
	o, err := EncodeEvent(JSON, "/", &message.Push{Event: "cursor", Payload: message.Payload{JSON: []byte(`[{"x":17,"y":4}]`)}}, 0, false)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Send(o, "k3.1.0-9x", false, 1, acts); err != nil {
			b.Fatal(err)
		}
		for s.Pending() {
			out, tail := s.Next()
			if shared, _ := out.Text(tail); shared != nil {
				buf = out.AppendEnd(append(buf[:0], shared...), tail)
			}
			for _, x := range out.Binaries(tail) {
				_, head, payload := s.BinaryFrame(x)
				buf = append(append(buf, head...), payload...)
			}
		}
	}
}

// TestAllocations: neither an event nor its acknowledgement nor a message that goes out
// costs an allocation, but for the pieces that the arguments of several are cut from.
func TestAllocations(t *testing.T) {
	s, acts := inside(t)
	nothing := message.Payload{JSON: []byte("[]")}
	if n := testing.AllocsPerRun(100, func() {
		_ = s.Text(usual, 1, acts)
		list := acts.Take()
		_ = s.SendAck(list[0].Client, list[0].AckID, &nothing, 1, acts)
		acts.Done(list)
		out, _ := s.Next()
		acts.Reuse(out)
	}); n > 0 {
		t.Errorf("an event with its acknowledgement allocates %v times", n)
	}
	for _, idle := range [][]byte{[]byte("3"), []byte("6")} {
		if n := testing.AllocsPerRun(100, func() { _ = s.Text(idle, 1, acts) }); n > 0 {
			t.Errorf("%q allocates %v times", idle, n)
		}
	}
	o, err := EncodeEvent(JSON, "/", &message.Push{Event: "e"}, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0, 100)
	if n := testing.AllocsPerRun(100, func() {
		_, _ = s.Send(o, "tail", false, 1, acts)
		out, tail := s.Next()
		shared, _ := out.Text(tail)
		buf = out.AppendEnd(append(buf[:0], shared...), tail)
	}); n > 0 {
		t.Errorf("a message that goes out allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { s.Tick(1, acts) }); n > 0 {
		t.Errorf("a Tick allocates %v times", n)
	}
}

// TestEventNames: the name that a client keeps is never taken for another.
func TestEventNames(t *testing.T) {
	s, acts := inside(t)
	for _, tt := range []struct{ text, name string }{
		{`42["a"]`, "a"},
		{`42["a"]`, "a"},
		{`42["a\\"]`, `a\`},
		{`42["a\"b"]`, `a"b`},
		{`42["a\u0062"]`, "ab"},
		{`42["ab"]`, "ab"},
		{`42[5]`, "5"},
		{`42["5"]`, "5"},
		{`42[""]`, ""},
		{`42[ "a" ]`, "a"},
		{`42["ab",1]`, "ab"},
	} {
		if err := s.Text([]byte(tt.text), 1, acts); err != nil {
			t.Fatalf("%s: %v", tt.text, err)
		}
		if got := acts.Take()[0].Name; got != tt.name {
			t.Errorf("%s has the name %q", tt.text, got)
		}
	}
}
