package main

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/bus/kafkatest"
	"holdfast/internal/redis/redistest"
	"holdfast/internal/testnet"
	"holdfast/socketio"
)

const (
	deadFor = 20 * time.Second
	// deadRoom is how many events a process keeps for Kafka. Each is of deadEvent bytes.
	deadRoom  = 500
	deadEvent = 8 << 10
	// Ten clients send deadEach of them each, 131 MB in all, as fast as they are read: the
	// first deadBefore before the death. What the processes of the test, which are one
	// process, may grow by is half of that: some ten times the events that may wait, which
	// are there as events, as records and as batches, on their way to Kafka and back.
	deadEach   = 1600
	deadBefore = 200
	deadHeap   = 64 << 20
	// deadWait is how long an answer may take that does not need Kafka: less than if it
	// waited for Kafka. On a busy machine any may take long, but then not all would.
	deadWait = 3 * time.Second
)

// testKafkaDead kills the only broker for a while under clients that send as fast as
// they are read. The shards go on serving the others, each queue stays within its bounds and
// the processes within their memory, backends get clear answers, and afterwards all that
// was sent is acknowledged.
func testKafkaDead(t *testing.T, broker kafkatest.Secure, prefix string) {
	defer http.DefaultClient.CloseIdleConnections()
	redis := redistest.Start(t)
	config := func(identity string) string {
		return kafkaConfig(t, redis.Addr, broker.Addr, identity, fmt.Sprintf(`partitions: 4, prefix: %s}
heartbeat: {interval: 4s, timeout: 8s, adaptive: false}
recovery: {enabled: true}
limits: {upstream_events: %d`, prefix, deadRoom))
	}
	api := start(t, "api", "--config", config("api")).await(t, `api +(http://\S+)`)[1]
	out := start(t, "gateway", "--config", config("gw"))
	clients, gateway := out.await(t, `clients +(http://\S+)`)[1], out.await(t, `metrics +(http://\S+)`)[1]
	quiet := newSender(t, clients, "doc-1")
	var senders []*sender
	for range 10 {
		senders = append(senders, newSender(t, clients, "doc-2"))
	}
	runtime.GC()
	heap := heapInUse()
	var work sync.WaitGroup
	died := make(chan struct{})
	for _, s := range senders {
		work.Go(func() { s.send(t, died) })
	}
	awaitAcks(t, senders, deadBefore/2)

	broker.Kill()
	close(died)
	over := time.After(deadFor)
	waits, pushed, accepted := answers{}, 0, []int(nil)
	var most uint64
	look := time.NewTicker(200 * time.Millisecond)
	defer look.Stop()
	for dead := true; dead; {
		select {
		case <-look.C:
		case <-over:
			dead = false
		}
		waits.note("healthz", func() { get(t, clients+"/healthz") })
		waits.note("handshake", func() { handshake(t, clients) })
		waits.note("push", func() {
			pushed++
			if _, err := tryAPI(api, "PushService/Push", fmt.Sprintf(`{"targets":[{"room":"doc-1"}],"event":"order","payload":{"json":"[%d]"}}`, pushed)); err == nil {
				accepted = append(accepted, pushed)
			}
		})
		withinBounds(t, gateway)
		withinBounds(t, api)
		if now := heapInUse(); now > heap {
			most = max(most, now-heap)
		}
	}
	t.Logf("%d of %d pushes accepted, heap grew by %d KiB", len(accepted), pushed, most>>10)
	for what, took := range waits {
		slices.Sort(took)
		quick := took[len(took)/4]
		t.Logf("%s: a quarter of the answers within %v, all within %v", what, quick, took[len(took)-1])
		if quick > deadWait {
			t.Errorf("while Kafka is dead a %s takes %v", what, quick)
		}
	}
	if most > deadHeap {
		t.Errorf("the heap grew by %d MiB", most>>20)
	}
	_, text := get(t, gateway+"/metrics")
	if full := fmt.Sprintf(`holdfast_queue_items{of="",queue="upstream"} %d`, deadRoom); !strings.Contains(text, full) {
		t.Errorf("the queue to Kafka is not full:\n%s", grep(text, "holdfast_queue_items"))
	}

	broker.Restart()
	began := time.Now()
	work.Wait()
	awaitAcks(t, senders, deadEach)
	if len(accepted) == 0 {
		t.Error("no push was accepted, though the logs were there")
	} else {
		settles(t, func() (missing string) { return quiet.misses(accepted) })
	}
	t.Logf("all was acknowledged %v after Kafka was back", time.Since(began).Round(time.Millisecond))
}

