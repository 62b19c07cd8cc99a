package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"holdfast/internal/bus/kafkatest"
	"holdfast/internal/message"
)

// TestKafka has one broker for all tests of the bus; each has a prefix of its own.
func TestKafka(t *testing.T) {
	k := &kafkaWorld{broker: kafkatest.Start(t, "group.min.session.timeout.ms=500")}
	n := 0
	t.Run("contract", func(t *testing.T) {
		testTransport(t, inReality, func(t *testing.T, items int) transport {
			n++
			opts := k.options(fmt.Sprint("contract", n))
			opts.UpItems = items
			return k.open(t, opts)
		})
	})
	for _, c := range []struct {
		name string
		test func(t *testing.T, k *kafkaWorld, prefix string)
	}{
		{"consumers share keys in order", testKafkaConsumersShareKeys},
		{"a killed consumer loses nothing", testKafkaKilledConsumer},
		{"a stopped consumer settles later", testKafkaStoppedConsumer},
		{"a window that is full waits", testKafkaWindow},
		{"an inbox is taken over", testKafkaInboxTakenOver},
		{"an inbox moves", testKafkaInboxMoves},
		{"more nodes than partitions", testKafkaMoreInboxes},
		{"what is malformed is dropped", testKafkaMalformed},
		{"close flushes", testKafkaCloseFlushes},
		{"order across a move", testKafkaFlush},
		{"pushes", testKafkaPushes},
		{"topics", testKafkaTopics},
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

	mu   sync.Mutex
	dirs map[string]*directory // by prefix
}

// directory is who lives and where, as the processes of a cluster share it.
type directory struct {
	mu    sync.Mutex
	nodes map[string]int32
	away  bool // it does not answer
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
	if _, ok := d.nodes[node]; !ok {
		d.nodes[node] = -1
	}
}

func (d *directory) died(node string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.nodes, node)
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
	dir  *directory
	mu   *sync.Mutex
	here map[string]int // attachments of each node
}

func (b *livingKafka) AttachNode(node string, receive func(*message.Down) error) (detach func()) {
	b.dir.born(node)
	b.mu.Lock()
	b.here[node]++
	b.mu.Unlock()
	inner := b.Kafka.AttachNode(node, receive)
	var once sync.Once
	return func() {
		once.Do(func() {
			b.mu.Lock()
			b.here[node]--
			last := b.here[node] == 0
			b.mu.Unlock()
			if last {
				b.dir.died(node)
			}
		})
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
		k.dirs[prefix] = &directory{nodes: make(map[string]int32)}
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
	return &livingKafka{Kafka: b, dir: dir, mu: new(sync.Mutex), here: make(map[string]int)}
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

func testKafkaConsumersShareKeys(t *testing.T, k *kafkaWorld, prefix string) {
	a, b, gateway := k.open(t, k.options(prefix)), k.open(t, k.options(prefix)), k.open(t, k.options(prefix))
	var j journal
	stopA := consume(t, a, j.note)
	const keys, each, all = 40, 50, 4
	total := 0
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			for key := range keys {
				if err := gateway.Publish(order(fmt.Sprint("k", key), i)); err != nil {
					t.Fatal(err)
				}
				total++
			}
		}
	}
	publish(0, each)
	eventually(t, "the first has all partitions", func() bool { return a.Stats().Partitions == all })
	stopB := consume(t, b, j.note)
	publish(each, 2*each)
	eventually(t, "two consumers have half each", func() bool {
		return a.Stats().Partitions == all/2 && b.Stats().Partitions == all/2
	})
	publish(2*each, 3*each)
	eventually(t, "all arrive", func() bool { return j.count() >= total })
	stopA()
	eventually(t, "one that stops hands over", func() bool { return b.Stats().Partitions == all })
	publish(3*each, 4*each)
	eventually(t, "all arrive", func() bool { return j.count() >= total })
	stopB()
	for key, got := range j.got {
		if len(got) != 4*each || !slices.IsSortedFunc(got, byNumber) {
			t.Errorf("key %s: %d events: %v", key, len(got), got)
		}
	}
	if j.all != total {
		t.Errorf("%d events of %d", j.all, total)
	}
}

