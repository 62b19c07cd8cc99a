package session

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"holdfast/engineio"
	"holdfast/internal/message"
)

// walker plays random inputs to a session and holds what must be true whatever
// comes.
type walker struct {
	t     *testing.T
	cfg   Config
	s     Session
	now   int64
	acts  Actions
	asked []*Client // in the order of their Connect
	over  map[*Client]string
	ended bool

	shared []*Outgoing // pushes, which many sessions have
	copies []string    // what they were when they were made
}

// The inputs of which walks are made; a byte of the fuzzer's picks one.
var walkTexts = []string{
	"40", "40/a", "40/a,{\"x\":1}", "40/b?q=1", "40/random", "41", "41/a", `42["e",1]`, `427["e"]`, `42/a,["e",{"a":[]}]`,
	`451-["f",{"_placeholder":true,"num":0}]`, `452-/a,3["f"]`, `437["ok"]`, `461-7[{"_placeholder":true,"num":0}]`, `42["disconnect"]`,
	`44{"message":"x"}`, "2", "3", "2probe", "5", "6", "1", "0", "", "4", "4abc", "bYWI=", "b4YWI=", "\xff",
}

var walkBinaries = []string{
	"ab", "\x04ab", "", "\x83\xa4type\x00\xa4data\x81\xa1t\x01\xa3nsp\xa1/", "\x83\xa4type\x02\xa4data\x92\xa1e\xc4\x02ab\xa3nsp\xa1/",
	"\x82\xa4type\x01\xa3nsp\xa1/", "\x83\xa4type\xff",
}

func newWalker(t *testing.T, kind byte) *walker {
	w := &walker{t: t, now: 1000, over: map[*Client]string{}}
	w.cfg = Config{
		Raw: kind&4 != 0, OutputItems: 8, OutputBytes: 2000, OutputAge: 500, MaxClients: 2, MaxPayload: 1000,
		PingInterval: 300, PingTimeout: 200, ConnectTimeout: 400, AttachmentTime: 100,
		Namespace: func(n string) (string, bool) { return n, n == "/" || n == "/a" || n == "/b" },
	}.WithDefaults()
	if kind&8 != 0 {
		w.cfg.PingFloor, w.cfg.PingStep, w.cfg.PingRounds = 50, 60, 1
	}
	hello := Hello{ID: "S", Version: engineio.V3 + engineio.Version(kind&1), Transport: Transport(kind >> 1 & 1), Base64: kind&16 != 0}
	for _, namespace := range []string{"/", "/a"} {
		for _, p := range []message.Push{
			{Event: "e", Payload: message.Payload{JSON: []byte(`[1]`)}},
			{Event: "b", Payload: message.Payload{JSON: []byte(`[{"_placeholder":true,"num":0}]`), Attachments: [][]byte{[]byte("xyz")}}},
			{Event: "c", CollapseKey: "k", Payload: message.Payload{JSON: []byte(`[2]`)}},
			{Event: "v", Volatile: true, Payload: message.Payload{Msgpack: []byte("\x91\x01")}},
			{Event: "", Payload: message.Payload{JSON: []byte(`["raw"]`)}},
			{Event: "big", Payload: message.Payload{JSON: []byte(`["` + strings.Repeat("x", 900) + `"]`)}},
		} {
			for form := range Forms {
				if o, err := EncodeEvent(form, namespace, &p, 0, false); err == nil && o != nil {
					w.shared = append(w.shared, o)
					w.copies = append(w.copies, content(o))
				}
			}
		}
	}
	w.s.Init(&w.cfg, hello, w.now, &w.acts)
	w.settle()
	return w
}

// content is all that a message has and must keep.
func content(o *Outgoing) string {
	b := append([]byte(nil), o.text...)
	for _, a := range o.attachments {
		b = append(b, a...)
	}
	if o.packed != nil {
		b = append(b, o.packed.elements...)
	}
	return string(b)
}

