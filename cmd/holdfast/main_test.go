package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/internal/boot"
	"holdfast/proto/holdfast/v1/holdfastpb"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The client of a Cluster asks for its slots a while after a failure, and cannot be
		// kept from it by closing it.
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

// buffer is an output that a test reads while the command writes.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
	ch chan struct{} // a token for each write, as far as there is room
}

func newBuffer() *buffer { return &buffer{ch: make(chan struct{}, 1)} }

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.ch <- struct{}{}:
	default:
	}
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// await waits until the output matches and returns the match's groups.
func (b *buffer) await(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(20 * time.Second)
	for {
		if m := re.FindStringSubmatch(b.String()); m != nil {
			return m
		}
		select {
		case <-b.ch:
		case <-deadline:
			t.Fatalf("no %s in:\n%s", pattern, b)
		}
	}
}

func command(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, env, &out, &errs)
	return code, out.String(), errs.String()
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "holdfast.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// dev runs `holdfast dev` on free ports until the test ends.
func dev(t *testing.T, args ...string) (clients, api string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	out, errs := newBuffer(), newBuffer()
	done := make(chan int)
	go func() {
		done <- run(ctx, append([]string{"dev", "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0"}, args...), nil, out, errs)
	}()
	t.Cleanup(func() {
		stop()
		if code := <-done; code != 0 {
			t.Errorf("dev ended with %d:\n%s", code, errs)
		}
	})
	clients = out.await(t, `clients +(https?://\S+)`)[1]
	api = out.await(t, `api +(https?://\S+)`)[1]
	out.await(t, "Stop with Ctrl-C")
	return clients, api
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestHelpTeaches(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"dev", "--help"}, {"push", "--help"}, {"tail", "--help"}, {"token", "--help"}} {
		code, out, errs := command(t, nil, args...)
		if code != 0 || !strings.Contains(out, "Usage: holdfast") || errs != "" {
			t.Errorf("%q: code %d, stdout %q, stderr %q", args, code, out, errs)
		}
	}
}

