package loadgen

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"holdfast/wsframe"
)

// Pusher sends one event to all clients of a server, or to a room of them.
type Pusher interface {
	// Push sends an event whose message is size bytes long at the clients, with the
	// due time in it, and returns when the server has taken it.
	Push(ctx context.Context, size int, due time.Time) error
	Close() error
}

// APIPusher calls the PushService of holdfast.
type APIPusher struct {
	URL  string // of ws-api
	Room string // empty: all
	// AckTimeout asks every client for an acknowledgement and waits as long for
	// them.
	AckTimeout time.Duration
	Volatile   bool
}

var _ Pusher = (*APIPusher)(nil)

// EventName is the name of every event that is pushed.
const EventName = "ev"

// Push implements Pusher.
func (p *APIPusher) Push(ctx context.Context, size int, due time.Time) error {
	target := map[string]any{"all": true}
	if p.Room != "" {
		target = map[string]any{"room": p.Room}
	}
	req := map[string]any{
		"targets": []any{target}, "event": EventName, "volatile": p.Volatile,
		"payload": map[string]string{"json": "[" + Argument(EventName, size, due) + "]"},
	}
	method := "Push"
	if p.AckTimeout > 0 {
		method = "PushAndWait"
		req["ackTimeout"] = fmt.Sprintf("%.3fs", p.AckTimeout.Seconds())
	}
	return post(ctx, p.URL+"/holdfast.v1.PushService/"+method, req, nil)
}

// Close implements Pusher.
func (*APIPusher) Close() error { return rest() }

// CentrifugoPusher calls the HTTP API of Centrifugo.
type CentrifugoPusher struct{ URL, Key string }

var _ Pusher = (*CentrifugoPusher)(nil)

// Push implements Pusher.
func (p *CentrifugoPusher) Push(ctx context.Context, size int, due time.Time) error {
	req := map[string]any{
		"channel": CentrifugoChannel,
		"data":    json.RawMessage(Argument(EventName, size, due)),
	}
	return post(ctx, p.URL+"/api/publish", req, http.Header{"X-Api-Key": {p.Key}})
}

// Close implements Pusher.
func (*CentrifugoPusher) Close() error { return rest() }

// rest closes the connections that post has kept.
func rest() error {
	http.DefaultClient.CloseIdleConnections()
	return nil
}

func post(ctx context.Context, to string, body any, header http.Header) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	if header != nil {
		req.Header = header
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case err != nil:
		return fmt.Errorf("push: %w", err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("push: %s: %.200s", resp.Status, strings.TrimSpace(string(answer)))
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// FramePusher is one more client of a server that sends to all others what this
// one tells it: a message `b` and the text, or for Socket.IO the event "b" with the
// text's argument.
type FramePusher struct {
	conn     net.Conn
	socketIO bool
}

var _ Pusher = (*FramePusher)(nil)

// NewFramePusher connects it.
func NewFramePusher(ctx context.Context, t Target) (*FramePusher, error) {
	target, err := t.withDefaults()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(target.URL)
	if err != nil {
		return nil, fmt.Errorf("connect the pusher: %w", err)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, fmt.Errorf("connect the pusher: %w", err)
	}
	p := &FramePusher{conn: conn, socketIO: target.Protocol == SocketIO5}
	if err := p.handshake(target, u.Host); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect the pusher: %w", err)
	}
	go p.drain()
	return p, nil
}

// handshake ends when the server is ready for this client's events.
func (p *FramePusher) handshake(t *Target, host string) error {
	if err := p.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := p.conn.Write(t.upgradeRequest(host, "")); err != nil {
		return err
	}
	if err := p.readUntil("\r\n\r\n"); err != nil {
		return err
	}
	if p.socketIO {
		if err := p.write([]byte("40")); err != nil {
			return err
		}
		if err := p.readUntil("40"); err != nil {
			return err
		}
	}
	return p.conn.SetDeadline(time.Time{})
}

func (p *FramePusher) readUntil(end string) error {
	var all, one []byte
	one = make([]byte, 1)
	for !bytes.HasSuffix(all, []byte(end)) {
		if _, err := p.conn.Read(one); err != nil {
			return fmt.Errorf("wait for the server's answer: %w", err)
		}
		if all = append(all, one...); len(all) > maxHead {
			return fmt.Errorf("the server's answer is too long: %.60q", all)
		}
	}
	return nil
}

// drain answers heartbeats until the connection ends.
func (p *FramePusher) drain() {
	var r wsframe.Reader
	o := wsframe.ReaderOptions{Client: true}
	b := make([]byte, 4096)
	for {
		n, err := p.conn.Read(b)
		if err != nil {
			return
		}
		if r.Feed(&o, b[:n], func(op wsframe.Opcode, payload []byte) error {
			switch {
			case op == wsframe.Ping:
				_, err := p.conn.Write(wsframe.AppendMaskedFrame(nil, wsframe.Pong, false, [4]byte{}, payload))
				return err
			case op == wsframe.Text && string(payload) == "2":
				return p.write([]byte("3"))
			}
			return nil
		}) != nil {
			return
		}
	}
}

func (p *FramePusher) write(text []byte) error {
	_, err := p.conn.Write(wsframe.AppendMaskedFrame(nil, wsframe.Text, false, [4]byte{1, 2, 3, 4}, text))
	return err
}

// Push implements Pusher.
func (p *FramePusher) Push(_ context.Context, size int, due time.Time) error {
	text := "b" + EventText(EventName, size, due)
	if p.socketIO {
		text = `42["b",` + Argument(EventName, size, due) + `]`
	}
	if err := p.write([]byte(text)); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	return nil
}

// Close implements Pusher.
func (p *FramePusher) Close() error { return p.conn.Close() }