// settle checks the actions of a call and the session after it.
func (w *walker) settle() {
	t := w.t
	list := w.acts.Take()
	for i := range list {
		a := &list[i]
		if w.ended {
			t.Fatalf("action %d after Ended", a.Kind)
		}
		switch a.Kind {
		case Connect:
			w.asked = append(w.asked, a.Client)
			continue
		case Ended:
			w.ended = true
			if a.Reason.Text == "" {
				t.Fatal("Ended without a reason")
			}
			continue
		}
		if was := w.over[a.Client]; was != "" || !slices.Contains(w.asked, a.Client) {
			t.Fatalf("action %d of a client that is %q", a.Kind, was)
		}
		switch {
		case a.Kind == Leave:
			w.over[a.Client] = "left"
			if !a.Client.Gone() || a.Client.Connected() {
				t.Fatal("a client that left is there")
			}
		case !a.Client.connected:
			t.Fatalf("action %d of a client that was not accepted", a.Kind)
		}
	}
	w.acts.Done(list)

	s := &w.s
	if w.ended != (s.State() == Closed) {
		t.Fatalf("state %d, ended %v", s.State(), w.ended)
	}
	if s.State() != Open {
		for _, c := range w.asked {
			if w.over[c] == "" {
				t.Fatalf("the client of %s was left behind", c.Namespace)
			}
		}
		if s.clients != nil || s.pending != nil || s.get().kicked != nil || s.get().early != nil || s.upgrading {
			t.Fatal("a session that is over holds memory")
		}
	}
	if s.State() != Closed && s.Deadline() <= 0 {
		t.Fatalf("deadline %d", s.Deadline())
	}
	if s.State() == Closed && (s.Deadline() != 0 || s.few != nil) {
		t.Fatalf("deadline %d of a closed session, or memory", s.Deadline())
	}
	size := 0
	for it := range s.out.all() {
		size += it.size()
	}
	// A noop and the close packet come on top of what is bounded.
	if s.out.bytes() != size || s.out.len() > w.cfg.OutputItems+2 || s.out.len() > 3 && size > w.cfg.OutputBytes+40 {
		t.Fatalf("%d messages, %d bytes, accounted as %d", s.out.len(), size, s.out.bytes())
	}
	if len(s.Clients()) > w.cfg.MaxClients || len(s.get().kicked) > w.cfg.MaxClients || len(s.get().early) > maxEarly {
		t.Fatal("a bound is passed")
	}
}

// drain takes what may leave, as a shard does.
func (w *walker) drain() {
	s := &w.s
	for s.Transport() == WebSocket && s.Pending() {
		out, tail := s.Next()
		if shared, n := out.Text(tail); shared != nil && len(out.AppendEnd(bytes.Clone(shared), tail)) != n {
			w.t.Fatal("Text announced another length")
		} else if shared != nil && n == 0 {
			w.t.Fatal("a text frame without a byte, which is no packet")
		}
		for _, b := range out.Binaries(tail) {
			if _, head, payload := s.BinaryFrame(b); len(head)+len(payload) == 0 && len(b) > 0 {
				w.t.Fatal("a binary message is lost")
			}
		}
		w.acts.Reuse(out)
	}
	for s.Ready() || s.Waiting() && s.State() == Closed {
		if body, _ := s.AppendPayload(nil, 1+len(w.asked)*50, &w.acts); len(body) == 0 {
			w.t.Fatal("a poll is answered with nothing")
		}
	}
}

