package loadgen

import (
	"context"
	"errors"
	"math"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// begun plays a scenario against a fake and calls then once the first line of progress
// tells that clients are there.
func begun(t *testing.T, run *Run, f *fake, then func()) (*Result, error) {
	t.Helper()
	called := false
	run.Log = func(line string) {
		if !called && !strings.Contains(line, " 0 up") {
			called = true
			then()
		}
	}
	if run.Swarm == nil {
		run.Swarm = newSwarm(t, Target{URL: f.URL}, 1)
	}
	return run.Do(t.Context())
}

// When one of the clients' processes ends, the scenario does as well; what all of
// them have seen until then is kept.
func TestWorkerThatDies(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(t)
	r, err := NewRemote(t.Context(), 2, []string{self, workerArgument}, Target{URL: f.URL})
	if err != nil {
		t.Fatal(err)
	}
	victim := r.workers[1].cmd.Process
	run := &Run{Scenario: "idle", Swarm: r, Options: Options{Clients: 20, Rate: 1000, For: time.Minute}}
	began := time.Now()
	result, err := begun(t, run, f, func() { _ = victim.Kill() })
	var ended endedError
	if !errors.As(err, &ended) || ended.pid != victim.Pid || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the scenario ended with %v", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("and that after %s", took)
	}
	st := &result.Total
	if st.Arrived != 20 || st.Lost != 10 || st.Up != 10 || result.Error == "" {
		t.Errorf("%d arrived, %d lost, %d up: %q, %v", st.Arrived, st.Lost, st.Up, result.Error, st.Errors)
	}
	if err := r.Close(); err != nil {
		t.Errorf("the end of the worker is told again: %v", err)
	}
}

// A server that dies takes its clients along, which ends the scenario; they are
// counted, and why.
func TestServerThatDies(t *testing.T) {
	server := exec.Command("sleep", "60")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	f := newFake(t)
	run := &Run{Scenario: "idle", PID: server.Process.Pid, Options: Options{Clients: 20, Rate: 1000, For: time.Minute}}
	result, err := begun(t, run, f, func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		f.mu.Lock()
		defer f.mu.Unlock()
		for c := range f.conns {
			_ = c.Close()
		}
	})
	if err == nil || !strings.HasPrefix(err.Error(), "no client is left: 20 × closed by the server") {
		t.Errorf("the scenario ended with %v", err)
	}
	if st := &result.Total; st.Lost != 20 || st.Errors["the server's process has ended"] != 1 {
		t.Errorf("%d lost: %v", st.Lost, st.Errors)
	}
}

// Who stops a scenario gets what it has shown, and his reason back.
func TestScenarioThatIsStopped(t *testing.T) {
	reason := errors.New("enough")
	for _, name := range []string{"idle", "echo", "broadcast", "churn"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			ctx, stop := context.WithCancelCause(t.Context())
			defer stop(nil)
			run := &Run{
				Scenario: name, Swarm: newSwarm(t, Target{URL: f.URL}, 1), Pusher: pusher(fakePusher{f}),
				Options: Options{Clients: 20, Rate: 1000, For: time.Minute, Every: 10 * time.Millisecond},
				Log:     func(string) { stop(reason) },
			}
			r, err := run.Do(ctx)
			if !errors.Is(err, reason) || r == nil || r.Error != "enough" || r.Total.Arrived < 20 {
				t.Errorf("%v, %+v", err, r)
			}
		})
	}
}

// While the server holds up all handshakes that may be under way the generator is not
// late; it is when it looked at the next one too late.
func TestLateness(t *testing.T) {
	due := time.Now()
	for _, tt := range []struct{ now, free, want time.Duration }{
		{3, -5, 3},
		{1000, 998, 2},
		{1000, 0, 1000},
	} {
		if got := lateness(due.Add(tt.now), due, due.Add(tt.free)); got != tt.want {
			t.Errorf("at %d, free since %d: late by %d, want %d", tt.now, tt.free, got, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"echo", Options{}, ""},
		{"dance", Options{}, "there is no scenario"},
		{"echo", Options{Clients: -1}, "clients is -1"},
		{"echo", Options{Rate: math.NaN()}, "rate is NaN"},
		{"echo", Options{Hz: math.Inf(1)}, "hz is +Inf"},
		{"echo", Options{For: -time.Second}, "for is -1"},
		{"broadcast", Options{Every: time.Microsecond}, "every is 1µs, and must be 100µs at least"},
	} {
		err := Check(tt.name, tt.o)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %+v: %v, want %q", tt.name, tt.o, err, tt.want)
		}
	}
}

