package loadgen

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Result is what a scenario has shown.
type Result struct {
	Scenario  string    `json:"scenario"`
	Server    string    `json:"server"`
	Protocol  Protocol  `json:"protocol"`
	Transport Transport `json:"transport"`
	Parser    string    `json:"parser,omitempty"` // of the clients, if it is not Socket.IO's own
	Options   Options   `json:"options"`
	Command   string    `json:"command,omitempty"` // that led to it
	Machine   string    `json:"machine"`           // of the clients
	Began     time.Time `json:"began"`
	Seconds   float64   `json:"seconds"`
	Figures   []Figure  `json:"figures"`
	Total     Stats     `json:"total"`
	Samples   []Sample  `json:"samples"`          // one a second
	Doubts    []string  `json:"doubts,omitempty"` // why the figures may not be the server's
	Error     string    `json:"error,omitempty"`
}

// Figure is one number.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// Sample is what happened in about a second. Delays are those of what came in it,
// whenever it was due.
type Sample struct {
	At        float64 `json:"at"` // seconds since the beginning
	Up        int     `json:"up"`
	Coming    int     `json:"coming"`
	Arrived   float64 `json:"arrived"` // a second, as the following
	Failed    float64 `json:"failed"`
	Lost      float64 `json:"lost"`
	Sent      float64 `json:"sent"`
	Received  float64 `json:"received"`
	Answered  float64 `json:"answered"`
	Delivery  float64 `json:"deliveryP99Ms"`
	RoundTrip float64 `json:"roundTripP99Ms"`
	Connect   float64 `json:"connectP99Ms"`
	Late      float64 `json:"generatorLateP99Ms"`
	CPU       float64 `json:"cpu"` // of the server: 1 is one processor
	RSS       float64 `json:"rssMB"`
	Busy      float64 `json:"generatorCPU"` // of the busiest of the clients' processes
	Machine   float64 `json:"machineCPU"`   // of the clients' machine: 1 is all of its processors
}

// recorder plays a scenario and samples the clients and the server meanwhile. One
// goroutine alone collects (sample), so that every count is in one sample and in
// the total once.
type recorder struct {
	run     *Run
	rooms   Rooms
	options Options
	result  *Result
	ask     chan chan snapshot // for a sample now
	there   atomic.Bool        // all clients have arrived; from then on some are to be there
	pid     int                // of the server, while it is measured; 0: it is not, or it has ended
	usage   Usage              // now
	last    time.Time          // when the last sample was taken that is among the result's
	used    Usage              // then
	since   Stats              // and what happened since
	whole   jiffies            // and the machine's
	began   jiffies            // the machine's at the beginning
	waited  time.Duration      // for answers at the end of a phase

	pusher     Pusher        // nil when the scenario does not push
	ackTimeout time.Duration // how long a push waits for acknowledgements; 0: it asks for none

	// Owned by whoever pushes.
	pushed   int       // events that the server has taken
	unpushed []error   // why it did not take others
	pushLate Histogram // how late they were begun
}

// snapshot is how things stand. Its histograms are not to be read, for they go on.
type snapshot struct {
	total    Stats
	usage    Usage
	measured bool // usage is of now
}

func (r *recorder) record(ctx context.Context, play func(context.Context, *recorder) error) error {
	if r.run.PID != 0 {
		var err error
		if r.usage, err = Measure(r.run.PID); err != nil {
			return err
		}
		r.pid = r.run.PID
	}
	if _, err := r.run.Swarm.Collect(ctx); err != nil {
		return err
	}
	r.last, r.used = r.result.Began, r.usage
	r.began = processors()
	r.whole = r.began
	r.result.Samples = []Sample{{RSS: float64(r.usage.RSS) / 1e6}}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	played, sampled := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sampled)
		r.samples(ctx, played, stop)
	}()
	err := play(ctx, r)
	close(played)
	<-sampled
	if cause := context.Cause(ctx); cause != nil {
		err = cause // which play can only tell as "canceled"
	}
	r.result.Seconds = time.Since(r.result.Began).Seconds()
	for _, why := range r.unpushed {
		r.result.Total.count("push: "+strings.TrimPrefix(reason(why), "push: "), 1)
	}
	r.result.Total.Late.Merge(&r.pushLate)
	r.distributions()
	if err != nil {
		r.result.Error = err.Error()
	}
	// Even when the scenario was interrupted: the next one wants an empty swarm.
	left := r.run.Swarm.Leave(context.WithoutCancel(ctx), r.result.Total.Arrived, 0)
	if err == nil {
		err = left
	}
	return err
}