// step does one input; op picks it and arg varies it.
func (w *walker) step(op, arg byte) {
	s, acts := &w.s, &w.acts
	var c *Client
	if len(w.asked) > 0 {
		c = w.asked[int(arg)%len(w.asked)]
	}
	switch op % 22 {
	case 0, 1, 2:
		b := []byte(walkTexts[int(arg)%len(walkTexts)])
		err := s.Text(b, w.now, acts)
		clear(b) // the caller's again
		if err != nil && s.State() == Open {
			w.t.Fatalf("%v, and the session goes on", err)
		}
	case 3, 4:
		_ = s.Binary([]byte(walkBinaries[int(arg)%len(walkBinaries)]), w.now, acts)
	case 5, 6:
		s.Poll(w.now, acts)
	case 7:
		s.BeginPost(w.now, acts)
	case 8, 9:
		body := []byte(walkTexts[int(arg)%len(walkTexts)])
		if s.Version() == 3 {
			body = []byte(string(rune('0'+len(body)%10)) + ":" + string(body))
		}
		_ = s.Post(body, arg&64 != 0 && s.Version() == 3, w.now, acts)
	case 10:
		s.AbandonPost()
	case 11:
		w.now += int64(arg)
		s.Tick(w.now, acts)
	case 12:
		if at := s.Deadline(); at > 0 {
			w.now = max(w.now, at)
			s.Tick(w.now, acts)
			if next := s.Deadline(); s.State() != Closed && next <= w.now {
				w.t.Fatalf("Tick at %d left the deadline %d", w.now, next)
			}
		}
	case 13, 14:
		if c != nil {
			s.Accept(c, "id", strings.Repeat("p", int(arg&1)), w.now)
		}
	case 15:
		if c != nil && !c.Connected() && !c.Gone() {
			w.over[c] = "refused"
			s.Refuse(c, "no", nil, w.now, acts)
		}
	case 16:
		if c != nil {
			s.Kick(c, ServerDisconnect, w.now, acts)
		}
	case 17, 18:
		w.send(w.shared[int(arg)%len(w.shared)], arg)
	case 19:
		if c != nil {
			if err := s.SendAck(c, uint64(arg), &message.Payload{JSON: []byte(`[1]`)}, w.now, acts); err != nil {
				w.t.Fatal(err)
			}
		}
	case 20:
		s.Probe([]byte([]string{"2probe", "5", "2probe", "5", "6", ""}[arg%6]), w.now)
		if arg&64 != 0 {
			s.ProbeLost()
		}
	case 21:
		switch arg % 16 {
		case 0:
			s.End(ShuttingDown, w.now, acts)
		case 1:
			s.Lost(TransportError, acts)
		case 2:
			s.Oversize([]byte(`4217["x"`), w.now, acts)
		default:
			s.Alive(w.now)
		}
	}
	if arg&128 != 0 {
		w.drain()
	}
	w.settle()
}

func (w *walker) send(o *Outgoing, arg byte) {
	before, was := w.s.out.len(), w.s.State()
	sent, err := w.s.Send(o, strings.Repeat("t", int(arg%4)), arg&32 != 0, w.now, &w.acts)
	switch {
	case sent && was != Open:
		w.t.Fatal("a message was sent on a session that is over")
	case !sent && err == nil && w.s.out.len() != before:
		w.t.Fatal("a message that was not sent changed the queue")
	case err != nil && w.s.State() == Open:
		w.t.Fatal("a slow session goes on")
	}
}

// finish ends the session in every state that a walk may leave it in.
func (w *walker) finish() {
	w.s.End(ShuttingDown, w.now, &w.acts)
	w.settle()
	w.now += closingTime + 1
	w.s.Tick(w.now, &w.acts)
	w.settle()
	w.drain()
	w.settle()
	if !w.ended || w.s.Pending() {
		w.t.Fatal("the session is not over, or holds messages")
	}
	for i, o := range w.shared {
		if content(o) != w.copies[i] {
			w.t.Fatalf("a shared message is changed: %q, was %q", content(o), w.copies[i])
		}
	}
}

