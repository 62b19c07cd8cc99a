package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"holdfast/internal/redis/redistest"
)

// What is wrong with Redis ends a start with the key that is to be set right, and leaves
// nothing behind.
func TestStartNamesWhatIsWrongWithRedis(t *testing.T) {
	open, locked := redistest.Start(t), redistest.Start(t, "--requirepass", "right")
	sentinel := redistest.Sentinel(t, "main", open)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close()
	open.Run("SET", "later:schema", "99")
	open.Run("SET", "other:{workers}:leases", "mine")
	for _, tt := range []struct {
		name, store, listen string
		want                []string
	}{
		{"nobody listens", fmt.Sprintf("addrs: [%q]", nobody.Addr()), "", []string{"store.addrs: ", nobody.Addr().String()}},
		{"no password", fmt.Sprintf("addrs: [%q]", locked.Addr), "", []string{"store.password: "}},
		{"wrong password", fmt.Sprintf("addrs: [%q], password: wrong", locked.Addr), "", []string{"store.password: "}},
		{"no such database", fmt.Sprintf("addrs: [%q], db: 99", open.Addr), "", []string{"store.db: "}},
		{"no such master", fmt.Sprintf("addrs: [%q], sentinel: {master: nobody}", sentinel.Addr), "", []string{"store.sentinel.master: "}},
		{"no TLS there", fmt.Sprintf("addrs: [%q], tls: true", open.Addr), "", []string{"store.tls: "}},
		{"a later schema", fmt.Sprintf("addrs: [%q], prefix: later", open.Addr), "", []string{`store.prefix: "later"`, `later:schema is "99"`}},
		{"another program's keys", fmt.Sprintf("addrs: [%q], prefix: other", open.Addr), "", []string{`store.prefix: "other"`, "other:{workers}:leases is a string"}},
		{"a taken port", fmt.Sprintf("addrs: [%q]", open.Addr), taken.Addr().String(), []string{"listen: "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			listen := tt.listen
			if listen == "" {
				listen = "127.0.0.1:0"
			}
			config := file(t, fmt.Sprintf(`
listen: %s
api_listen: 127.0.0.1:0
node: {identity: gw, secret: test}
auth: {anonymous: true}
store: {kind: redis, %s}
bus: {kind: redis}
log: {level: error}
`, listen, tt.store))
			code, out, errs := command(t, nil, "gateway", "--config", config)
			if code == 0 || out != "" {
				t.Errorf("it ended with %d and wrote %q", code, out)
			}
			for _, want := range tt.want {
				if !strings.Contains(errs, want) {
					t.Errorf("%s is not in %q", want, errs)
				}
			}
			if code, out, _ = command(t, nil, "doctor", "--config", config); code != 1 {
				t.Errorf("doctor finds nothing wrong:\n%s", out)
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("doctor: %s is not in %q", want, out)
				}
			}
			if held := open.Run("HLEN", "ws:{workers}:leases"); held != "0" {
				t.Errorf("%s leases are left", held)
			}
		})
	}
}

func TestClocksThatDiffer(t *testing.T) {
	for _, tt := range []struct {
		skew          time.Duration
		warned, fails bool
	}{
		{0, false, false},
		{-time.Second, false, false},
		{3 * time.Second, true, false},
		{-59 * time.Second, true, false},
		{2 * time.Minute, false, true},
		{-time.Hour, false, true},
	} {
		var log bytes.Buffer
		err := judgeSkew(tt.skew, slog.New(slog.NewTextHandler(&log, nil)))
		if (err != nil) != tt.fails || (log.Len() > 0) != tt.warned {
			t.Errorf("%v: %v, log %q", tt.skew, err, log.String())
		}
		if told := fmt.Sprint(err, log.String()); (tt.fails || tt.warned) && !strings.Contains(told, "store.addrs") {
			t.Errorf("%v: the key is not named in %q", tt.skew, told)
		}
	}
}