// answers is how long those of each kind took.
type answers map[string][]time.Duration

func (a answers) note(what string, act func()) {
	began := time.Now()
	act()
	a[what] = append(a[what], time.Since(began))
}

// heapInUse returns how many bytes the last collection has found in use.
func heapInUse() uint64 {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return live[0].Value.Uint64()
}

// handshake opens a session, or is told clearly that it may not now.
func handshake(t *testing.T, clients string) {
	t.Helper()
	resp, err := http.Get(clients + "/socket.io/?EIO=4&transport=polling")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	refused := resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != ""
	if resp.StatusCode != http.StatusOK && !refused {
		t.Errorf("handshake: %d %s", resp.StatusCode, body)
	}
}

// queueBound matches the metrics of what a queue has and may have.
var queueBound = regexp.MustCompile(`(?m)^holdfast_queue_(max_)?(items|bytes)\{([^}]*)\} (\S+)$`)

// withinBounds checks each queue of a process.
func withinBounds(t *testing.T, process string) {
	t.Helper()
	_, text := get(t, process+"/metrics")
	has, may := make(map[string]float64), make(map[string]float64)
	for _, m := range queueBound.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseFloat(m[4], 64)
		if err != nil {
			t.Fatal(err)
		}
		if of := m[2] + " of " + m[3]; m[1] == "" {
			has[of] = n
		} else {
			may[of] = n
		}
	}
	if len(has) == 0 {
		t.Fatalf("%s tells of no queue:\n%s", process, text)
	}
	for of, n := range has {
		// A queue takes one more that is larger than what is left of it.
		if bound := may[of]; bound > 0 && n > bound+deadEvent {
			t.Errorf("%s has %v %s, and %v is its bound", process, n, of, bound)
		}
	}
}

// sender is a client that sends many events, each of which it wants to be acknowledged.
type sender struct {
	ws *testnet.Client

	mu     sync.Mutex
	acked  int
	pushes []string
	err    error
}

func newSender(t *testing.T, clients, room string) *sender {
	t.Helper()
	s := &sender{ws: dialPatiently(t, clients)}
	s.ws.Patience = 5 * time.Minute // its socket is not read while Kafka is dead, and it takes a while to start
	if p, err := s.ws.Connect("/", fmt.Sprintf(`{"guid":%q}`, room)); err != nil || p.Type != socketio.Connect {
		t.Fatalf("CONNECT was answered with %+v, %v", p, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			p, err := s.ws.Packet()
			s.mu.Lock()
			switch {
			case err != nil:
				s.err = err
			case p.Type == socketio.Event:
				s.pushes = append(s.pushes, string(p.Data))
			case p.ID == uint64(s.acked):
				s.acked++
			case p.ID > uint64(s.acked): // one that comes again is nothing new to a client
				t.Errorf("acknowledgement %d in place of %d", p.ID, s.acked)
			}
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		s.ws.Kill()
		<-done
	})
	return s
}

// misses tells which of the pushes have not come once and in their order.
func (s *sender) misses(pushes []int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, n := range pushes {
		if i >= len(s.pushes) || !strings.HasPrefix(s.pushes[i], fmt.Sprintf(`["order",%d,`, n)) {
			return fmt.Sprintf("push %d of %d is missing: %v; the connection: %v", n, len(pushes), s.pushes, s.err)
		}
	}
	return ""
}

func (s *sender) send(t *testing.T, died <-chan struct{}) {
	text := strings.Repeat("x", deadEvent)
	for n := range deadEach {
		if n == deadBefore {
			<-died
		}
		if err := s.ws.Text(fmt.Sprintf(`42%d["say",%q]`, n, text)); err != nil {
			t.Errorf("event %d: %v", n, err)
			return
		}
	}
}

// awaitAcks waits until each sender has so many acknowledgements.
func awaitAcks(t *testing.T, senders []*sender, want int) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for {
		missing := ""
		for i, s := range senders {
			s.mu.Lock()
			if s.err != nil || s.acked < want {
				missing += fmt.Sprintf("sender %d has %d of %d acknowledgements; its connection: %v\n", i, s.acked, want, s.err)
			}
			s.mu.Unlock()
		}
		if missing == "" {
			return
		}
		select {
		case <-every.C:
		case <-deadline:
			t.Fatal(missing)
		}
	}
}
