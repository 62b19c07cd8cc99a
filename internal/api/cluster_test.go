package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
)

// cluster is a world with several ws-apis, each of which consumes some sessions.
type cluster struct {
	*world
	t   *testing.T
	all []*member

	mu   sync.Mutex
	lose func(word *message.Peer) bool // nil: no word is lost
	told map[string]message.Member     // by those that live
	away error                         // of the list of members
}

// member is one ws-api, and its bus.
type member struct {
	*world
	*Server
	c    *cluster
	up   chan settling
	stop func()
}

type settling struct {
	up      *message.Up
	settled func()
}

var (
	_ SettlingBus = (*member)(nil)
	_ PeerBus     = (*member)(nil)
	_ Members     = (*cluster)(nil)
)

func (m *member) AttachAPI(id string, receive func(*message.Reply)) func() {
	return m.world.AttachAPI(id, receive)
}

func (m *member) Send(ctx context.Context, node string, d *message.Down) error {
	return m.world.Send(ctx, node, d)
}

func (m *member) Consume(context.Context, func(*message.Up)) error {
	return errors.New("the server settles")
}

func (m *member) ConsumeSettled(ctx context.Context, handle func(*message.Up, func())) error {
	for {
		select {
		case e := <-m.up:
			handle(e.up, e.settled)
		case <-ctx.Done():
			return nil
		}
	}
}

// Reply carries what ws-apis tell one another as a bus does.
func (m *member) Reply(to string, r *message.Reply) error {
	if m.c.loses(r.Peer) {
		return nil
	}
	_, headers, body := r.Record()
	r, err := message.ParseReply(headers, body)
	if err != nil {
		return err
	}
	m.world.mu.Lock()
	receive := m.world.apis[to]
	m.world.mu.Unlock()
	if receive != nil {
		receive(r)
	}
	return nil
}

func (c *cluster) loses(word *message.Peer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lose != nil && c.lose(word)
}

// losing lets those words be lost from now on for which lose is true.
func (c *cluster) losing(lose func(word *message.Peer) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lose = lose
}

func (c *cluster) Beat(_ context.Context, self message.Member) (out []message.Member, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away != nil {
		return nil, c.away
	}
	c.told[self.ID] = self
	for id, m := range c.told {
		if id != self.ID {
			out = append(out, m)
		}
	}
	return out, nil
}

func (c *cluster) Leave(_ context.Context, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.told, id)
	return nil
}

func newCluster(t *testing.T, n int, limits Limits) *cluster {
	c := &cluster{world: newWorld(t), t: t, told: make(map[string]message.Member)}
	for range n {
		c.run(limits)
	}
	return c
}

// run starts one more ws-api.
func (c *cluster) run(limits Limits) *member {
	m := &member{world: c.world, c: c, up: make(chan settling, 1000)}
	var err error
	m.Server, err = New(Config{
		ID: fmt.Sprint("api-", len(c.all)), Registry: c.world, Log: c.world, Bus: m, Members: c, Limits: limits,
		Rules: []Rule{{Event: "*", Ack: AckBackend}}, Logger: slog.New(slog.NewTextHandler(testWriter{c.t}, nil)),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Errorf("Run: %v", err)
		}
	})
	c.t.Cleanup(m.stop)
	c.all = append(c.all, m)
	synctest.Wait()
	return m
}

// kill lets a ws-api die: nobody hears of it any more.
func (c *cluster) kill(m *member) {
	c.mu.Lock()
	delete(c.told, m.Server.cfg.ID)
	c.mu.Unlock()
	c.world.mu.Lock()
	delete(c.world.apis, m.Server.cfg.ID)
	c.world.mu.Unlock()
	m.peers.beating()
}

// join subscribes at a ws-api, as Subscribe does.
func (m *member) join(group string, inFlight int) *consumer {
	m.c.t.Helper()
	c, version, err := m.groups.join(group, filter{types: [4]bool{true, true, true, true}}, inFlight)
	if err != nil {
		m.c.t.Fatal(err)
	}
	m.peers.await(m.c.t.Context(), version)
	return c
}

// emit lets an event be consumed, and returns what tells whether it is settled.
func (m *member) emit(c *message.Client, name string, ackID uint64) (settled func() bool) {
	done := make(chan struct{})
	m.up <- settling{m.event(c, name, "[]", ackID), func() { close(done) }}
	synctest.Wait()
	return func() bool {
		synctest.Wait()
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

// given takes what a consumer gets, "name/attempt …".
func given(c *consumer) string {
	synctest.Wait()
	var out []string
	for _, d := range c.take() {
		out = append(out, fmt.Sprint(d.ev.up.Name, "/", d.attempt))
	}
	return strings.Join(out, " ")
}

// acknowledge does what a stream does with an acknowledgement.
func (m *member) acknowledge(c *consumer, id string, reply *pb.EventReply) {
	m.c.t.Helper()
	en := c.ack(id)
	switch {
	case en == nil:
		m.c.t.Errorf("%s is not held", id)
		return
	case en.origin != "":
		m.passOn(en, reply)
	case reply != nil:
		(&eventService{m.Server}).carryOut(m.c.t.Context(), en.ev, reply)
	}
	c.done(en)
	synctest.Wait()
}
