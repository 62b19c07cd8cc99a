package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/bus/kafkatest"
	"holdfast/internal/message"
)

// TestKafka has one broker for all tests of the bus; each has a prefix of its own.
func TestKafka(t *testing.T) {
	secure := kafkatest.StartSecure(t, "group.min.session.timeout.ms=500")
	k := &kafkaWorld{broker: secure.Broker, secure: secure}
	n := 0
	t.Run("contract", func(t *testing.T) {
		testTransport(t, inReality, func(t *testing.T, items int) transport {
			n++
			opts := k.options(fmt.Sprint("contract", n))
			opts.UpItems = items
			return k.open(t, opts)
		})
	})
	t.Run("shared", func(t *testing.T) {
		testShared(t, 4, func(t *testing.T, name string) shared { return k.open(t, k.options(name)) })
	})
	for _, c := range []struct {
		name string
		test func(t *testing.T, k *kafkaWorld, prefix string)
	}{
		{"a killed consumer loses nothing", testKafkaKilledConsumer},
		{"a consumer that seemed dead", testKafkaSeeminglyDeadConsumer},
		{"a window that is full waits", testKafkaWindow},
		{"an inbox of another", testKafkaInboxOfAnother},
		{"an inbox moves", testKafkaInboxMoves},
		{"more nodes than partitions", testKafkaMoreInboxes},
		{"order across a move", testKafkaFlush},
		{"pushes", testKafkaPushes},
		{"topics", testKafkaTopics},
		{"who may be there", testKafkaSecure},
		{"no broker", testKafkaUnreachable},
		{"an event that is too large", testKafkaTooLarge},
		{"durability", testKafkaDurability},
		{"a broker that hangs, and one that dies", testKafkaOutage}, // the last: others would feel it
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, k, strings.ReplaceAll(c.name, " ", "-")) })
	}
}

// kafkaWorld is a broker and those who use it.
type kafkaWorld struct {
	broker *kafkatest.Broker
	secure kafkatest.Secure // the same, where TestKafka has started it

	mu   sync.Mutex
	dirs map[string]*directory // by prefix
}

// directory is who lives and where, as the processes of a cluster share it.
type directory struct {
	mu    sync.Mutex
	nodes map[string]int32
	lives map[string]int // how many processes say that they are the node
	away  bool           // it does not answer
}

var errAway = errors.New("the directory is away")

func (d *directory) Claim(_ context.Context, node string, limit, want int32) (int32, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, alive := d.nodes[node]
	switch {
	case d.away:
		return 0, errAway
	case !alive:
		return 0, message.ErrGone
	case p >= 0:
		return p, nil
	}
	taken := slices.Collect(maps.Values(d.nodes))
	if want >= 0 && !slices.Contains(taken, want) {
		d.nodes[node] = want
		return want, nil
	}
	for p := range limit {
		if !slices.Contains(taken, p) {
			d.nodes[node] = p
			return p, nil
		}
	}
	return 0, message.ErrFull
}

func (d *directory) Find(_ context.Context, node string) (int32, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, alive := d.nodes[node]
	switch {
	case d.away:
		return 0, errAway
	case !alive || p < 0:
		return 0, message.ErrGone
	}
	return p, nil
}

// born and died are what a process does about its lease before it attaches and after
// it has detached.
func (d *directory) born(node string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lives[node]++; d.lives[node] == 1 {
		d.nodes[node] = -1
	}
}

func (d *directory) died(node string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lives[node]--; d.lives[node] == 0 {
		delete(d.nodes, node)
	}
}

func (d *directory) move(node string, to int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nodes[node] = to
}

func (d *directory) setAway(away bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.away = away
}

// livingKafka is a bus whose nodes live as long as they are attached.
type livingKafka struct {
	*Kafka
	dir *directory
}

func (b *livingKafka) AttachNode(node string, receive func(*message.Down) error) (detach func()) {
	b.dir.born(node)
	inner, died := b.Kafka.AttachNode(node, receive), sync.OnceFunc(func() { b.dir.died(node) })
	return func() {
		died()
		inner()
	}
}

func (k *kafkaWorld) directory(prefix string) *directory {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dirs == nil {
		k.dirs = make(map[string]*directory)
	}
	if k.dirs[prefix] == nil {
		k.dirs[prefix] = &directory{nodes: make(map[string]int32), lives: make(map[string]int)}
	}
	return k.dirs[prefix]
}

// options are options that need no patience.
func (k *kafkaWorld) options(prefix string) KafkaOptions {
	return KafkaOptions{
		Brokers: []string{k.broker.Addr}, Nodes: k.directory(prefix), Prefix: prefix,
		CreateTopics: true, Partitions: 4, MaxRecord: 1 << 20,
		DeadAfter: 800 * time.Millisecond, HandOver: 2 * time.Second, Commit: 20 * time.Millisecond,
		Claim: 100 * time.Millisecond, Timeout: 3 * time.Second,
	}
}

func (k *kafkaWorld) open(t testing.TB, opts KafkaOptions) *livingKafka {
	t.Helper()
	b, err := NewKafka(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = b.Close(ctx) // some tests leave it with work that cannot be done
	})
	if err := b.PrepareTopics(context.Background()); err != nil {
		t.Fatal(err)
	}
	dir, _ := opts.Nodes.(*directory)
	return &livingKafka{Kafka: b, dir: dir}
}

// cable is a network that can be cut, by which a process is as good as dead.
type cable struct {
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (c *cable) dial(ctx context.Context, network, host string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return nil, errors.New("the cable is cut")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, host)
	if err == nil {
		c.conns = append(c.conns, conn)
	}
	return conn, err
}

// cutAll ends all connections, and those to come.
func (c *cable) cutAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

// stillness is a network that can stand still, as all of a process does that is stopped.
type stillness struct {
	sync.RWMutex // locked while nothing moves
}

type stillConn struct {
	net.Conn
	still *stillness
}

func (s *stillness) dial(ctx context.Context, network, host string) (net.Conn, error) {
	s.pass()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, host)
	return stillConn{conn, s}, err
}

func (s *stillness) pass() {
	s.RLock()
	defer s.RUnlock()
}

func (c stillConn) Write(p []byte) (int, error) {
	c.still.pass()
	return c.Conn.Write(p)
}

func (c stillConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.still.pass()
	return n, err
}
