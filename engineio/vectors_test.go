package engineio

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"testing"
)

// vectors is testdata/vectors.json, which testdata/vectors.js makes with the stock
// parsers (engine.io-parser 2.2.1 and 5.2.3) and the stock server (engine.io 6.6).
type vectors struct {
	Written []struct {
		Name    string
		Version Version
		Base64  bool
		Octets  bool
		Packets []vectorPacket
		Wire    string
	}
	Read []struct {
		Version Version
		Octets  bool
		OK      bool
		Wire    string
		Packets []vectorPacket
	}
	JSONP []struct {
		Version Version
		Text    string
		Answer  string
		Form    string
	}
	Errors []struct {
		Code   ErrorCode
		Status int
		Body   string
	}
	Open string
}

type vectorPacket struct {
	Type string
	Text string
	Hex  *string // set for binary packets
}

func readVectors(t *testing.T) vectors {
	t.Helper()
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func packetsOf(t *testing.T, list []vectorPacket) []Packet {
	t.Helper()
	packets := make([]Packet, len(list))
	for i, p := range list {
		for kind := Open; kind <= Noop; kind++ {
			if kind.String() == p.Type {
				packets[i].Type = kind
			}
		}
		packets[i].Data = []byte(p.Text)
		if p.Hex != nil {
			packets[i].Binary, packets[i].Data = true, unhex(t, *p.Hex)
		}
	}
	return packets
}

func TestStockEncoders(t *testing.T) {
	list := readVectors(t).Written
	if len(list) == 0 {
		t.Fatal("no vectors")
	}
	for _, v := range list {
		packets, wire := packetsOf(t, v.Packets), unhex(t, v.Wire)
		out, binary := AppendPayload(nil, v.Version, packets, v.Base64)
		if string(out) != string(wire) || binary != v.Octets {
			t.Errorf("v%d %s: wrote %q (binary: %t)\nthe stock encoder %q", v.Version, v.Name, out, binary, wire)
		}
		got, err := collect(v.Version, wire, v.Octets, Limits{})
		if err != nil || !slices.EqualFunc(got, packets, same) {
			t.Errorf("v%d %s: read %+v, %v", v.Version, v.Name, got, err)
		}
	}
}

// TestStockDecoders: what stock decoders take is taken here, but for what no stock
// encoder writes; what they refuse is refused.
func TestStockDecoders(t *testing.T) {
	stricter := map[string]string{
		"bAQ=":     "base64 with half of its padding",
		"6:b2AQID": "a binary packet that is not a message",
	}
	for _, v := range readVectors(t).Read {
		wire := unhex(t, v.Wire)
		_, refuse := stricter[string(wire)]
		want := v.OK && !refuse
		got, err := collect(v.Version, wire, v.Octets, Limits{})
		if (err == nil) != want {
			t.Errorf("v%d %q: error %v; taken by the stock decoder: %t", v.Version, wire, err, v.OK)
			continue
		}
		if packets := packetsOf(t, v.Packets); want && !slices.EqualFunc(got, packets, same) {
			t.Errorf("v%d %q: read %+v, the stock decoder %+v", v.Version, wire, got, packets)
		}
	}
}

func TestStockJSONP(t *testing.T) {
	list := readVectors(t).JSONP
	if len(list) == 0 {
		t.Fatal("no vectors")
	}
	for _, v := range list {
		payload, binary := AppendPayload(nil, v.Version, []Packet{text(Message, v.Text), bin("\x01\x02\xff")}, true)
		out, err := AppendJSONP(nil, "7", payload)
		if want := unhex(t, v.Answer); err != nil || binary || string(out) != string(want) {
			t.Errorf("v%d %q: wrote %q, %v\nthe stock server %q", v.Version, v.Text, out, err, want)
		}
		body, err := ParseJSONPForm(unhex(t, v.Form))
		if err != nil {
			t.Errorf("v%d %q: %v", v.Version, v.Text, err)
			continue
		}
		got, err := collect(v.Version, body, false, Limits{})
		if err != nil || len(got) != 1 || !same(got[0], text(Message, v.Text)) {
			t.Errorf("v%d %q: read %+v, %v", v.Version, v.Text, got, err)
		}
	}
}

func TestStockErrorsAndOpen(t *testing.T) {
	v := readVectors(t)
	if len(v.Errors) == 0 {
		t.Fatal("no vectors")
	}
	for _, e := range v.Errors {
		message := ""
		if e.Code == Forbidden {
			message = `no "entry" 😀`
		}
		if got := string(AppendError(nil, e.Code, message)); got != e.Body || e.Code.Status() != e.Status {
			t.Errorf("code %d: %d %s; the stock server %d %s", e.Code, e.Code.Status(), got, e.Status, e.Body)
		}
	}
	o, err := ParseOpen([]byte(v.Open))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(AppendOpen(nil, o)); got != v.Open {
		t.Errorf("wrote %s, the stock server %s", got, v.Open)
	}
}
