package session

import (
	"strings"
	"testing"

	"holdfast/socketio"
)

// TestStates goes through the tables of the package's doc row by row, and the
// limits of which it speaks (PROTOCOL sections 2, 6, 7, 9 and 12).
func TestStates(t *testing.T) {
	tests := []struct {
		name   string
		cfg    Config
		hello  Hello
		script string
	}{
		{"open: 1 on a websocket", Config{}, ws4, in4 + `
			> 1
				! leave / connected "transport close"
				! ended "transport close" 1000
			> 42["e"]
			send / - e []
				~ dropped
			lost
			end`},
		{"open: 1 by polling, a poll waits", Config{}, poll4, inPoll4 + `
			get
				~ wait
			post 1␞42["after"]
				! leave / connected "transport close"
				! ended "transport close" 1000
				= 6
			get
				~ unknown
			post 42["x"]
				~ unknown`},
		{"open: 1 by polling, none waits", Config{}, poll3, inPoll3 + `
			post 1:1
				! leave / connected "transport close"
				! ended "transport close" 1000`},
		{"open: out of place, websocket", Config{}, ws4, in4 + `
			> 42/a,["e"]
				~ a packet for a namespace that the session is not in
				! leave / connected "parse error"
				! ended "parse error" 1002`},
		{"open: first packet is no CONNECT, polling", Config{}, poll4, `
			get
				= ` + openPoll + `
			post 42["e"]
			get
				= 1
				! ended "parse error" 1002`},
		{"open: garbage by polling", Config{}, poll4, inPoll4 + `
			get
				~ wait
			post abc
				~ read packet 0 of payload: engineio: unknown packet type
				! leave / connected "parse error"
				= 1
				! ended "parse error" 1002`},
		{"open: an event before the answer", Config{}, ws4, `
				< ` + openWS + `
			> 40
				! connect /
			> 42["e"]
				~ a packet for a namespace that the session is not in
				! leave / asked "parse error"
				! ended "parse error" 1002
			accept / c1`},
		{"open: two polls at once", Config{}, poll4, inPoll4 + `
			get
				~ wait
			get
				~ conflict
				! leave / connected "transport error"
				= 1
				! ended "transport error" 1002`},
		{"open: two posts at once", Config{}, poll3, inPoll3 + `
			get
				~ wait
			begin
			begin
				~ conflict
				! leave / connected "transport error"
				= 1:1
				! ended "transport error" 1002
			finish 7:42["a"]`},
		{"open: two posts at once, no poll waits", Config{}, poll4, inPoll4 + `
			begin
			begin
				~ conflict
				! leave / connected "transport error"
				! ended "transport error" 1002
			get
				~ unknown`},
		{"open: a ping in the wrong direction by polling", Config{}, poll4, inPoll4 + `
			post 2
				! leave / connected "transport error"
				! ended "transport error" 1002
			get
				~ unknown`},
		{"open: garbage by polling, no poll waits", Config{}, poll4, inPoll4 + `
			post 42["e"]␞abc
				~ read packet 1 of payload: engineio: unknown packet type
				! event / "e" []
				! leave / connected "parse error"
				! ended "parse error" 1002
			get
				~ unknown`},
		{"open: a post over the limit does no harm", Config{}, poll4, inPoll4 + `
			begin
			abandon
			post 42["e"]
				! event / "e" []`},
		{"open: the transport is lost", Config{}, ws3, in3 + `
			lost
				! leave / connected "transport close"
				! ended "transport close" 1000
			lost
			get
				~ unknown`},
		{"open: a poll is lost with its post", Config{}, poll3, inPoll3 + `
			get
				~ wait
			lost
				! leave / connected "transport close"
				! ended "transport close" 1000
				= 1:1`},
		{"open: end, websocket", Config{}, ws4, in4 + `
			end
				! leave / connected "forced server close"
				! ended "forced server close" 1000
			end`},
		{"closing: the next poll has the rest", Config{}, poll4, inPoll4 + `
			send / - e [1]
			end
				! leave / connected "forced server close"
			send / - e [2]
				~ dropped
			post 42["x"]
				~ unknown
			begin-probe
				~ false
			probe 2probe
				~ failed
			get
				= 42["e",1]
			get
				= 1
				! ended "forced server close" 1000
			get
				~ unknown`},
		{"closing: nobody polls", Config{}, poll4, inPoll4 + `
			end
				! leave / connected "forced server close"
			wait 29999
			wait 1
				! ended "forced server close" 1000`},
		{"closing: lost", Config{}, poll4, inPoll4 + `
			end
				! leave / connected "forced server close"
			lost
				! ended "forced server close" 1000`},
		{"no CONNECT in time", Config{ConnectTimeout: 100}, ws4, `
				< ` + openWS + `
			> 40/random
				< 44/random,{"message":"Invalid namespace"}
			wait 99
			wait 1
				! ended "transport close" 1000`},
		{"a refused client has as long again", Config{ConnectTimeout: 100}, ws4, `
				< ` + openWS + `
			> 40
				! connect /
			wait 300
			refuse / no
				< 44{"message":"no"}
			wait 99
			> 40
				! connect /
			accept / c2
				< 40{"sid":"c2"}
			wait 200`},
		{"a second CONNECT", Config{}, ws4, in4 + `
			> 40
				~ a second CONNECT to a namespace that the session is in
				! leave / connected "parse error"
				! ended "parse error" 1002`},
		{"too many namespaces", Config{MaxClients: 2}, ws4, in4 + `
			> 40/a
				! connect /a
			> 40/b
				~ too many namespaces on one session
				! leave / connected "limit exceeded"
				! leave /a asked "limit exceeded"
				! ended "limit exceeded" 1008`},
		{"kicked from more namespaces than are remembered", Config{MaxClients: 1}, ws4, `
				< ` + openWS + `
			> 40/a
				! connect /a
			kick /a
				! leave /a asked "server namespace disconnect"
				< 41/a,
			> 40/b
				! connect /b
			kick /b
				! leave /b asked "server namespace disconnect"
				< 41/b,
			> 42/b,["late"]
			> 42/a,["late"]
				~ a packet for a namespace that the session is not in
				! ended "parse error" 1002`},
		{"what a kick lets go ends with the next CONNECT", Config{}, ws4, in4 + `
			kick /
				! leave / connected "server namespace disconnect"
				< 41
			> 40
				! connect /
			accept / c2
				< 40{"sid":"c2"}
			accept / c3
			refuse / no
			> 41
				! leave / connected "client namespace disconnect"
			kick /
			> 42["e"]
				~ a packet for a namespace that the session is not in
				! ended "parse error" 1002`},
		{"raw: a kick comes after what came early", Config{Raw: true}, ws4, `
				! connect /
				< ` + openWS + `
			> 4one
			accept / c1
			kick /
				! event / "" ["one"]
				! leave / connected "server namespace disconnect"
				! ended "server namespace disconnect" 1000`},
		{"text between attachments", Config{}, ws4, in4 + `
			> 451-["f",{"_placeholder":true,"num":0}]
			> 42["e"]
				~ a packet came between another and its attachments
				! leave / connected "parse error"
				! ended "parse error" 1002`},
		{"attachments in no time", Config{AttachmentTime: 50}, ws4, in4 + `
			> 452-["f",{"_placeholder":true,"num":0}]
			>b "a"
			wait 49
			wait 1
				! leave / connected "parse error"
				! ended "parse error" 1002`},
		{"attachments in too great number", Config{Packet: socketio.Limits{MaxAttachments: 1}}, ws4, in4 + `
			> 452-["f"]
				~ socketio: the packet announces more than 1 attachments
				! leave / connected "message too large"
				! ended "message too large" 1009`},
		{"attachments of too many bytes", Config{Packet: socketio.Limits{MaxBinary: 2}}, ws4, in4 + `
			> 452-["f"]
			>b "ab"
			>b "c"
				~ socketio: the packet's attachments are larger than 2 bytes
				! leave / connected "message too large"
				! ended "message too large" 1009`},
		{"a placeholder of an attachment that is not there", Config{}, ws4, in4 + `
			> 451-["f",{"_placeholder":true,"num":1}]
				~ socketio: a placeholder refers to an attachment beyond the 1 that there are
				! leave / connected "parse error"
				! ended "parse error" 1002`},
		{"binary that nothing announced", Config{}, ws4, in4 + `
			>b "\x83\xa4type\x00"
				~ a binary message that no packet announced
				! leave / connected "parse error"
				! ended "parse error" 1002`},
		{"a packet that only servers send", Config{}, ws4, in4 + `
			> 44{"message":"x"}
				~ a packet type that only a server sends
				! leave / connected "parse error"
				! ended "parse error" 1002`},
		{"a reserved name", Config{}, ws4, in4 + `
			> 42["disconnect"]
				~ socketio: the event's name is reserved
				! leave / connected "parse error"
				! ended "parse error" 1002`},
		{"v4: a ping in the wrong direction", Config{}, ws4, in4 + `
			> 2
				~ a packet that a client does not send
				! leave / connected "transport error"
				! ended "transport error" 1002`},
		{"v3: a pong in the wrong direction", Config{}, ws3, in3 + `
			> 3
				~ a packet that a client does not send
				! leave / connected "transport error"
				! ended "transport error" 1002`},
		{"an open packet from the client", Config{}, ws4, in4 + `
			> 0{}
				~ a packet that a client does not send: open
				! leave / connected "transport error"
				! ended "transport error" 1002`},
		{"a message over the limit that asks for an ack", Config{}, ws4, in4 + `
			oversize 4217["file","
				~ kept true
				< 4317[{"error":{"code":"INVALID_ARGUMENT","message":"the message is larger than 1000000 bytes"}}]
			oversize 42/a,17["not in"
				~ kept false
			oversize 42["no ack"
				~ kept false
			oversize 4299999999999999999999["x"
				~ kept false
			oversize 451-7["binary"
				~ kept false
			oversize 42/a
				~ kept false
			oversize 42
				~ kept false`},
		{"v3: a post over the limit that asks for an ack", Config{MaxPayload: 20}, poll3, `
				! connect /
			accept / S
			get
				= 94:` + strings.Replace(openPoll, "1000000", "20", 1) + `2:40
			begin
			oversize-post 105 100:421["
				~ kept false
			oversize-post 104 100:421["
				~ kept true
			get
				= 90:431[{"error":{"code":"INVALID_ARGUMENT","message":"the message is larger than 20 bytes"}}]
			post 7:42["e"]
				! event / "e" []`},
		{"v4: a post over the limit that asks for an ack", Config{}, poll4, inPoll4 + `
			begin
			oversize-post 2000000 42["
				~ kept false
			oversize-post 2000000 421["
				~ kept true
			post 42["e"]
				! event / "e" []`},
		{"volatile", Config{}, ws4, in4 + `
			volatile / - e [1]
				< 42["e",1]
			blocked / - e [2]
				~ dropped`},
		{"volatile by polling", Config{}, poll4, inPoll4 + `
			volatile / - e [1]
				~ dropped
			get
				~ wait
			volatile / - e [2]
				= 42["e",2]`},
		{"collapse", Config{}, poll4, inPoll4 + `
			post 40/a
				! connect /a
			accept /a c2
			collapse k / t1 cursor [1]
			send / t2 other [2]
			collapse k /a t3 cursor [3]
			collapse k / t4 cursor [4]
			collapse k2 / - cursor [5]
			get
				= 40/a,{"sid":"c2"}␞42["other",2,"t2"]␞42/a,["cursor",3,"t3"]␞42["cursor",4,"t4"]␞42["cursor",5]`},
		{"slow: too many messages", Config{OutputItems: 2}, poll4, inPoll4 + `
			send / - e [1]
			send / - e [2]
			send / - e [3]
				~ more waits for the peer than is allowed
				! leave / connected "slow consumer"
			get
				= 1
				! ended "slow consumer" 1013`},
		{"slow: too many bytes", Config{OutputBytes: 100}, poll4, inPoll4 + `
			send / - e ["` + strings.Repeat("x", 200) + `"]
			send / - e []
				~ more waits for the peer than is allowed
				! leave / connected "slow consumer"`},
		{"slow: too long", Config{OutputAge: 1000}, poll4, inPoll4 + `
			send / - e [1]
			wait 999
			send / - e [2]
			wait 1
				! leave / connected "slow consumer"
			get
				= 1
				! ended "slow consumer" 1013`},
		{"slow: answers that nobody fetches, by Tick", Config{OutputItems: 1}, poll4, inPoll4 + `
			ack / 1 []
			ack / 2 []
			wait 0
				! leave / connected "slow consumer"`},
		{"slow: answers that nobody fetches, by what comes", Config{OutputItems: 2}, poll3, inPoll3 + `
			post 1:21:21:2
				! leave / connected "slow consumer"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { start(t, tt.cfg, tt.hello).play(tt.script) })
	}
}

// TestDefaults: the zero Config is useful.
func TestDefaults(t *testing.T) {
	c := Config{}.WithDefaults()
	if c.PingInterval != 25_000 || c.PingTimeout != 20_000 || c.MaxClients != 32 || c.OutputItems == 0 {
		t.Errorf("the defaults are %+v", c)
	}
	if ns, ok := c.Namespace("/"); ns != "/" || !ok {
		t.Error("the default has no namespace /")
	}
	if _, ok := c.Namespace("/a"); ok {
		t.Error("the default has the namespace /a")
	}
	if d := (Config{MaxPayload: 5}).WithDefaults(); d.MaxPayload != 5 {
		t.Error("a value that was set is gone")
	}
}
