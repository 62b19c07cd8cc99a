package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"holdfast/internal/certtest"
	"holdfast/proto/holdfast/v1/holdfastpb"
	"holdfast/proto/holdfast/v1/holdfastpb/holdfastpbconnect"
)

const (
	oldToken = "the-token-of-yesterday"
	newToken = "the-token-of-today=="
)

// fetch asks api_listen with a token, "" for none, and returns status and body.
func fetch(t *testing.T, client *http.Client, method, url, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestAPIWantsAToken asks for everything that api_listen has, over TLS, with and without
// one of its tokens.
func TestAPIWantsAToken(t *testing.T) {
	ca := certtest.NewCA(t)
	pair := ca.Sign("api")
	_, api := dev(t, "--config", file(t, fmt.Sprintf("api_tls: {cert: %q, key: %q}\napi_tokens: [%s, %s]\n", pair.Cert, pair.Key, oldToken, newToken)))
	if !strings.HasPrefix(api, "https://") {
		t.Fatalf("the API is at %s", api)
	}
	client := browser(t)
	const push = `{"targets":[{"room":"doc-1"}],"event":"hello"}`
	for _, tt := range []struct {
		method, path, body string
		open               bool
	}{
		{http.MethodPost, "/holdfast.v1.PushService/Push", push, false},
		{http.MethodPost, "/holdfast.v1.ClientService/CountClients", `{"target":{"all":true}}`, false},
		{http.MethodGet, "/metrics", "", false},
		{http.MethodGet, "/debug/loglevel", "", false},
		{http.MethodGet, "/console/nodes", "", false},
		{http.MethodGet, "/", "", true},
		{http.MethodGet, "/console/console.js", "", true},
		{http.MethodGet, "/healthz", "", true},
		{http.MethodGet, "/readyz", "", true},
		{http.MethodPost, "/grpc.health.v1.Health/Check", "{}", true},
	} {
		for token, passes := range map[string]bool{oldToken: true, newToken: true, "": tt.open, "another-token-of-today": tt.open, newToken + "=": tt.open} {
			status, text := fetch(t, client, tt.method, api+tt.path, token, tt.body)
			if passes && status != http.StatusOK || !passes && (status != http.StatusUnauthorized || !strings.Contains(text, `"code":"unauthenticated"`)) {
				t.Errorf("%s %s with %q: %d %s", tt.method, tt.path, token, status, text)
			}
		}
	}
	if status, _ := fetch(t, client, http.MethodGet, api+"/unheard-of", "", ""); status != http.StatusUnauthorized {
		t.Errorf("a path that there is not: %d", status)
	}
	// A gRPC client is told in its own way.
	h2 := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}} //nolint:gosec // a certificate of this test
	defer h2.CloseIdleConnections()
	_, err := holdfastpbconnect.NewPushServiceClient(h2, api, connect.WithGRPC()).Push(t.Context(), connect.NewRequest(&holdfastpb.PushRequest{}))
	if connect.CodeOf(err) != connect.CodeUnauthenticated || !strings.Contains(err.Error(), "api_tokens") {
		t.Errorf("gRPC: %v", err)
	}

	// The commands.
	env := []string{"HOLDFAST_API=" + api, "HOLDFAST_API_CA=" + ca.File, "HOLDFAST_API_TOKEN=" + newToken}
	hello := []string{"push", "--room", "doc-1", "--event", "hello"}
	for _, tt := range []struct {
		env  []string
		want string // in what is printed
		code int
	}{
		{env, "nobody is there now", 0},
		{env[:2], "one of its api_tokens, as in Authorization: Bearer TOKEN (--token, or HOLDFAST_API_TOKEN)", 1},
		{append(env[:2:2], "HOLDFAST_API_TOKEN=wrong"), "api_tokens", 1},
		{[]string{env[0], env[2]}, "does not pass; --ca FILE says who may have signed it", 1},
		{[]string{"HOLDFAST_API=http" + strings.TrimPrefix(api, "https"), env[2]}, "there is TLS at", 1},
		{append(env[:1:1], "HOLDFAST_API_CA=/nowhere"), "--ca: open /nowhere", 2},
	} {
		t.Run(tt.want, func(t *testing.T) {
			for _, v := range tt.env {
				name, value, _ := strings.Cut(v, "=")
				t.Setenv(name, value)
			}
			if code, out, errs := command(t, nil, hello...); code != tt.code || !strings.Contains(out+errs, tt.want) {
				t.Errorf("%v: %d %s%s, want %s", tt.env, code, out, errs, tt.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	errs, done := newBuffer(), make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"tail", "--api", api, "--ca", ca.File, "--token", oldToken}, nil, io.Discard, errs)
	}()
	errs.await(t, `(Waiting for events)`)
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("tail ended with %d: %s", code, errs)
	}
	if _, text := fetch(t, client, http.MethodGet, api+"/metrics", newToken, ""); !strings.Contains(text, `holdfast_certificate_expires_seconds{key="api_tls"} 1.`) {
		t.Errorf("it is not told when the certificate ends")
	}
	for valid, want := range map[time.Duration]string{
		time.Hour:  "note   api_tls.cert is valid until ",
		-time.Hour: "wrong  api_tls.cert: it was valid until ",
	} {
		ca.Valid = valid
		pair := ca.Sign("api")
		if _, out, _ := command(t, nil, "doctor", "--config", file(t, fmt.Sprintf("listen: 127.0.0.1:0\napi_listen: 127.0.0.1:0\napi_tls: {cert: %q, key: %q}\n", pair.Cert, pair.Key))); !strings.Contains(out, want) {
			t.Errorf("doctor, %v: %s", valid, out)
		}
	}
	if code, out, _ := command(t, nil, "doctor", "--config", file(t, fmt.Sprintf("listen: 127.0.0.1:0\napi_listen: 127.0.0.1:0\napi_tls: {cert: %q, key: %q}\n", pair.Cert, ca.File))); code == 0 || !strings.Contains(out, "api_tls.cert, api_tls.key: ") {
		t.Errorf("doctor: %d\n%s", code, out)
	}
}

