package netpoll

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func record(kind byte, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{kind, 3, 1}, uint16(len(payload))), payload...)
}

// helloReader reads as a Socket does.
type helloReader struct {
	hello
	r io.Reader
}

func (h *helloReader) Read(p []byte) (int, error) {
	if h.ended {
		return h.r.Read(p)
	}
	return h.read(h.r, p)
}

func TestHelloIsCutUp(t *testing.T) {
	pieces := func(sizes ...int) (cut [][]byte) {
		from := pattern(20_000)
		for _, n := range sizes {
			cut = append(cut, record(recordHandshake, from[:n]))
			from = from[n:]
		}
		return cut
	}
	after := append(record(recordHandshake, pattern(3000)), "and more"...)
	many := make([]int, 32)
	for i := range many {
		many[i] = 512
	}
	for name, c := range map[string]struct {
		in   []byte
		want [][]byte
	}{
		"small":             {record(recordHandshake, pattern(512)), pieces(512)},
		"one more":          {record(recordHandshake, pattern(513)), pieces(257, 256)},
		"as browsers do":    {record(recordHandshake, pattern(1500)), pieces(375, 375, 375, 375)},
		"odd":               {record(recordHandshake, pattern(1787)), pieces(447, 447, 447, 446)},
		"the largest":       {record(recordHandshake, pattern(1<<14)), pieces(many...)},
		"too large":         {record(recordHandshake, pattern(1<<14+1)), [][]byte{record(recordHandshake, pattern(1<<14+1))}},
		"empty":             {record(recordHandshake, nil), [][]byte{record(recordHandshake, nil)}},
		"no handshake":      {record(alertRecord, pattern(1500)), [][]byte{record(alertRecord, pattern(1500))}},
		"no TLS":            {[]byte("GET / HTTP/1.1\r\n\r\n"), [][]byte{[]byte("GET / HTTP/1.1\r\n\r\n")}},
		"less than a piece": {record(recordHandshake, pattern(9))[:7], [][]byte{record(recordHandshake, pattern(9))[:7]}},
	} {
		whole := len(c.in) != 7
		if whole {
			c.in = append(c.in, after...)
			c.want = append(c.want, after)
		}
		for way, r := range map[string]func(io.Reader) io.Reader{
			"at once":      func(r io.Reader) io.Reader { return r },
			"by bytes":     iotest.OneByteReader,
			"by halves":    iotest.HalfReader,
			"with the end": iotest.DataErrReader,
		} {
			for _, size := range []int{1, 3, 5, 576, 1 << 16} {
				var got bytes.Buffer
				_, err := io.CopyBuffer(&got, onlyReader{&helloReader{r: r(bytes.NewReader(c.in))}}, make([]byte, size))
				if err != nil || !bytes.Equal(got.Bytes(), bytes.Join(c.want, nil)) {
					t.Errorf("%s, %s, buffers of %d: %d bytes, %v", name, way, size, got.Len(), err)
				}
			}
		}
	}
}

func TestHelloThatEnds(t *testing.T) {
	for in, want := range map[string]error{"": io.EOF, "\x16\x03": io.ErrUnexpectedEOF} {
		h := &helloReader{r: bytes.NewReader([]byte(in))}
		if n, err := h.Read(make([]byte, 100)); n != 0 || !errors.Is(err, want) {
			t.Errorf("%q: %d, %v", in, n, err)
		}
	}
}

// What the cutting is for: no byte of the message is lost to crypto/tls, whatever
// its size, and both versions agree on what was said.
func TestHandshakeWithLargeHello(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, protocols := range []int{0, 1, 40, 400, 1500} {
			conf := &tls.Config{MinVersion: version, MaxVersion: version, ServerName: "a.example.com"}
			for range protocols {
				conf.NextProtos = append(conf.NextProtos, "protocol")
			}
			s, p := tcpPair(t)
			server, client := shake(t, NewSocket(s), p, conf)
			if server.ConnectionState().ServerName != "a.example.com" || client.ConnectionState().Version != version {
				t.Errorf("%d protocols: %+v", protocols, server.ConnectionState())
			}
			_ = client.Close()
			_ = server.Close()
		}
	}
}

// Whatever comes, and however it is cut, what is handed on is the same records, but
// for the first one, whose payload is.
func FuzzHello(f *testing.F) {
	f.Add(record(recordHandshake, pattern(1500)), uint16(7), uint16(576))
	f.Add(record(recordHandshake, pattern(3)), uint16(1), uint16(1))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint16(100), uint16(3))
	f.Fuzz(func(t *testing.T, in []byte, arrives, room uint16) {
		r := &cutReader{in, int(arrives)%3000 + 1}
		var got bytes.Buffer
		_, err := io.CopyBuffer(&got, onlyReader{&helloReader{r: r}}, make([]byte, int(room)%3000+1))
		if len(in) < 5 {
			if got.Len() > 0 || len(in) > 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("of half a header: %d bytes, %v", got.Len(), err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		n := int(binary.BigEndian.Uint16(in[3:]))
		if in[0] != recordHandshake || n == 0 || n > 1<<14 {
			if !bytes.Equal(got.Bytes(), in) {
				t.Fatal("what is no hello was changed")
			}
			return
		}
		var payload []byte
		out := got.Bytes()
		for want := min(n, len(in)-5); len(payload) < want; {
			size := int(binary.BigEndian.Uint16(out[3:]))
			if !bytes.Equal(out[:3], in[:3]) || size == 0 || size > helloPiece {
				t.Fatalf("a record begins with % x", out[:5])
			}
			end := min(5+size, len(out))
			payload = append(payload, out[5:end]...)
			out = out[end:]
		}
		if len(in) < 5+n {
			// The end came amid the message; a header without a payload may stand there.
			if !bytes.Equal(payload, in[5:]) {
				t.Fatal("another beginning of the message")
			}
			return
		}
		if !bytes.Equal(append(payload, out...), in[5:]) {
			t.Fatal("another message, or something else after it")
		}
	})
}

// cutReader gives at most n bytes at a time.
type cutReader struct {
	b []byte
	n int
}

func (r *cutReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.n)], r.b)
	r.b = r.b[n:]
	return n, nil
}
