package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"holdfast/engineio"
	"holdfast/internal/netpoll"
	"holdfast/internal/session"
)

// old opens a session of Engine.IO 3 and returns its ID and the interval that it is told.
func (w *world) old(agent string) (sid string, interval int64) {
	w.t.Helper()
	body := w.oldRequest(agent, http.MethodGet, "", "")
	_, open, ok := strings.Cut(body, ":0")
	if !ok {
		w.t.Fatalf("the handshake was answered with %q", body)
	}
	open = open[:strings.IndexByte(open, '}')+1]
	p, err := engineio.ParseOpen([]byte("0" + open))
	if err != nil {
		w.t.Fatal(err)
	}
	return p.SID, p.PingInterval
}

func (w *world) oldRequest(agent, method, sid, body string) string {
	w.t.Helper()
	url := w.base + "?EIO=3&transport=polling"
	if sid != "" {
		url += "&sid=" + sid
	}
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("User-Agent", agent)
	resp, err := w.http.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// A device that missed a ping is told the shortest interval with its next handshake, and
// longer ones as it proves itself. Others are not concerned.
func TestIntervalIsLearntForTheNextHandshake(t *testing.T) {
	w := newWorld(t, netpoll.Auto, func(c *Config) {
		c.Session.PingInterval, c.Session.PingTimeout = 600, 1500
		c.Session.PingFloor, c.Session.PingStep, c.Session.PingRounds = 200, 150, 2
	})
	gone := func() bool { return w.gw.Stats.Sessions.Load() == 0 }
	told := func(agent string, want int64) (sid string) {
		t.Helper()
		sid, got := w.old(agent)
		if got != want {
			t.Errorf("%s is told %d, want %d", agent, got, want)
		}
		return sid
	}
	told("phone", 600)
	w.until("the phone is given up", gone)
	told("desk", 600)
	phone := told("phone", 200)
	for range 2 {
		w.oldRequest("phone", http.MethodPost, phone, "1:2")
	}
	w.oldRequest("phone", http.MethodPost, phone, "1:1") // it says goodbye
	w.until("the phone has gone", func() bool {
		w.gw.devices.mu.Lock()
		defer w.gw.devices.mu.Unlock()
		for _, d := range w.gw.devices.known {
			return d.interval == 350
		}
		return false
	})
	told("phone", 350)
}

func TestDevices(t *testing.T) {
	var d devices
	d.init(&session.Config{PingInterval: 100, PingFloor: 20, PingStep: 30, PingRounds: 3})
	r, err := http.NewRequest(http.MethodGet, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	interval := func(ip string, want int64) (id uint32) {
		t.Helper()
		id, got := d.find(ip, r)
		if got != want {
			t.Errorf("%s is told %d, want %d", ip, got, want)
		}
		return id
	}
	a := interval("a", 0)
	d.learn(a, 100, false) // nothing to learn from one that does well
	interval("a", 0)
	d.learn(a, 7, true)
	interval("a", 20)
	d.learn(a, 2, false)
	interval("a", 20)
	d.learn(a, 1, false) // three in all
	interval("a", 50)
	d.learn(a, 0, true)
	interval("a", 20)
	d.learn(a, 9, false)
	interval("a", 0) // the longest again
	if len(d.known) != 0 {
		t.Errorf("%d devices are remembered without need", len(d.known))
	}
	for i := range maxDevices + 100 {
		id, _ := d.find(fmt.Sprint(i), r)
		d.learn(id, 0, true)
	}
	if len(d.known) > maxDevices {
		t.Errorf("%d devices", len(d.known))
	}
	d.init(&session.Config{PingInterval: 100}) // a fixed interval
	if id := interval("a", 0); id != 0 {
		t.Error("something is learnt where the interval is fixed")
	}
}
