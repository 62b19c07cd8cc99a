package session

import (
	"strings"
	"testing"

	"holdfast/internal/message"
)

// That a session goes on from its snapshot as if nothing had happened is tried by every
// script of this package: see [driver.move]. Here is what they do not show.

// TestSnapshotOnAnotherClock restores sessions where it is another time.
func TestSnapshotOnAnotherClock(t *testing.T) {
	for name, script := range map[string]string{
		"before its CONNECT": "",
		"with output": `post 40
			accept / c
			send / - e ["x"]`,
	} {
		t.Run(name, func(t *testing.T) {
			d := begin(t, Config{}, poll4)
			for line := range strings.Lines(script) {
				if l := strings.TrimSpace(line); l != "" {
					d.act(l)
					d.collect()
				}
			}
			for _, now := range []int64{0, 1, 20_000, 25_000, 45_000, 1 << 40} {
				snap, ok := d.s.Snapshot(d.now)
				if !ok {
					t.Fatal("no snapshot")
				}
				var other Session
				if err := other.Restore(d.s.Settings(), &snap, now); err != nil {
					t.Fatal(err)
				}
				if got, want := other.Deadline()-now, d.s.Deadline()-d.now; got < want || got > want+1 {
					t.Errorf("at %d the deadline is in %d ms, it was in %d", now, got, want)
				}
				again, ok := other.Snapshot(now)
				if !ok || again.Seen != snap.Seen || len(again.Out) != len(snap.Out) {
					t.Errorf("at %d: %+v became %+v", now, snap, again)
				}
			}
		})
	}
}

// TestNoSnapshot asks for one while somebody waits for the session here, and when it is
// over.
func TestNoSnapshot(t *testing.T) {
	for name, script := range map[string]string{
		"a poll waits":     "get",
		"a post comes":     "begin",
		"the session ends": "end",
		"it is over":       "lost",
	} {
		t.Run(name, func(t *testing.T) {
			d := begin(t, Config{}, poll4)
			d.collect()
			d.s.Poll(0, &d.acts)
			d.s.AppendPayload(nil, 1, &d.acts) // the open packet
			if _, ok := d.s.Snapshot(0); !ok {
				t.Fatal("no snapshot of a session at rest")
			}
			switch script {
			case "get":
				d.s.Poll(0, &d.acts)
			case "begin":
				d.s.BeginPost(0, &d.acts)
			case "end":
				d.s.End(ForcedServer, 0, &d.acts)
			default:
				d.s.Lost(TransportClose, &d.acts)
			}
			if snap, ok := d.s.Snapshot(0); ok {
				t.Errorf("got %+v", snap)
			}
		})
	}
}

// TestRestoreGarbage restores what no session is like.
func TestRestoreGarbage(t *testing.T) {
	cfg := Config{}.WithDefaults()
	for name, snap := range map[string]Snapshot{
		"a namespace that there is not": {Clients: []SnapshotClient{{Namespace: "/nowhere"}}},
		"too many attachments":          {Pending: &SnapshotPacket{}},
		"an attachment too many": func() (s Snapshot) {
			s.Pending = &SnapshotPacket{}
			s.Pending.Packet.Data = []byte(`["e",{"_placeholder":true,"num":0}]`)
			s.Pending.Packet.Attachments = 1
			s.Pending.Packet.Binary = [][]byte{{1}, {2}}
			return s
		}(),
	} {
		var s Session
		if name == "too many attachments" {
			snap.Pending.Packet.Attachments = 1 << 20
		}
		if err := s.Restore(&cfg, &snap, 0); err == nil {
			t.Errorf("%s is restored", name)
		}
	}
	var s Session
	early := Snapshot{Version: 4, Early: []message.Payload{{JSON: []byte(`["x"]`)}}, Clients: []SnapshotClient{{Namespace: "/", Connected: true}}}
	if err := s.Restore(&cfg, &early, 0); err != nil || s.Deadline() > 0 {
		t.Errorf("what waited to be released is due at %d, %v", s.Deadline(), err)
	}
}