func TestWrongInputNamesWhatIsWrong(t *testing.T) {
	secret := []string{"HOLDFAST_AUTH_JWT_SECRET=s3cret"}
	for _, tt := range []struct {
		args []string
		env  []string
		code int
		want string
	}{
		{args: []string{"fly"}, code: 2, want: "fly"},
		{args: []string{"push", "--event", "x"}, code: 2, want: "--room"},
		{args: []string{"push", "--room", "a", "--all", "--event", "x"}, code: 2, want: "--all"},
		{args: []string{"push", "--room", "a", "--event", "x", "hello"}, code: 2, want: `argument 1, hello, is not JSON`},
		{args: []string{"push", "--room", "a", "--event", "x", "--api", "http://127.0.0.1:1"}, code: 1, want: "nothing answers at http://127.0.0.1:1"},
		{args: []string{"tail", "--api", "http://127.0.0.1:1"}, code: 1, want: "nothing answers at http://127.0.0.1:1"},
		{args: []string{"push", "--room", "a", "--event", "x", "--api", "127.0.0.1:8001"}, code: 2, want: "did you mean http://127.0.0.1:8001?"},
		{args: []string{"tail", "--api", "localhost:8001"}, code: 2, want: "did you mean http://localhost:8001?"},
		{args: []string{"push", "--room", "", "--event", "x"}, code: 2, want: "--room is empty"},
		{args: []string{"push", "--all=false", "--event", "x"}, code: 2, want: "--all=false names nobody"},
		{args: []string{"push", "--all", "--event", "x", "--wait=-1s"}, code: 2, want: "--wait: -1s is below 0"},
		{args: []string{"push", "--all", "--event", "x", "-1"}, code: 2, want: "stand after -- when one of them is a negative number: -- -1"},
		{args: []string{"push", "--all", "--evnt", "x"}, code: 2, want: "Try `holdfast push --help`."},
		{args: []string{"push", "--all", "--event", "x", "--api", ""}, code: 2, want: `--api: "" is no URL of an API; did you mean http://127.0.0.1:8001?`},
		{args: []string{"token", "--uid", "7"}, code: 2, want: "auth.jwt.secret is not set"},
		{args: []string{"token", "--uid", ""}, env: secret, code: 2, want: "--uid is empty"},
		{args: []string{"token", "--uid", "7", "--room", ""}, env: secret, code: 2, want: "--room is empty"},
		{args: []string{"token", "--uid", "7", "--ttl", "0"}, env: secret, code: 2, want: "--ttl: 0s is not above 0"},
		{args: []string{"gateway"}, code: 2, want: "--config=F is missing; HOLDFAST_CONFIG can name the file as well"},
		{args: []string{"api"}, env: []string{"HOLDFAST_CONFIG="}, code: 2, want: "--config=F is missing"},
		{args: []string{"api"}, env: []string{"HOLDFAST_CONFIG=/nowhere/holdfast.yaml"}, code: 2, want: "/nowhere/holdfast.yaml: cannot be read: no such file or directory"},
		{args: []string{"dev", "--config", file(t, "heartbeet: {}\n")}, code: 2, want: "heartbeet: unknown key; did you mean heartbeat?"},
		{args: []string{"dev", "--config", file(t, "store: {kind: redis, addrs: ['127.0.0.1:1']}\n")}, code: 1, want: "store.addrs: connect to redis at 127.0.0.1:1"},
		{args: []string{"dev", "--config", "/nowhere/holdfast.yaml"}, code: 2, want: "configuration: /nowhere/holdfast.yaml: cannot be read: no such file or directory"},
		{args: []string{"dev"}, env: []string{"HOLDFAST_HEARTBEAT_INTERVAL=soon"}, code: 2, want: "HOLDFAST_HEARTBEAT_INTERVAL"},
	} {
		code, _, errs := command(t, tt.env, tt.args...)
		if code != tt.code || !strings.Contains(errs, tt.want) {
			t.Errorf("%q: code %d, stderr %q; want %d and %q", tt.args, code, errs, tt.code, tt.want)
		}
	}
}

// TestWrongPortIsNoAPI has commands call where clients connect, and by TLS where there is
// none.
func TestWrongPortIsNoAPI(t *testing.T) {
	clients, api := dev(t)
	for url, want := range map[string]string{
		clients:       "what answers at " + clients + " is no API",
		api + "/base": "what answers at " + api + "/base is no API",
		strings.Replace(api, "http:", "https:", 1): "there is no TLS at ",
	} {
		for _, args := range [][]string{{"push", "--all", "--event", "x"}, {"tail"}} {
			code, out, errs := command(t, nil, append(args, "--api", url)...)
			if code != 1 || out != "" || !strings.HasPrefix(errs, "holdfast: "+args[0]+": "+want) {
				t.Errorf("%q at %s: code %d, stdout %q, stderr %q", args, url, code, out, errs)
			}
		}
	}
}

// TestDoctorLooksAtRedis finds that it is not there.
func TestDoctorLooksAtRedis(t *testing.T) {
	code, out, _ := command(t, nil, "doctor", "--config",
		file(t, "listen: 127.0.0.1:0\napi_listen: 127.0.0.1:0\nstore: {kind: redis, addrs: ['127.0.0.1:1']}\n"))
	if code != 1 || !strings.Contains(out, "wrong  store.addrs [127.0.0.1:1]: ") {
		t.Errorf("%d\n%s", code, out)
	}
}

func TestToken(t *testing.T) {
	for _, args := range [][]string{
		{"--config", file(t, "auth: {jwt: {secret: s3cret-s3cret-s3cret-s3cret-s3cret}}\n")},
		nil,
	} {
		env := []string{"HOLDFAST_AUTH_JWT_SECRET=s3cret-s3cret-s3cret-s3cret-s3cret"}
		code, out, errs := command(t, env, append([]string{"token", "--uid", "7", "--room", "doc-*", "--ttl", "5m"}, args...)...)
		if code != 0 || strings.Count(strings.TrimSpace(out), ".") != 2 {
			t.Errorf("code %d, stdout %q, stderr %q", code, out, errs)
		}
	}
}

