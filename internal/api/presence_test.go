package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/message"
)

func presenceOn() Config { return Config{Presence: PresenceConfig{Enabled: true, FullUpTo: 5}} }

func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.startWith(presenceOn(), nil)
		step := func(name, want string) {
			t.Helper()
			<-time.After(time.Second)
			synctest.Wait()
			if got := describe(w.sent()); got != want {
				t.Errorf("%s:\n%swant:\n%s", name, got, want)
			}
			w.forget()
		}
		ann := w.add("n1", "c1", "ann", "doc")
		ann.Profile = `{"name":"Ann <&>","n":1.50}`
		w.connect(ann, false, "{}", "doc")
		annText := `{"name":"Ann <&>","n":1.50,"id":"c1","uid":"ann"}`
		step("the first",
			`n1 push message [{"type":"presence","data":{"type":"snapshot","clients":[`+annText+`],"userCount":1,"from":"ws"},"room":"doc"}] to c:/,c1@0<0`+"\n"+
				`n1 push message [{"type":"presence","data":{"type":"join","clients":[`+annText+`],"userCount":1,"from":"ws"},"room":"doc"}] to r:/,doc@0<0`+"\n")
		w.clients["c1"].Profile = ann.Profile

		// A second tab and somebody without a name, at once.
		tab, anon := w.add("n2", "c2", "ann", "doc"), w.add("n2", "c3", "", "doc")
		w.connect(tab, false, "{}", "doc")
		w.connect(anon, false, "{}", "doc")
		two := `{"id":"c2","uid":"ann"},{"id":"c3"}`
		step("two more",
			`n2 push message [{"type":"presence","data":{"type":"snapshot","clients":[`+annText+`,`+two+`],"userCount":2,"from":"ws"},"room":"doc"}] to c:/,c2@0<0 c:/,c3@0<0`+"\n"+
				`n1 push message [{"type":"presence","data":{"type":"join","clients":[`+two+`],"userCount":2,"from":"ws"},"room":"doc"}] to r:/,doc@0<0`+"\n"+
				`n2 push message [{"type":"presence","data":{"type":"join","clients":[`+two+`],"userCount":2,"from":"ws"},"room":"doc"}] to r:/,doc@0<0`+"\n")

		w.remove("c2")
		w.disconnect(tab, "transport close", "doc")
		step("one leaves",
			`n1 push message [{"type":"presence","data":{"type":"leave","clients":[{"id":"c2","uid":"ann"}],"userCount":2,"from":"ws"},"room":"doc"}] to r:/,doc@0<0`+"\n"+
				`n2 push message [{"type":"presence","data":{"type":"leave","clients":[{"id":"c2","uid":"ann"}],"userCount":2,"from":"ws"},"room":"doc"}] to r:/,doc@0<0`+"\n")

		// Somebody who comes and goes within the time is not told of.
		brief := w.add("n1", "c4", "zoe", "doc")
		w.connect(brief, false, "{}", "doc")
		w.remove("c4")
		w.disconnect(brief, "transport close", "doc")
		step("comes and goes", "")
		// Nor that somebody has left who is back, of which another ws-api has heard.
		old := w.add("n1", "c5", "eve", "doc")
		w.remove("c5")
		w.add("n2", "c5", "eve", "doc")
		w.clients["c5"].ConnectedAt = old.ConnectedAt.Add(time.Second)
		w.disconnect(old, "transport close", "doc")
		step("has come back", "")
		for key, log := range w.logged {
			t.Errorf("%d presence messages are in the log of %s", len(log), key)
		}
	})
}

// Above the size: no lists, and one message a second.
func TestPresenceOfABigRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.startWith(presenceOn(), nil)
		for i := range 10 {
			w.add("n1", fmt.Sprint("old", i), "", "doc")
		}
		joins := 0
		for i := range 40 { // ten seconds
			w.connect(w.add("n1", fmt.Sprintf("new%02d", i), "", "doc"), false, "{}", "doc")
			<-time.After(250 * time.Millisecond)
		}
		<-time.After(3 * time.Second)
		synctest.Wait()
		last := ""
		for _, d := range w.sent() {
			var args []struct {
				Data struct {
					Type      string
					Clients   []struct{ ID string }
					UserCount int
				}
			}
			last = string(d.d.Push.Payload.JSON)
			if err := json.Unmarshal(d.d.Push.Payload.JSON, &args); err != nil || args[0].Data.Type != "join" {
				t.Fatalf("a big room got %s, error %v", last, err)
			}
			joins += len(args[0].Data.Clients)
		}
		if n := len(w.sent()); n < 8 || n > 12 || joins != 40 || !strings.Contains(last, `"userCount":50`) {
			t.Errorf("%d messages about %d joins; the last: %s", n, joins, last)
		}
		if n := s.presence.rooms(); n != 0 {
			t.Errorf("%d quiet rooms are kept", n)
		}
	})
}

func TestPresenceIsBounded(t *testing.T) {
	w := newWorld(t)
	cfg := presenceOn()
	cfg.Presence.Rooms = 2
	s := w.server(cfg)
	for i := range 5 {
		s.presence.move(&message.Client{ID: "c", Namespace: "/"}, []string{fmt.Sprint(i)}, true)
	}
	for i := range maxChanges + 7 {
		s.presence.move(&message.Client{ID: fmt.Sprint("d", i), Namespace: "/"}, []string{"0"}, true)
	}
	if got := s.presence.rooms(); got != 2 || s.Stats().PresenceLost != 3+8 {
		t.Errorf("%d rooms, %d changes lost", got, s.Stats().PresenceLost)
	}
}

func TestProfiles(t *testing.T) {
	p := &presence{}
	for _, c := range []struct{ profile, want string }{
		{"", `{"id":"c","uid":"u"}`},
		{"{}", `{"id":"c","uid":"u"}`},
		{" { } ", `{ "id":"c","uid":"u"}`},
		{`{"id":7,"name":"x"}`, `{"id":7,"name":"x","uid":"u"}`},
		{`{"uid":1,"id":2}`, `{"uid":1,"id":2}`},
		{`null`, `{"id":"c","uid":"u"}`},
		{`[1]`, `{"id":"c","uid":"u"}`},
		{`{"broken`, `{"id":"c","uid":"u"}`},
	} {
		text := p.text("join", []*message.Client{{ID: "c", UID: "u", Profile: c.profile}}, 1, `r"<`)
		want := `[{"type":"presence","data":{"type":"join","clients":[` + c.want + `],"userCount":1,"from":"ws"},"room":"r\"<"}]`
		if string(text) != want || !json.Valid(text) {
			t.Errorf("%q:\n%s\nwant:\n%s", c.profile, text, want)
		}
	}
}
