package gateway

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/socketio"
)

// TestDeclaredIsBounded shows values that would go with every event of the client.
func TestDeclaredIsBounded(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	fits := strings.Repeat("y", declaredMost)
	for _, name := range []string{"locale", "client_version", "auth_type", "pid", "offset"} {
		for value, want := range map[string]string{"short": "short", fits: fits, fits + "y": "", long: ""} {
			d := declare([]byte(fmt.Sprintf(`{%q:%q}`, name, value)), nil)
			if got := string(d.Locale + d.ClientVersion + d.AuthType + d.PID + d.Offset); got != want {
				t.Errorf("%s of %d bytes: %d are left", name, len(value), len(got))
			}
		}
	}
	d := declare(nil, map[string]string{"guid": long, "locale": long})
	if err := message.CheckName(string(d.GUID)); err == nil || len(d.GUID) > message.MaxKeyName+1 || d.Locale != "" {
		t.Errorf("a guid of %d bytes, a locale of %d: %v", len(d.GUID), len(d.Locale), err)
	}
}

// TestStoreFarBehind has more to write than may wait: no more clients are let in, on
// sessions that are there as on new ones.
func TestStoreFarBehind(t *testing.T) {
	w := newWorld(t, netpoll.Auto, nil)
	c := w.dial()
	w.reg.Gate.Shut()
	other := w.dial()
	if err := other.Text("40"); err != nil { // its op is on its way for long
		t.Fatal(err)
	}
	r := w.gw.registrar
	w.until("the store keeps the registrar waiting", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.working && len(r.ops) == 0
	})
	r.mu.Lock()
	r.ops = make([]op, maxOps)
	r.mu.Unlock()
	p, err := c.Connect("/", "")
	if err != nil || p.Type != socketio.ConnectError || !strings.Contains(string(p.Data), `"retry":true`) {
		t.Errorf("CONNECT was answered with %v %s, %v", p.Type, p.Data, err)
	}
	w.reg.Gate.Open()
	w.until("the store has caught up", func() bool { return !r.behind() })
	if p, err := c.Connect("/", ""); err != nil || p.Type != socketio.Connect {
		t.Errorf("later with %v %s, %v", p.Type, p.Data, err)
	}
}

// TestLargeAuth lets a client in that shows much, and tells the backends all of it.
func TestLargeAuth(t *testing.T) {
	w := newWorld(t, netpoll.Auto, nil)
	more := strings.Repeat("z", 10*largeAuth)
	w.join(`"guid":"doc","locale":"de","more":"` + more + `"`)
	up := w.up(message.EventConnect)
	if got := string(up.Auth); got != `{"guid":"doc","locale":"de","more":"`+more+`"}` || up.Client.Locale != "de" || len(up.Rooms) != 1 {
		t.Errorf("it has %d bytes of auth, the locale %q, the rooms %q", len(got), up.Client.Locale, up.Rooms)
	}
}

// TestDeclared reads what the gateway itself looks at, from the auth object before the
// query.
func TestDeclared(t *testing.T) {
	query := map[string]string{"guid": "of the query", "pid": "never from there"}
	tests := []struct {
		name, auth string
		guid, pid  text
	}{
		{"nothing", "", "of the query", ""},
		{"text", `{"guid":"doc","pid":"p"}`, "doc", "p"},
		{"a number as it is written", `{"guid":7,"pid":12345678901234567890}`, "7", "12345678901234567890"},
		{"a fraction", `{"guid":-1.50}`, "-1.50", ""},
		{"null", `{"guid":null}`, "of the query", ""},
		{"others", `{"guid":true,"pid":["p"]}`, "of the query", ""},
		{"an object", `{"guid":{"id":7},"pid":{}}`, "of the query", ""},
		{"empty", `{"guid":""}`, "of the query", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := declare([]byte(tt.auth), query); d.GUID != tt.guid || d.PID != tt.pid {
				t.Errorf("guid %q, pid %q", d.GUID, d.PID)
			}
		})
	}
}
