package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"holdfast/internal/netpoll"
)

const shake = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

// connect opens a bare connection to the world's listener.
func (w *world) connect(t *testing.T) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", w.srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return nc
}

// TestHandshakeInPieces cuts a handshake anywhere; what follows it in the same bytes
// is the first frame.
func TestHandshakeInPieces(t *testing.T) {
	w := newWorld(t, netpoll.Auto, nil)
	frame := "\x81\x82\x00\x00\x00\x0040" // a masked text frame: 40
	for _, cut := range []int{0, 1, 3, 5, 60, len(shake) - 2, len(shake) - 1, len(shake), len(shake) + 3} {
		nc := w.connect(t)
		all := shake + frame
		for _, part := range []string{all[:cut], all[cut:]} {
			if _, err := io.WriteString(nc, part); err != nil {
				t.Fatal(err)
			}
		}
		in := bufio.NewReader(nc)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Accept") == "" {
			t.Fatalf("cut at %d: %v %v", cut, resp, err)
		}
		var got strings.Builder
		for !strings.Contains(got.String(), `40{"sid":"`) {
			b, err := in.ReadByte()
			if err != nil {
				t.Fatalf("cut at %d: %v after %q", cut, err, got.String())
			}
			got.WriteByte(b)
		}
		if !strings.Contains(got.String(), `0{"sid":"`) {
			t.Errorf("cut at %d: no open packet in %q", cut, got.String())
		}
	}
}

// TestHandshakeByteByByte is the slowest that a handshake can come.
func TestHandshakeByteByByte(t *testing.T) {
	w := newWorld(t, netpoll.Auto, nil)
	nc := w.connect(t)
	if _, err := io.Copy(nc, iotest.OneByteReader(strings.NewReader(shake))); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.ReadResponse(bufio.NewReader(nc), nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", resp, err)
	}
}

// TestOthersGetTheirAnswer sends what is no handshake that is in order: it is answered
// as if net/http had been asked at once.
func TestOthersGetTheirAnswer(t *testing.T) {
	w := newWorld(t, netpoll.Auto, func(c *Config) { c.HeaderBytes = 8 << 10 })
	without := func(line string) string { return strings.Replace(shake, line+"\r\n", "", 1) }
	with := func(from, to string) string { return strings.Replace(shake, from, to, 1) }
	for name, tt := range map[string]struct {
		request string
		status  int
	}{
		"a polling handshake":      {with("transport=websocket", "transport=polling"), 200},
		"another path":             {with("/socket.io/", "/other/"), 404},
		"a session that is not":    {with("websocket HTTP", "websocket&sid=x HTTP"), 400},
		"a POST":                   {with("GET", "POST"), 400},
		"no version":               {with("EIO=4&", ""), 400},
		"no host":                  {without("Host: h"), 400},
		"no upgrade":               {without("Upgrade: websocket"), 400},
		"no key":                   {without("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="), 400},
		"another WebSocket":        {with("Version: 13", "Version: 8"), 426},
		"a control character":      {with("Host: h", "Host: h\r\nX-A: a\x01b"), 400},
		"a name that is none":      {with("Host: h", "Host: h\r\nX A: b"), 400},
		"two lengths":              {with("Host: h", "Host: h\r\nContent-Length: 1\r\nContent-Length: 2"), 400},
		"too many lines":           {with("Host: h", "Host: h"+strings.Repeat("\r\nX-A: b", 200)), 431},
		"a head without an end":    {with("Host: h\r\n", "Host: h\r\nX-A: "+strings.Repeat("a", 2<<20)), 431},
		"a first line without end": {"GET /" + strings.Repeat("a", 2<<20), 431},
		"TLS":                      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
		"garbage":                  {"\x00\xff\r\n\r\n", 400},
	} {
		t.Run(name, func(t *testing.T) {
			nc := w.connect(t)
			go func() { _, _ = io.WriteString(nc, tt.request) }() // the server may stop reading in between
			resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
			if err != nil || resp.StatusCode != tt.status {
				t.Errorf("%v %v, want %d", resp, err, tt.status)
			}
		})
	}
}

// TestSilentConnections are closed in time, and those whose peer goes away are
// forgotten.
func TestSilentConnections(t *testing.T) {
	w := newWorld(t, netpoll.Auto, func(c *Config) { c.HeaderTimeout = 300 * time.Millisecond })
	for _, sent := range []string{"", "G", shake[:len(shake)-1]} {
		nc := w.connect(t)
		if _, err := io.WriteString(nc, sent); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(nc); err != nil || len(got) != 0 {
			t.Errorf("after %q: %q, %v", sent, got, err)
		}
	}
	_ = w.connect(t).Close()
	w.until("the shards have nothing left", func() bool {
		n := 0
		for _, sh := range w.gw.shards {
			counted := make(chan int, 1)
			sh.inbox.post(func() { counted <- len(sh.greeters) + sh.engine.Len() })
			n += <-counted
		}
		return n == 0
	})
}

// TestListenerEnds has the listener closed while connections come.
func TestListenerEnds(t *testing.T) {
	w := newWorld(t, netpoll.Auto, nil)
	addr := w.srv.Listener.Addr().String()
	_ = w.connect(t)
	if err := w.srv.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	if nc, err := net.Dial("tcp", addr); err == nil {
		_ = nc.Close()
		t.Error("a closed listener takes connections")
	}
	if _, err := w.srv.Listener.Accept(); err == nil {
		t.Error("a closed listener has a connection")
	}
}
