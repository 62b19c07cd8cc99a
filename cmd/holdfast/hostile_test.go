package main

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// quick makes dev give up after a moment what takes for ever.
const quick = "heartbeat: {interval: 100ms, timeout: 100ms, adaptive: false}\nlimits: {output_age: 100ms}\n"

// rude opens a bare connection to a listener.
func rude(t *testing.T, url string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(15 * time.Second))
	return nc
}

// TestBodiesThatNeverCome announces bodies to whoever may read them, or does not care,
// and sends none. No session's heartbeat ends such a request.
func TestBodiesThatNeverCome(t *testing.T) {
	clients, _ := dev(t, "--config", file(t, quick))
	_, open := get(t, clients+"/socket.io/?EIO=4&transport=polling")
	var hello struct {
		SID string `json:"sid"`
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(open, "0")), &hello); err != nil {
		t.Fatalf("handshake: %q, %v", open, err)
	}
	for _, head := range []string{
		"POST /socket.io/?EIO=4&transport=polling&sid=" + hello.SID + " HTTP/1.1\r\nContent-Length: 1000",
		"POST /socket.io/?EIO=4&transport=polling&sid=nobody HTTP/1.1\r\nContent-Length: 1000",
		"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nTransfer-Encoding: chunked",
		"PUT /healthz HTTP/1.1\r\nContent-Length: 1000",
		"POST /nowhere HTTP/1.1\r\nContent-Length: 1000",
	} {
		nc := rude(t, clients)
		if _, err := io.WriteString(nc, head+"\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection is still there", head)
		}
	}
}

// TestAnswersThatNobodyReads asks again and again and reads nothing.
func TestAnswersThatNobodyReads(t *testing.T) {
	clients, _ := dev(t, "--config", file(t, quick))
	nc := rude(t, clients)
	_ = nc.(*net.TCPConn).SetReadBuffer(4096)
	ask := []byte(strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 100))
	for {
		if _, err := nc.Write(ask); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the connection is still there")
			return
		} else if err != nil {
			return
		}
	}
}

// TestLongPolls waits in a poll for as long as a session may be silent: it is not the
// request's length that ends it.
func TestLongPolls(t *testing.T) {
	clients, _ := dev(t, "--config", file(t, "heartbeat: {interval: 1s, timeout: 500ms, adaptive: false}\nlimits: {output_age: 1ms}\n"))
	polling := clients + "/socket.io/?EIO=4&transport=polling"
	_, open := get(t, polling)
	var hello struct {
		SID string `json:"sid"`
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(open, "0")), &hello); err != nil {
		t.Fatalf("handshake: %q, %v", open, err)
	}
	polling += "&sid=" + hello.SID
	for i := range 3 {
		if status, ping := get(t, polling); status != http.StatusOK || ping != "2" {
			t.Fatalf("poll %d: %d %q", i, status, ping)
		}
		if status, text, _ := say(t, http.DefaultClient, http.MethodPost, polling, "3"); status != http.StatusOK {
			t.Fatalf("post %d: %d %q", i, status, text)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
