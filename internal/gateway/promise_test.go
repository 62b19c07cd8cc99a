package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/testnet"
	"holdfast/socketio"
)

// TestPromises does at random what applications, clients and buses do, and looks
// whether each client got what it was promised: all that was pushed to it while it was
// a member, each message once, a room's messages in their order, also over its
// reconnections. A failure names its seed; the threads of the run are not repeated by
// it, its choices are.
func TestPromises(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			nodes := 1 + int(seed%2)
			p := newPromises(t, seed, nodes)
			p.bus.SetLoss(testnet.Loss{Drop: 0.1, Repeat: 0.1, Delay: 0.2})
			var pushing sync.WaitGroup
			steps := make(chan struct{})
			for _, api := range p.apis {
				random := rand.New(rand.NewPCG(seed, p.random.Uint64()))
				pushing.Go(func() {
					for {
						select {
						case <-steps:
							return
						default:
							p.pushOne(random, api)
							pace(random, 4)
						}
					}
				})
			}
			stalling := make(chan struct{})
			go func() { // the stores take their time now and then
				defer close(stalling)
				random := rand.New(rand.NewPCG(seed, 3))
				for {
					select {
					case <-steps:
						return
					default:
						pace(random, 20)
						p.nodes[0].reg.Gate.Shut()
						pace(random, 5)
						p.nodes[0].reg.Gate.Open()
					}
				}
			}()
			for range 150 {
				p.step()
			}
			close(steps)
			pushing.Wait()
			<-stalling
			p.settle()
		})
	}
}

// pace lets up to limit milliseconds pass, so that what happens is spread over time.
func pace(random *rand.Rand, limit int) {
	<-time.After(time.Duration(random.IntN(1000*limit)) * time.Microsecond)
}

// promises is a cluster with its clients, and what they were promised.
type promises struct {
	t      *testing.T
	seed   uint64
	random *rand.Rand // of the steps
	nodes  []*world
	bus    *testnet.Bus
	apis   []*testnet.Producer

	mu       sync.Mutex // of all below and of the peers' fields; an append happens under it
	n        int
	alone    map[int]message.Key // pushes to one key → the key
	volatile map[int]bool
	was      map[int]string // what a push was, for who reads of a failure
	peers    []*peer
}

// peer is a client as it sees itself.
type peer struct {
	p   *promises
	uid string
	on  *world
	c   *testnet.Client
	who who

	up       bool
	read     chan struct{} // closed when the reader has ended
	offset   string
	in       map[message.Key]bool         // the keys of which it is surely a member
	owed     map[int]map[message.Key]bool // pushes that it has to get, and by which keys
	got      map[int]bool
	last     map[message.Key]int // highest push to that key alone
	comeback int
}

const (
	promiseRooms = 5
	promiseUsers = 3
	promisePeers = 8
)

func newPromises(t *testing.T, seed uint64, nodes int) *promises {
	p := &promises{t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 1)), alone: make(map[int]message.Key), was: make(map[int]string), volatile: make(map[int]bool)}
	x := newCluster(t, netpoll.Auto, func(c *Config) { c.Recovery = true })
	p.nodes, p.bus = []*world{x.a, x.b}[:nodes], x.a.bus
	for i := range 2 {
		p.apis = append(p.apis, &testnet.Producer{Name: fmt.Sprint("api ", i), Bus: p.bus})
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				for _, api := range p.apis {
					api.Tell()
				}
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
	for i := range promisePeers {
		pr := &peer{
			p: p, in: make(map[message.Key]bool), owed: make(map[int]map[message.Key]bool),
			got: make(map[int]bool), last: make(map[message.Key]int),
		}
		if i%4 != 0 {
			pr.uid = fmt.Sprint("u", i%promiseUsers)
		}
		p.peers = append(p.peers, pr)
		pr.connect()
	}
	t.Cleanup(func() {
		for _, pr := range p.peers {
			pr.c.Kill()
			<-pr.read
		}
	})
	return p
}

func (p *promises) fail(format string, args ...any) {
	p.t.Helper()
	p.t.Errorf("seed %d: %s", p.seed, fmt.Sprintf(format, args...))
}

