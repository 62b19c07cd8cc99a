package session

import (
	"strings"
	"testing"
)

// TestWire draws what goes over the wire in both versions, on both transports, in
// both directions (PROTOCOL sections 3, 4, 7 and 9).
func TestWire(t *testing.T) {
	b64 := func(h Hello) Hello { h.Base64 = true; return h }
	tests := []struct {
		name   string
		cfg    Config
		hello  Hello
		script string
	}{
		{"v4 websocket: connect, event, ack", Config{}, ws4, `
				< ` + openWS + `
			> 40{"token":"x"}
				! connect / {"token":"x"}
			accept / c1 p1
				< 40{"sid":"c1","pid":"p1"}
			> 42["say","hi",{"<&>":1}]
				! event / "say" ["hi",{"<&>":1}]
			> 427["say"]
				! event / "say" [] #7
			ack / 7 [1]
				< 437[1]
			> 439["seen"]
				! ack / ["seen"] #9
			> 43["nobody asked"]
			> 6
			> 1
				! leave / connected "transport close"
				! ended "transport close" 1000`},
		{"v4 websocket: namespaces", Config{}, ws4, `
				< ` + openWS + `
			> 40/a,{"t":1}
				! connect /a {"t":1}
			accept /a c2
				< 40/a,{"sid":"c2"}
			> 40/b
				! connect /b
			> 40/random,
				< 44/random,{"message":"Invalid namespace"}
			> 40/a?x=1,{"t":1}
				< 44/a?x=1,{"message":"Invalid namespace"}
			refuse /b no {"code":1}
				< 44/b,{"message":"no","data":{"code":1}}
			> 42/a,3["x"]
				! event /a "x" [] #3
			ack /a 3
				< 43/a,3[]
			> 41/a
				! leave /a connected "client namespace disconnect"
			> 40/a,
				! connect /a
			> 41/a,
				! leave /a asked "client namespace disconnect"`},
		{"v4 websocket: pushes, their tails, and a kick", Config{}, ws4, in4 + `
			send / - e [1,2]
				< 42["e",1,2]
			send / k1.0-9x e [1,2]
				< 42["e",1,2,"k1.0-9x"]
			send / k e []
				< 42["e","k"]
			send /a - é ["<"]
				< 42/a,["é","<"]
			send / - - ["x"]
				~ not for it
			kick /
				! leave / connected "server namespace disconnect"
				< 41
			> 42["late"]
			> 41
			> 451-["late",{"_placeholder":true,"num":0}]
			>b "x"
			> 40
				! connect /
			accept / c2
				< 40{"sid":"c2"}
			> 42["e"]
				! event / "e" []`},
		{"v4 websocket: binary both ways", Config{}, ws4, in4 + `
			> 452-7["f",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]
			>b "one"
			> 3
			> bdHdv
				! event / "f" [{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}] #7 "one" "two"
			> 461-5[{"_placeholder":true,"num":0}]
			>b ""
				! ack / [{"_placeholder":true,"num":0}] #5 ""
			> 450-["none"]
				! event / "none" []`},
		{"v3 websocket: connected without asking", Config{}, ws3, in3 + `
			> 2
				< 3
			> 2abc
				< 3
			> 40/a?token=x&b=1
				! connect /a token=x&b=1
			accept /a x
				< 40/a,
			> 40/b
				! connect /b
			refuse /b no
				< 44/b,"no"
			> 40/b
				! connect /b
			refuse /b no {"code":1}
				< 44/b,{"code":1}
			> 40/b
				! connect /b
			refuse /b no 42
				< 44/b,"no"
			> 40/random
				< 44/random,{"message":"Invalid namespace"}
			> 421["e"]
				! event / "e" [] #1
			ack / 1 ["ok"]
				< 431["ok"]
			send / - e []
				< 42["e"]`},
		{"v3 websocket: / does not exist", Config{Namespace: func(n string) (string, bool) { return n, n == "/a" }}, ws3, `
				< ` + openWS + `
				< 44{"message":"Invalid namespace"}`},
		{"v3 websocket: binary has its type", Config{}, ws3, in3 + `
			> 451-["f",{"_placeholder":true,"num":0}]
			>b "\x04ab"
				! event / "f" [{"_placeholder":true,"num":0}] "ab"
			> 451-["f",{"_placeholder":true,"num":0}]
			> b4YWI=
				! event / "f" [{"_placeholder":true,"num":0}] "ab"
			>b "\x03ab"
				~ engineio: unknown packet type
				! leave / connected "parse error"
				! ended "parse error" 1002`},
		{"v4 polling: nothing to go on to", Config{PollingOnly: true}, poll4, `
			get
				= ` + openWS},
		{"v4 polling: payloads", Config{}, poll4, inPoll4 + `
			post 42["a"]␞421["b"]␞451-["c",{"_placeholder":true,"num":0}]␞bYWI=
				! event / "a" []
				! event / "b" [] #1
				! event / "c" [{"_placeholder":true,"num":0}] "ab"
			send / - x [1]
			send / t y [2]
			get
				= 42["x",1]␞42["y",2,"t"]
			get
				~ wait
			ack / 1 []
				= 431[]
			octets "42[\"a\"]"
				~ engineio: binary payload in Engine.IO 4
				! leave / connected "parse error"
				! ended "parse error" 1002
			get
				~ unknown`},
		{"v3 polling: lengths in UTF-16", Config{}, poll3, inPoll3 + `
			post 9:42["😀é"]2:2x
				! event / "😀é" []
			get
				= 1:3
			post 0:
			send / - 😀 []
			get
				= 8:42["😀"]
			post 11:451-["f",1]6:b4YWI=
				! event / "f" [1] "ab"
			octets "\x00\x08\xff42[\"é\"]\x01\x03\xff\x04ab"
				! event / "é" []
				! leave / connected "parse error"
			get
				= 1:1
				! ended "parse error" 1002`},
		{"raw v4", Config{Raw: true}, ws4, `
				! connect /
				< ` + openWS + `
			> 4early
			accept / c1
			> 4h"i
				! event / "" ["early"]
				! event / "" ["h\"i"]
			>b "ab"
				! event / "" [{"_placeholder":true,"num":0}] "ab"
			send / tail - ["text"]
				< 4text
			send / - named []
				~ not for it
			send / - - [1]
				~ a push to a raw Engine.IO session takes ["text"] or one attachment
			kick /
				! leave / connected "server namespace disconnect"
				! ended "server namespace disconnect" 1000`},
		{"raw v4: what came early follows by itself", Config{Raw: true}, ws4, `
				! connect /
				< ` + openWS + `
			> 4one
			> 4two
			accept / c1
			wait 0
				! event / "" ["one"]
				! event / "" ["two"]`},
		{"raw v4: what came early precedes the end", Config{Raw: true}, ws4, `
				! connect /
				< ` + openWS + `
			> 4one
			accept / c1
			lost
				! event / "" ["one"]
				! leave / connected "transport close"
				! ended "transport close" 1000`},
		{"raw v3: refused", Config{Raw: true}, ws3, `
				! connect /
				< ` + openWS + `
			> 4x
			refuse / no
				! ended "forced server close" 1000`},
		{"raw v3: too much too early", Config{Raw: true, MaxPayload: 10}, ws3, `
				! connect /
				< ` + strings.Replace(openWS, "1000000", "10", 1) + `
			> 412345678
			> 4x
				~ too many messages before the client was let in
				! leave / asked "limit exceeded"
				! ended "limit exceeded" 1008`},
		{"v4 MessagePack is known by its first packet", Config{}, ws4, `
				< ` + openWS + `
			>b "\x83\xa4type\x00\xa4data\x81\xa1t\x01\xa3nsp\xa1/"
				! connect / {"t":1}
			accept / c1
				<b "\x83\xa4type\x00\xa4data\x81\xa3sid\xa2c1\xa3nsp\xa1/"
			>b "\x84\xa4type\x02\xa4data\x92\xa1e\xc4\x02ab\xa2id\x07\xa3nsp\xa1/"
				! event / "e" [{"_placeholder":true,"num":0}] #7 "ab"
			ack / 7 [1]
				<b "\x84\xa4type\x03\xa4data\x91\x01\xa2id\a\xa3nsp\xa1/"
			send / - e ["x"]
				<b "\x83\xa4type\x02\xa4data\x92\xa1e\xa1x\xa3nsp\xa1/"
			send / off e ["x"]
				<b "\x83\xa4type\x02\xa4data\x93\xa1e\xa1x\xa3off\xa3nsp\xa1/"
			>b "\x83\xa4type\x00\xa4data\x80\xa3nsp\xa2/x"
				<b "\x83\xa4type\x04\xa4data\x81\xa7message\xb1Invalid namespace\xa3nsp\xa2/x"
			kick /
				! leave / connected "server namespace disconnect"
				<b "\x82\xa4type\x01\xa3nsp\xa1/"
			> 40
				~ a text packet from a client that speaks MessagePack
				! ended "parse error" 1002`},
		{"v4 MessagePack on polling", Config{}, poll4, `
			get
				= ` + openPoll + `
			post bg6R0eXBlAKRkYXRhgKNuc3ChLw==
				! connect / {}
			accept / c
			get
				= bg6R0eXBlAKRkYXRhgaNzaWShY6Nuc3ChLw==`},
		{"v3 MessagePack: control packets are text", Config{Msgpack3: true}, ws3, `
				! connect /
				< ` + openWS + `
			accept / x
				< 4{"type":0,"nsp":"/"}
			>b "\x04\x84\xa4type\x02\xa4data\x92\xa1e\xc4\x02ab\xa2id\x07\xa3nsp\xa1/"
				! event / "e" [{"_placeholder":true,"num":0}] #7 "ab"
			ack / 7 [1]
				<b "\x04\x84\xa4type\x03\xa4data\x91\x01\xa2id\a\xa3nsp\xa1/"
			send / - e ["x"]
				<b "\x04\x83\xa4type\x02\xa4data\x92\xa1e\xa1x\xa3nsp\xa1/"
			> 4{"type":0,"query":"t=1","nsp":"/a?t=1"}
				! connect /a t=1
			refuse /a no {"code":1}
				< 4{"type":4,"data":"no","nsp":"/a"}
			> 4{"type":0,"nsp":"/random"}
				< 4{"type":4,"data":"Invalid namespace","nsp":"/random"}
			kick /
				! leave / connected "server namespace disconnect"
				< 4{"type":1,"nsp":"/"}
			> 42["e"]
				~ socketio: the packet is not a JSON object with a type and a namespace
				! ended "parse error" 1002`},
		{"b64 v3 websocket", Config{}, b64(ws3), in3 + `
			> 451-["f",{"_placeholder":true,"num":0}]
			> b4YWI=
				! event / "f" [{"_placeholder":true,"num":0}] "ab"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { start(t, tt.cfg, tt.hello).play(tt.script) })
	}
}
