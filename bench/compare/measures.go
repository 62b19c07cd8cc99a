package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"holdfast/internal/loadgen"
)

// eventSize is the size of a whole event in bytes, as it is in the frame.
const eventSize = 200

// memory is the slope of resident memory between two numbers of idle clients, so
// that what a process takes by itself does not count.
func memory(ctx context.Context, s *suite) error {
	low, err := s.settled(ctx, s.low)
	if err != nil {
		return err
	}
	high, err := s.settled(ctx, s.high-s.low)
	if err != nil {
		return err
	}
	for i, v := range s.servers {
		slope := float64(high[i].RSS-low[i].RSS) / float64(s.high-s.low)
		s.results.add(v.name, "memory", "KB/client", slope/1000)
		s.results.add(v.name, "memory.base", "MB", (float64(low[i].RSS)-slope*float64(s.low))/1e6)
	}
	return nil
}

// settled connects n more clients to each server and measures them a while after.
func (s *suite) settled(ctx context.Context, n int) ([]loadgen.Usage, error) {
	if err := s.each(func(v *server) error {
		_, err := v.connect(ctx, n, s.rate())
		return err
	}); err != nil {
		return nil, err
	}
	if err := loadgen.Sleep(ctx, s.settle); err != nil {
		return nil, err
	}
	used := make([]loadgen.Usage, 0, len(s.servers))
	for _, v := range s.servers {
		u, err := v.usage()
		if err != nil {
			return nil, err
		}
		used = append(used, u)
	}
	return used, nil
}

// spent is the time that a server's process used during do.
func spent(v *server, do func() error) (time.Duration, error) {
	before, err := loadgen.CPUTime(v.pid())
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := loadgen.CPUTime(v.pid())
	return after - before, err
}

func micros(d time.Duration, n int) float64 {
	return float64(d.Nanoseconds()) / 1000 / float64(max(n, 1))
}

func millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// broadcast pushes events one by one, each when the one before has reached all.
func broadcast(ctx context.Context, s *suite, v *server) error {
	var sum loadgen.Stats
	cpu, err := spent(v, func() error {
		for range s.pushes {
			if err := v.pusher.Push(ctx, eventSize, time.Now()); err != nil {
				return err
			}
			st, err := v.await(ctx, 20*time.Second, func(st *loadgen.Stats) bool { return st.Received >= v.clients })
			if err != nil {
				return err
			}
			sum.Merge(&st)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.results.add(v.name, "broadcast.cpu", "µs/delivery", micros(cpu, sum.Received))
	s.results.add(v.name, "broadcast.p99", "ms", millis(sum.Delivery.Quantile(.99)))
	s.results.merge(v.name, "broadcast.p99", &sum.Delivery)
	return nil
}

// burst pushes ten events at the same moment.
func burst(ctx context.Context, s *suite, v *server) error {
	const events = 10
	var sum loadgen.Stats
	cpu, err := spent(v, func() error {
		var wait sync.WaitGroup
		errs := make([]error, events)
		due := time.Now()
		for i := range events {
			wait.Go(func() { errs[i] = v.pusher.Push(ctx, eventSize, due) })
		}
		wait.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		var err error
		sum, err = v.await(ctx, 60*time.Second, func(st *loadgen.Stats) bool { return st.Received >= events*v.clients })
		return err
	})
	if err != nil {
		return err
	}
	s.results.add(v.name, "burst.cpu", "µs/delivery", micros(cpu, sum.Received))
	s.results.add(v.name, "burst.p99", "ms", millis(sum.Delivery.Quantile(.99)))
	s.results.merge(v.name, "burst.p99", &sum.Delivery)
	return nil
}

// echo has clients send events that are answered.
func echo(ctx context.Context, s *suite, v *server) error {
	if !v.echoes {
		return nil
	}
	load := loadgen.Load{
		Rate: 3000, For: time.Duration(s.seconds * float64(time.Second)),
		Event: "echo", Size: eventSize, Ack: true, Clients: 1000,
	}
	want := int(load.Rate * load.For.Seconds())
	if _, err := v.swarm.Collect(ctx); err != nil {
		return err
	}
	var sum loadgen.Stats
	cpu, err := spent(v, func() error {
		if err := v.swarm.Drive(ctx, load); err != nil {
			return err
		}
		var err error
		sum, err = v.await(ctx, 10*time.Second, func(st *loadgen.Stats) bool { return st.Answered >= want })
		return err
	})
	if err != nil {
		return err
	}
	s.results.add(v.name, "echo.cpu", "µs/round trip", micros(cpu, sum.Answered))
	s.results.add(v.name, "echo.p99", "ms", millis(sum.RoundTrip.Quantile(.99)))
	s.results.merge(v.name, "echo.p99", &sum.RoundTrip)
	return nil
}

// idle is what clients cost that do nothing but answer heartbeats: a server's time
// for each of them and second.
func idle(ctx context.Context, s *suite) error {
	for round := range s.rounds {
		s.results.round = round
		err := s.each(func(v *server) error {
			if _, err := v.swarm.Collect(ctx); err != nil {
				return err
			}
			window := s.ping / 3
			cpu, err := spent(v, func() error { return loadgen.Sleep(ctx, window) })
			if err != nil {
				return err
			}
			st, err := v.swarm.Collect(ctx)
			if err != nil {
				return err
			}
			s.results.add(v.name, "idle.cpu", "µs/heartbeat", micros(cpu, st.Pings))
			s.results.add(v.name, "idle.rate", "heartbeats/s", float64(st.Pings)/window.Seconds())
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// connect is a client's way in, with a token and a room where the server has such.
func connect(ctx context.Context, s *suite, v *server) error {
	n := int(1000 * s.seconds)
	var st loadgen.Stats
	cpu, err := spent(v, func() error {
		var err error
		st, err = v.connect(ctx, n, 1000)
		return err
	})
	if err != nil {
		return err
	}
	s.results.add(v.name, "connect.cpu", "µs/client", micros(cpu, n))
	s.results.add(v.name, "connect.p99", "ms", millis(st.Connect.Quantile(.99)))
	s.results.merge(v.name, "connect.p99", &st.Connect)
	return v.leave(ctx, n, 0)
}

// storm is a closed loop: 64 handshakes under way at any time.
func storm(ctx context.Context, s *suite, v *server) error {
	n := int(2000 * s.seconds)
	began := time.Now()
	if _, err := v.connect(ctx, n, 0); err != nil {
		return err
	}
	s.results.add(v.name, "storm.rate", "clients/s", float64(n)/time.Since(began).Seconds())
	return v.leave(ctx, n, 0)
}
