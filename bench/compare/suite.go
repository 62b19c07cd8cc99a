package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/bench/rig"
)

// suite is one run.
type suite struct {
	options
	out, log io.Writer
	folder   string
	servers  []*server // that are running
	results  results
}

// measure is one kind of measurement.
type measure struct {
	name string
	what string
	// one measures one server, once a round. What it cannot do ends the server's part
	// in the round, and is told.
	one func(ctx context.Context, s *suite, v *server) error
	// takes is about how long that takes.
	takes func(o *options) time.Duration
	// quiet ones leave the machine at rest, so that servers which run together can be
	// measured at the same time; once ones have one round then.
	quiet, once bool
	// empty ones begin with a server that has no clients.
	empty bool
}

// measures are in the order in which a server goes through them.
func measures() []measure {
	seconds := func(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
	return []measure{
		{
			name: "memory", what: "resident memory of idle clients", one: memory, quiet: true, once: true,
			takes: func(o *options) time.Duration { return o.settle + o.settleLow() + seconds(float64(o.high)/o.rate()) },
		},
		{
			name: "broadcast", what: "one event to all clients", one: broadcast,
			takes: func(o *options) time.Duration { return seconds(float64(o.pushes*o.high) * 25e-6) },
		},
		{
			name: "burst", what: "ten events at once to all clients", one: burst,
			takes: func(o *options) time.Duration { return seconds(float64(burstEvents*o.high) * 8e-6) },
		},
		{
			name: "echo", what: "events that are acknowledged", one: echo,
			takes: func(o *options) time.Duration { return seconds(o.seconds) },
		},
		{
			name: "idle", what: "heartbeats of idle clients", one: idle, quiet: true,
			takes: func(o *options) time.Duration { return o.idleWindow() },
		},
		{
			name: "connect", what: "clients that come at a rate", one: connect, empty: true,
			takes: func(o *options) time.Duration { return seconds(o.seconds + .5) },
		},
		{
			name: "storm", what: "clients that come as fast as they can", one: storm, empty: true,
			takes: func(o *options) time.Duration { return seconds(o.seconds*.2 + .4) },
		},
	}
}

func measureNames() (names []string) {
	for _, m := range measures() {
		names = append(names, m.name)
	}
	return names
}

// wants says whether a measurement was asked for.
func (s *suite) wants(name string) bool { return slices.Contains(s.only, name) }

// plan is what is measured, in order.
func (s *suite) plan() []measure {
	return slices.DeleteFunc(measures(), func(m measure) bool {
		// A server that is alone counts heartbeats while its memory settles.
		return !s.wants(m.name) || m.name == "idle" && !s.together && s.wants("memory")
	})
}

func (s *suite) run(ctx context.Context) error {
	var err error
	if s.folder, err = os.MkdirTemp("", "holdfast-bench"); err != nil {
		return err
	}
	began := time.Now()
	play := s.alone
	if s.together {
		play = s.inTurns
	}
	play(ctx)
	// Who interrupts it wants to see what was measured so far.
	return errors.Join(ctx.Err(), s.finish(began))
}

// alone starts, measures and ends one server after the other, round by round.
func (s *suite) alone(ctx context.Context) {
	took := make(map[string]time.Duration)
	end := time.Now().Add(s.total)
	for round := range s.rounds {
		s.results.round = round
		for i, name := range s.names {
			left := time.Until(end)
			if left < max(took[name], time.Second) {
				s.note("all", "%s, and what was to follow, was left out, so that the run ends within %s (-total)", name, s.total)
				return
			}
			s.progress("round %d of %d, %s (%d of %d); %s; load average %s", round+1, s.rounds,
				name, i+1, len(s.names), about(min(s.left(took, round, i), left)), rig.LoadAverage())
			began := time.Now()
			s.turn(ctx, name, min(s.turnLimit, left))
			if ctx.Err() != nil {
				return
			}
			took[name] = time.Since(began)
		}
	}
}

// turn is what happens to a server that is measured alone, for so long at most.
func (s *suite) turn(ctx context.Context, name string, most time.Duration) {
	limit, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	v := s.start(limit, name)
	if v == nil {
		return
	}
	defer v.stop()
	if !s.wants("memory") {
		s.fill(limit, v)
	}
	for _, m := range s.plan() {
		if m.empty {
			s.leave(limit, v)
		}
		s.measure(limit, m, v)
	}
}

// left is how long the turns from number i of a round on will take: as long as the
// servers took before, those that had none yet as long as the others, or as long as
// is to be expected.
func (s *suite) left(took map[string]time.Duration, round, i int) (sum time.Duration) {
	expected := 3 * time.Second
	for _, m := range s.plan() {
		expected += m.takes(&s.options)
	}
	if len(took) > 0 {
		expected = 0
		for _, d := range took {
			expected += d / time.Duration(len(took))
		}
	}
	for j, name := range s.names {
		turns := s.rounds - round
		if j < i {
			turns--
		}
		each, known := took[name]
		if !known {
			each = expected
		}
		sum += time.Duration(turns) * each
	}
	return sum
}

func about(d time.Duration) string {
	if d < 2*time.Minute {
		return fmt.Sprintf("about %d s left", int(d.Seconds()))
	}
	return fmt.Sprintf("about %d min left", int(d.Minutes()+.5))
}

// inTurns starts all servers, which keep their clients, and has them take turns at
// each measurement.
func (s *suite) inTurns(ctx context.Context) {
	began := time.Now()
	for _, name := range s.names {
		if v := s.start(ctx, name); v != nil {
			s.servers = append(s.servers, v)
		}
	}
	plan := s.plan()
	if !s.wants("memory") {
		s.each(func(v *server) { s.fill(ctx, v) })
	}
	for i, m := range plan {
		if ctx.Err() != nil {
			return
		}
		var left, least time.Duration // with all rounds, and with one
		for _, later := range plan[i:] {
			all := later.takes(&s.options) * time.Duration(s.turns(later))
			left += all
			least += all / time.Duration(s.roundsOf(later))
		}
		s.progress("%s; %s; load average %s", m.what, about(left), rig.LoadAverage())
		if m.empty {
			s.each(func(v *server) { s.leave(ctx, v) })
		}
		for round := range s.roundsOf(m) {
			s.results.round = round
			if round > 0 && s.within > 0 && time.Since(began)+least > s.within {
				s.note("all", "%s was left out, so that the run ends within %s; the machine is busy", m.name, s.within)
				break
			}
			if m.quiet {
				s.each(func(v *server) { s.measure(ctx, m, v) })
				continue
			}
			for _, v := range s.servers {
				s.measure(ctx, m, v)
			}
		}
	}
}

// roundsOf is how many rounds a measurement has for servers that run together, turns
// how often it is done one after the other.
func (s *suite) roundsOf(m measure) int {
	if m.once {
		return 1
	}
	return s.rounds
}

func (s *suite) turns(m measure) int {
	if m.quiet {
		return s.roundsOf(m)
	}
	return s.roundsOf(m) * len(s.names)
}

// each does something for all servers at once.
func (s *suite) each(do func(*server)) {
	var all sync.WaitGroup
	for _, v := range s.servers {
		all.Go(func() { do(v) })
	}
	all.Wait()
}

// start returns nil when the server does not start, which is told.
func (s *suite) start(ctx context.Context, name string) *server {
	v, err := start(ctx, &s.options, name, s.folder)
	if err != nil {
		s.note(name, "it was not started: %v", err)
		return nil
	}
	return v
}

// fill lets the clients come that the measurements want which were asked for.
func (s *suite) fill(ctx context.Context, v *server) {
	if slices.ContainsFunc(s.plan(), func(m measure) bool { return !m.empty }) {
		s.do(v, "clients come", func() error { _, err := s.connect(ctx, v, s.high, s.rate()); return err })
	}
}

// leave closes all clients.
func (s *suite) leave(ctx context.Context, v *server) {
	if v.clients > 0 {
		s.do(v, "clients go", func() error { return v.leave(ctx, v.clients) })
	}
}

func (s *suite) measure(ctx context.Context, m measure, v *server) {
	s.do(v, m.name, func() error { return m.one(ctx, s, v) })
}

// do does something with a server that has not failed yet.
func (s *suite) do(v *server, what string, act func() error) {
	if v.failed {
		return
	}
	if err := act(); err != nil {
		v.failed = true
		if errors.Is(err, context.Canceled) {
			return // by the user, who knows
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("its time was over (-turn, -total)")
		}
		s.note(v.name, "%s: %v; what was to follow was left out", what, err)
	}
}

// note tells what a server did not manage, now and beside the figures.
func (s *suite) note(server, format string, args ...any) {
	text := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ") // one line
	s.progress("%s: %s", server, text)
	s.results.note(server, text)
}

func (s *suite) stop() {
	for _, v := range s.servers {
		v.stop()
	}
	_ = os.RemoveAll(s.folder)
}

func (s *suite) progress(format string, args ...any) {
	s.results.mu.Lock() // servers are measured at the same time
	defer s.results.mu.Unlock()
	fmt.Fprintln(s.log, "· "+strings.TrimSpace(fmt.Sprintf(format, args...)))
}