// keys chooses what a push is for: mostly one thing, sometimes several.
func (p *promises) keys(random *rand.Rand) []message.Key {
	one := func() message.Key {
		switch random.IntN(8) {
		case 0:
			return message.AllKey("/")
		case 1:
			return message.UserKey("/", fmt.Sprint("u", random.IntN(promiseUsers)))
		case 2:
			return message.ClientKey("/", p.peers[random.IntN(len(p.peers))].who.SID)
		}
		return message.RoomKey("/", fmt.Sprint("r", random.IntN(promiseRooms)))
	}
	keys := []message.Key{one()}
	for random.IntN(4) == 0 {
		if key := one(); !containsKey(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

func containsKey(keys []message.Key, key message.Key) bool {
	for _, k := range keys {
		if k == key {
			return true
		}
	}
	return false
}

// pushOne pushes something somewhere, as a ws-api does.
func (p *promises) pushOne(random *rand.Rand, api *testnet.Producer) {
	p.mu.Lock()
	keys := p.keys(random)
	volatile := random.IntN(8) == 0
	p.n++
	push := p.nodes[0].newPush("e", p.n, keys...)
	push.Volatile = volatile
	p.was[p.n] = fmt.Sprintf("%d to %v, volatile: %v", p.n, keys, volatile)
	var stamps []message.Stamp
	if volatile {
		p.volatile[p.n] = true
		for _, key := range keys {
			stamps = append(stamps, message.Stamp{Key: key})
		}
	} else {
		p.promise(p.n, keys)
		stamps = p.nodes[0].log.Append(push)
	}
	p.mu.Unlock()
	to := make(map[string][]message.Stamp)
	for _, s := range stamps {
		for _, node := range p.nodes[0].reg.Nodes(s.Key) {
			to[node] = append(to[node], s)
		}
	}
	for node, stamps := range to {
		api.Send(node, push, stamps)
	}
}

// promise notes who has to get a push; mu is held.
func (p *promises) promise(n int, keys []message.Key) {
	if len(keys) == 1 {
		p.alone[n] = keys[0]
	}
	for _, pr := range p.peers {
		for _, key := range keys {
			if !pr.in[key] {
				continue
			}
			if pr.owed[n] == nil {
				pr.owed[n] = make(map[message.Key]bool)
			}
			pr.owed[n][key] = true
		}
	}
}

// step does one thing to one client.
func (p *promises) step() {
	pr := p.peers[p.random.IntN(len(p.peers))]
	switch {
	case !pr.up:
		pr.connect()
	case p.random.IntN(4) == 0:
		pr.goAway(p.random.IntN(3) == 0)
	case p.random.IntN(8) == 0:
		pr.joinAndGo(fmt.Sprint("r", p.random.IntN(promiseRooms)))
	case p.random.IntN(3) == 0:
		pr.leave(fmt.Sprint("r", p.random.IntN(promiseRooms)))
	default:
		pr.join(fmt.Sprint("r", p.random.IntN(promiseRooms)))
	}
	pace(p.random, 6)
}

// connect opens a session on one of the nodes, and comes back if it was there before.
func (pr *peer) connect() {
	t := pr.p.t
	pr.on = pr.p.nodes[pr.p.random.IntN(len(pr.p.nodes))]
	pr.c = pr.on.dial()
	auth := map[string]string{"uid": pr.uid}
	before := pr.who
	if before.PID != "" {
		auth["pid"] = before.PID
		if pr.offset != "" {
			auth["offset"] = pr.offset
		}
	}
	b, err := json.Marshal(auth)
	if err == nil {
		err = pr.c.Text("40" + string(b))
	}
	for err == nil {
		var packet socketio.Packet
		if packet, err = pr.c.Packet(); err != nil {
			break
		}
		if packet.Type != socketio.Connect {
			pr.take(packet)
			continue
		}
		now := pr.on.accepted(packet, nil)
		pr.p.mu.Lock()
		pr.who = now
		pr.p.mu.Unlock()
		break
	}
	if err != nil {
		t.Fatalf("seed %d: a client cannot connect: %v", pr.p.seed, err)
	}
	if before.PID != "" && pr.who != before {
		pr.p.fail("%s came back as new, with offset %q", before.SID, pr.offset)
	}
	pr.p.mu.Lock()
	if before.PID == "" {
		pr.in[message.AllKey("/")] = true
		pr.in[message.ClientKey("/", pr.who.SID)] = true
		if pr.uid != "" {
			pr.in[message.UserKey("/", pr.uid)] = true
		}
	} else {
		pr.comeback++
	}
	pr.p.mu.Unlock()
	pr.up, pr.read = true, make(chan struct{})
	go func() {
		defer close(pr.read)
		for {
			packet, err := pr.c.Packet()
			if err != nil {
				return
			}
			pr.take(packet)
		}
	}()
}

// goAway loses the connection: the client's own is cut, or the node ends it.
func (pr *peer) goAway(kicked bool) {
	if kicked {
		pr.on.call(&message.Down{Disconnect: &message.Disconnect{To: message.ClientKey("/", pr.who.SID), AllowReconnect: true}})
	} else {
		pr.c.Kill()
	}
	<-pr.read
	pr.c.Kill()
	pr.up = false
}

// join puts the client into a room. When the answer says that it is one that is in, it
// counts on it, whatever becomes of its connection.
func (pr *peer) join(room string) {
	replies := pr.on.call(&message.Down{Join: &message.Membership{To: message.ClientKey("/", pr.who.SID), Rooms: []string{room}}})
	if replies[0].Clients != 1 || replies[0].Err != "" {
		return
	}
	pr.p.mu.Lock()
	defer pr.p.mu.Unlock()
	pr.in[message.RoomKey("/", room)] = true
}

// joinAndGo loses the connection while a join is under way.
func (pr *peer) joinAndGo(room string) {
	joined := make(chan struct{})
	go func() {
		defer close(joined)
		pr.join(room)
	}()
	<-time.After(time.Duration(pr.p.random.IntN(500)) * time.Microsecond)
	pr.goAway(false)
	<-joined
}

// leave takes the client out of a room. What is under way to it there may come or not.
func (pr *peer) leave(room string) {
	key := message.RoomKey("/", room)
	pr.p.mu.Lock()
	delete(pr.in, key)
	for n, keys := range pr.owed {
		if delete(keys, key); len(keys) == 0 {
			delete(pr.owed, n)
		}
	}
	pr.p.mu.Unlock()
	pr.on.call(&message.Down{Leave: &message.Membership{To: message.ClientKey("/", pr.who.SID), Rooms: []string{room}}})
	pr.p.mu.Lock()
	delete(pr.last, key)
	pr.p.mu.Unlock()
}

// take judges an event.
func (pr *peer) take(packet socketio.Packet) {
	var name, offset string
	var n int
	args := []any{&name, &n, &offset}
	if err := json.Unmarshal(packet.Data, &args); err != nil || packet.Type != socketio.Event || len(args) != 3 {
		pr.p.fail("%s got %v %s: %v", pr.who.SID, packet.Type, packet.Data, err)
		return
	}
	pr.p.mu.Lock()
	defer pr.p.mu.Unlock()
	pr.offset = offset
	if pr.got[n] && !pr.p.volatile[n] { // a bus that brings a volatile one twice is not corrected
		pr.p.fail("%s got %s twice", pr.who.SID, pr.p.was[n])
	}
	pr.got[n] = true
	delete(pr.owed, n)
	if key, alone := pr.p.alone[n]; alone {
		if before := pr.last[key]; before > n {
			pr.p.fail("%s got %d of %s after %d", pr.who.SID, n, key, before)
		}
		pr.last[key] = n
	}
}

// settle lets everybody come back, makes the bus a good one, and waits until nobody
// misses anything.
func (p *promises) settle() {
	for _, pr := range p.peers {
		if !pr.up {
			pr.connect()
		}
	}
	p.bus.SetLoss(testnet.Loss{})
	var left string
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; {
		if left = p.missing(); left == "" {
			// Two seconds are promised, the rest is for a busy machine.
			if took := time.Since(began); took > 5*time.Second {
				p.fail("%d pushes were there only after %v", p.n, took)
			}
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			p.fail("after %v: %s", time.Since(began), left)
			return
		}
	}
}

// missing tells who waits for what.
func (p *promises) missing() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for _, pr := range p.peers {
		for n, keys := range pr.owed {
			fmt.Fprintf(&b, "%s (back %d times) has not got %d, owed by %v\n", pr.who.SID, pr.comeback, n, keys)
		}
	}
	return b.String()
}
