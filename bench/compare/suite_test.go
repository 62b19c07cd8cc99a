package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/bench/rig"
	"holdfast/internal/loadgen"
)

// slow is a swarm of which some clients never get what is sent.
type slow struct {
	clients, get, arrived, lost int
	err                         error
	failing                     int // pushes that still fail

	mu  sync.Mutex // of Push, which is called by many
	due int
}

func (s *slow) Connect(_ context.Context, p loadgen.Plan) error {
	s.arrived = p.Clients
	return nil
}

func (s *slow) Drive(context.Context, loadgen.Load) error { return s.err }
func (s *slow) Leave(context.Context, int, float64) error { return nil }
func (s *slow) Close() error                              { return nil }

func (s *slow) Collect(context.Context) (st loadgen.Stats, err error) {
	st.Up, st.Arrived, st.Lost = s.clients, s.arrived, s.lost
	s.lost = 0
	for range s.due {
		st.Received++
		st.Delivery.Record(time.Millisecond)
	}
	s.due = 0
	return st, nil
}

func (s *slow) Push(context.Context, int, time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failing > 0 {
		s.failing--
		return errors.New("EOF\n")
	}
	s.due += s.get
	return nil
}

// at makes a suite and a server whose process does nothing.
func at(t *testing.T, swarm *slow) (*suite, *server) {
	t.Helper()
	p, _, err := rig.Launch(exec.Command("sleep", "60"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(0) })
	o, err := parse([]string{"-quick", "-patience", "50ms", "-servers", "floor"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return &suite{options: *o, out: io.Discard, log: io.Discard},
		&server{name: "floor", process: p, swarm: swarm, pusher: swarm, echoes: true, clients: swarm.clients}
}

// A server that does not deliver to all is told of, with what it did, and goes on.
func TestSlowServerIsToldOf(t *testing.T) {
	s, v := at(t, &slow{clients: 3, get: 2})
	for _, m := range measures() {
		if m.name == "broadcast" || m.name == "burst" {
			s.measure(t.Context(), m, v)
		}
	}
	if len(s.results.notes) != 2 || v.failed {
		t.Fatalf("failed %v: %+v", v.failed, s.results.notes)
	}
	for i, want := range []string{"deliveries of an event: 2 of 3 within 50ms", "deliveries of ten events: 20 of 30 within 100ms"} {
		if got := s.results.notes[i]; got.Server != "floor" || got.Round != 1 || !strings.HasPrefix(got.Text, want) {
			t.Errorf("told %+v, want %q", got, want)
		}
	}
	if f := s.results.figure("floor", "broadcast.p99"); f == nil || len(f.rounds) != 1 {
		t.Error("what did arrive was not measured")
	}
}

// Who is lost meanwhile is not waited for, nor is what was not pushed.
func TestLostClientsAndPushes(t *testing.T) {
	s, v := at(t, &slow{clients: 3, get: 2, lost: 1})
	s.pushes = 1
	if err := broadcast(t.Context(), s, v); err != nil {
		t.Fatal(err)
	}
	v.swarm.(*slow).get, v.swarm.(*slow).failing = 3, 4
	if err := burst(t.Context(), s, v); err != nil {
		t.Fatal(err)
	}
	if len(s.results.notes) != 2 {
		t.Fatalf("told %+v", s.results.notes)
	}
	for i, want := range []string{"deliveries of an event: 2 of 3 within", "6 of 10 pushes at once: EOF"} {
		if got := s.results.notes[i].Text; !strings.HasPrefix(got, want) || strings.HasSuffix(got, "\n") {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	v.swarm.(*slow).failing = 10
	if err := burst(t.Context(), s, v); err == nil {
		t.Error("a burst of nothing succeeded")
	}
}

// What fails ends the server's part, and nobody else's.
func TestServerThatFails(t *testing.T) {
	s, v := at(t, &slow{clients: 3, get: 3, err: errors.New("gone")})
	for _, m := range measures() {
		if m.name == "broadcast" || m.name == "echo" || m.name == "burst" {
			s.measure(t.Context(), m, v)
		}
	}
	s.measure(t.Context(), measures()[1], v)
	if len(s.results.notes) != 1 || !strings.Contains(s.results.notes[0].Text, "echo: gone") {
		t.Errorf("told %+v", s.results.notes)
	}
	if f := s.results.figure("floor", "broadcast.cpu"); f == nil || s.results.figure("floor", "echo.cpu") != nil {
		t.Errorf("the figures are wrong: %+v", s.results.figures)
	}
}

// A server that does not start is told of, and the run goes on to its end.
func TestServersThatDoNotStart(t *testing.T) {
	for _, together := range []string{"-together=true", "-together=false"} {
		var out, log bytes.Buffer
		err := compare(t.Context(), []string{"-servers", "nobody,nothing", "-rounds", "2", together}, &out, &log)
		if err == nil || !strings.Contains(err.Error(), "no figure of nobody, nothing") {
			t.Errorf("%s: %v", together, err)
		}
		if want := "# nothing, round "; !strings.Contains(out.String(), want) || !strings.Contains(log.String(), "left") {
			t.Errorf("%s: printed %q and %q", together, out.String(), log.String())
		}
	}
}

func TestTimeThatIsLeft(t *testing.T) {
	s, _ := at(t, &slow{})
	s.names, s.rounds = []string{"a", "b", "c"}, 2
	took := map[string]time.Duration{"a": 10 * time.Second, "b": 30 * time.Second}
	// In this round b and c are to come, in the next all three; c as long as the
	// others, on average.
	if got := s.left(took, 0, 1); got != 2*30*time.Second+2*20*time.Second+10*time.Second {
		t.Errorf("%s are left", got)
	}
	if got := s.left(nil, 0, 0); got < time.Minute || got > 10*time.Minute {
		t.Errorf("before the first turn %s are left", got)
	}
	for d, want := range map[time.Duration]string{90 * time.Second: "about 90 s left", 130 * time.Second: "about 2 min left"} {
		if got := about(d); got != want {
			t.Errorf("%s is told as %q", d, got)
		}
	}
}

// On a machine that is too busy each measurement still has a round.
func TestRoundsAreLeftOutInTime(t *testing.T) {
	s, v := at(t, &slow{clients: 3, get: 3})
	s.servers, s.only = []*server{v}, []string{"broadcast", "burst"}
	s.names, s.within = nil, time.Nanosecond // nobody else is to be started
	s.inTurns(t.Context())
	for _, name := range []string{"broadcast.cpu", "burst.cpu"} {
		if f := s.results.figure("floor", name); f == nil || len(f.rounds) != 1 {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if n := s.results.notes; len(n) < 2 || n[len(n)-1].Round != 2 || !strings.Contains(n[len(n)-1].Text, "burst was left out") {
		t.Errorf("told %+v", n)
	}
}

// When the time for all turns is over, what follows is left out, and that is told.
func TestTotalIsOver(t *testing.T) {
	s, _ := at(t, &slow{})
	s.together, s.total = false, time.Second/2
	s.alone(t.Context())
	if n := s.results.notes; len(n) != 1 || !strings.Contains(n[0].Text, "floor, and what was to follow, was left out") {
		t.Errorf("told %+v", n)
	}
}

// Who interrupts a run gets the figures until then, and no notes of what he did himself.
func TestInterruptedRun(t *testing.T) {
	s, v := at(t, &slow{clients: 3, get: 3})
	var out bytes.Buffer
	s.out, s.names = &out, nil
	s.measure(t.Context(), measures()[1], v)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := s.run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	if text := out.String(); !strings.Contains(text, "floor.broadcast.cpu") || strings.Contains(text, "#") {
		t.Errorf("it printed %s", text)
	}
}
