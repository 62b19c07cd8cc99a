package message

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/quick"
	"time"
)

// fill gives every field a value, nil and empty now and then, so that a field which
// Record forgets is noticed as soon as it is added to the struct.
func fill(v reflect.Value, r *rand.Rand) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(someText(r))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Uint64, reflect.Uint32:
		v.SetUint(uint64(r.Uint32()) >> r.IntN(32))
	case reflect.Uint8:
		v.SetUint(uint64(1 + r.IntN(3))) // an EventType
	case reflect.Map:
		if n := r.IntN(3); n > 0 {
			m := make(map[string]string)
			for range n {
				m[someText(r)] = someText(r)
			}
			v.Set(reflect.ValueOf(m))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(someText(r)))
			return
		}
		if n := r.IntN(3); n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				fill(v.Index(i), r)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), r)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(r.Int64N(4e9), r.Int64N(1e9)).UTC()))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), r)
		}
	case reflect.Func: // the bus', and in no record
	default:
		panic(v.Type())
	}
}

func someText(r *rand.Rand) string {
	return []string{"", "a", "β&=% +", "two words", "\x00\xff\n", "r:/chat,doc 7", strings.Repeat("long", 50)}[r.IntN(7)]
}

func TestUpRecordRoundTrip(t *testing.T) {
	for seed := range uint64(500) {
		var u Up
		fill(reflect.ValueOf(&u).Elem(), rand.New(rand.NewPCG(seed, 0)))
		if seed%7 == 0 {
			u.Client = nil
		}
		u.Again = false
		key, headers, body := u.Record()
		got, err := ParseUp(headers, body)
		if err != nil || key != u.Order || !reflect.DeepEqual(got, &u) {
			t.Fatalf("seed %d: key %q, %v\ngot  %+v\nwant %+v", seed, key, err, got, &u)
		}
	}
}

func TestDownRecordRoundTrip(t *testing.T) {
	for seed := range uint64(600) {
		var d Down
		fill(reflect.ValueOf(&d).Elem(), rand.New(rand.NewPCG(seed, 1)))
		one := Down{Call: d.Call, ReplyTo: d.ReplyTo, Expires: d.Expires}
		switch seed % 7 {
		case 0:
			one.Push = d.Push
			if seed%4 == 0 {
				one.Push.Filter = nil
			}
		case 1:
			one.Ack = d.Ack
		case 2:
			one.Verdict = d.Verdict
			if seed%4 == 0 {
				one.Verdict.Reject = nil
			}
		case 3:
			one.Join = d.Join
		case 4:
			one.Leave = d.Leave
		case 5:
			one.Disconnect = d.Disconnect
		case 6:
			one.Heads = d.Heads
		}
		_, headers, body := one.Record()
		got, err := ParseDown(headers, body)
		if err != nil || !reflect.DeepEqual(got, &one) {
			t.Fatalf("seed %d: %v\ngot  %+v\nwant %+v", seed, err, got, &one)
		}
	}
}

func TestReplyRecordRoundTrip(t *testing.T) {
	for seed := range uint64(300) {
		var r Reply
		fill(reflect.ValueOf(&r).Elem(), rand.New(rand.NewPCG(seed, 2)))
		if seed%3 == 0 {
			r.Ack = nil
		}
		switch peer := r.Peer; seed % 5 {
		case 0:
			peer.Kind, peer.Reply, peer.Event.Again = PeerGive, nil, false
			r = Reply{Peer: peer}
		case 1:
			peer.Kind, peer.Event = PeerTook, nil
			r = Reply{Peer: peer}
		default:
			r.Peer = nil
		}
		_, headers, body := r.Record()
		got, err := ParseReply(headers, body)
		if err != nil || !reflect.DeepEqual(got, &r) {
			t.Fatalf("seed %d: %v\ngot  %+v\nwant %+v", seed, err, got, &r)
		}
	}
}

func TestUpRecordBytes(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)
	u := &Up{
		ID: "7", Type: EventMessage, Order: "doc", Name: "paint", Received: at,
		Client:  &Client{ID: "c1", UID: "ann", Namespace: "/"},
		Payload: Payload{JSON: []byte(`["x",{"_placeholder":true,"num":0}]`), Attachments: [][]byte{{1, 2, 3}}},
		Rooms:   []string{"doc", "a&b"},
	}
	key, headers, body := u.Record()
	want := []Header{
		{"X-ID", "7"},
		{"X-Event", "Message"},
		{"X-Client", "c1"},
		{"X-Uid", "ann"},
		{"X-Guid", "doc"},
		{"X-Namespace", "/"},
		{"X-Order", "doc"},
		{"X-Name", "paint"},
		{"X-Rooms", "doc&a%26b"},
		{"X-Time-Received", "2026-03-04T05:06:07.000000008Z"},
		{"X-Body-Parts", "j35 a3"},
	}
	if key != "doc" || !slices.Equal(headers, want) || string(body) != `["x",{"_placeholder":true,"num":0}]`+"\x01\x02\x03" {
		t.Errorf("got %q %q %q", key, headers, body)
	}
	u.Payload.Attachments = nil
	if _, headers, _ = u.Record(); slices.ContainsFunc(headers, func(h Header) bool { return h.Name == headerParts }) {
		t.Error("a body of JSON alone needs no parts")
	}
}

func TestOperator(t *testing.T) {
	for want, targets := range map[string][]Key{
		"room": {RoomKey("/", "a")}, "user": {UserKey("/", "a")}, "unicast": {ClientKey("/", "a")},
		"broadcast": {AllKey("/")}, "multicast": {RoomKey("/", "a"), UserKey("/", "b")},
	} {
		if got := operator(targets); got != want {
			t.Errorf("%v: %s", targets, got)
		}
	}
}

