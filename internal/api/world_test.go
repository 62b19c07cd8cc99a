package api

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/message"
)

// world is everything around a server: clients, the nodes that hold them, their
// logs, and the bus between. Nodes do what they are told at once.
type world struct {
	t *testing.T

	mu       sync.Mutex
	clients  map[string]*message.ClientInfo
	version  map[message.Key]uint64
	seq      map[message.Key]uint64
	logged   map[message.Key][]*message.Push
	downs    []sentDown
	wake     chan struct{} // closed and replaced with each record
	nodes    map[string]bool
	full     map[string]bool
	mute     map[string]bool // takes records and does not answer calls
	answer   func(client string, p *message.Push) *message.Payload
	apis     map[string]func(*message.Reply)
	failLog  error
	notFound error // of Find
	finds    int   // calls of Find
	loads    int   // calls of Nodes

	up chan *message.Up
}

type sentDown struct {
	node string
	d    *message.Down
}

var (
	_ Registry = (*world)(nil)
	_ Log      = (*world)(nil)
	_ Bus      = (*world)(nil)
)

func newWorld(t *testing.T) *world {
	return &world{
		t: t, clients: make(map[string]*message.ClientInfo), version: make(map[message.Key]uint64),
		seq: make(map[message.Key]uint64), logged: make(map[message.Key][]*message.Push), wake: make(chan struct{}),
		nodes: make(map[string]bool), full: make(map[string]bool), mute: make(map[string]bool),
		apis: make(map[string]func(*message.Reply)), up: make(chan *message.Up, 100_000), notFound: message.ErrNotFound,
	}
}

// add puts a client into the world. Its ID sorts as its name does.
func (w *world) add(node, id, uid string, rooms ...string) *message.Client {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[node] = true
	c := &message.ClientInfo{Client: message.Client{
		ID: id, Namespace: "/", UID: uid, Node: node, Transport: "websocket", Protocol: "socket.io/5",
		ConnectedAt: time.Unix(1700000000, 0),
	}}
	w.clients[id] = c
	w.version[message.AllKey("/")]++
	for _, r := range rooms {
		w.enter(c, r)
	}
	client := c.Client
	return &client
}

func (w *world) enter(c *message.ClientInfo, room string) {
	if !slices.Contains(c.Rooms, room) {
		c.Rooms = append(c.Rooms, room)
		w.version[message.RoomKey(c.Namespace, room)]++
	}
}

func (w *world) remove(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.clients, id)
}

