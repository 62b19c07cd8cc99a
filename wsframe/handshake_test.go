package wsframe

import (
	"errors"
	"net/http"
	"testing"
)

const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// The example of RFC 6455 section 1.3.
func TestAcceptKey(t *testing.T) {
	if got := AcceptKey(sampleKey); got != sampleAccept {
		t.Errorf("AcceptKey = %q, want %q", got, sampleAccept)
	}
}

func TestCheckHandshake(t *testing.T) {
	tests := []struct {
		name   string
		change func(r *http.Request)
		status int // 0: it is a handshake
	}{
		{"as in the RFC", func(*http.Request) {}, 0},
		{"Firefox's Connection", func(r *http.Request) { r.Header.Set("Connection", "keep-alive, Upgrade") }, 0},
		{"two Connection headers", func(r *http.Request) { r.Header["Connection"] = []string{"keep-alive", "upgrade"} }, 0},
		{"tabs and capitals", func(r *http.Request) { r.Header.Set("Upgrade", "h2c,\tWebSocket\t") }, 0},
		{"spaces round the key", func(r *http.Request) { r.Header.Set("Sec-WebSocket-Key", " "+sampleKey+" ") }, 0},
		{"POST", func(r *http.Request) { r.Method = http.MethodPost }, 405},
		{"HTTP/1.0", func(r *http.Request) { r.ProtoMinor = 0 }, 400},
		{"HTTP/2", func(r *http.Request) { r.ProtoMajor, r.ProtoMinor = 2, 0 }, 400},
		{"no Upgrade", func(r *http.Request) { r.Header.Del("Upgrade") }, 400},
		{"another Upgrade", func(r *http.Request) { r.Header.Set("Upgrade", "websockets") }, 400},
		{"no Connection", func(r *http.Request) { r.Header.Del("Connection") }, 400},
		{"another Connection", func(r *http.Request) { r.Header.Set("Connection", "keep-alive") }, 400},
		{"no version", func(r *http.Request) { r.Header.Del("Sec-WebSocket-Version") }, 426},
		{"version 8", func(r *http.Request) { r.Header.Set("Sec-WebSocket-Version", "8") }, 426},
		{"version 13 twice", func(r *http.Request) { r.Header.Add("Sec-WebSocket-Version", "13") }, 426},
		{"version list", func(r *http.Request) { r.Header.Set("Sec-WebSocket-Version", "13, 8") }, 426},
		{"no key", func(r *http.Request) { r.Header.Del("Sec-WebSocket-Key") }, 400},
		{"key twice", func(r *http.Request) { r.Header.Add("Sec-WebSocket-Key", sampleKey) }, 400},
		{"empty key", func(r *http.Request) { r.Header.Set("Sec-WebSocket-Key", "") }, 400},
		{"key of 15 bytes", func(r *http.Request) { r.Header.Set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAA") }, 400},
		{"key of 17 bytes", func(r *http.Request) { r.Header.Set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAAA=") }, 400},
		{"key of 18 bytes", func(r *http.Request) { r.Header.Set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAAAA") }, 400},
		{"key not base64", func(r *http.Request) { r.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j*Q==") }, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}}
			r.Header.Set("Upgrade", "websocket")
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Sec-WebSocket-Key", sampleKey)
			r.Header.Set("Sec-WebSocket-Version", "13")
			tt.change(r)
			key, err := CheckHandshake(r)
			if tt.status == 0 {
				if key != sampleKey || err != nil {
					t.Fatalf("CheckHandshake = %q, %v", key, err)
				}
				return
			}
			var e *HandshakeError
			if !errors.As(err, &e) || e.Status != tt.status || key != "" {
				t.Fatalf("CheckHandshake = %q, %v; want status %d", key, err, tt.status)
			}
			h := http.Header{}
			e.SetHeader(h)
			if got := h.Get("Sec-WebSocket-Version") == "13" && h.Get("Upgrade") == "websocket"; got != (tt.status == 426) {
				t.Errorf("headers %v for status %d", h, tt.status)
			}
			if got := h.Get("Allow") == "GET"; got != (tt.status == 405) {
				t.Errorf("headers %v for status %d", h, tt.status)
			}
		})
	}
}

func TestCheckAccept(t *testing.T) {
	tests := []struct {
		name   string
		change func(r *http.Response)
		ok     bool
	}{
		{"as in the RFC", func(*http.Response) {}, true},
		{"not switching", func(r *http.Response) { r.StatusCode = 503 }, false},
		{"no Upgrade", func(r *http.Response) { r.Header.Del("Upgrade") }, false},
		{"no Connection", func(r *http.Response) { r.Header.Del("Connection") }, false},
		{"another answer", func(r *http.Response) { r.Header.Set("Sec-WebSocket-Accept", sampleKey) }, false},
		{"no answer", func(r *http.Response) { r.Header.Del("Sec-WebSocket-Accept") }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Response{StatusCode: http.StatusSwitchingProtocols, Header: http.Header{}}
			r.Header.Set("Upgrade", "websocket")
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Sec-WebSocket-Accept", sampleAccept)
			tt.change(r)
			if err := CheckAccept(r, sampleKey); (err == nil) != tt.ok {
				t.Errorf("CheckAccept = %v", err)
			}
		})
	}
}