func TestFit(t *testing.T) {
	for transport, want := range map[Transport]int{WebSocket: 9000, Polling: 4500, Upgrade: 6952} {
		target := Target{Transport: transport}
		if got := target.Fit(9000); got != want {
			t.Errorf("%s: %d clients with 9000 files, want %d", transport, got, want)
		}
	}
	if got := (&Target{Transport: Upgrade}).Fit(300); got != 100 {
		t.Errorf("%d clients that upgrade with 300 files", got)
	}
}

// Whatever stands in the JSON is explained.
func TestJSONIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/bench.md")
	if err != nil {
		t.Fatal(err)
	}

	keys := func(of reflect.Type) (all []string) {
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			all = append(all, name)
		}
		return all
	}
	for _, of := range []any{Result{}, Options{}, Figure{}, Stats{}, Sample{}, histogramJSON{}} {
		for _, key := range keys(reflect.TypeOf(of)) {
			if !strings.Contains(string(text), "`"+key+"`") {
				t.Errorf("docs/bench.md does not tell of %q in a %T", key, of)
			}
		}
	}
}

// stalls keeps everybody waiting once, from the tenth call on and for so long.
func stalls(d time.Duration) func() {
	var mu sync.RWMutex
	var calls atomic.Int64
	return func() {
		if calls.Add(1) == 10 {
			mu.Lock()
			time.AfterFunc(d, mu.Unlock)
		}
		mu.RLock()
		defer mu.RUnlock()
	}
}

// A server that stalls is charged for all that was due meanwhile: of 600 ms that
// something was due in, half, and half of these for longer than 150 ms. It is not the
// generator that was late, not even when it could begin no more handshakes.
func TestStallOfAServerShows(t *testing.T) {
	const stall, load, rate = 300 * time.Millisecond, 600 * time.Millisecond, 500
	for name, play := range map[string]func(s Swarm) (*Histogram, *Histogram){
		"connect": func(s Swarm) (*Histogram, *Histogram) {
			if err := s.Connect(t.Context(), Plan{Clients: int(load.Seconds() * rate), Rate: rate, Parallel: 4}); err != nil {
				t.Fatal(err)
			}
			st := collect(t, s)
			return &st.Connect, &st.Late
		},
		"echo": func(s Swarm) (*Histogram, *Histogram) {
			if err := s.Connect(t.Context(), Plan{Clients: 5}); err != nil {
				t.Fatal(err)
			}
			if err := s.Drive(t.Context(), Load{Rate: rate, For: load, Event: "echo", Ack: true}); err != nil {
				t.Fatal(err)
			}
			sum := collect(t, s)
			for end := time.Now().Add(10 * time.Second); sum.Answered < sum.Sent && time.Now().Before(end); {
				st := collect(t, s)
				sum.Merge(&st)
			}
			return &sum.RoundTrip, &sum.Late
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, func(f *fake) { f.stall = stalls(stall) })
			took, late := play(newSwarm(t, Target{URL: f.URL}, 1))
			if n := int(load.Seconds() * rate); int(took.Count()) != n {
				t.Fatalf("%d of %d were answered", took.Count(), n)
			}
			if q := took.Quantile(.75); q < stall/4 || took.Max() < stall*3/4 {
				t.Errorf("the stall does not show: p75 %s, max %s", q, took.Max())
			}
			if q := late.Quantile(.9); q > stall/3 {
				t.Errorf("the generator took the stall for its own: p90 %s late", q)
			}
		})
	}
}
