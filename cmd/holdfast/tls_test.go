package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// browser is an HTTPS client that takes any certificate and speaks HTTP/2 unless
// told not to.
func browser(t *testing.T, protocols ...string) *http.Client {
	t.Helper()
	conf := &tls.Config{InsecureSkipVerify: true, NextProtos: protocols} //nolint:gosec // a certificate of this test
	tr := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: len(protocols) == 0}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// say makes a request and returns the answer's status, body and version of HTTP.
func say(t *testing.T, client *http.Client, method, url, body string) (status int, text, proto string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Proto
}

// TestDevSpeaksTLS has the clients' listener answer by TLS, in both versions of
// HTTP, and the API's without.
func TestDevSpeaksTLS(t *testing.T) {
	cert, key := certificate(t)
	clients, api := dev(t, "--config", file(t, "tls: {cert: '"+cert+"', key: '"+key+"'}\n"))
	for _, c := range []struct {
		client *http.Client
		proto  string
	}{{browser(t), "HTTP/2.0"}, {browser(t, "http/1.1"), "HTTP/1.1"}} {
		polling := clients + "/socket.io/?EIO=4&transport=polling"
		status, open, proto := say(t, c.client, http.MethodGet, polling, "")
		var hello struct {
			SID string `json:"sid"`
		}
		if err := json.Unmarshal([]byte(strings.TrimPrefix(open, "0")), &hello); err != nil || status != http.StatusOK || proto != c.proto {
			t.Fatalf("handshake: %d %q by %s, %v", status, open, proto, err)
		}
		polling += "&sid=" + hello.SID
		if status, text, _ := say(t, c.client, http.MethodPost, polling, "40"); status != http.StatusOK || text != "ok" {
			t.Errorf("%s: post: %d %q", c.proto, status, text)
		}
		if status, text, proto := say(t, c.client, http.MethodGet, polling, ""); status != http.StatusOK || !strings.HasPrefix(text, `40{"sid":`) || proto != c.proto {
			t.Errorf("%s: poll: %d %q by %s", c.proto, status, text, proto)
		}
		// A WebSocket needs HTTP/1.1, and whoever asks without one is told so.
		if status, text, _ := say(t, c.client, http.MethodGet, clients+"/socket.io/?EIO=4&transport=websocket", ""); status < 400 || status >= 500 {
			t.Errorf("%s: a WebSocket without its header: %d %q", c.proto, status, text)
		}
		abandoned(t, c.client, polling)
	}
	if status, _ := get(t, api+"/healthz"); status != http.StatusOK {
		t.Errorf("the API without TLS: %d", status)
	}
}

// abandoned gives a poll up and expects its session to be over, as the stock client
// does not take a poll up again.
func abandoned(t *testing.T, client *http.Client, polling string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, polling, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err == nil {
		resp.Body.Close()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the poll did not wait: %v", err)
	}
	for end := time.Now().Add(10 * time.Second); ; {
		status, text, _ := say(t, client, http.MethodPost, polling, "3")
		if status == http.StatusBadRequest && strings.Contains(text, `"code":1`) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the session lives on: %d %q", status, text)
		}
	}
}

// TestSilentTLS bounds the time of a handshake.
func TestSilentTLS(t *testing.T) {
	cert, key := certificate(t)
	clients, api := dev(t, "--config", file(t, "tls: {cert: '"+cert+"', key: '"+key+"'}\ntimeouts: {header: 100ms}\n"))
	nc, err := net.Dial("tcp", strings.TrimPrefix(clients, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := nc.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a client that says nothing: %v", err)
	}
	_, text := get(t, api+"/metrics")
	for _, line := range []string{"holdfast_tls_handshakes ", "holdfast_tls_evicted_total 0"} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("the metrics have no %q", line)
		}
	}
}

// TestIdleHTTP ends connections on which nothing is asked, in both versions of HTTP.
func TestIdleHTTP(t *testing.T) {
	cert, key := certificate(t)
	clients, _ := dev(t, "--config", file(t, "tls: {cert: '"+cert+"', key: '"+key+"'}\ntimeouts: {idle: 100ms}\n"))
	for proto, first := range map[string]string{
		"http/1.1": "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
		// RFC 9113 section 3.4: the preface, and a SETTINGS frame without settings.
		"h2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
	} {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(clients, "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{proto}}) //nolint:gosec // a certificate of this test
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, first); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if len(answer) == 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %d bytes, then %v", proto, len(answer), err)
		}
		_ = conn.Close()
	}
}

// certificate writes a self-signed pair of files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))),
		file(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
}
