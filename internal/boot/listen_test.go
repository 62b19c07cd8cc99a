package boot

import (
	"errors"
	"strings"
	"syscall"
	"testing"
)

func TestListen(t *testing.T) {
	l, err := Listen("127.0.0.1:0", "listen")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	for _, tt := range []struct {
		addr, want string
		is         error
	}{
		{taken, "api_listen: listen on " + taken + ": another process listens there; stop it, or set api_listen to a free address (port 0 picks one): ", syscall.EADDRINUSE},
		{"192.0.2.1:0", "api_listen: listen on 192.0.2.1:0: this host has no such address; set api_listen to one of its own", syscall.EADDRNOTAVAIL},
		{"a..b:0", "api_listen: listen on a..b:0: the host's name cannot be resolved", nil},
		{"nonsense", "api_listen: listen on nonsense: ", nil},
	} {
		l, err := Listen(tt.addr, "api_listen")
		if err == nil {
			l.Close()
			t.Errorf("%s: no error", tt.addr)
			continue
		}
		if !strings.HasPrefix(err.Error(), tt.want) || (tt.is != nil && !errors.Is(err, tt.is)) {
			t.Errorf("%s: %v, want %s", tt.addr, err, tt.want)
		}
	}
}
