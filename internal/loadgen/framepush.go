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

	"holdfast/engineio"
	"holdfast/wsframe"
)

// FramePusher is one more client of a server that sends to all others what this
// one tells it: a message `b` and the text, or for Socket.IO the event "b" with the
// text's argument.
type FramePusher struct {
	conn     net.Conn
	protocol Protocol
	auth     []byte        // the auth object of its CONNECT
	ended    chan struct{} // when the connection has
	why      error         // that it has; to be read after ended

	beating bool // of the reader
	beats   sync.WaitGroup

	mu sync.Mutex // of writes
}

var _ Pusher = (*FramePusher)(nil)

// PushByClient makes a FramePusher for scenarios. It asks for no acknowledgements.
func PushByClient(t Target) NewPusher {
	return func(ctx context.Context, room string, ack time.Duration) (Pusher, error) {
		if ack > 0 {
			return nil, errors.New("the scenario wants each push acknowledged, for which it must be pushed by an API")
		}
		return NewFramePusher(ctx, t, room)
	}
}

// NewFramePusher connects it, by a WebSocket whatever the other clients do. room, if
// not empty, is the one that it joins as they do.
func NewFramePusher(ctx context.Context, t Target, room string) (*FramePusher, error) {
	p, err := newFramePusher(ctx, t, room)
	if err != nil {
		return nil, fmt.Errorf("connect the client that pushes: %w", err)
	}
	return p, nil
}

func newFramePusher(ctx context.Context, t Target, room string) (*FramePusher, error) {
	t.Transport = WebSocket
	switch {
	case t.Msgpack:
		return nil, errors.New("it has no MessagePack")
	case t.Protocol == Centrifugo:
		return nil, errors.New("it does not speak Centrifugo's protocol")
	}
	target, err := t.withDefaults()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(target.URL)
	if err != nil {
		return nil, err
	}
	d := newDialer(target, u)
	defer d.stop()
	conn, err := d.dial(ctx, 0)
	if err != nil {
		return nil, err
	}
	object, query := target.credentials(-1, room, time.Now())
	if target.Protocol == SocketIO5 {
		query = ""
	}
	p := &FramePusher{conn: conn, protocol: target.Protocol, auth: object, ended: make(chan struct{})}
	ready := make(chan struct{})
	go p.read(ready)
	if _, err = conn.Write(target.upgradeRequest(u.Host, query)); err == nil {
		err = p.await(ctx, ready)
	}
	if err != nil {
		_ = p.Close()
		return nil, err
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
	begun := func() {
		if ready != nil {
			close(ready)
			ready = nil
		}
	}
	var head replyReader
	var frames wsframe.Reader
	o := wsframe.ReaderOptions{Client: true, MaxMessage: maxBody}
	open := false
	emit := func(op wsframe.Opcode, payload []byte) error {
		switch {
		case op == wsframe.Ping:
			return p.write(wsframe.Pong, payload)
		case op == wsframe.Close:
			return errors.New("closed by the server")
		case p.protocol == Bare || op != wsframe.Text:
			return nil
		}
		return p.packet(payload, begun)
	}
	b := make([]byte, 4096)
	for p.why == nil {
		n, err := p.conn.Read(b)
		in := b[:n]
		if !open && err == nil {
			if in, open, err = head.feed(in); open && err == nil && head.reply.status != 101 {
				err = head.reply.refusal()
			}
			if open && err == nil && p.protocol == Bare {
				begun()
			}
		}
		if open && err == nil {
			err = frames.Feed(&o, in, emit)
		}
		p.why = err
	}
}

// packet takes one of Socket.IO, and calls begun when it says that the client is in.
func (p *FramePusher) packet(text []byte, begun func()) error {
	switch {
	case len(text) == 0:
	case p.protocol == SocketIO4 && text[0] == '0':
		return p.beat(text)
	case text[0] == '0':
		return p.write(wsframe.Text, append([]byte("40"), p.auth...))
	case string(text) == "2":
		return p.write(wsframe.Text, []byte("3"))
	case bytes.HasPrefix(text, []byte("40")):
		begun()
	case bytes.HasPrefix(text, []byte("44")):
		return connectError(text[2:])
	}
	return nil
}

// beat sends the heartbeats of Engine.IO 3, as often as the open packet says.
func (p *FramePusher) beat(text []byte) error {
	o, err := engineio.ParseOpen(text)
	if err != nil || o.PingInterval == 0 || p.beating {
		return err
	}
	p.beating = true
	p.beats.Go(func() {
		tick := time.NewTicker(time.Duration(o.PingInterval) * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = p.write(wsframe.Text, []byte("2")) // the reader hears of what is wrong
			case <-p.ended:
				return
			}
		}
	})
	return nil
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
	if p.protocol != Bare {
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
	p.beats.Wait()
	return err
}
