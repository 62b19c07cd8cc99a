package loadgen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"holdfast/wsframe"
)

// FramePusher is one more client of a server that sends to all others what this
// one tells it: a message `b` and the text, or for Socket.IO the event "b" with the
// text's argument.
type FramePusher struct {
	conn     net.Conn
	socketIO bool
	ended    chan struct{} // when the connection has
	why      error         // that it has; to be read after ended

	mu sync.Mutex // of writes
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
	p := &FramePusher{conn: conn, socketIO: target.Protocol == SocketIO5, ended: make(chan struct{})}
	ready := make(chan struct{})
	go p.read(ready)
	if _, err = conn.Write(target.upgradeRequest(u.Host, "")); err == nil {
		err = p.await(ctx, ready)
	}
	if err != nil {
		_ = p.Close()
		return nil, fmt.Errorf("connect the pusher: %w", err)
	}
	return p, nil
}

// await waits until the server is ready for this client's events.
func (p *FramePusher) await(ctx context.Context, ready <-chan struct{}) error {
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	select {
	case <-ready:
		return nil
	case <-p.ended:
		return p.why
	case <-limit.C:
		return errors.New("the server does not answer")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// read runs until the connection ends. It answers heartbeats, without which the
// server would end it.
func (p *FramePusher) read(ready chan<- struct{}) {
	defer close(p.ended)
	var head replyReader
	var frames wsframe.Reader
	o := wsframe.ReaderOptions{Client: true}
	open := false
	emit := func(op wsframe.Opcode, payload []byte) error {
		switch {
		case op == wsframe.Ping:
			return p.write(wsframe.Pong, payload)
		case op == wsframe.Close:
			return errors.New("closed by the server")
		case !p.socketIO || op != wsframe.Text:
			return nil
		case bytes.HasPrefix(payload, []byte("0")):
			return p.write(wsframe.Text, []byte("40"))
		case string(payload) == "2":
			return p.write(wsframe.Text, []byte("3"))
		case bytes.HasPrefix(payload, []byte("40")) && ready != nil:
			close(ready)
			ready = nil
		}
		return nil
	}
	b := make([]byte, 4096)
	for p.why == nil {
		n, err := p.conn.Read(b)
		in := b[:n]
		if !open && err == nil {
			if in, open, err = head.feed(in); open && head.status != 101 {
				err = head.refusal()
			}
			if open && err == nil && !p.socketIO {
				close(ready)
				ready = nil
			}
		}
		if open && err == nil {
			err = frames.Feed(&o, in, emit)
		}
		p.why = err
	}
}

func (p *FramePusher) write(op wsframe.Opcode, text []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.conn.Write(wsframe.AppendMaskedFrame(nil, op, false, [4]byte{1, 2, 3, 4}, text))
	return err
}

// Push implements Pusher.
func (p *FramePusher) Push(_ context.Context, size int, due time.Time) error {
	text := "b" + EventText(EventName, size, due)
	if p.socketIO {
		text = `42["b",` + Argument(EventName, size, due) + `]`
	}
	select {
	case <-p.ended:
		return fmt.Errorf("push: %w", p.why)
	default:
	}
	if err := p.write(wsframe.Text, []byte(text)); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	return nil
}

// Close implements Pusher.
func (p *FramePusher) Close() error {
	err := p.conn.Close()
	<-p.ended
	return err
}