// samples runs until the scenario was played, and takes a last sample then. It stops
// what cannot go on.
func (r *recorder) samples(ctx context.Context, played <-chan struct{}, stop context.CancelCauseFunc) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var asked chan snapshot
		end := false
		select {
		case <-tick.C:
		case asked = <-r.ask:
		case <-played:
			end = true
		}
		if err := r.sample(context.WithoutCancel(ctx)); err != nil {
			stop(err) // the first counts
		}
		if asked != nil {
			asked <- snapshot{r.result.Total, r.usage, r.pid != 0}
		}
		if end {
			return
		}
	}
}

// sample takes what the clients have seen. Its error is why there is no use in going
// on; what could be had was taken nevertheless.
func (r *recorder) sample(ctx context.Context) error {
	st, err := r.run.Swarm.Collect(ctx)
	r.measure()
	up, coming := st.Up, st.Coming
	st.Up, st.Coming = 0, 0
	r.result.Total.Merge(&st)
	r.since.Merge(&st)
	r.result.Total.Up, r.result.Total.Coming = up, coming
	now := time.Now()
	d := now.Sub(r.last).Seconds()
	if d < .5 {
		return err // it was asked for in between
	}
	st, r.since = r.since, Stats{}
	s := Sample{
		At: now.Sub(r.result.Began).Seconds(), Up: up, Coming: coming, Busy: st.Busy,
		Arrived: float64(st.Arrived) / d, Failed: float64(st.Failed) / d, Lost: float64(st.Lost) / d,
		Sent: float64(st.Sent) / d, Received: float64(st.Received) / d, Answered: float64(st.Answered) / d,
		Delivery: ms(st.Delivery.Quantile(.99)), RoundTrip: ms(st.RoundTrip.Quantile(.99)),
		Connect: ms(st.Connect.Quantile(.99)), Late: ms(st.Late.Quantile(.99)),
	}
	if r.pid != 0 {
		s.CPU, s.RSS = (r.usage.CPU-r.used.CPU).Seconds()/d, float64(r.usage.RSS)/1e6
	}
	whole := processors()
	s.Machine = whole.since(r.whole)
	r.last, r.used, r.whole = now, r.usage, whole
	r.result.Samples = append(r.result.Samples, s)
	r.progress(&s)
	if t := &r.result.Total; err == nil && r.there.Load() && up == 0 && st.Arrived == 0 && t.Lost > 0 {
		err = fmt.Errorf("no client is left: %s", t.why())
	}
	return err
}