func TestParseUpRefuses(t *testing.T) {
	message := Header{headerEvent, "Message"}
	for name, c := range map[string]struct {
		headers []Header
		body    string
	}{
		"nothing":            {},
		"event":              {headers: []Header{{headerEvent, "message"}}},
		"number":             {headers: []Header{message, {headerAckID, "-1"}}},
		"flag":               {headers: []Header{message, {headerAcked, "yes"}}},
		"time":               {headers: []Header{message, {headerReceived, "now"}}},
		"list":               {headers: []Header{message, {headerRooms, "%zz"}}},
		"long list":          {headers: []Header{message, {headerRooms, strings.Repeat("&", MaxListItems)}}},
		"pairs":              {headers: []Header{message, {headerQuery, "a=%"}}},
		"many headers":       {headers: slices.Repeat([]Header{message}, MaxHeaders+1)},
		"long headers":       {headers: []Header{message, {"X", strings.Repeat("x", MaxHeaderBytes)}}},
		"part beyond body":   {headers: []Header{message, {headerParts, "j3"}}, body: "[]"},
		"body beyond parts":  {headers: []Header{message, {headerParts, "j1"}}, body: "[]"},
		"part twice":         {headers: []Header{message, {headerParts, "j1 j1"}}, body: "[]"},
		"part unknown":       {headers: []Header{message, {headerParts, "x2"}}, body: "[]"},
		"part without size":  {headers: []Header{message, {headerParts, "j"}}},
		"part of huge size":  {headers: []Header{message, {headerParts, "j99999999999999999999"}}},
		"part of minus size": {headers: []Header{message, {headerParts, "j-1"}}},
		"too many parts":     {headers: []Header{message, {headerParts, strings.Repeat("a0 ", MaxBodyParts) + "a0"}}},
	} {
		if u, err := ParseUp(c.headers, []byte(c.body)); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %+v, %v", name, u, err)
		}
	}
	if _, err := ParseUp([]Header{message, {"X-Unknown", "1"}}, nil); err != nil {
		t.Errorf("an unknown header: %v", err)
	}
}

// unpackRecord makes headers of lines "Name: value" and a body of what follows an
// empty line, so that the fuzzer gets at both.
func unpackRecord(raw []byte) (headers []Header, body []byte) {
	head, tail, _ := strings.Cut(string(raw), "\n\n")
	for line := range strings.SplitSeq(head, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		headers = append(headers, Header{name, value})
	}
	return headers, []byte(tail)
}

func packRecord(headers []Header, body []byte) []byte {
	var b strings.Builder
	for i, h := range headers {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s: %s", h.Name, h.Value)
	}
	return append([]byte(b.String()+"\n\n"), body...)
}

func FuzzParseRecord(f *testing.F) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 3))
		var u Up
		fill(reflect.ValueOf(&u).Elem(), r)
		_, headers, body := u.Record()
		f.Add(packRecord(headers, body))
		var d Down
		fill(reflect.ValueOf(&d).Elem(), r)
		_, headers, body = d.Record()
		f.Add(packRecord(headers, body))
		var reply Reply
		fill(reflect.ValueOf(&reply).Elem(), r)
		_, headers, body = reply.Record()
		f.Add(packRecord(headers, body))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		headers, body := unpackRecord(raw)
		if u, err := ParseUp(headers, body); err == nil {
			_, h, b := u.Record()
			if again, err := ParseUp(h, b); err != nil || !sameButNil(again, u) {
				t.Fatalf("up: %v\ngot  %+v\nwant %+v", err, again, u)
			}
		}
		if d, err := ParseDown(headers, body); err == nil {
			_, h, b := d.Record()
			if again, err := ParseDown(h, b); err != nil || !sameButNil(again, d) {
				t.Fatalf("down: %v\ngot  %+v\nwant %+v", err, again, d)
			}
		}
		if r, err := ParseReply(headers, body); err == nil {
			_, h, b := r.Record()
			if again, err := ParseReply(h, b); err != nil || !sameButNil(again, r) {
				t.Fatalf("reply: %v\ngot  %+v\nwant %+v", err, again, r)
			}
		}
	})
}

// recorder is any of the three that become records.
type recorder interface {
	Record() (key string, headers []Header, body []byte)
}

// sameButNil compares the records that both make, for a foreign producer may write
// an empty header where this one writes none.
func sameButNil(a, b recorder) bool {
	k1, h1, b1 := a.Record()
	k2, h2, b2 := b.Record()
	return k1 == k2 && slices.Equal(h1, h2) && string(b1) == string(b2)
}

func TestReadBodyNeverPanics(t *testing.T) {
	if err := quick.Check(func(parts string, body []byte) bool {
		_, err := readBody(parts, body)
		return err == nil || errors.Is(err, ErrRecord)
	}, nil); err != nil {
		t.Error(err)
	}
}

func BenchmarkUpRecord(b *testing.B) {
	u := &Up{
		ID: "0192", Type: EventMessage, Order: "doc", Session: "s", Name: "paint",
		Client:  &Client{ID: "c1", UID: "ann", Namespace: "/", Node: "gw-a", Transport: "websocket", Protocol: "socket.io/5"},
		Payload: Payload{JSON: []byte(`["` + strings.Repeat("x", 200) + `"]`)}, Rooms: []string{"doc"},
		Received: time.Now(), Enqueued: time.Now(),
	}
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			u.Record()
		}
	})
	_, headers, body := u.Record()
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseUp(headers, body); err != nil {
				b.Fatal(err)
			}
		}
	})
}
