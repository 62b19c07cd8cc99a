package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"holdfast/internal/certtest"
	"holdfast/proto/holdfast/v1/holdfastpb"
	"holdfast/proto/holdfast/v1/holdfastpb/holdfastpbconnect"
)

// strictBackend takes calls by TLS from those whose certificate its CA has signed and who
// know the word, and answers by gRPC and as JSON.
func strictBackend(t *testing.T, ca *certtest.CA) (addr string) {
	t.Helper()
	pair := ca.Sign("app")
	cert, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	_, grpc := holdfastpbconnect.NewBackendServiceHandler(polite{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer it is me":
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
			grpc.ServeHTTP(w, r)
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			_ = json.NewEncoder(w).Encode(map[string]any{"ack": map[string]string{"json": `["by ` + r.Proto + `"]`}})
		}
	}))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

type polite struct{}

func (polite) HandleEvent(_ context.Context, _ *connect.Request[holdfastpb.Event]) (*connect.Response[holdfastpb.EventReply], error) {
	return connect.NewResponse(&holdfastpb.EventReply{Ack: &holdfastpb.Payload{Json: `["by gRPC"]`}}), nil
}

// TestBackendsByTLS has events go to a backend that wants to know who calls.
func TestBackendsByTLS(t *testing.T) {
	ca, stranger := certtest.NewCA(t), certtest.NewCA(t)
	addr := strictBackend(t, ca)
	own, other := ca.Sign("holdfast"), stranger.Sign("holdfast")
	config := func(scheme, ca string, pair certtest.Pair, word string) string {
		keys := fmt.Sprintf("url: '%s://%s', ca: %s, headers: {Authorization: 'Bearer %s'}", scheme, addr, ca, word)
		if pair.Cert != "" {
			keys += fmt.Sprintf(", cert: %s, key: %s", pair.Cert, pair.Key)
		}
		return file(t, "listen: 127.0.0.1:0\napi_listen: 127.0.0.1:0\nbackends: {app: {"+keys+"}}\nroutes: [{event: ask, backend: app}]\nlog: {level: error}\n")
	}
	for _, tt := range []struct {
		name, config string
		ack          string
		doctor       string // "": nothing is wrong
	}{
		{"https", config("https", ca.File, own, "it is me"), `["by HTTP/2.0"]`, ""},
		{"grpcs", config("grpcs", ca.File, own, "it is me"), `["by gRPC"]`, ""},
		{"another word", config("https", ca.File, own, "guess"), `"code":"UNAUTHENTICATED"`, ""},
		{"no certificate", config("https", ca.File, certtest.Pair{}, "it is me"), `"code":"UNAVAILABLE"`, "backends.app.cert: "},
		{"a certificate of another CA", config("https", ca.File, other, "it is me"), `"code":"UNAVAILABLE"`, "backends.app.cert: "},
		{"a backend of another CA", config("https", stranger.File, own, "it is me"), `"code":"UNAVAILABLE"`, "backends.app.ca: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clients, _ := dev(t, "--config", tt.config)
			defer http.DefaultClient.CloseIdleConnections()
			ann := newGuest(t, clients, "doc-1")
			ann.post(`421["ask"]`)
			if all := ann.until(`431[`); !strings.Contains(all, tt.ack) {
				t.Errorf("acknowledged with %s, want %s", all, tt.ack)
			}
			code, out, _ := command(t, nil, "doctor", "--config", tt.config)
			want := "ok     backends.app "
			if tt.doctor != "" {
				want = tt.doctor
			}
			if !strings.Contains(out, want) {
				t.Errorf("doctor: %d, want %s:\n%s", code, want, out)
			}
		})
	}
}