// TestTokenKeepsToTheConfiguration shows that a gateway of the same configuration lets its
// bearer in, and that a room's name may have a comma.
func TestTokenKeepsToTheConfiguration(t *testing.T) {
	config := file(t, "auth: {anonymous: false, jwt: {secret: s3cret, audience: chat, issuer: us, algorithms: [HS384], claims: {uid: user_id, rooms: docs}}}\n")
	code, out, errs := command(t, nil, "token", "--config", config, "--uid", "7", "--room", "a,b", "--room", "c")
	if code != 0 {
		t.Fatalf("code %d, stderr %q", code, errs)
	}
	clients, api := dev(t, "--config", config)
	ws := dialPatiently(t, clients)
	defer ws.Kill()
	if _, err := ws.Connect("/", fmt.Sprintf(`{"token":%q,"guid":"a,b"}`, strings.TrimSpace(out))); err != nil {
		t.Fatal(err)
	}
	code, out, errs = command(t, nil, "push", "--api", api, "--room", "a,b", "--event", "x", "--", "-1")
	if code != 0 || !strings.Contains(out, "sent to 1 node(s)") {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errs)
	}
}

func TestDevServesEverything(t *testing.T) {
	clients, api := dev(t)
	for url, want := range map[string]string{
		clients + "/":        "<title>",
		clients + "/healthz": "ok",
		clients + "/readyz":  `"ready":true`,
		api + "/":            "<title>",
		api + "/readyz":      `"ready":true`,
		api + "/metrics":     "\nholdfast_sessions ",
		clients + "/socket.io/?EIO=4&transport=polling": `0{"sid":"`,
	} {
		if status, body := get(t, url); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d, no %q in %.200s", url, status, want, body)
		}
	}
	if status, _ := get(t, clients+"/nothing"); status != http.StatusNotFound {
		t.Errorf("an unknown path: %d", status)
	}
}

// TestPathsOfEndpoints leaves a path as it is, and knows one for all but the checks.
func TestPathsOfEndpoints(t *testing.T) {
	clients, _ := dev(t, "--config", file(t, "endpoints: [{path: /rt/}, {path: /}]\n"))
	for path, want := range map[string]string{
		"/healthz":                                  "ok",
		"/rt//?EIO=4&transport=polling":             `0{"sid":"`,
		"/rt/{x}/../?EIO=3&transport=polling":       `0{"sid":"`,
		"/?EIO=4&transport=polling":                 `0{"sid":"`,
		"/anything/below?EIO=4&transport=polling":   `0{"sid":"`,
		"/healthz/below?EIO=4&transport=polling&j=": `{"code":3`,
	} {
		if status, body := get(t, clients+path); !strings.Contains(body, want) || status >= http.StatusInternalServerError {
			t.Errorf("%s: %d, no %q in %.200s", path, status, want, body)
		}
	}
}

// TestDevSaysWhereThingsAreKept has dev over Redis not call it memory.
func TestDevSaysWhereThingsAreKept(t *testing.T) {
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8001}
	for text, want := range map[string]string{
		"{}": "holdfast dev is up; everything is kept in memory and gone at its end.\n",
		"store: {kind: redis, addrs: ['127.0.0.1:6379']}": "holdfast dev is up; rooms and logs are kept in Redis at 127.0.0.1:6379.\n",
	} {
		cfg, err := boot.Load(boot.Dev, file(t, text+"\n"), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		out := newBuffer()
		(&devCommand{}).banner(out, cfg, addr, addr)
		if !strings.HasPrefix(out.String(), want) {
			t.Errorf("%s: %.120s", text, out)
		}
	}
}

