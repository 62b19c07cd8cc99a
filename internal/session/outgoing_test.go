package session

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"holdfast/internal/message"
)

// TestEncodeEvent draws a push in every form, with and without a tail.
func TestEncodeEvent(t *testing.T) {
	type push = message.Push
	json := func(text string, bin ...string) message.Payload {
		p := message.Payload{JSON: []byte(text)}
		for _, b := range bin {
			p.Attachments = append(p.Attachments, []byte(b))
		}
		return p
	}
	const hole = `[{"_placeholder":true,"num":0}]`
	tests := []struct {
		name      string
		form      Form
		namespace string
		push      push
		hasID     bool
		tail      string
		want      string // text, then binaries, separated by |
	}{
		{"text", JSON, "/", push{Event: "e", Payload: json(`[1, "<"]`)}, false, "", `42["e",1, "<"]|`},
		{"no arguments", JSON, "/", push{Event: "e"}, false, "t", `42["e","t"]|`},
		{"a name to escape", JSON, "/a", push{Event: "\"\n", Payload: json(`[]`)}, false, "", `42/a,["\"\n"]|`},
		{"an ack takes no tail", JSON, "/a", push{Event: "e", Payload: json(`[1]`)}, true, "t", `42/a,7["e",1]|`},
		{"attachments", JSON, "/", push{Event: "e", Payload: json(hole, "ab", "")}, false, "t", `452-["e",{"_placeholder":true,"num":0},"t"]|ab|`},
		{
			"from MessagePack", JSON, "/",
			push{Event: "e", Payload: message.Payload{Msgpack: []byte("\x92\xc4\x01z\x05")}},
			false, "",
			`451-["e",{"_placeholder":true,"num":0},5]|z`,
		},
		{"packed", Msgpack, "/", push{Event: "e", Payload: json(`[1]`)}, false, "", "|\x83\xa4type\x02\xa4data\x92\xa1e\x01\xa3nsp\xa1/"},
		{"packed with a tail", Msgpack, "/", push{Event: "e", Payload: json(`[1]`)}, false, "t", "|\x83\xa4type\x02\xa4data\x93\xa1e\x01\xa1t\xa3nsp\xa1/"},
		{"packed, nothing in it", Msgpack, "/", push{Event: "e"}, false, "", "|\x83\xa4type\x02\xa4data\x91\xa1e\xa3nsp\xa1/"},
		{"packed with an ack", Msgpack, "/a", push{Event: "e", Payload: json(`[]`)}, true, "t", "|\x84\xa4type\x02\xa4data\x91\xa1e\xa2id\x07\xa3nsp\xa2/a"},
		{"packed as it is", Msgpack, "/", push{Event: "e", Payload: message.Payload{Msgpack: []byte("\xdc\x00\x01\xc4\x01z")}}, false, "", "|\x83\xa4type\x02\xa4data\x92\xa1e\xc4\x01z\xa3nsp\xa1/"},
		{"raw text", Raw, "/", push{Payload: json(`["h\"i"]`)}, false, "t", `4h"i|`},
		{"raw binary", Raw, "/", push{Payload: json(hole, "ab")}, false, "t", "|ab"},
		{"raw from MessagePack", Raw, "/", push{Payload: message.Payload{Msgpack: []byte("\x91\xa2hi")}}, false, "", "4hi|"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, err := EncodeEvent(tt.form, tt.namespace, &tt.push, 7, tt.hasID)
			if err != nil {
				t.Fatal(err)
			}
			d := start(t, Config{}, ws4)
			d.collect()
			for range 2 { // the second time from what it remembers
				if sent, err := d.s.Send(o, tt.tail, false, 0, &d.acts); !sent || err != nil {
					t.Fatal(sent, err)
				}
				out, tail := d.s.Next()
				var b []byte
				if shared, n := out.Text(tail); shared != nil {
					if b = out.AppendEnd(append(b, shared...), tail); len(b) != n {
						t.Errorf("Text announced %d bytes", n)
					}
					deflated := out.Deflated(func(text []byte) []byte { return append([]byte(nil), text...) })
					if got := string(out.AppendEnd(deflated[:len(deflated):len(deflated)], tail)); got != string(b) {
						t.Errorf("deflated it is %s", got)
					}
				}
				parts := []string{string(b)}
				for _, x := range out.Binaries(tail) {
					parts = append(parts, string(x))
				}
				if len(parts) == 1 {
					parts = append(parts, "")
				}
				if got := strings.Join(parts, "|"); got != tt.want {
					t.Errorf("\n got %q\nwant %q", got, tt.want)
				}
			}
		})
	}
}

