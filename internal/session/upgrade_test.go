package session

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestUpgrade is the order of PROTOCOL section 6, and ways in which it fails.
func TestUpgrade(t *testing.T) {
	tests := []struct {
		name   string
		hello  Hello
		script string
	}{
		{"v4: a poll waits", poll4, inPoll4 + `
			get
				~ wait
			begin-probe
				~ true
			probe 2probe
				~ pong
				= 6
			begin-probe
				~ false
			send / - e [1]
			get
				= 42["e",1]
			get
				= 6
			send / - e [2]
			post 42["up"]
				! event / "up" []
			probe 5
				~ upgraded
				< 42["e",2]
			get
				~ refused
			post 3
				~ refused
			begin-probe
				~ false
			probe 2probe
				~ failed
			> 42["ws"]
				! event / "ws" []
			send / - e [3]
				< 42["e",3]
			end
				! leave / connected "forced server close"
				! ended "forced server close" 1000`},
		{"v3: noops in its form", poll3, inPoll3 + `
			get
				~ wait
			probe 2probe
				~ pong
				= 1:6
			get
				= 1:6
			probe 5
				~ upgraded
			> 2
				< 3`},
		{"a poll that waits while something is queued keeps its answer", poll4, inPoll4 + `
			send / - e [1]
			probe 2probe
				~ pong
			get
				= 42["e",1]`},
		{"the probe fails", poll4, inPoll4 + `
			probe 5
				~ failed
			probe 2probe
				~ pong
			probe 2probe
				~ failed
			probe-lost
			begin-probe
				~ true
			get
				~ wait
			send / - e [1]
				= 42["e",1]`},
		{"the session ends meanwhile", poll4, inPoll4 + `
			probe 2probe
				~ pong
			end
				! leave / connected "forced server close"
			probe 5
				~ failed
			get
				= 1
				! ended "forced server close" 1000`},
		{"a post that began before ends after", poll4, inPoll4 + `
			begin
			probe 2probe
				~ pong
			probe 5
				~ upgraded
			finish 42["e"]
				! event / "e" []`},
		{"attachments come by both", poll4, inPoll4 + `
			post 451-["f",{"_placeholder":true,"num":0}]
			probe 2probe
				~ pong
			probe 5
				~ upgraded
			>b "ab"
				! event / "f" [{"_placeholder":true,"num":0}] "ab"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { start(t, Config{}, tt.hello).play(tt.script) })
	}
}

// TestUpgradeEndsThePoll: a poll that waits although the client said 5 is answered
// by the shard, and the session does not count on it any more.
func TestUpgradeEndsThePoll(t *testing.T) {
	d := start(t, Config{}, poll4)
	d.play(inPoll4)
	d.twin = nil // it knows nothing of what comes now
	d.act("get")
	d.act("probe 2probe")
	d.act("probe 5")
	if d.s.Waiting() || d.s.Ready() {
		t.Error("the session waits for a poll on a WebSocket")
	}
	// The noop for the poll was on its way; a client takes it here as well.
	d.play(`< 6
		> 1
			! leave / connected "transport close"
			! ended "transport close" 1000`)
}

// TestUpgradeLosesNothing lets a client upgrade as stock ones do while both sides
// talk, in random order, and then demands every message of both, once, in order.
//
// The client's rules: one poll and one post at a time; after 3probe it ends its
// poll (which must come back soon) and its post, makes no new one, then says 5.
func TestUpgradeLosesNothing(t *testing.T) {
	for seed := range uint64(500) {
		hello := poll4
		if seed%2 == 0 {
			hello = poll3
		}
		r := random(seed)
		d := start(t, Config{}, hello)
		d.collect()
		d.act("get")
		d.collect()
		if hello == poll4 {
			d.act("post 40")
			d.collect()
		}
		d.act("accept / c1")

		var got, heard []string // what the client has got, the server heard
		sent, said := 0, 0
		polling, posting, probing, pausing, upgraded := false, "", false, false, false
		note := func(lines []string) {
			for _, l := range lines {
				switch {
				case strings.HasPrefix(l, "! event"):
					heard = append(heard, l)
				case strings.HasPrefix(l, "="):
					polling = false
					fallthrough
				case strings.HasPrefix(l, "<"):
					for _, m := range strings.Split(l, `42["n",`)[1:] {
						n, _, _ := strings.Cut(m, "]")
						got = append(got, n)
					}
				}
			}
		}
		say := func() string {
			said++
			m := fmt.Sprintf(`42["up",%d]`, said)
			if hello == poll3 && !upgraded {
				m = fmt.Sprintf("%d:%s", len(m), m)
			}
			return m
		}
		do := func(line string) { note(append(d.act(line), d.collect()...)) }
		for step := 0; step < 60 || !upgraded; step++ {
			if step > 2000 {
				t.Fatalf("seed %d: the client cannot upgrade", seed)
			}
			switch r.IntN(7) {
			case 0, 1:
				sent++
				do(fmt.Sprintf("send / - n [%d]", sent))
			case 2:
				if !upgraded && !pausing && !polling {
					polling = true
					do("get")
				}
			case 3:
				switch {
				case upgraded:
					do("> " + say())
				case posting != "":
					body := posting
					posting = ""
					do("finish " + body)
				case !pausing:
					posting = say()
					do("begin")
				}
			case 4:
				if !probing && step > 10 {
					probing = true
					do("probe 2probe")
				}
			case 5:
				if probing {
					pausing = true
				}
			case 6:
				if pausing && !upgraded && !polling && posting == "" {
					upgraded = true
					do("probe 5")
				}
			}
		}
		var want, spoken []string
		for i := range sent {
			want = append(want, fmt.Sprint(i+1))
		}
		for i := range said {
			spoken = append(spoken, fmt.Sprintf(`! event / "up" [%d]`, i+1))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: the client got %v of %d", seed, got, sent)
		}
		if !slices.Equal(heard, spoken) {
			t.Fatalf("seed %d: the server heard %v of %d", seed, heard, said)
		}
	}
}