// TestPushReachesAClientThatTailSees has a client by polling, a push and a tail
// through the commands that a user types.
func TestPushReachesAClientThatTailSees(t *testing.T) {
	clients, api := dev(t)

	ctx, stopTail := context.WithCancel(t.Context())
	tail, tailErrs := newBuffer(), newBuffer()
	tailDone := make(chan int)
	go func() { tailDone <- run(ctx, []string{"tail", "--api", api}, nil, tail, tailErrs) }()
	t.Cleanup(func() {
		stopTail()
		if code := <-tailDone; code != 0 {
			t.Errorf("tail ended with %d: %s", code, tailErrs)
		}
	})
	tailErrs.await(t, "Waiting for events")

	_, open := get(t, clients+"/socket.io/?EIO=4&transport=polling")
	var hello struct {
		SID string `json:"sid"`
	}
	if err := json.Unmarshal([]byte(open[1:]), &hello); err != nil {
		t.Fatal(err)
	}
	session := clients + "/socket.io/?EIO=4&transport=polling&sid=" + hello.SID
	post := func(body string) {
		t.Helper()
		resp, err := http.Post(session, "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("post %s: %d", body, resp.StatusCode)
		}
	}
	until := func(want string) string {
		t.Helper()
		for {
			status, body := get(t, session)
			if status != http.StatusOK {
				t.Fatalf("poll: %d %s", status, body)
			}
			if strings.Contains(body, want) {
				return body
			}
		}
	}
	post(`40{"guid":"doc-1"}`)
	until(`40{"sid":"`)
	tail.await(t, `\+ \S+ +socket.io/5 polling from 127.0.0.1`)
	post(`420["say","hi"]`)
	until(`430[]`)
	tail.await(t, `say \["hi"\]  wants an ack`)

	code, out, errs := command(t, nil, "push", "--api", api, "--room", "doc-1", "--event", "hello", `{"a":1}`, `"b"`)
	if code != 0 || !strings.Contains(out, "sent to 1 node(s)") {
		t.Errorf("push: %d %q %q", code, out, errs)
	}
	until(`42["hello",{"a":1},"b"`)
	if code, out, _ := command(t, nil, "push", "--api", api, "--room", "empty", "--event", "x"); code != 0 || !strings.Contains(out, "nobody is there") {
		t.Errorf("push to nobody: %d %q", code, out)
	}
	post(`41`)
	tail.await(t, `- \S+ +client namespace disconnect`)
}

// TestTailEnds interrupts one that nothing has happened to.
func TestTailEnds(t *testing.T) {
	_, api := dev(t)
	ctx, interrupt := context.WithCancel(t.Context())
	errs := newBuffer()
	done := make(chan int)
	go func() { done <- run(ctx, []string{"tail", "--api", api}, nil, newBuffer(), errs) }()
	errs.await(t, "Waiting for events")
	interrupt()
	select {
	case code := <-done:
		if code != 0 {
			t.Errorf("tail ended with %d: %s", code, errs)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("tail goes on")
	}
}

// TestTailKeepsALineALine shows that what a client names cannot write lines of its own, nor
// give orders to the terminal.
func TestTailKeepsALineALine(t *testing.T) {
	out := newBuffer()
	(&tailCommand{}).print(&world{stdout: out}, &holdfastpb.Event{
		Type: holdfastpb.EventType_EVENT_TYPE_MESSAGE, Event: "a\x1b[2J\n+ nobody", Client: &holdfastpb.Client{Id: "7", Namespace: "/", Uid: "größe\r"},
		Payload: &holdfastpb.Payload{Json: "[\"\u009b1m\"]"},
	})
	if want := `  größe\r (7)  a\x1b[2J\n+ nobody ["\u009b1m"]` + "\n"; out.String() != want {
		t.Errorf("%q, want %q", out, want)
	}
}

func TestDoctor(t *testing.T) {
	code, out, _ := command(t, nil, "doctor", "--config",
		file(t, "listen: 127.0.0.1:0\napi_listen: 127.0.0.1:0\nbackends: {app: {url: 'http://127.0.0.1:1'}}\n"))
	if code != 1 || !strings.Contains(out, "ok     listen 127.0.0.1:0") || !strings.Contains(out, "wrong  backends.app http://127.0.0.1:1") {
		t.Errorf("doctor: %d\n%s", code, out)
	}
}
