package socketio

import (
	"errors"
	"reflect"
	"testing"
)

func TestMsgpackControlWire(t *testing.T) {
	tests := []struct {
		wire string
		want Packet
	}{
		{`{"type":0,"nsp":"/chat"}`, Packet{Type: Connect, Namespace: "/chat"}},
		{`{"type":0,"query":"a=b","nsp":"/chat?a=b"}`, Packet{Type: Connect, Namespace: "/chat", Query: "a=b"}},
		{`{"nsp":"/","type":1,"options":{"compress":true}}`, Packet{Type: Disconnect, Namespace: "/"}},
	}
	for _, tt := range tests {
		got, err := ParseMsgpackControl([]byte(tt.wire), Limits{})
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v; want %+v", tt.wire, got, err, tt.want)
		}
	}
	for want, p := range map[string]Packet{
		`{"type":0,"nsp":"/"}`:                           {Type: Connect},
		`{"type":1,"nsp":"/a\"b"}`:                       {Type: Disconnect, Namespace: `/a"b`},
		`{"type":4,"data":"not <allowed>","nsp":"/vip"}`: {Type: ConnectError, Namespace: "/vip", Data: []byte(`"not <allowed>"`)},
	} {
		if got := AppendMsgpackControl([]byte("4"), p); string(got) != "4"+want {
			t.Errorf("%s in place of 4%s", got, want)
		}
	}
}

func TestMsgpackControlRefuses(t *testing.T) {
	for _, wire := range []string{
		``, `0`, `"0"`, `null`, `[]`, `{}`, `{"type":0}`, `{"type":0,"nsp":""}`, `{"type":0,"nsp":"chat"}`, `{"nsp":"/"}`,
		`{"type":2,"nsp":"/","data":["e"]}`, `{"type":4,"nsp":"/","data":"x"}`, `{"type":-1,"nsp":"/"}`,
		`{"type":"0","nsp":"/"}`, `{"type":0.5,"nsp":"/"}`, `{"type":0,"nsp":7}`, `{"type":0,"nsp":"/"}x`, "{\"type\":0,\"nsp\":\"/\xff\"}",
	} {
		var bad *Error
		if p, err := ParseMsgpackControl([]byte(wire), Limits{}); !errors.As(err, &bad) || bad.Kind != Malformed {
			t.Errorf("%q: %+v, %v", wire, p, err)
		}
	}
}

func FuzzParseMsgpackControl(f *testing.F) {
	for _, seed := range []string{`{"type":0,"nsp":"/chat?a=b"}`, `{"type":1,"nsp":"/"}`, `{"type":0,"nsp":"/\ud800"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseMsgpackControl(b, Limits{})
		if err != nil {
			return
		}
		if p.Type != Connect && p.Type != Disconnect || p.Namespace == "" || p.Namespace[0] != '/' {
			t.Fatalf("%q was taken as %+v", b, p)
		}
		again, err := ParseMsgpackControl(AppendMsgpackControl(nil, p), Limits{})
		if p.Query = ""; err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("%+v, written and read: %+v, %v", p, again, err)
		}
	})
}
