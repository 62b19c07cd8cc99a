package session

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"holdfast/engineio"
	"holdfast/internal/message"
)

// driver plays a shard to one session by a script, so that a test reads as what
// goes over the wire. A line is an act of the client or of the shard, and the lines
// indented below it are all that the session makes of it, in order:
//
//	> 40{"token":"x"}            a text frame comes       ! connect / {"token":"x"}   an action
//	>b "\x04ab"                  a binary frame comes     < 42["a"]                   a text frame leaves
//	get                          a poll comes             <b "ab"                     a binary frame leaves
//	post 42["a"]␞42["b"]         a post comes             = 42["a"]␞42["b"]           the poll is answered
//	octets "\x01\x02\xff\x04a"   a binary post comes      =b "\x01\x02\xff\x04a"      with a binary body
//	probe 2probe                 a frame on the probe     ~ wait                      any other outcome
//
// Further acts are the words in [driver.act]. ␞ stands for the byte 0x1e.
type driver struct {
	t    *testing.T
	s    Session
	now  int64
	acts Actions
	seen map[string]*Client // the last one of each namespace

	// twin plays the same scripts, and the session moves on to another after each act:
	// nobody may tell the difference.
	twin  *driver
	moves int
}

// start makes a session at the time 0.
func start(t *testing.T, cfg Config, hello Hello) *driver {
	t.Helper()
	d := begin(t, cfg, hello)
	d.twin = begin(t, cfg, hello)
	return d
}

func begin(t *testing.T, cfg Config, hello Hello) *driver {
	t.Helper()
	if hello.ID == "" {
		hello.ID = "S"
	}
	if cfg.Namespace == nil {
		cfg.Namespace = func(name string) (string, bool) { return name, name == "/" || name == "/a" || name == "/b" }
	}
	cfg = cfg.WithDefaults()
	d := &driver{t: t, seen: map[string]*Client{}}
	d.s.Init(&cfg, hello, d.now, &d.acts)
	return d
}

// play runs a script and compares what follows each act.
func (d *driver) play(script string) {
	d.t.Helper()
	if d.twin != nil {
		defer d.twin.play(script)
	}
	var want, got []string
	line := "start"
	check := func() {
		d.t.Helper()
		if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
			d.t.Fatalf("after %q at %d ms\n got %q\nwant %q", line, d.now, got, want)
		}
	}
	got = d.collect()
	for raw := range strings.Lines(script) {
		l := strings.TrimSpace(raw)
		switch {
		case l == "":
		case strings.ContainsAny(l[:1], "!<=~"):
			want = append(want, l)
		default:
			check()
			line, want = l, nil
			got = d.act(l)
			got = append(got, d.collect()...)
			if d.twin == nil {
				d.move()
			}
		}
	}
	check()
}

// collect takes what a call has asked for and what may leave.
func (d *driver) collect() (lines []string) {
	for {
		list := d.acts.Take()
		for i := range list {
			lines = append(lines, d.action(&list[i]))
		}
		d.acts.Done(list)
		switch {
		case d.s.Transport() == WebSocket && d.s.Pending():
			lines = append(lines, d.frames()...)
		case d.s.Transport() == Polling && (d.s.Ready() || d.s.Waiting() && d.s.State() == Closed):
			lines = append(lines, d.answer())
		default:
			return lines
		}
	}
}

func (d *driver) frames() (lines []string) {
	out, tail := d.s.Next()
	if shared, n := out.Text(tail); shared != nil {
		b := out.AppendEnd(bytes.Clone(shared), tail)
		if len(b) != n {
			d.t.Fatalf("Text announced %d bytes and gave %d: %s", n, len(b), b)
		}
		lines = append(lines, "< "+string(b))
	}
	for _, b := range out.Binaries(tail) {
		binary, head, payload := d.s.BinaryFrame(b)
		if whole := string(head) + string(payload); binary {
			lines = append(lines, "<b "+strconv.Quote(whole))
		} else {
			lines = append(lines, "< "+whole)
		}
	}
	d.acts.Reuse(out)
	return lines
}

func (d *driver) answer() string {
	body, binary := d.s.AppendPayload(nil, 1<<20, &d.acts)
	if binary {
		return "=b " + strconv.Quote(string(body))
	}
	return "= " + visible(string(body))
}

