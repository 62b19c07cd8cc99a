package gateway

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"

	"holdfast/internal/netpoll"
	"holdfast/wsframe"
)

// shaken opens a WebSocket on a bare connection and reads the open packet.
func (w *world) shaken(t *testing.T, kind netpoll.Kind) (nc net.Conn, in *bufio.Reader) {
	t.Helper()
	nc = w.connect(t)
	if kind == overTLS {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the test server's
	}
	if _, err := io.WriteString(nc, shake); err != nil {
		t.Fatal(err)
	}
	in = bufio.NewReader(nc)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	if op, _ := readFrame(t, in); op != wsframe.Text {
		t.Fatalf("the first frame is %v", op)
	}
	return nc, in
}

// readFrame reads a small frame of the server.
func readFrame(t *testing.T, in *bufio.Reader) (op wsframe.Opcode, payload []byte) {
	t.Helper()
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		t.Fatal(err)
	}
	size := int(head[1])
	if size == 126 {
		var long [2]byte
		if _, err := io.ReadFull(in, long[:]); err != nil {
			t.Fatal(err)
		}
		size = int(binary.BigEndian.Uint16(long[:]))
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(in, payload); err != nil {
		t.Fatal(err)
	}
	return wsframe.Opcode(head[0] & 0x0f), payload
}

// TestLastWordOfASocket closes a socket whose client is in the middle of a message that
// is too large. All that it sends is taken, so that nothing keeps it from reading why.
func TestLastWordOfASocket(t *testing.T) {
	for name, kind := range map[string]netpoll.Kind{"plain": netpoll.Auto, "tls": overTLS} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, kind, nil)
			nc, in := w.shaken(t, kind)
			sent := make(chan error, 1)
			go func() {
				head := append([]byte{0x81, 0xff}, binary.BigEndian.AppendUint64(nil, 4<<20)...)
				_, err := nc.Write(append(head, make([]byte, 4+4<<20)...))
				sent <- err
			}()
			if err := <-sent; err != nil {
				t.Fatalf("the message is cut off: %v", err)
			}
			op, payload := readFrame(t, in)
			if code, _, err := wsframe.ParseClose(payload); op != wsframe.Close || code != wsframe.MessageTooBig || err != nil {
				t.Errorf("the last frame is %v with %v, %v", op, code, err)
			}
			if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("behind it: %v", err)
			}
			w.until("the socket waits for its client", func() bool { return w.parting() == 1 })
			_ = nc.Close()
			w.until("the socket is closed", func() bool { return w.parting() == 0 })
		})
	}
}

// TestSocketThatStays has a client read the close frame and stay.
func TestSocketThatStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, netpoll.Auto, nil)
	nc, in := w.shaken(t, netpoll.Auto)
	if _, err := nc.Write([]byte{0x81, 0x81, 0, 0, 0, 0, 'x'}); err != nil {
		t.Fatal(err)
	}
	if op, _ := readFrame(t, in); op != wsframe.Close {
		t.Fatalf("got %v", op)
	}
	w.until("the socket waits for its client", func() bool { return w.parting() == 1 })
	w.until("its time is over", func() bool { return w.parting() == 0 })
}

// TestManySocketsPart has more sockets part than are waited for.
func TestManySocketsPart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, netpoll.Auto, func(c *Config) { c.Shards = 1 })
	nc, in := w.shaken(t, netpoll.Auto)
	w.onShards(func(sh *shard) {
		for len(sh.parting) < maxParting {
			sh.parting[new(socket)] = 1 << 60
		}
	})
	if _, err := nc.Write([]byte{0x81, 0x81, 0, 0, 0, 0, 'x'}); err != nil {
		t.Fatal(err)
	}
	if op, _ := readFrame(t, in); op != wsframe.Close {
		t.Fatalf("got %v", op)
	}
	w.until("the connection is closed at once", func() (closed bool) {
		w.onShards(func(sh *shard) { closed = sh.engine.Len() == 0 && len(sh.parting) == maxParting })
		return closed
	})
	w.onShards(func(sh *shard) { clear(sh.parting) })
}

// parting counts the sockets that have said their last and are open.
func (w *world) parting() (n int) {
	w.onShards(func(sh *shard) { n += len(sh.parting) })
	return n
}
