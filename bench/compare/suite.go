package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"holdfast/internal/loadgen"
)

// suite is one run.
type suite struct {
	options
	out, log io.Writer
	folder   string
	servers  []*server
	results  results
}

// measure is one kind of measurement. Each calls report for its figures.
type measure struct {
	name string
	what string
	// together measures all servers at the same time: only what leaves the machine
	// idle can.
	together func(ctx context.Context, s *suite) error
	// one measures one server, in turns with the others, once a round.
	one func(ctx context.Context, s *suite, v *server) error
}

func measures() []measure {
	return []measure{
		{name: "memory", what: "resident memory of idle clients", together: memory},
		{name: "broadcast", what: "one event to all clients", one: broadcast},
		{name: "burst", what: "ten events at once to all clients", one: burst},
		{name: "echo", what: "events that are acknowledged", one: echo},
		{name: "idle", what: "heartbeats of idle clients", together: idle},
		{name: "connect", what: "clients that come at a rate", one: connect},
		{name: "storm", what: "clients that come as fast as they can", one: storm},
	}
}

func measureNames() (names []string) {
	for _, m := range measures() {
		names = append(names, m.name)
	}
	return names
}

func (s *suite) run(ctx context.Context) error {
	var err error
	if s.folder, err = os.MkdirTemp("", "holdfast-bench"); err != nil {
		return err
	}
	for _, name := range s.only {
		if !slices.Contains(measureNames(), name) {
			return fmt.Errorf("there is no measurement %q; there are %s", name, strings.Join(measureNames(), ", "))
		}
	}
	for _, name := range s.names {
		v, err := start(ctx, &s.options, name, s.folder)
		if err != nil {
			return err
		}
		s.servers = append(s.servers, v)
	}
	began := time.Now()
	if err := s.memory(ctx); err != nil {
		return err
	}
	for _, m := range measures()[1:] {
		if len(s.only) > 0 && !slices.Contains(s.only, m.name) {
			continue
		}
		s.progress("%s (%d s, load average %s)", m.what, int(time.Since(began).Seconds()), loadAverage())
		if m.name == "connect" || m.name == "storm" {
			if err := s.empty(ctx); err != nil {
				return err
			}
		}
		if err := s.measure(ctx, m); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return s.finish(began)
}

func (s *suite) measure(ctx context.Context, m measure) error {
	if m.together != nil {
		return m.together(ctx, s)
	}
	for round := range s.rounds {
		s.results.round = round
		for _, v := range s.servers {
			if err := m.one(ctx, s, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// memory connects the clients that stay for what follows, whether their memory is
// wanted or not.
func (s *suite) memory(ctx context.Context) error {
	if len(s.only) == 0 || slices.Contains(s.only, "memory") {
		s.progress("%s: %d, then %d of each (load average %s)", measures()[0].what, s.low, s.high, loadAverage())
		return memory(ctx, s)
	}
	if slices.ContainsFunc(s.only, func(m string) bool { return m != "connect" && m != "storm" }) {
		return s.each(func(v *server) error {
			_, err := v.connect(ctx, s.high, s.rate())
			return err
		})
	}
	return nil
}

// rate is how fast clients that are not measured come, all servers together.
func (s *suite) rate() float64 { return 3000 / float64(len(s.servers)) }

// each does something for all servers at once.
func (s *suite) each(do func(*server) error) error {
	errs := make(chan error, len(s.servers))
	for _, v := range s.servers {
		go func() { errs <- do(v) }()
	}
	var first error
	for range s.servers {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// empty closes all clients.
func (s *suite) empty(ctx context.Context) error {
	return s.each(func(v *server) error {
		if v.clients == 0 {
			return nil
		}
		return v.leave(ctx, v.clients, 0)
	})
}

func (s *suite) stop() {
	for _, v := range s.servers {
		v.stop()
	}
	_ = os.RemoveAll(s.folder)
}

func (s *suite) progress(format string, args ...any) {
	fmt.Fprintf(s.log, "· "+format+"\n", args...)
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// usage is the usage of a server now.
func (v *server) usage() (loadgen.Usage, error) { return loadgen.Measure(v.pid()) }
