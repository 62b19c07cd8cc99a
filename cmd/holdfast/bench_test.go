package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"holdfast/internal/loadgen"
)

// Every kind of client plays every scenario, each kind against a server of its own
// in this process. Some play at the same time, for what they do is mostly to wait.
func TestBenchClientsOfEveryKind(t *testing.T) {
	const routes = "routes: [{event: cursor, relay: others, volatile: true}, {event: '*', ack: durable}]\n"
	cert, key := certificate(t)
	secure := "tls: {cert: '" + cert + "', key: '" + key + "'}\n"
	const twos = "endpoints: [{path: /socket.io/, parser: msgpack}]\n"
	var plays sync.WaitGroup
	turns := make(chan struct{}, 8)
	for _, kind := range []struct{ client, transport, parser, more string }{
		{"2", "websocket", "json", ""},
		{"2", "polling", "json", ""},
		{"2", "jsonp", "json", ""},
		{"2", "upgrade", "json", secure},
		{"4", "websocket", "json", ""},
		{"4", "polling", "json", ""},
		{"4", "upgrade", "json", ""},
		{"4", "websocket", "json", secure},
		{"4", "polling", "json", secure},
		{"2", "websocket", "msgpack", twos},
		{"2", "polling", "msgpack", twos},
		{"2", "jsonp", "msgpack", twos},
		{"4", "websocket", "msgpack", ""},
		{"4", "upgrade", "msgpack", ""},
		{"4", "polling", "msgpack", ""},
	} {
		url, api := dev(t, "--config", file(t, routes+kind.more))
		name := strings.Join([]string{kind.client, kind.transport, kind.parser, url[:5]}, " ")
		to := filepath.Join(t.TempDir(), "results.json")
		plays.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			code, out, errs := command(t, nil, append([]string{"bench"}, append(benchScenarios, "--json", to,
				"--url", url, "--api", api, "--insecure", "--client", kind.client, "--transport", kind.transport, "--parser", kind.parser,
				"-n", "20", "--rate", "100", "--for", "300ms", "--every", "100ms", "--scale", "0.00004")...)...)
			if code != 0 {
				t.Errorf("%s ended with %d: %s%s", name, code, out, errs)
				return
			}
			for _, r := range benchResults(t, to, benchScenarios...) {
				benchResult(t, name, kind.transport, r)
			}
		})
	}
	plays.Wait()
	http.DefaultClient.CloseIdleConnections()
}

var benchScenarios = []string{"connect", "idle", "broadcast", "rooms", "echo", "churn", "s2", "s4"}

// benchResults reads what holdfast bench has written.
func benchResults(t *testing.T, from string, scenarios ...string) (results []*loadgen.Result) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = json.Unmarshal(text, &results)
	}
	if err != nil || len(results) != len(scenarios) {
		t.Errorf("%d results of %q: %v", len(results), scenarios, err)
	}
	return results
}

// benchResult wants all of what the scenario sends, and of what it comes by.
func benchResult(t *testing.T, name, transport string, r *loadgen.Result) {
	t.Helper()
	name += " " + r.Scenario
	st := &r.Total
	if st.Failed+st.Lost+len(st.Errors) > 0 || st.Arrived < 20 {
		t.Errorf("%s: %d arrived, %d failed, %d lost: %v", name, st.Arrived, st.Failed, st.Lost, st.Errors)
	}
	if string(r.Transport) != transport {
		t.Errorf("%s: the result is of %s", name, r.Transport)
	}
	if moved := st.Upgraded; (transport == "upgrade") != (moved == st.Arrived) || (transport != "upgrade" && moved > 0) {
		t.Errorf("%s: %d of %d clients have moved to a WebSocket", name, moved, st.Arrived)
	}
	if (transport == "websocket") != (st.Requests == 0) {
		t.Errorf("%s: %d polls and posts", name, st.Requests)
	}
	switch r.Scenario {
	case "broadcast":
		if st.Received != 60 || st.Acked != 0 {
			t.Errorf("%s: %d deliveries of 3 events to 20 clients, %d acknowledged", name, st.Received, st.Acked)
		}
	case "s2":
		if st.Received != 60 || st.Acked != 60 {
			t.Errorf("%s: %d deliveries of 3 events to 20 clients, %d acknowledged", name, st.Received, st.Acked)
		}
	case "s4":
		if st.Received < 40 || st.Acked != st.Received {
			t.Errorf("%s: %d deliveries, %d acknowledged", name, st.Received, st.Acked)
		}
	case "rooms":
		if st.Sent == 0 || st.Received == 0 {
			t.Errorf("%s: of %d cursors %d have been seen", name, st.Sent, st.Received)
		}
	case "echo":
		if st.Sent != 30 || st.Answered != 30 {
			t.Errorf("%s: of 30 events %d were sent and %d answered", name, st.Sent, st.Answered)
		}
	case "churn":
		if st.Arrived != 50 {
			t.Errorf("%s: %d clients came, want 20 and then 30", name, st.Arrived)
		}
	}
}

func TestBenchSaysWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{args: nil, code: 2, want: "broadcast"},
		{args: []string{"connect", "dance", "--url", "http://127.0.0.1:1"}, code: 2, want: `there is no scenario "dance"`},
		{args: []string{"connect", "--rate=-1"}, code: 2, want: "rate is -1, and must be a number above 0"},
		{args: []string{"connect", "--json", "/nowhere/at/all"}, code: 2, want: "/nowhere/at/all: no such file"},
		{args: []string{"connect", "--url", "http://127.0.0.1:1/deep"}, code: 2, want: "more than a host and a port"},
		{args: []string{"connect", "--transport", "jsonp"}, code: 2, want: "only clients 2 have"},
		{args: []string{"connect", "--protocol", "bare", "--parser", "msgpack"}, code: 2, want: "have no MessagePack"},
		{args: []string{"connect", "-n", "99999999"}, code: 2, want: "(ulimit -n), too few for 99999999 clients"},
		{args: []string{"broadcast", "--api", "http://127.0.0.1:1"}, code: 1, want: "the API at http://127.0.0.1:1 takes no push"},
		{args: []string{"broadcast", "--push", "client", "--url", "http://127.0.0.1:1"}, code: 1, want: "connect the client that pushes"},
		{args: []string{"s2", "--push", "client", "--url", "http://127.0.0.1:1"}, code: 1, want: "must be pushed by an API"},
		{args: []string{"connect", "--transport", "pigeon"}, code: 2, want: "--transport"},
		{args: []string{"connect", "--client", "5"}, code: 2, want: "--client"},
		{args: []string{"connect", "--client", "2", "--protocol", "eio4"}, code: 2, want: "--client 2 speaks eio3"},
		{args: []string{"connect", "--protocol", "bare", "--transport", "polling"}, code: 2, want: "no transport but websocket"},
		{args: []string{"connect", "--url", "ftp://127.0.0.1:1"}, code: 2, want: "is not http://HOST:PORT"},
		{args: []string{"connect", "-n", "3", "--transport", "polling", "--url", "http://127.0.0.1:1"}, code: 1, want: "connection refused"},
	} {
		code, _, errs := command(t, nil, append([]string{"bench"}, tt.args...)...)
		if code != tt.code || !strings.Contains(errs, tt.want) {
			t.Errorf("%q: code %d, stderr %q; want %d and %q", tt.args, code, errs, tt.code, tt.want)
		}
	}
}

// The page says how it came about, but not what is secret.
func TestBenchPage(t *testing.T) {
	const secret, token = "s3cret-s3cret-s3cret-s3cret-s3cret", "t0ken-t0ken-t0ken"
	url, _ := dev(t, "--config", file(t, "auth: {anonymous: false, jwt: {secret: "+secret+"}}\n"))
	to := filepath.Join(t.TempDir(), "page.html")
	code, _, errs := command(t, nil, "bench", "connect", "--url", url, "--transport", "polling", "-n", "3", "--secret="+secret, "--token="+token, "--html", to)
	if code != 0 {
		t.Fatalf("code %d: %s", code, errs)
	}
	text, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, want := range []string{
		"holdfast bench connect --url", "--secret=…", "--token=…", "by polling alone", runtime.GOARCH,
		"seconds since the beginning", "share that took no longer", "<polyline", "3 clients",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(page, secret) || strings.Contains(page, token) {
		t.Error("the page tells the secret")
	}
}

// One more client can push to a server that has no API, whatever the others speak.
func TestBenchPushByClient(t *testing.T) {
	cert, key := certificate(t)
	url, _ := dev(t, "--config", file(t, "routes: [{event: b, relay: others}]\ntls: {cert: '"+cert+"', key: '"+key+"'}\n"))
	for _, client := range []string{"2", "4"} {
		to := filepath.Join(t.TempDir(), "results.json")
		code, _, errs := command(t, nil, "bench", "broadcast", "--push", "client", "--client", client, "--url", url, "--insecure",
			"-n", "20", "--rate", "500", "--for", "300ms", "--every", "100ms", "--json", to)
		if code != 0 {
			t.Fatalf("clients %s: code %d: %s", client, code, errs)
		}
		for _, r := range benchResults(t, to, "broadcast") {
			benchResult(t, "clients "+client, "websocket", r)
		}
	}
}

// Ctrl-C ends it, with what there is so far.
func TestBenchIsInterrupted(t *testing.T) {
	url, _ := dev(t)
	to := filepath.Join(t.TempDir(), "results.json")
	out, errs := newBuffer(), newBuffer()
	code := make(chan int, 1)
	go func() {
		code <- run(t.Context(), []string{"bench", "idle", "connect", "--url", url, "-n", "20", "--rate", "100", "--for", "1m", "--json", to}, nil, out, errs)
	}()
	errs.await(t, ` s +20 up`) // from then on signals are taken
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != 130 {
		t.Errorf("the exit status is %d", got)
	}
	if !strings.Contains(out.String(), "connect.p50") || !strings.Contains(errs.String(), "signal: interrupt") {
		t.Errorf("it printed %s%s", out, errs)
	}
	for _, r := range benchResults(t, to, "idle") {
		if r.Error != "signal: interrupt" || r.Total.Arrived != 20 {
			t.Errorf("%d clients and the error %q", r.Total.Arrived, r.Error)
		}
	}
}