// TestGatewayIsGuardedToo asks a gateway for its metrics.
func TestGatewayIsGuardedToo(t *testing.T) {
	out := start(t, "gateway", "--config", file(t, "listen: 127.0.0.1:0\napi_listen: 127.0.0.1:0\nnode: {listen: ''}\nauth: {anonymous: true}\napi_tokens: ["+oldToken+"]\nlog: {level: error}\n"))
	url := out.await(t, `metrics +(http://\S+)`)[1]
	defer http.DefaultClient.CloseIdleConnections()
	for path, want := range map[string]int{"/metrics": 401, "/": 404, "/debug/pprof/": 401, "/readyz": 200, "/console/../metrics": 401, "/console%2f..%2fmetrics": 404} {
		if status, text := fetch(t, http.DefaultClient, http.MethodGet, url+path, "", ""); status != want {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if status, text := fetch(t, http.DefaultClient, http.MethodGet, url+"/metrics", oldToken, ""); status != 200 || !bytes.Contains([]byte(text), []byte("holdfast_build_info")) {
		t.Errorf("with a token: %d", status)
	}
}

// TestTheWrongVariable warns who has named his token as those who call do.
func TestTheWrongVariable(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	out, errs, done := newBuffer(), newBuffer(), make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"dev", "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0"}, []string{"HOLDFAST_API_TOKEN=" + oldToken}, out, errs)
	}()
	out.await(t, `api +(http://\S+)`)
	stop()
	<-done
	if !regexp.MustCompile(`HOLDFAST_API_TOKEN is what push and tail call with.*HOLDFAST_API_TOKENS`).MatchString(errs.String()) || strings.Contains(errs.String(), oldToken) {
		t.Errorf("it says %s", errs)
	}
}