// FuzzSession takes random inputs into every state.
func FuzzSession(f *testing.F) {
	for kind := range byte(32) {
		f.Add(kind, []byte{5, 128, 0, 0, 13, 128, 0, 7, 17, 1, 20, 0, 5, 128, 20, 1, 0, 8, 12, 0, 16, 0, 21, 0})
		f.Add(kind, []byte{3, 3, 13, 0, 3, 4, 17, 9, 19, 0, 0, 10, 3, 0, 0, 21})
	}
	r := random(7)
	for kind := range byte(32) {
		var walk []byte
		for range 200 {
			walk = binary.LittleEndian.AppendUint16(walk, uint16(r.Uint32()))
		}
		f.Add(kind, walk)
	}
	f.Fuzz(func(t *testing.T, kind byte, walk []byte) {
		w := newWalker(t, kind)
		for i := 0; i+1 < len(walk) && i < 4000; i += 2 {
			w.step(walk[i], walk[i+1])
		}
		w.finish()
	})
}

// talk makes a version 4 session with "/" and "/a" let in.
func talk(t *testing.T, h Hello) *driver {
	d := start(t, Config{}, h)
	d.collect()
	for _, connect := range []string{"40", "40/a"} {
		if h.Transport == Polling {
			d.act("get")
			d.collect()
			d.act("post " + connect)
		} else {
			d.act("> " + connect)
		}
		d.collect()
	}
	d.act("accept / c1")
	d.act("accept /a c2")
	d.collect()
	return d
}

// heard are the actions on packets, without the end, which comes later by polling.
func heard(d *driver) []string {
	return slices.DeleteFunc(d.collect(), func(l string) bool { return l[0] != '!' || strings.HasPrefix(l, "! ended") })
}

// FuzzText: packets that come as frames of a WebSocket make the same as those that
// come by posts.
func FuzzText(f *testing.F) {
	for _, s := range walkTexts {
		f.Add([]byte(s))
		f.Add([]byte(`42["a"]` + "\x1e" + s + "\x1e" + `42/a,1["b"]`))
	}
	f.Add([]byte(`452-["f",{"_placeholder":true,"num":1}]` + "\x1ebYWI=\x1eb"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if !utf8.Valid(b) {
			return // a WebSocket's reader has refused it already
		}
		ws, polling := talk(t, ws4), talk(t, poll4)
		var byFrames, byPosts []string
		for part := range bytes.SplitSeq(b, []byte{0x1e}) {
			frame := bytes.Clone(part)
			_ = ws.s.Text(frame, 0, &ws.acts)
			byFrames = append(byFrames, heard(ws)...)
			clear(frame)
			_ = polling.s.Post(part, false, 0, &polling.acts)
			byPosts = append(byPosts, heard(polling)...)
		}
		if a, b := append(byFrames, heard(ws)...), append(byPosts, heard(polling)...); !slices.Equal(a, b) {
			t.Fatalf("by websocket %q, by polling %q", a, b)
		}
	})
}

// FuzzPost: a payload makes the same as its packets in posts of their own.
func FuzzPost(f *testing.F) {
	for _, s := range walkTexts {
		f.Add([]byte(s+"\x1e"+`42["a"]`), byte(0))
		f.Add([]byte(`42["a"]`+"\x1e"+s+"\x1e"+`427["b"]`), byte(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, cut byte) {
		if !utf8.Valid(b) {
			return // a body is refused as a whole
		}
		packets := bytes.Split(b, []byte{0x1e})
		if slices.ContainsFunc(packets, func(p []byte) bool { return len(p) == 0 }) {
			return // a separator at a body's end takes the packet before it along
		}
		whole, parts := talk(t, poll4), talk(t, poll4)
		_ = whole.s.Post(bytes.Clone(b), false, 0, &whole.acts)
		var inParts []string
		for len(packets) > 0 {
			n := min(len(packets), 1+int(cut%4))
			body := bytes.Join(packets[:n], []byte{0x1e})
			_ = parts.s.Post(body, false, 0, &parts.acts)
			inParts = append(inParts, heard(parts)...)
			clear(body)
			packets = packets[n:]
		}
		if a, b := heard(whole), append(inParts, heard(parts)...); !slices.Equal(a, b) {
			t.Fatalf("in one %q, in parts %q", a, b)
		}
	})
}