func (w *world) members(key message.Key) (out []message.ClientInfo) {
	for _, c := range w.clients {
		in := false
		switch key.Kind() {
		case message.KindAll:
			in = true
		case message.KindClient:
			in = c.ID == key.Name()
		case message.KindUser:
			in = c.UID == key.Name()
		case message.KindRoom:
			in = slices.Contains(c.Rooms, key.Name())
		}
		if in && c.Namespace == key.Namespace() {
			cp := *c
			cp.Rooms = slices.Clone(c.Rooms)
			out = append(out, cp)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

func (w *world) Nodes(_ context.Context, key message.Key) ([]string, uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loads++
	var nodes []string
	for _, c := range w.members(key) {
		if !slices.Contains(nodes, c.Node) {
			nodes = append(nodes, c.Node)
		}
	}
	return nodes, w.version[key], nil
}

func (w *world) Client(_ context.Context, id string) (message.ClientInfo, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.clients[message.PublicID(id)]; c != nil {
		return *c, nil
	}
	return message.ClientInfo{}, message.ErrNotFound
}

func (w *world) List(_ context.Context, key message.Key, cursor string, limit int) ([]message.ClientInfo, string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return page(w.members(key), cursor, limit)
}

func (w *world) ListNode(_ context.Context, node, cursor string, limit int) ([]message.ClientInfo, string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := slices.DeleteFunc(w.members(message.AllKey("/")), func(c message.ClientInfo) bool { return c.Node != node })
	return page(all, cursor, limit)
}

func page(all []message.ClientInfo, cursor string, limit int) ([]message.ClientInfo, string, error) {
	all = slices.DeleteFunc(all, func(c message.ClientInfo) bool { return c.ID <= cursor })
	if len(all) <= limit {
		return all, "", nil
	}
	return all[:limit], all[limit-1].ID, nil
}

func (w *world) Count(_ context.Context, key message.Key) (clients, users uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	uids := map[string]bool{}
	list := w.members(key)
	for _, c := range list {
		if c.UID != "" {
			uids[c.UID] = true
		}
	}
	return uint64(len(list)), uint64(len(uids)), nil
}

func (w *world) Append(_ context.Context, key message.Key, p *message.Push) (message.Appended, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failLog != nil {
		return message.Appended{}, w.failLog
	}
	prev := w.seq[key]
	if prev == 0 {
		w.seq[key] = 1000
	}
	w.seq[key]++
	w.logged[key] = append(w.logged[key], p)
	return message.Appended{Position: message.Position{Epoch: 7, Seq: w.seq[key]}, Prev: prev, Version: w.version[key]}, nil
}

func (w *world) Send(ctx context.Context, node string, d *message.Down) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.mu.Lock()
	if !w.nodes[node] {
		w.mu.Unlock()
		return message.ErrGone
	}
	if w.full[node] {
		w.mu.Unlock()
		return message.ErrFull
	}
	w.downs = append(w.downs, sentDown{node, d})
	replies := w.act(node, d)
	reply := w.apis[d.ReplyTo]
	close(w.wake)
	w.wake = make(chan struct{})
	w.mu.Unlock()
	for _, r := range replies {
		r.Call, r.Node = d.Call, node
		if reply != nil {
			reply(r)
		}
	}
	return nil
}

// act does what a record tells a node to do. w.mu is held.
func (w *world) act(node string, d *message.Down) (replies []*message.Reply) {
	here := func(key message.Key) (out []*message.ClientInfo) {
		for _, c := range w.members(key) {
			if c.Node == node {
				out = append(out, w.clients[c.ID])
			}
		}
		return out
	}
	n := 0
	switch {
	case d.Join != nil:
		for _, c := range here(d.Join.To) {
			n++
			for _, r := range d.Join.Rooms {
				w.enter(c, r)
			}
		}
	case d.Leave != nil:
		for _, c := range here(d.Leave.To) {
			n++
			c.Rooms = slices.DeleteFunc(c.Rooms, func(r string) bool { return slices.Contains(d.Leave.Rooms, r) })
		}
	case d.Disconnect != nil:
		for _, c := range here(d.Disconnect.To) {
			n++
			delete(w.clients, c.ID)
		}
	case d.Verdict != nil:
		if c := w.clients[d.Verdict.Client]; c != nil && d.Verdict.Reject == nil {
			n = 1
			c.UID, c.Profile = d.Verdict.UID, d.Verdict.Profile
			for _, r := range d.Verdict.JoinRooms {
				w.enter(c, r)
			}
		} else if c == nil {
			return []*message.Reply{{Done: true, Err: "unknown client"}}
		}
	case d.Push != nil && d.Push.WantAcks:
		if w.mute[node] {
			return nil
		}
		asked := map[string]bool{}
		for _, st := range d.Push.Stamps {
			for _, c := range here(st.Key) {
				asked[c.ID] = true
			}
		}
		replies = append(replies, &message.Reply{Clients: uint32(len(asked))})
		for id := range asked {
			if w.answer == nil {
				continue
			}
			if p := w.answer(id, d.Push.Push); p != nil {
				replies = append(replies, &message.Reply{Ack: &message.AckReply{Client: id, Payload: *p}})
			}
		}
		return replies
	}
	if d.Call == "" || w.mute[node] {
		return nil
	}
	return []*message.Reply{{Clients: uint32(n), Done: true}}
}

func (w *world) Consume(ctx context.Context, handle func(*message.Up)) error {
	for {
		select {
		case up := <-w.up:
			handle(up)
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *world) AttachAPI(id string, receive func(*message.Reply)) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.apis[id] = receive
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.apis, id)
	}
}

// wait returns the records sent so far when ok likes them.
func (w *world) wait(what string, ok func([]sentDown) bool) []sentDown {
	w.t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		w.mu.Lock()
		downs, wake := slices.Clone(w.downs), w.wake
		w.mu.Unlock()
		if ok(downs) {
			return downs
		}
		select {
		case <-wake:
		case <-timeout:
			w.t.Fatalf("%s: not seen in\n%s", what, describe(downs))
		}
	}
}

