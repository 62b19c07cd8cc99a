package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/message"
)

// topicWorld is a world whose bus has a push topic.
type topicWorld struct {
	*world
	records chan message.PushRecord
	settled chan string // IDs
}

var _ PushSource = (*topicWorld)(nil)

func (w *topicWorld) ConsumePushes(ctx context.Context, handle func(message.PushRecord, func())) error {
	for {
		select {
		case r := <-w.records:
			handle(r, func() { w.settled <- r.ID })
		case <-ctx.Done():
			return nil
		}
	}
}

// startTopic runs a server over w until stop is called.
func startTopic(t *testing.T, w *topicWorld) (s *Server, stop func()) {
	t.Helper()
	s, err := New(Config{ID: "api-1", Registry: w, Log: w, Bus: w, Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func newTopicWorld(t *testing.T) *topicWorld {
	w := &topicWorld{newWorld(t), make(chan message.PushRecord), make(chan string, 100)}
	w.add("n1", "ann1", "ann", "doc")
	return w
}

func pushHeaders(pairs ...string) (out []message.Header) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, message.Header{Name: pairs[i], Value: pairs[i+1]})
	}
	return out
}

func TestPushTopic(t *testing.T) {
	for _, c := range []struct {
		name    string
		headers []message.Header
		body    string
		want    string // of the push; "" when it is none
	}{
		{"JSON", nil, `{"targets":[{"room":"doc"}],"event":"hello","payload":{"json":"[1,\"a\"]"}}`, `[r:/,doc] hello [1,"a"]`},
		{"headers", pushHeaders("X-Targets", "r%3A%2F%2Cdoc", "X-Name", "hello"), `[1]`, `[r:/,doc] hello [1]`},
		{"headers that are not escaped", pushHeaders("X-Targets", "r:/,doc&u:/,ann", "X-Name", "hi"), ``, `[r:/,doc u:/,ann] hi []`},
		{"headers with all", pushHeaders("X-Targets", "a:/,", "X-Name", "e", "X-Kind", "push", "X-Volatile", "true", "X-Filter", "true", "X-Filter-Locales", "de"), `[]`, `[a:/,] e [] volatile de`},
		{"an attachment", pushHeaders("X-Targets", "r:/,doc", "X-Name", "e", "X-Body-Parts", "j33 a3"), `[{"_placeholder":true,"num":0}]  abc`, `[r:/,doc] e [{"_placeholder":true,"num":0}]  abc`},
		{"JSON that is none", nil, `hello`, ""},
		{"JSON with a wrong field", nil, `{"target":[]}`, ""},
		{"nothing", nil, ``, ""},
		{"no target", pushHeaders("X-Targets", "doc", "X-Name", "e"), `[]`, ""},
		{"no namespace", pushHeaders("X-Targets", "r:doc", "X-Name", "e"), `[]`, ""},
		{"arguments that are no array", pushHeaders("X-Targets", "r:/,doc", "X-Name", "e"), `{}`, ""},
		{"a reserved name", pushHeaders("X-Targets", "r:/,doc", "X-Name", "connect"), `[]`, ""},
		{"another kind", pushHeaders("X-Targets", "r:/,doc", "X-Kind", "verdict"), `[]`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTopicWorld(t)
			s, stop := startTopic(t, w)
			defer stop()
			w.records <- message.PushRecord{ID: "r1", Headers: c.headers, Body: []byte(c.body)}
			<-w.settled
			got := ""
			for _, d := range w.sent() {
				if d.d.Push == nil {
					continue
				}
				p := d.d.Push.Push
				got = fmt.Sprint(p.Targets, " ", p.Event, " ", string(p.Payload.JSON))
				for _, a := range p.Payload.Attachments {
					got += string(a)
				}
				if p.Volatile {
					got += " volatile"
				}
				if p.Filter != nil {
					got += " " + strings.Join(p.Filter.Locales, " ")
				}
			}
			if strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(c.want, " ", "") {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if bad := s.Stats().PushRecordsBad; (bad == 1) != (c.want == "") {
				t.Errorf("%d bad records", bad)
			}
		})
	}
}

// What cannot be routed now is tried again, keeps its place before others to the same
// target, and is the same message when it comes again.
func TestPushTopicTriesAgain(t *testing.T) {
	w := newTopicWorld(t)
	_, stop := startTopic(t, w)
	w.mu.Lock()
	w.failLog = errors.New("away")
	w.mu.Unlock()
	record := func(id, event string) message.PushRecord {
		return message.PushRecord{ID: id, Headers: pushHeaders("X-Targets", "r:/,doc", "X-Name", event)}
	}
	for i := range 5 {
		w.records <- record(fmt.Sprint("r", i), fmt.Sprint("e", i))
	}
	if len(w.settled) > 0 {
		t.Error("a record was settled that is in no log")
	}
	w.mu.Lock()
	w.failLog = nil
	w.mu.Unlock()
	for i := range 5 {
		if id := <-w.settled; id != fmt.Sprint("r", i) {
			t.Errorf("%s was settled in place of r%d", id, i)
		}
	}
	ids := func() (ids []string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, p := range w.logged[message.RoomKey("/", "doc")] {
			ids = append(ids, p.ID)
		}
		return ids
	}
	first := ids()
	stop()

	// Another ws-api gets a record that was not committed.
	_, stop = startTopic(t, w)
	w.records <- record("r4", "e4")
	<-w.settled
	stop()
	if again := ids(); len(first) != 5 || len(again) != 6 || again[5] != first[4] || slices.Contains(first[:4], again[5]) {
		t.Errorf("first %v, then %v", first, again)
	}
}

// A server that is told to stop while nothing can be routed ends, and leaves the
// record to another.
func TestPushTopicStops(t *testing.T) {
	w := newTopicWorld(t)
	_, stop := startTopic(t, w)
	w.mu.Lock()
	w.failLog = errors.New("away")
	w.mu.Unlock()
	w.records <- message.PushRecord{ID: "r1", Headers: pushHeaders("X-Targets", "r:/,doc", "X-Name", "e")}
	stop()
	if len(w.settled) > 0 {
		t.Error("the record was settled")
	}
}
