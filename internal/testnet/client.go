package testnet

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"holdfast/engineio"
	"holdfast/socketio"
	"holdfast/wsframe"
)

// Closed is the error of a client whose server sent a close frame.
type Closed struct{ Code wsframe.CloseCode }

func (c *Closed) Error() string { return fmt.Sprintf("closed with %d", c.Code) }

// Refused is the error of a client whose handshake got another answer than it
// wanted.
type Refused struct {
	Status int
	Body   string
	Header http.Header
}

func (r *Refused) Error() string { return fmt.Sprintf("refused with %d: %s", r.Status, r.Body) }

// Message is one WebSocket message from the server.
type Message struct {
	Binary bool
	Data   []byte
}

// Client is a WebSocket client of Engine.IO 4. It belongs to one goroutine, but for
// Kill.
type Client struct {
	Open     engineio.OpenPacket
	Patience time.Duration // for each read and write; Dial sets it to 15 s

	nc     net.Conn
	reader wsframe.Reader
	queue  []Message
	failed error
}

// patience is how long a client waits for anything that the test did not bound
// otherwise.
const patience = 15 * time.Second

// Dial opens a session on a WebSocket. base is the endpoint's address,
// http://host:port/socket.io/, or https with any certificate; query and header are
// added to the handshake.
func Dial(base string, query url.Values, header http.Header) (*Client, error) {
	c, err := dial(base, query, header)
	if err != nil {
		return nil, err
	}
	m, err := c.Message()
	if err == nil && (len(m.Data) == 0 || m.Data[0] != '0') {
		err = fmt.Errorf("no open packet but %q", m.Data)
	}
	if err == nil {
		c.Open, err = engineio.ParseOpen(m.Data)
	}
	if err != nil {
		c.Kill()
		return nil, err
	}
	return c, nil
}

func dial(base string, query url.Values, header http.Header) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	q := url.Values{"EIO": {"4"}, "transport": {"websocket"}}
	for name, values := range query {
		q[name] = values
	}
	u.RawQuery = q.Encode()
	var nonce [16]byte
	_, _ = rand.Read(nonce[:])
	key := base64.StdEncoding.EncodeToString(nonce[:])
	r := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{}, ProtoMajor: 1, ProtoMinor: 1}
	for name, values := range header {
		r.Header[name] = values
	}
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Sec-WebSocket-Version", "13")
	r.Header.Set("Sec-WebSocket-Key", key)
	nc, err := (&net.Dialer{Timeout: patience}).DialContext(context.Background(), "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	if u.Scheme == "https" {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // of a test's server
	}
	c := &Client{Patience: patience, nc: nc}
	if err := c.shakeHands(r, key); err != nil {
		c.Kill()
		return nil, err
	}
	return c, nil
}

func (c *Client) shakeHands(r *http.Request, key string) error {
	if err := r.Write(c.nc); err != nil {
		return err
	}
	br := bufio.NewReader(c.nc)
	resp, err := http.ReadResponse(br, r)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		_ = resp.Body.Close()
		return &Refused{Status: resp.StatusCode, Body: string(body), Header: resp.Header}
	}
	if err := wsframe.CheckAccept(resp, key); err != nil {
		return err
	}
	early, _ := br.Peek(br.Buffered())
	return c.feed(append([]byte(nil), early...))
}

// client reads with these: a server's frames are not masked.
var serverFrames = wsframe.ReaderOptions{Client: true, MaxMessage: 64 << 20}

func (c *Client) feed(b []byte) error {
	return c.reader.Feed(&serverFrames, b, func(op wsframe.Opcode, payload []byte) error {
		switch op {
		case wsframe.Text, wsframe.Binary:
			c.queue = append(c.queue, Message{Binary: op == wsframe.Binary, Data: append([]byte(nil), payload...)})
		case wsframe.Close:
			code, _, err := wsframe.ParseClose(payload)
			return errors.Join(&Closed{Code: code}, err)
		}
		return nil
	})
}

// Message returns the server's next message. After an error it returns what had come
// before, and then the error again.
func (c *Client) Message() (Message, error) {
	buf := make([]byte, 16<<10)
	for len(c.queue) == 0 {
		if c.failed != nil {
			return Message{}, c.failed
		}
		_ = c.nc.SetReadDeadline(time.Now().Add(c.Patience))
		n, err := c.nc.Read(buf)
		if n > 0 {
			err = errors.Join(c.feed(buf[:n]), err)
		}
		c.failed = err
	}
	m := c.queue[0]
	c.queue = c.queue[1:]
	return m, nil
}

// Packet returns the server's next Socket.IO packet and answers the pings before it.
// Attachments are collected.
func (c *Client) Packet() (socketio.Packet, error) {
	var parts socketio.Assembler
	for {
		m, err := c.Message()
		switch {
		case err != nil:
			return socketio.Packet{}, err
		case m.Binary:
			whole, err := parts.Add(m.Data)
			if err != nil {
				return socketio.Packet{}, err
			}
			if whole {
				return parts.Take(), nil
			}
		case string(m.Data) == "2":
			if err := c.Text("3"); err != nil {
				return socketio.Packet{}, err
			}
		case len(m.Data) > 0 && m.Data[0] == '4':
			p, err := socketio.Parse(m.Data[1:], socketio.Limits{})
			if err != nil || p.Attachments == 0 {
				return p, err
			}
			if err := parts.Start(p, socketio.Limits{}); err != nil {
				return p, err
			}
		}
	}
}

// Text sends one text message as it is.
func (c *Client) Text(s string) error {
	return c.write(wsframe.AppendMaskedFrame(nil, wsframe.Text, false, [4]byte{1, 2, 3, 4}, []byte(s)))
}

// Texts sends many text messages in one write.
func (c *Client) Texts(all ...string) error {
	var b []byte
	for _, s := range all {
		b = wsframe.AppendMaskedFrame(b, wsframe.Text, false, [4]byte{1, 2, 3, 4}, []byte(s))
	}
	return c.write(b)
}

// Bytes sends bytes as they are, a part of a frame for instance.
func (c *Client) Bytes(b []byte) error { return c.write(b) }

func (c *Client) write(b []byte) error {
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.Patience))
	_, err := c.nc.Write(b)
	return err
}

// Connect asks for a namespace with an auth object (JSON, "" for none) and returns
// the next packet of that namespace.
func (c *Client) Connect(namespace, auth string) (socketio.Packet, error) {
	p := socketio.Packet{Type: socketio.Connect, Namespace: namespace, Data: []byte(auth)}
	if err := c.Text("4" + string(socketio.Append(nil, p))); err != nil {
		return p, err
	}
	for {
		answer, err := c.Packet()
		if err != nil || answer.Namespace == namespace {
			return answer, err
		}
	}
}

// Discard reads what comes and looks at nothing of it, without allocating, until the
// connection ends. got is told how many bytes came.
func (c *Client) Discard(got func(n int)) {
	_ = c.nc.SetReadDeadline(time.Time{})
	buf := make([]byte, 64<<10)
	for {
		n, err := c.nc.Read(buf)
		got(n)
		if err != nil {
			return
		}
	}
}

// Kill drops the connection without a word. Any goroutine may call it.
func (c *Client) Kill() { _ = c.nc.Close() }
