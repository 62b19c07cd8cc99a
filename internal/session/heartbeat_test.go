package session

import (
	"testing"

	"holdfast/engineio"
)

// TestHeartbeat draws timelines (PROTOCOL section 5, DESIGN Heartbeat). The numbers
// of "wait" are milliseconds.
func TestHeartbeat(t *testing.T) {
	adaptive := Config{PingFloor: 5_000, PingStep: 10_000, PingRounds: 2}
	tests := []struct {
		name   string
		cfg    Config
		hello  Hello
		script string
	}{
		{"v4: this side pings", Config{}, ws4, in4 + `
			wait 24999
			wait 1
				< 2
			> 3
			wait 24999
			wait 1
				< 2
			wait 19999
			wait 1
				! leave / connected "ping timeout"
				! ended "ping timeout" 1000`},
		{"v4: anything is a sign of life", Config{}, ws4, in4 + `
			wait 25000
				< 2
			> 42["e"]
				! event / "e" []
			wait 25000
				< 2
			alive
			wait 25000
				< 2`},
		{"v4: a busy session is pinged too", Config{PingInterval: 100, PingTimeout: 50, MaxPayload: 1}, ws4, `
				< 0{"sid":"S","upgrades":[],"pingInterval":100,"pingTimeout":50,"maxPayload":1}
			> 40
				! connect /
			accept / c1
				< 40{"sid":"c1"}
			wait 60
			> 42["e"]
				! event / "e" []
			send / - e []
				< 42["e"]
			wait 40
				< 2`},
		{"v4: a short interval pings again meanwhile", Config{PingInterval: 100, PingTimeout: 250, MaxPayload: 1}, ws4, `
				< 0{"sid":"S","upgrades":[],"pingInterval":100,"pingTimeout":250,"maxPayload":1}
			wait 100
				< 2
			wait 100
				< 2
			wait 100
				< 2
			wait 49
			wait 1
				! ended "ping timeout" 1000`},
		{"v4 polling: the ping waits for a poll", Config{}, poll4, inPoll4 + `
			get
				~ wait
			wait 25000
				= 2
			post 3
			wait 25000
			get
				= 2
			get
				~ wait
			wait 25000
				= 2
			wait 19999
			wait 1
				! leave / connected "ping timeout"
				! ended "ping timeout" 1000`},
		{"v4 polling: nobody there", Config{}, poll4, inPoll4 + `
			wait 44999
			wait 1
				! leave / connected "ping timeout"
				! ended "ping timeout" 1000
			get
				~ unknown`},
		{"v4 polling: a poll and a post are signs of life", Config{}, poll4, inPoll4 + `
			wait 25000
			begin
			wait 24999
			wait 1
			get
				= 2␞2`},
		{"v3: the client pings", Config{}, ws3, in3 + `
			wait 44999
			> 2
				< 3
			wait 44999
			> 42["e"]
				! event / "e" []
			wait 44999
			wait 1
				! leave / connected "ping timeout"
				! ended "ping timeout" 1000`},
		{"v3: it was told a shorter interval", Config{MaxPayload: 1}, Hello{Version: engineio.V3, Transport: WebSocket, PingInterval: 5000}, `
				! connect /
				< 0{"sid":"S","upgrades":[],"pingInterval":5000,"pingTimeout":20000,"maxPayload":1}
			accept / S
				< 40
			wait 24999
			> 2
				< 3
			wait 24999
			wait 1
				! leave / connected "ping timeout"
				! ended "ping timeout" 1000`},
		{"v3 polling", Config{}, poll3, inPoll3 + `
			get
				~ wait
			post 1:2
				= 1:3
			get
				~ wait
			wait 45000
				! leave / connected "ping timeout"
				= 1:1
				! ended "ping timeout" 1000`},
		{"adaptive: from the floor to what the handshake told", adaptive, ws4, in4 + `
			wait 5000
				< 2
			> 3
			wait 5000
				< 2
			> 3
			wait 5000
				< 2
			> 3
			wait 15000
				< 2
			> 3
			wait 15000
				< 2
			> 3
			wait 25000
				< 2
			> 3
			wait 24999
			wait 1
				< 2`},
		{"adaptive: to the floor on a miss", Config{PingFloor: 5_000, PingStep: 3_000, PingRounds: 1}, ws4, in4 + `
			wait 5000
				< 2
			> 3
			wait 5000
				< 2
			> 3
			wait 8000
				< 2
			wait 11000
				< 2
			wait 5000
				< 2
			> 3
			wait 5000
				< 2`},
		{"adaptive: a floor above the interval is none", Config{PingFloor: 90_000, PingStep: 1, PingRounds: 1}, ws4, in4 + `
			wait 25000
				< 2
			> 3
			wait 25000
				< 2`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { start(t, tt.cfg, tt.hello).play(tt.script) })
	}
}

// TestAdvertised: whatever the client does, it gets a ping within pingInterval and
// pingTimeout of the one before, for it gives up otherwise.
func TestAdvertised(t *testing.T) {
	for seed := range uint64(200) {
		r := random(seed)
		cfg := Config{PingInterval: 1 + int64(r.IntN(1000)), PingTimeout: 1 + int64(r.IntN(1000)), OutputAge: 1 << 40}
		if r.IntN(2) == 0 {
			cfg.PingFloor, cfg.PingStep, cfg.PingRounds = 1+int64(r.IntN(500)), int64(r.IntN(300)), r.IntN(4)
		}
		d := start(t, cfg, ws4)
		d.collect()
		last, pinged := d.now, d.now
		for range 200 {
			// The wheel is at most 20 ms late.
			d.now = max(d.now, d.s.Deadline()) + int64(r.IntN(20))
			d.s.Tick(d.now, &d.acts)
			for _, l := range d.collect() {
				if l == "< 2" {
					pinged = d.now
				}
			}
			if d.s.State() == Closed {
				break
			}
			if pinged-last > cfg.PingInterval+20 || d.now-pinged > cfg.PingInterval+20 {
				t.Fatalf("seed %d: %d ms without a ping, advertised are %d and %d", seed, d.now-last, cfg.PingInterval, cfg.PingTimeout)
			}
			last = pinged
			if r.IntN(4) > 0 {
				d.act("> 3")
			}
		}
	}
}