func visible(s string) string { return strings.ReplaceAll(s, "\x1e", "␞") }

// action writes an action as a script has it.
func (d *driver) action(a *Action) string {
	switch a.Kind {
	case Connect:
		d.seen[a.Client.Namespace] = a.Client
		return strings.TrimSpace("! connect " + a.Client.Namespace + " " + string(a.Auth))
	case Event, Ack:
		l := "! event " + a.Client.Namespace
		if a.Kind == Ack {
			l = "! ack " + a.Client.Namespace
		} else {
			l += " " + strconv.Quote(a.Name)
		}
		l += " " + string(a.Payload.JSON)
		if a.WantsAck || a.Kind == Ack {
			l += fmt.Sprintf(" #%d", a.AckID)
		}
		for _, b := range a.Payload.Attachments {
			l += " " + strconv.Quote(string(b))
		}
		return l
	case Leave:
		was := "asked"
		if a.Connected {
			was = "connected"
		}
		return fmt.Sprintf("! leave %s %s %q", a.Client.Namespace, was, a.Reason.Text)
	case Ended:
		return fmt.Sprintf("! ended %q %d", a.Reason.Text, a.Reason.Code)
	}
	return "! nothing"
}

// act does one act; its words are separated by one blank, the last may have more.
func (d *driver) act(line string) []string {
	verb, rest, _ := strings.Cut(line, " ")
	arg := func() string {
		var a string
		a, rest, _ = strings.Cut(rest, " ")
		return a
	}
	client := func() *Client { return d.seen[arg()] }
	switch verb {
	case ">":
		return d.failed(d.s.Text([]byte(rest), d.now, &d.acts))
	case ">b":
		return d.failed(d.s.Binary([]byte(d.unquote(rest)), d.now, &d.acts))
	case "get":
		return d.replied(d.s.Poll(d.now, &d.acts))
	case "post", "octets":
		if l := d.replied(d.s.BeginPost(d.now, &d.acts)); l != nil {
			return l
		}
		body := strings.ReplaceAll(rest, "␞", "\x1e")
		if verb == "octets" {
			body = d.unquote(rest)
		}
		return d.failed(d.s.Post([]byte(body), verb == "octets", d.now, &d.acts))
	case "begin": // a post of which the body is not there yet
		return d.replied(d.s.BeginPost(d.now, &d.acts))
	case "finish":
		return d.failed(d.s.Post([]byte(rest), false, d.now, &d.acts))
	case "abandon":
		d.s.AbandonPost()
	case "oversize":
		return []string{fmt.Sprint("~ kept ", d.s.Oversize([]byte(rest), d.now, &d.acts))}
	case "oversize-post": // size, head
		size, _ := strconv.ParseInt(arg(), 10, 64)
		return []string{fmt.Sprint("~ kept ", d.s.OversizePost([]byte(rest), size, d.now, &d.acts))}
	case "begin-probe":
		return []string{fmt.Sprint("~ ", d.s.BeginProbe())}
	case "probe":
		return []string{"~ " + [...]string{"failed", "pong", "upgraded"}[d.s.Probe([]byte(rest), d.now)]}
	case "probe-lost":
		d.s.ProbeLost()
	case "lost":
		d.s.Lost(TransportClose, &d.acts)
	case "end":
		d.s.End(ForcedServer, d.now, &d.acts)
	case "alive":
		d.s.Alive(d.now)
	case "wait":
		return d.wait(rest)
	case "accept":
		c := client()
		d.s.Accept(c, arg(), rest, d.now)
	case "refuse": // namespace, one word, data
		c := client()
		msg := arg()
		d.s.Refuse(c, msg, []byte(rest), d.now, &d.acts)
	case "kick":
		d.s.Kick(client(), ServerDisconnect, d.now, &d.acts)
	case "ack": // namespace, ID, arguments
		c := client()
		id, _ := strconv.ParseUint(arg(), 10, 64)
		return d.failed(d.s.SendAck(c, id, &message.Payload{JSON: []byte(rest)}, d.now, &d.acts))
	case "send", "volatile", "blocked", "collapse": // namespace, tail or -, event, arguments; "collapse" has the key first
		p := message.Push{Volatile: verb == "volatile" || verb == "blocked"}
		if verb == "collapse" {
			p.CollapseKey = arg()
		}
		namespace, tail := arg(), strings.TrimPrefix(arg(), "-")
		p.Event = strings.TrimPrefix(arg(), "-")
		p.Payload.JSON = []byte(rest)
		return d.send(namespace, tail, verb == "blocked", &p)
	default:
		d.t.Fatalf("no such act: %q", line)
	}
	return nil
}