// measure reads what the server uses. One that has ended is told of, and the scenario
// goes on: its clients will show what that means.
func (r *recorder) measure() {
	if r.pid == 0 {
		return
	}
	usage, err := Measure(r.pid)
	switch {
	case errors.Is(err, syscall.EMFILE): // there may be room again
	case err != nil:
		r.result.Total.count("the server's process has ended", 1)
		r.pid = 0
	default:
		r.usage = usage
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (r *recorder) progress(s *Sample) {
	if r.run.Log == nil {
		return
	}
	line := fmt.Sprintf("%4.0f s  %6d up", s.At, s.Up)
	if s.Coming > 0 {
		line += fmt.Sprintf(", %d on their way", s.Coming)
	}
	for _, f := range []struct {
		rate, p99 float64
		what      string
	}{{s.Arrived, s.Connect, "arrivals"}, {s.Received, s.Delivery, "deliveries"}, {s.Answered, s.RoundTrip, "answers"}} {
		if f.rate > 0 {
			line += fmt.Sprintf(", %.0f %s/s (p99 %.1f ms)", f.rate, f.what, f.p99)
		}
	}
	if r.pid != 0 {
		line += fmt.Sprintf(", server %.0f %% CPU, %.1f MB", s.CPU*100, s.RSS)
	}
	if s.Busy >= busy {
		line += fmt.Sprintf(", CLIENTS %.0f %% CPU", s.Busy*100)
	}
	if s.Machine >= full {
		line += fmt.Sprintf(", MACHINE %.0f %% CPU", s.Machine*100)
	}
	if t := &r.result.Total; t.Failed+t.Lost > 0 {
		line += fmt.Sprintf(", %d failed, %d lost", t.Failed, t.Lost)
	}
	r.run.Log(line)
}

const (
	// busy is from which share of a processor on a process of clients, which has one
	// goroutine for what they read and write, has little left.
	busy = .8
	// full is from which share of all processors on somebody is kept waiting for one.
	full = .95
)

// now takes a sample at once.
func (r *recorder) now() snapshot {
	done := make(chan snapshot)
	r.ask <- done
	return <-done
}

// phase plays a part and notes what the server spent in it for each of what count
// counts.
func (r *recorder) phase(name, unit string, count func(*Stats) int, play func() error) error {
	before, began := r.now(), time.Now()
	r.waited = 0
	err := play()
	after := r.now()
	n, took := count(&after.total)-count(&before.total), max(time.Since(began)-r.waited, 1).Seconds()
	r.figure(name+"."+plain(unit), float64(n)/took, "/s")
	if acked := after.total.Acked - before.total.Acked; acked > 0 {
		r.figure(name+".acks", float64(acked)/took, "/s")
	}
	if came := after.total.Arrived - before.total.Arrived; came > 0 && unit != "client" {
		r.figure(name+".clients", float64(came)/took, "/s")
	}
	if !after.measured || err != nil {
		return err
	}
	cpu := after.usage.CPU - before.usage.CPU
	r.figure(name+".cpu", cpu.Seconds()/took*100, "%")
	if n > 0 {
		r.figure(name+".cpu-each", float64(cpu.Nanoseconds())/1000/float64(n), "µs/"+unit)
	}
	if came := after.total.Up - before.total.Up; name == "arrival" && came > 0 {
		r.figure("memory", float64(after.usage.RSS)/1e6, "MB")
		r.figure("memory.growth", float64(after.usage.RSS-before.usage.RSS)/1000/float64(came), "KB/client")
	}
	return nil
}

func plain(unit string) string {
	if unit == "delivery" {
		return "deliveries"
	}
	return strings.ReplaceAll(unit, " ", "-") + "s" // a figure's name is one word
}

func (r *recorder) figure(name string, value float64, unit string) {
	r.result.Figures = append(r.result.Figures, Figure{Name: name, Value: value, Unit: unit})
}

// distributions adds the quantiles, and whether the generator kept up.
func (r *recorder) distributions() {
	t := &r.result.Total
	for _, d := range []struct {
		name string
		h    *Histogram
	}{{"connect", &t.Connect}, {"upgrade", &t.Upgrade}, {"delivery", &t.Delivery}, {"round-trip", &t.RoundTrip}, {"generator-late", &t.Late}} {
		if d.h.Count() == 0 {
			continue
		}
		r.figure(d.name+".p50", ms(d.h.Quantile(.5)), "ms")
		r.figure(d.name+".p90", ms(d.h.Quantile(.9)), "ms")
		r.figure(d.name+".p99", ms(d.h.Quantile(.99)), "ms")
		r.figure(d.name+".p99.9", ms(d.h.Quantile(.999)), "ms")
		r.figure(d.name+".max", ms(d.h.Max()), "ms")
	}
	if t.Busy > 0 {
		r.figure("generator-cpu", t.Busy*100, "%")
	}
	whole := processors().since(r.began)
	if whole > 0 {
		r.figure("machine-cpu", whole*100, "% of all")
	}
	r.result.Doubts = doubts(t, whole)
	if t.Requests > 0 {
		r.figure("requests", float64(t.Requests), "polls and posts")
	}
	if r.result.Transport == Upgrade {
		r.figure("upgraded", float64(t.Upgraded), "clients")
	}
	r.figure("failed", float64(t.Failed), "clients")
	r.figure("lost", float64(t.Lost), "clients")
}