// TestEncodeEventRefuses: what cannot be written in a form is an error, and what is
// not for a form is none.
func TestEncodeEventRefuses(t *testing.T) {
	for _, tt := range []struct {
		form Form
		push message.Push
		bad  bool
	}{
		{JSON, message.Push{}, false},
		{Msgpack, message.Push{}, false},
		{Raw, message.Push{Event: "e"}, false},
		{JSON, message.Push{Event: "e", Payload: message.Payload{Msgpack: []byte("\x91")}}, true},
		{Msgpack, message.Push{Event: "e", Payload: message.Payload{Msgpack: []byte("\xa1x")}}, true},
		{Msgpack, message.Push{Event: "e", Payload: message.Payload{JSON: []byte("[")}}, true},
		{Raw, message.Push{Payload: message.Payload{JSON: []byte("[]")}}, true},
		{Raw, message.Push{Payload: message.Payload{JSON: []byte(`["a","b"]`)}}, true},
		{Raw, message.Push{Payload: message.Payload{Msgpack: []byte("\x91")}}, true},
	} {
		if o, err := EncodeEvent(tt.form, "/", &tt.push, 0, false); o != nil || (err != nil) != tt.bad {
			t.Errorf("form %d, %+v: %v, %v", tt.form, tt.push, o, err)
		}
	}
}

// TestControlPacketsKeepNothing: the packets that all shards have must not
// remember anything, which two shards would do at once.
func TestControlPacketsKeepNothing(t *testing.T) {
	for _, o := range []*Outgoing{packetPing, packetPong, packetNoop, packetClose} {
		o.Deflated(func(text []byte) []byte { return text })
		if o.deflated != nil {
			t.Errorf("%s remembers its deflated form", o.text)
		}
	}
}

// TestAckForms: an acknowledgement is written in the client's form from either.
func TestAckForms(t *testing.T) {
	packed := func(t *testing.T) *driver {
		d := start(t, Config{}, ws4)
		d.play("< " + openWS + `
			>b "\x82\xa4type\x00\xa3nsp\xa1/"
				! connect /
			accept / c1
				<b "\x83\xa4type\x00\xa4data\x81\xa3sid\xa2c1\xa3nsp\xa1/"`)
		return d
	}
	plain := func(t *testing.T) *driver {
		d := start(t, Config{}, ws4)
		d.play(in4)
		return d
	}
	tests := []struct {
		name  string
		begin func(*testing.T) *driver
		ack   message.Payload
		want  string
	}{
		{"JSON", plain, message.Payload{JSON: []byte(`[1]`)}, `["< 435[1]"]`},
		{"binary", plain, message.Payload{JSON: []byte(`[{"_placeholder":true,"num":0}]`), Attachments: [][]byte{{'z'}}}, `["< 461-5[{\"_placeholder\":true,\"num\":0}]" "<b \"z\""]`},
		{"JSON from MessagePack", plain, message.Payload{Msgpack: []byte("\x91\x01")}, `["< 435[1]"]`},
		{"nothing", plain, message.Payload{}, `["< 435[]"]`},
		{"packed", packed, message.Payload{JSON: []byte(`[1]`)}, `["<b \"\\x84\\xa4type\\x03\\xa4data\\x91\\x01\\xa2id\\x05\\xa3nsp\\xa1/\""]`},
		{"packed as it is", packed, message.Payload{Msgpack: []byte("\x91\xcd\x00\x01")}, `["<b \"\\x84\\xa4type\\x03\\xa4data\\x91\\xcd\\x00\\x01\\xa2id\\x05\\xa3nsp\\xa1/\""]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := tt.begin(t)
			d.acts.Reuse(&Outgoing{lone: true, text: []byte(`430[]`)}) // of another session on the shard
			if err := d.s.SendAck(d.seen["/"], 5, &tt.ack, 0, &d.acts); err != nil {
				t.Fatal(err)
			}
			if got := quoted(d.collect()); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	if err := packed(t).bad(message.Payload{JSON: []byte(`[`)}); err == nil {
		t.Error("what is no JSON was packed")
	}
	if err := plain(t).bad(message.Payload{Msgpack: []byte{0x91}}); err == nil {
		t.Error("what is no MessagePack was unpacked")
	}
	d := packed(t)
	d.play(`>b "\x82\xa4type\x00\xa3nsp\xa2/a"
			! connect /a
		refuse /a no not-JSON
			<b "\x83\xa4type\x04\xa4data\x81\xa7message\xa2no\xa3nsp\xa2/a"`)
}

func (d *driver) bad(ack message.Payload) error { return d.s.SendAck(d.seen["/"], 5, &ack, 0, &d.acts) }

// TestSizes: a million sessions are held, so each byte of them is a megabyte.
func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(Session{}); n > 320 {
		t.Errorf("a Session takes %d bytes", n)
	}
	if n := unsafe.Sizeof(Client{}); n > 96 {
		t.Errorf("a Client takes %d bytes", n)
	}
}

func quoted(lines []string) string { return fmt.Sprintf("%q", lines) }