func (d *driver) send(namespace, tail string, blocked bool, p *message.Push) []string {
	out, err := EncodeEvent(d.s.Form(), namespace, p, 0, false)
	if err != nil {
		return d.failed(err)
	}
	if out == nil {
		return []string{"~ not for it"}
	}
	sent, err := d.s.Send(out, tail, blocked, d.now, &d.acts)
	switch {
	case err != nil:
		return d.failed(err)
	case !sent:
		return []string{"~ dropped"}
	}
	return nil
}

// wait lets time pass, with a Tick at every deadline, as the shard's wheel does.
func (d *driver) wait(ms string) (lines []string) {
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		d.t.Fatal(err)
	}
	for until := d.now + n; ; {
		at := d.s.Deadline()
		if d.s.State() == Closed || at > until {
			d.now = until
			return lines
		}
		d.now = max(d.now, at)
		d.s.Tick(d.now, &d.acts)
		lines = append(lines, d.collect()...)
		if next := d.s.Deadline(); d.s.State() != Closed && next <= d.now {
			d.t.Fatalf("the Tick at %d ms left a deadline of %d", d.now, next)
		}
	}
}

func (d *driver) failed(err error) []string {
	if err != nil {
		return []string{"~ " + err.Error()}
	}
	return nil
}

func (d *driver) replied(a Answer) []string {
	if a == Reply {
		return nil
	}
	return []string{"~ " + [...]string{"", "wait", "refused", "conflict", "unknown"}[a]}
}

func (d *driver) unquote(s string) string {
	b, err := strconv.Unquote(s)
	if err != nil {
		d.t.Fatalf("%s: %v", s, err)
	}
	return b
}

// The four ways in which a session begins.
var (
	poll4 = Hello{Version: engineio.V4}
	poll3 = Hello{Version: engineio.V3}
	ws4   = Hello{Version: engineio.V4, Transport: WebSocket}
	ws3   = Hello{Version: engineio.V3, Transport: WebSocket}
)

// The open packets of those.
const (
	openPoll = `0{"sid":"S","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`
	openWS   = `0{"sid":"S","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`
)

// The first lines of a session with "/" let in.
const (
	in4 = "< " + openWS + `
		> 40
			! connect /
		accept / c1
			< 40{"sid":"c1"}
		`
	in3 = "! connect /\n < " + openWS + `
		accept / S
			< 40
		`
	inPoll4 = `get
			= ` + openPoll + `
		post 40
			! connect /
		accept / c1
		get
			= 40{"sid":"c1"}
		`
	inPoll3 = `! connect /
		get
			= 99:` + openPoll + `
		accept / S
		get
			= 2:40
		`
)

// move has another session go on with the snapshot of this one, as JSON.
func (d *driver) move() {
	d.t.Helper()
	snap, ok := d.s.Snapshot(d.now)
	if !ok {
		return
	}
	b, err := json.Marshal(&snap)
	if err != nil {
		d.t.Fatal(err)
	}
	var arrived Snapshot
	if err := json.Unmarshal(b, &arrived); err != nil {
		d.t.Fatal(err)
	}
	before, clients := d.s.Deadline(), d.s.Clients()
	cfg := d.s.Settings()
	d.s.Moved()
	if d.s.State() != Closed || d.s.Deadline() != 0 || d.s.Pending() {
		d.t.Fatal("a session that has moved is still there")
	}
	if err := d.s.Restore(cfg, &arrived, d.now); err != nil {
		d.t.Fatalf("restore %s: %v", b, err)
	}
	if after := d.s.Deadline(); after != before {
		d.t.Fatalf("the deadline was %d and is %d: %s", before, after, b)
	}
	for i, c := range d.s.Clients() {
		if d.seen[c.Namespace] == clients[i] {
			d.seen[c.Namespace] = c
		}
		if !clients[i].Gone() {
			d.t.Fatal("a client is where it was")
		}
	}
	d.moves++
}
