package gateway

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/internal/message"
	"holdfast/internal/netpoll"
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
