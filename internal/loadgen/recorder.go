package loadgen

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Result is what a scenario has shown.
type Result struct {
	Scenario  string    `json:"scenario"`
	Server    string    `json:"server"`
	Protocol  Protocol  `json:"protocol"`
	Transport Transport `json:"transport"`
	Options   Options   `json:"options"`
	Command   string    `json:"command,omitempty"` // that led to it
	Machine   string    `json:"machine"`           // of the clients
	Began     time.Time `json:"began"`
	Seconds   float64   `json:"seconds"`
	Figures   []Figure  `json:"figures"`
	Total     Stats     `json:"total"`
	Samples   []Sample  `json:"samples"` // one a second
	Error     string    `json:"error,omitempty"`
}

// Figure is one number.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// Sample is what happened in about a second.
type Sample struct {
	At        float64 `json:"at"` // seconds since the beginning
	Up        int     `json:"up"`
	Arrived   float64 `json:"arrived"` // a second, as the following
	Received  float64 `json:"received"`
	Answered  float64 `json:"answered"`
	Delivery  float64 `json:"deliveryP99Ms"`
	RoundTrip float64 `json:"roundTripP99Ms"`
	Connect   float64 `json:"connectP99Ms"`
	CPU       float64 `json:"cpu"` // of the server: 1 is one processor
	RSS       float64 `json:"rssMB"`
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
	usage   Usage              // now
	last    time.Time          // when the last sample was taken that is among the result's
	used    Usage              // then
	since   Stats              // and what happened since
	waited  time.Duration      // for answers at the end of a phase

	unpushed []error // why pushes failed; owned by whoever pushes
}

// snapshot is how things stand. Its histograms are not to be read, for they go on.
type snapshot struct {
	total Stats
	usage Usage
}

func (r *recorder) record(ctx context.Context, play func(context.Context, *recorder) error) error {
	if r.run.PID != 0 {
		var err error
		if r.usage, err = Measure(r.run.PID); err != nil {
			return err
		}
	}
	if _, err := r.run.Swarm.Collect(ctx); err != nil {
		return err
	}
	r.last, r.used = r.result.Began, r.usage
	r.result.Samples = []Sample{{RSS: float64(r.usage.RSS) / 1e6}}
	played, sampled := make(chan struct{}), make(chan error, 1)
	go func() { sampled <- r.samples(ctx, played) }()
	err := play(ctx, r)
	close(played)
	err = errors.Join(err, <-sampled)
	r.result.Seconds = time.Since(r.result.Began).Seconds()
	for _, why := range r.unpushed {
		r.result.Total.count(reason(why), 1)
	}
	r.distributions()
	if err != nil {
		r.result.Error = err.Error()
	}
	// Even when the scenario was interrupted: the next one wants an empty swarm.
	return errors.Join(err, r.run.Swarm.Leave(context.WithoutCancel(ctx), r.result.Total.Arrived, 0))
}

// samples runs until the scenario was played, and takes a last sample then.
func (r *recorder) samples(ctx context.Context, played <-chan struct{}) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var first error
	for {
		var asked chan snapshot
		end := false
		select {
		case <-tick.C:
		case asked = <-r.ask:
		case <-played:
			end = true
		}
		if err := r.sample(context.WithoutCancel(ctx)); err != nil && first == nil {
			first = err
		}
		if asked != nil {
			asked <- snapshot{r.result.Total, r.usage}
		}
		if end {
			return first
		}
	}
}

func (r *recorder) sample(ctx context.Context) error {
	st, err := r.run.Swarm.Collect(ctx)
	if err != nil {
		return err
	}
	if r.run.PID != 0 {
		if r.usage, err = Measure(r.run.PID); err != nil {
			return err
		}
	}
	up := st.Up
	st.Up, r.result.Total.Up = 0, up
	r.result.Total.Merge(&st)
	r.since.Merge(&st)
	now := time.Now()
	d := now.Sub(r.last).Seconds()
	if d < .5 {
		return nil // it was asked for in between
	}
	st, r.since = r.since, Stats{}
	s := Sample{
		At: now.Sub(r.result.Began).Seconds(), Up: up,
		Arrived: float64(st.Arrived) / d, Received: float64(st.Received) / d, Answered: float64(st.Answered) / d,
		Delivery: ms(st.Delivery.Quantile(.99)), RoundTrip: ms(st.RoundTrip.Quantile(.99)), Connect: ms(st.Connect.Quantile(.99)),
	}
	if r.run.PID != 0 {
		s.CPU, s.RSS = (r.usage.CPU-r.used.CPU).Seconds()/d, float64(r.usage.RSS)/1e6
	}
	r.last, r.used = now, r.usage
	r.result.Samples = append(r.result.Samples, s)
	r.progress(&s)
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (r *recorder) progress(s *Sample) {
	if r.run.Log == nil {
		return
	}
	line := fmt.Sprintf("%4.0f s  %6d up", s.At, s.Up)
	for _, f := range []struct {
		rate, p99 float64
		what      string
	}{{s.Arrived, s.Connect, "arrivals"}, {s.Received, s.Delivery, "deliveries"}, {s.Answered, s.RoundTrip, "answers"}} {
		if f.rate > 0 {
			line += fmt.Sprintf(", %.0f %s/s (p99 %.1f ms)", f.rate, f.what, f.p99)
		}
	}
	if r.run.PID != 0 {
		line += fmt.Sprintf(", server %.0f %% CPU, %.1f MB", s.CPU*100, s.RSS)
	}
	if t := &r.result.Total; t.Failed+t.Lost > 0 {
		line += fmt.Sprintf(", %d failed, %d lost", t.Failed, t.Lost)
	}
	r.run.Log(line)
}

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
	if r.run.PID == 0 || err != nil {
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
	return unit + "s"
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
		r.figure(d.name+".p99", ms(d.h.Quantile(.99)), "ms")
		r.figure(d.name+".max", ms(d.h.Max()), "ms")
	}
	if t.Requests > 0 {
		r.figure("requests", float64(t.Requests), "polls and posts")
	}
	if r.result.Transport == Upgrade {
		r.figure("upgraded", float64(t.Upgraded), "clients")
	}
	r.figure("failed", float64(t.Failed), "clients")
	r.figure("lost", float64(t.Lost), "clients")
}
