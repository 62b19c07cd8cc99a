package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/redis/redistest"
)

const (
	stall = 30 * time.Second
	// stallEvents is how many events one client sends while Redis stalls. It is more than
	// stallRoom, what the node keeps for them.
	stallEvents = 500
	stallRoom   = 200
	// mended is how long after the stall everything is right: two seconds, and the rest is
	// for a busy machine.
	mended = 10 * time.Second
)

// counted is a backend that writes down which events it has had.
type counted struct {
	mu    sync.Mutex
	times map[string]int // arguments → how often
}

func newCounted(t *testing.T) (url string, c *counted) {
	t.Helper()
	c = &counted{times: make(map[string]int)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var event struct {
			Payload struct {
				JSON string `json:"json"`
			} `json:"payload"`
		}
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		c.times[event.Payload.JSON]++
		c.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"ack":{"json":%q}}`, event.Payload.JSON)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, c
}

// TestRedisStalls stops Redis for half a minute. Meanwhile clients go on sending, one
// leaves, and backends push: no connection is lost, nobody else is said to have left,
// what waits is bounded, and seconds later all of it has happened, once.
func TestRedisStalls(t *testing.T) {
	t.Parallel() // it waits most of the time
	defer http.DefaultClient.CloseIdleConnections()
	server := redistest.Start(t)
	url, backend := newCounted(t)
	o := newOutage(t, server, fmt.Sprintf("addrs: [%q]", server.Addr), fmt.Sprintf(`
heartbeat: {interval: 2s, timeout: 3s, adaptive: false}
limits: {upstream_events: %d}
backends: {app: {url: %q}}
routes: [{event: count, backend: app, ack: backend}]
`, stallRoom, url))
	leaver := newWitness(t, o.nodes[0], "dan", "doc-1")
	o.who = append(o.who, leaver)
	o.right()
	o.who = slices.DeleteFunc(o.who, func(w *witness) bool { return w == leaver })
	leases := o.leases()

	resume := server.Stall()
	over := time.After(stall)
	sender := o.who[1]
	for n := range stallEvents {
		if err := sender.ws.Text(fmt.Sprintf(`42%d["count",%d]`, n, n)); err != nil {
			t.Fatal(err)
		}
	}
	leaver.ws.Kill()
	const order = `{"targets":[{"room":"doc-1"}],"event":"order","payload":{"json":"[7]"},"dedup_id":"order 7"}`
	pushed := make(chan error, 1)
	go func() {
		_, err := tryAPI(o.api, "PushService/Push", order)
		pushed <- err
	}()
	o.refused()
	waiting := o.waiting()
	<-over
	select {
	case err := <-pushed:
		if err == nil {
			t.Error("a push was accepted while Redis did not answer")
		}
	default:
		t.Error("a push was not answered while Redis did not answer")
	}
	resume()

	began := time.Now()
	o.right()
	eventually(t, o.api, "PushService/Push", order, contains("messageId"))
	for n := range stallEvents {
		sender.until(fmt.Sprintf("\n[%d]", n))
	}
	for _, w := range o.who[:3] {
		w.until(`"order",7`)
		w.until(`"type":"leave"`)
	}
	if took := time.Since(began); took > mended {
		t.Errorf("all was right only %v after the stall", took)
	} else {
		t.Logf("all was right %v after the stall", took)
	}
	for queue, n := range waiting {
		if strings.Contains(queue, "upstream") && n > stallRoom {
			t.Errorf("%d events waited in %s", n, queue)
		}
	}
	t.Logf("waiting: %v", waiting)
	if now := o.leases(); !slices.Equal(now, leases) {
		t.Errorf("worker numbers were\n%v\nand are\n%v", leases, now)
	}
	o.once(leaver, backend)
}

// leases returns which worker number in which generation each identity has.
func (o *outage) leases() (all []string) {
	o.t.Helper()
	lines := strings.Split(o.redis.Run("--raw", "HGETALL", "ws:{workers}:leases"), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		fields := strings.Fields(lines[i+1])
		all = append(all, strings.Join([]string{lines[i], fields[0], fields[1]}, " "))
	}
	slices.Sort(all)
	return all
}

// queueItems matches what a queue of a process has.
var queueItems = regexp.MustCompile(`(?m)^holdfast_queue_items\{([^}]*)\} (\S+)$`)

// waiting returns what is in the queues of the gateways.
func (o *outage) waiting() map[string]int {
	o.t.Helper()
	all := make(map[string]int)
	for i, metrics := range o.metrics {
		_, text := get(o.t, metrics+"/metrics")
		for _, m := range queueItems.FindAllStringSubmatch(text, -1) {
			n, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				o.t.Fatal(err)
			}
			if n > 0 {
				all[fmt.Sprint(i, " ", m[1])] = int(n)
			}
		}
	}
	return all
}

// once checks that no connection was lost, that nothing came twice, and that only one
// is said to have left.
func (o *outage) once(left *witness, backend *counted) {
	o.t.Helper()
	ids := make(map[string]bool)
	for i, w := range o.who {
		all, err := w.all()
		if err != nil {
			o.t.Errorf("a connection was lost: %v", err)
		}
		if n := strings.Count(all, `"order",7`); i < 3 && n != 1 {
			o.t.Errorf("client %d got a push %d times", i, n)
		}
		for line := range strings.SplitSeq(all, "\n") {
			if strings.Contains(line, `"type":"leave"`) && strings.Count(line, `"id"`) != strings.Count(line, left.id) {
				o.t.Errorf("somebody else is said to have left: %s", line)
			}
		}
		if ids[w.id] {
			o.t.Errorf("the ID %s was given twice", w.id)
		}
		ids[w.id] = true
	}
	backend.mu.Lock()
	defer backend.mu.Unlock()
	for n := range stallEvents {
		if times := backend.times[fmt.Sprintf("[%d]", n)]; times != 1 {
			o.t.Errorf("event %d reached the backend %d times", n, times)
		}
	}
}