func testKafkaKilledConsumer(t *testing.T, k *kafkaWorld, prefix string) {
	gateway := k.open(t, k.options(prefix))
	opts, net := k.options(prefix), &cable{}
	opts.dial, opts.Timeout = net.dial, 300*time.Millisecond
	first := k.open(t, opts)
	const n, settledTo = 210, 150
	for i := range n {
		if err := gateway.Publish(order(fmt.Sprint(i%7), i)); err != nil {
			t.Fatal(err)
		}
	}
	// The first has got all and settled the older ones when it dies.
	taken := make(chan string, n)
	done := make(chan error, 1)
	go func() {
		done <- first.ConsumeSettled(t.Context(), func(up *message.Up, settled func()) {
			var i int
			if _, err := fmt.Sscan(up.ID, &i); err != nil {
				t.Error(err)
			}
			if i < settledTo {
				settled()
				settled() // once more is no more
			}
			taken <- up.ID
		})
	}()
	for range n {
		<-taken
	}
	if got := first.Stats().InFlight; got != n-settledTo {
		t.Errorf("%d in flight", got)
	}
	eventually(t, "what is settled is committed", func() bool {
		first.Kafka.mu.RLock()
		m := first.member
		first.Kafka.mu.RUnlock()
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, p := range m.parts {
			if p.committed != p.position.Offset {
				return false
			}
		}
		return true
	})
	net.cutAll()
	second := k.open(t, k.options(prefix))
	var j journal
	stop := consume(t, second, j.note)
	eventually(t, "the rest comes again", func() bool { return j.count() >= n-settledTo })
	stop()
	seen := make(map[string]bool)
	for key, got := range j.got {
		if !slices.IsSortedFunc(got, byNumber) {
			t.Errorf("key %s: %v", key, got)
		}
		for _, id := range got {
			seen[id] = true
		}
	}
	for i := settledTo; i < n; i++ {
		if !seen[fmt.Sprint(i)] {
			t.Errorf("event %d was not settled and did not come again", i)
		}
	}
	if j.all > n-settledTo { // each partition's settled ones lie before the others
		t.Errorf("%d events came again, of %d that were not settled", j.all, n-settledTo)
	}
	if err := first.Close(t.Context()); err != nil {
		t.Error(err) // it had nothing to write
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// What is under way when a consumer stops belongs to it until it is settled.
func testKafkaStoppedConsumer(t *testing.T, k *kafkaWorld, prefix string) {
	a, b := k.open(t, k.options(prefix)), k.open(t, k.options(prefix))
	for i := range 2 {
		if err := a.Publish(order("k", i)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var settle func()
	if err := a.ConsumeSettled(ctx, func(_ *message.Up, settled func()) {
		settle = settled
		cancel()
	}); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 2)
	stop := consume(t, b, func(up *message.Up) { got <- up.ID })
	if err := b.Publish(order("k", 2)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the third is written", func() bool { return b.Stats().Written == 1 })
	if len(got) > 0 {
		t.Errorf("event %s overtook one in flight", <-got)
	}
	settle()
	for _, want := range []string{"1", "2"} {
		if id := <-got; id != want {
			t.Errorf("got %s, want %s", id, want)
		}
	}
	stop()
}

func testKafkaWindow(t *testing.T, k *kafkaWorld, prefix string) {
	opts := k.options(prefix)
	opts.Window = 3
	b := k.open(t, opts)
	for i := range 5 {
		if err := b.Publish(order("k", i)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	type handed struct {
		id      string
		settled func()
	}
	got, done := make(chan handed, 5), make(chan error, 1)
	go func() {
		done <- b.ConsumeSettled(ctx, func(up *message.Up, settled func()) { got <- handed{up.ID, settled} })
	}()
	var held []handed
	for range 3 {
		held = append(held, <-got)
	}
	held[1].settled() // behind one that is not
	held[2].settled()
	if len(got) > 0 {
		t.Errorf("event %s is beyond the window", (<-got).id)
	}
	held[0].settled()
	for _, want := range []string{"3", "4"} {
		e := <-got
		if e.id != want {
			t.Errorf("got %s, want %s", e.id, want)
		}
		e.settled()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func testKafkaInboxTakenOver(t *testing.T, k *kafkaWorld, prefix string) {
	a, b, api := k.open(t, k.options(prefix)), k.open(t, k.options(prefix)), k.open(t, k.options(prefix))
	got := make(chan string, 10)
	detachA := a.AttachNode("n", func(d *message.Down) error { got <- "a" + d.Call; return nil })
	send := func(call, want string) {
		t.Helper()
		if err := api.Send(t.Context(), "n", someDown(call)); err != nil {
			t.Fatal(err)
		}
		if g := <-got; g != want {
			t.Errorf("got %s, want %s", g, want)
		}
	}
	send("1", "a1")
	// The same node in another process, as after a crash that nobody has noticed.
	detachB := b.AttachNode("n", func(d *message.Down) error { got <- "b" + d.Call; return nil })
	send("2", "b2")
	detachA()
	a.dir.born("n")
	send("3", "b3")
	detachB()
	// Another node gets the partition of one that has ended; what is for that is not for it.
	detachM := a.AttachNode("m", func(d *message.Down) error { got <- "m" + d.Call; return nil })
	if err := api.Send(t.Context(), "n", someDown("4")); err != nil { // by what it remembers
		t.Fatal(err)
	}
	if err := api.Send(t.Context(), "m", someDown("5")); err != nil {
		t.Fatal(err)
	}
	for g := range got {
		if g == "m5" {
			break
		}
		if g == "m4" {
			t.Error("a record for a former owner was delivered")
		}
	}
	detachM()
	eventually(t, "the place of the one that has ended is forgotten", func() bool {
		return errors.Is(api.Send(t.Context(), "n", someDown("")), message.ErrGone)
	})
}

func testKafkaInboxMoves(t *testing.T, k *kafkaWorld, prefix string) {
	b, api := k.open(t, k.options(prefix)), k.open(t, k.options(prefix))
	got := make(chan string, 100)
	defer b.AttachNode("n", func(d *message.Down) error { got <- d.Call; return nil })()
	if err := api.Send(t.Context(), "n", someDown("1")); err != nil {
		t.Fatal(err)
	}
	<-got
	// Nobody knows for a while; what was known is used, and the reader stays.
	b.dir.setAway(true)
	eventually(t, "what is remembered is old", func() bool {
		api.places.mu.Lock()
		defer api.places.mu.Unlock()
		return time.Since(api.places.known["n"].asked) > placeTime
	})
	if err := api.Send(t.Context(), "n", someDown("2")); err != nil {
		t.Fatal(err)
	}
	if call := <-got; call != "2" {
		t.Errorf("got %s", call)
	}
	if err := api.Send(t.Context(), "unheard", someDown("")); !errors.Is(err, errAway) {
		t.Errorf("a node that nobody can look up: %v", err)
	}
	b.dir.setAway(false)
	b.dir.move("n", 3)
	eventually(t, "records reach the new partition", func() bool {
		if err := api.Send(t.Context(), "n", someDown("3")); err != nil {
			t.Fatal(err)
		}
		api.places.mu.Lock()
		defer api.places.mu.Unlock()
		return api.places.known["n"].partition == 3
	})
	if err := api.Send(t.Context(), "n", someDown("last")); err != nil {
		t.Fatal(err)
	}
	for call := range got {
		if call == "last" {
			break
		}
	}
}

func testKafkaMoreInboxes(t *testing.T, k *kafkaWorld, prefix string) {
	opts := k.options(prefix)
	opts.Partitions = 1
	b := k.open(t, opts)
	got := make(chan string, 10)
	for _, node := range []string{"x", "y", "z"} {
		defer b.AttachNode(node, func(d *message.Down) error { got <- node + d.Call; return nil })()
	}
	for _, node := range []string{"x", "y", "z"} {
		if err := b.Send(t.Context(), node, someDown("!")); err != nil {
			t.Fatal(err)
		}
		if g := <-got; g != node+"!" {
			t.Errorf("got %s", g)
		}
	}
}

func testKafkaMalformed(t *testing.T, k *kafkaWorld, prefix string) {
	b := k.open(t, k.options(prefix))
	var j journal
	stop := consume(t, b, j.note)
	got := make(chan string, 1)
	defer b.AttachNode("n", func(d *message.Down) error { got <- d.Call; return nil })()
	bad := []message.Header{{Name: "X-Event", Value: "?"}}
	up := kafkaRecord(b.upTopic(), "k", bad, nil)
	down := kafkaRecord(b.inboxTopic(), "k", append(bad, message.Header{Name: inboxHeader, Value: "n"}), nil)
	if err := errors.Join(b.events.ProduceSync(t.Context(), up).FirstErr(), b.records.ProduceSync(t.Context(), down).FirstErr()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Publish(order("k", 1)), b.Send(t.Context(), "n", someDown("x"))); err != nil {
		t.Fatal(err)
	}
	<-got
	eventually(t, "the good one arrives, the bad one is dropped", func() bool {
		s := b.Stats()
		return j.count() == 1 && s.Malformed == 2 && s.InFlight == 0
	})
	stop()
}

func testKafkaCloseFlushes(t *testing.T, k *kafkaWorld, prefix string) {
	b, reader := k.open(t, k.options(prefix)), k.open(t, k.options(prefix))
	replies := make(chan string, 100)
	defer reader.AttachAPI("api", func(r *message.Reply) { replies <- r.Call })()
	for i := range 100 {
		if err := errors.Join(b.Publish(order("k", i)), b.Reply("api", &message.Reply{Call: fmt.Sprint(i)})); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if call := <-replies; call != fmt.Sprint(i) {
			t.Fatalf("reply %s in place of %d", call, i)
		}
	}
	var j journal
	stop := consume(t, reader, j.note)
	eventually(t, "all events arrive", func() bool { return j.count() == 100 })
	stop()
	for what, err := range map[string]error{
		"publish": b.Publish(order("k", 0)), "reply": b.Reply("api", &message.Reply{}), "send": b.Send(t.Context(), "n", someDown("")),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if s := b.Stats(); s.UpItems != 0 || s.UpBytes != 0 || s.Written != 100 || s.Replied != 100 || b.replies.bytes != 0 {
		t.Errorf("%+v", s)
	}
}

// A record that was not settled comes again, under the same ID.
func testKafkaPushes(t *testing.T, k *kafkaWorld, prefix string) {
	b := k.open(t, k.options(prefix))
	rec := kafkaRecord(b.pushTopic(), "r", []message.Header{{Name: "X-Name", Value: "hello"}}, []byte(`["x"]`))
	if err := b.events.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
		t.Fatal(err)
	}
	once := func(settle bool) (got message.PushRecord) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if err := b.ConsumePushes(ctx, func(p message.PushRecord, settled func()) {
			got = p
			if settle {
				settled()
			}
			cancel()
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := once(false)
	if string(first.Body) != `["x"]` || !slices.Contains(first.Headers, message.Header{Name: "X-Name", Value: "hello"}) || first.ID == "" {
		t.Errorf("got %+v", first)
	}
	ended, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := b.Close(ended); err != nil {
		t.Fatal(err)
	}
	b = k.open(t, k.options(prefix))
	if second := once(true); second.ID != first.ID {
		t.Errorf("it comes again as %s, not as %s", second.ID, first.ID)
	}
}

func testKafkaTopics(t *testing.T, k *kafkaWorld, prefix string) {
	opts := k.options(prefix)
	opts.CreateTopics = false
	b, err := NewKafka(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	admin := kadm.NewClient(b.records)
	prepare := func(want string) {
		t.Helper()
		err := b.PrepareTopics(t.Context())
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	prepare("topic " + prefix + "-up is missing")
	for i, topic := range []string{"-up", "-inbox", "-replies", "-push"} {
		prepare(prefix + topic + " is missing")
		if _, err := admin.CreateTopic(t.Context(), int32(1+i), -1, nil, prefix+topic); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the broker knows of its topic", func() bool {
			there, err := admin.ListTopics(t.Context(), prefix+topic)
			return err == nil && there.Has(prefix+topic)
		})
		if topic == "-replies" {
			prepare(prefix + "-replies has 3 partition(s), and at least 8 are needed")
			if _, err := admin.UpdatePartitions(t.Context(), 9, prefix+topic); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the broker knows of more partitions", func() bool {
				err := b.PrepareTopics(t.Context())
				return err != nil && !strings.Contains(err.Error(), "at least 8")
			})
		}
	}
	eventually(t, "all is well", func() bool { return b.PrepareTopics(t.Context()) == nil })
	// Two inboxes, and nobody may make more.
	dir := k.directory(prefix)
	dir.born("x")
	dir.born("y")
	dir.born("z")
	for _, node := range []string{"x", "y"} {
		if _, err := b.claimInbox(t.Context(), node, -1); err != nil {
			t.Errorf("node %s: %v", node, err)
		}
	}
	if _, err := b.claimInbox(t.Context(), "z", -1); err == nil || !strings.Contains(err.Error(), "has a live node") {
		t.Errorf("a third node: %v", err)
	}
}

func testKafkaUnreachable(t *testing.T, k *kafkaWorld, prefix string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // nobody accepts, nobody answers
	silent := l.Addr().String()
	closed := "127.0.0.1:1"
	for _, addr := range []string{silent, closed} {
		opts := k.options(prefix)
		opts.Brokers, opts.Timeout = []string{addr}, time.Second
		b, err := NewKafka(opts)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err = b.Reach(t.Context())
		if err == nil || !strings.Contains(err.Error(), addr) || time.Since(began) > 3*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	b := k.open(t, k.options(prefix))
	if err := b.Reach(t.Context()); err != nil {
		t.Error(err)
	}
}

func testKafkaTooLarge(t *testing.T, k *kafkaWorld, prefix string) {
	opts := k.options(prefix)
	opts.MaxRecord = 1 << 16
	b := k.open(t, opts)
	large := order("k", 0)
	large.Payload.JSON = []byte(`["` + strings.Repeat("x", 1<<17) + `"]`)
	if err := errors.Join(b.Publish(large), b.Publish(order("k", 1))); err != nil {
		t.Fatal(err)
	}
	var j journal
	stop := consume(t, b, j.note)
	eventually(t, "the next one passes it", func() bool { return j.count() == 1 && b.Stats().UpLost == 1 })
	stop()
	if s := b.Stats(); s.UpItems != 0 || s.UpBytes != 0 {
		t.Errorf("%+v", s)
	}
}

func testKafkaDurability(t *testing.T, k *kafkaWorld, prefix string) {
	b := k.open(t, k.options(prefix))
	warnings, err := b.Durability(t.Context())
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "one copy") {
		t.Errorf("%v, %v", warnings, err)
	}
}

func testKafkaOutage(t *testing.T, k *kafkaWorld, _ string) {
	opts := k.options("outage")
	opts.UpItems, opts.SendItems, opts.ReplyItems = 100, 100, 100
	opts.Timeout = time.Second
	b := k.open(t, opts)
	var j journal
	stop := consume(t, b, j.note)
	inbox := make(chan string, 1000)
	detach := b.AttachNode("n", func(d *message.Down) error { inbox <- d.Call; return nil })
	accepted := 0
	publish := func() {
		switch err := b.Publish(order("k", accepted)); {
		case err == nil:
			accepted++
		case !errors.Is(err, message.ErrFull):
			t.Fatal(err)
		}
	}
	publish()
	eventually(t, "an event arrives", func() bool { return j.count() == 1 })

	resume := k.broker.Stall()
	began := time.Now()
	push := &message.Down{Push: &message.Delivery{Push: &message.Push{}}}
	refused := false
	for range 200 {
		publish()
		_ = b.Reply("nobody", &message.Reply{})
		refused = refused || errors.Is(b.Send(t.Context(), "n", push), message.ErrFull)
	}
	if took := time.Since(began); took > 500*time.Millisecond || accepted > 110 || !refused {
		t.Errorf("while Kafka hangs: %d accepted in %v, pushes refused: %v", accepted, took, refused)
	}
	eventually(t, "a sender who waits is told", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		err := b.Send(ctx, "n", someDown("lost"))
		return err != nil && !errors.Is(err, message.ErrGone)
	})
	resume()
	eventually(t, "all that was accepted arrives", func() bool { return j.count() >= accepted })

	for range 50 {
		publish()
	}
	k.broker.Kill()
	for range 20 {
		publish()
	}
	k.broker.Restart()
	for range 20 {
		publish()
	}
	eventually(t, "all that was accepted arrives", func() bool { return j.count() >= accepted })
	eventually(t, "the inbox works again", func() bool { return b.Send(t.Context(), "n", someDown("back")) == nil })
	for call := range inbox {
		if call == "back" {
			break
		}
	}
	stop()
	detach()
	seen := slices.Compact(slices.SortedFunc(slices.Values(j.got["k"]), byNumber))
	if len(seen) != accepted {
		t.Errorf("%d events of %d", len(seen), accepted)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A record comes out of Kafka as it went in, and says who wrote it.
func TestKafkaRecord(t *testing.T) {
	b := &Kafka{opts: KafkaOptions{Version: "1.2.3"}}
	up := order("k", 1)
	up.Name, up.Payload.JSON, up.Rooms = "say", []byte(`["x"]`), []string{"", "a&b"}
	key, headers, body := up.Record()
	rec := kafkaRecord("t", key, b.signed(headers), body)
	got, body := fromKafka(rec)
	if !slices.Contains(got, message.Header{Name: "X-Server-Version", Value: "1.2.3"}) || string(rec.Key) != "k" {
		t.Errorf("key %s, headers %v", rec.Key, got)
	}
	again, err := message.ParseUp(got, body)
	if err != nil || !reflect.DeepEqual(again, up) {
		t.Errorf("got %+v, %v", again, err)
	}
}

// BenchmarkKafkaLatency has a thousand records a second go each way, and tells how
// long they took.
func BenchmarkKafkaLatency(b *testing.B) {
	k := &kafkaWorld{broker: kafkatest.Start(b, "group.min.session.timeout.ms=500")}
	gateway, api := k.open(b, k.options("latency")), k.open(b, k.options("latency"))
	took := make(chan time.Duration, 1<<16)
	note := func(sent string) {
		var ns int64
		if _, err := fmt.Sscan(sent, &ns); err != nil {
			b.Error(err)
		}
		took <- time.Since(time.Unix(0, ns))
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- api.Consume(ctx, func(up *message.Up) { note(up.Name) }) }()
	defer gateway.AttachNode("n", func(d *message.Down) error { note(d.Push.Event); return nil })()
	now := func() string { return fmt.Sprint(time.Now().UnixNano()) }
	for name, send := range map[string]func(i int) error{
		"down": func(int) error {
			return api.Send(ctx, "n", &message.Down{Push: &message.Delivery{Push: &message.Push{ID: "m", Event: now()}}})
		},
		"up": func(i int) error {
			up := order(fmt.Sprint(i%100), i)
			up.Name = now()
			return gateway.Publish(up)
		},
	} {
		b.Run(name, func(b *testing.B) {
			all := make([]time.Duration, 0, b.N)
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for i := range b.N {
				<-tick.C
				if err := send(i); err != nil {
					b.Fatal(err)
				}
			}
			for range b.N {
				all = append(all, <-took)
			}
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
}

func BenchmarkKafkaUpstream(b *testing.B) {
	k := &kafkaWorld{broker: kafkatest.Start(b, "group.min.session.timeout.ms=500")}
	bus := k.open(b, k.options("upstream"))
	ctx, cancel := context.WithCancel(b.Context())
	arrived, done := make(chan struct{}, 1<<16), make(chan struct{})
	go func() {
		defer close(done)
		_ = bus.Consume(ctx, func(*message.Up) { arrived <- struct{}{} })
	}()
	b.ReportAllocs()
	sent, got := 0, 0
	for b.Loop() {
		for sent-got > 1<<14 {
			<-arrived
			got++
		}
		if bus.Publish(order(fmt.Sprint(sent%100), sent)) == nil {
			sent++
		}
	}
	for ; got < sent; got++ {
		<-arrived
	}
	b.StopTimer()
	cancel()
	<-done
}