// sent returns the records so far.
func (w *world) sent() []sentDown {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.downs)
}

func (w *world) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.downs = nil
}

// describe draws records, one a line.
func describe(downs []sentDown) string {
	var b strings.Builder
	for _, s := range downs {
		b.WriteString(s.node + " ")
		switch d := s.d; {
		case d.Push != nil:
			fmt.Fprintf(&b, "push %s %s to", d.Push.Event, d.Push.Payload.JSON)
			for _, st := range d.Push.Stamps {
				fmt.Fprintf(&b, " %s@%d<%d", st.Key, st.Seq, st.Prev)
			}
		case d.Ack != nil:
			fmt.Fprintf(&b, "ack %s %d %s", d.Ack.Client, d.Ack.AckID, d.Ack.Payload.JSON)
		case d.Verdict != nil && d.Verdict.Reject != nil:
			fmt.Fprintf(&b, "reject %s %q %s", d.Verdict.Client, d.Verdict.Reject.Message, d.Verdict.Reject.Data)
		case d.Verdict != nil:
			fmt.Fprintf(&b, "accept %s uid=%s rooms=%v", d.Verdict.Client, d.Verdict.UID, d.Verdict.JoinRooms)
		case d.Join != nil:
			fmt.Fprintf(&b, "join %s %v", d.Join.To, d.Join.Rooms)
		case d.Leave != nil:
			fmt.Fprintf(&b, "leave %s %v", d.Leave.To, d.Leave.Rooms)
		case d.Disconnect != nil:
			fmt.Fprintf(&b, "disconnect %s %q", d.Disconnect.To, d.Disconnect.Reason)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// has tells whether a line of describe contains text.
func has(text string) func([]sentDown) bool {
	return func(downs []sentDown) bool { return strings.Contains(describe(downs), text) }
}

// start runs a server over the world until the test ends.
func (w *world) start(cfg Config) *Server {
	w.t.Helper()
	s := w.server(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	w.t.Cleanup(stop)
	return s
}

func (w *world) server(cfg Config) *Server {
	w.t.Helper()
	if cfg.ID == "" {
		cfg.ID = "api-1"
	}
	cfg.Registry, cfg.Log, cfg.Bus = w, w, w
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(testWriter{w.t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	s, err := New(cfg)
	if err != nil {
		w.t.Fatalf("New: %v", err)
	}
	return s
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}

// emit makes a client send an event. ackID 0: it wants no ack.
func (w *world) emit(c *message.Client, name, args string, ackID uint64) *message.Up {
	up := w.event(c, name, args, ackID)
	w.up <- up
	return up
}

// event makes what emit sends.
func (w *world) event(c *message.Client, name, args string, ackID uint64) *message.Up {
	w.mu.Lock()
	var rooms []string
	if info := w.clients[c.ID]; info != nil {
		rooms = slices.Clone(info.Rooms)
	}
	w.mu.Unlock()
	return &message.Up{
		ID: fmt.Sprintf("ev-%s-%s-%d", c.ID, name, ackID), Type: message.EventMessage, Client: c, Session: "s" + c.ID,
		Order: c.ID, Name: name, Payload: message.Payload{JSON: []byte(args)}, AckID: ackID, WantsAck: ackID > 0,
		Rooms: rooms, Received: time.Now(), TraceID: "trace-1",
	}
}

func (w *world) connect(c *message.Client, verdict bool, auth string, rooms ...string) {
	w.up <- &message.Up{
		ID: "con-" + c.ID, Type: message.EventConnect, Client: c, Session: "s" + c.ID, Order: c.ID,
		Payload: message.Payload{JSON: []byte("[]")}, Auth: []byte(auth), WantVerdict: verdict, Rooms: rooms,
		Query: map[string]string{"EIO": "4"}, HTTPHeaders: map[string]string{"Cookie": "a=b"}, Received: time.Now(),
	}
}

func (w *world) disconnect(c *message.Client, reason string, rooms ...string) {
	w.up <- &message.Up{
		ID: "dis-" + c.ID, Type: message.EventDisconnect, Client: c, Session: "s" + c.ID, Order: c.ID,
		Payload: message.Payload{JSON: []byte("[]")}, Rooms: rooms, Reason: reason, Received: time.Now(),
	}
}
