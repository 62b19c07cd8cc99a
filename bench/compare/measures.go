package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"holdfast/bench/rig"
	"holdfast/internal/loadgen"
)

// eventSize is the size of a whole event in bytes, as it is in the frame.
const eventSize = 200

// memory lets the clients come that stay for what follows. It is the slope of
// resident memory between two numbers of idle clients, so that what a process takes
// by itself does not count.
func memory(ctx context.Context, s *suite, v *server) error {
	if _, err := s.connect(ctx, v, s.low, s.rate()); err != nil {
		return err
	}
	if err := loadgen.Sleep(ctx, s.settleLow()); err != nil {
		return err
	}
	few := v.clients
	low, err := v.process.Usage()
	if err != nil {
		return err
	}
	if _, err := s.connect(ctx, v, s.high-s.low, s.rate()); err != nil {
		return err
	}
	settled := time.Now().Add(s.settle)
	if !s.together && s.wants("idle") {
		if err := idle(ctx, s, v); err != nil {
			return err
		}
	}
	if err := loadgen.Sleep(ctx, time.Until(settled)); err != nil {
		return err
	}
	high, err := v.process.Usage()
	if err != nil {
		return err
	}
	slope := float64(high.RSS-low.RSS) / float64(max(v.clients-few, 1))
	s.results.add(v.name, "memory", "KB/client", slope/1000)
	s.results.add(v.name, "memory.base", "MB", (float64(low.RSS)-slope*float64(few))/1e6)
	return nil
}

// settleLow is the wait at the lower end, where there is less to settle.
func (o *options) settleLow() time.Duration {
	if o.together {
		return o.settle
	}
	return o.settle * 2 / 3
}

// rate is how many clients a second come to each server that are not measured.
func (o *options) rate() float64 {
	if o.together {
		return 3000 / float64(len(o.names))
	}
	return 2000
}

// connect lets n more clients come. Those that do not are told of; the error is for
// when none does.
func (s *suite) connect(ctx context.Context, v *server, n int, rate float64) (loadgen.Stats, error) {
	st, err := v.connect(ctx, n, rate)
	switch {
	case err != nil:
	case st.Arrived == 0:
		err = errors.New("no client could connect: " + v.reasons(&st))
	case st.Arrived < n:
		s.note(v.name, "%d of %d clients have connected: %s", st.Arrived, n, v.reasons(&st))
	}
	return st, err
}

func micros(d time.Duration, n int) float64 {
	return float64(d.Nanoseconds()) / 1000 / float64(max(n, 1))
}

// expected is what has to come within a time.
type expected struct {
	what   string
	number int
	each   int // of the number is due to each client; a client that is lost gets nothing
	within time.Duration
	count  func(*loadgen.Stats) int
}

// await waits for it. If it does not come, or not to all, that is told; whole is
// false when the time was over.
func (s *suite) await(ctx context.Context, v *server, e expected) (st loadgen.Stats, whole bool, err error) {
	end := time.Now().Add(e.within)
	for {
		part, err := v.collect(ctx)
		if err != nil {
			return st, false, err
		}
		st.Merge(&part)
		whole = e.count(&st) >= e.number-e.each*st.Lost
		late := !whole && time.Now().After(end)
		if late || whole && st.Lost > 0 {
			s.note(v.name, "%s: %d of %d within %s %s", e.what, e.count(&st), e.number, e.within, v.reasons(&st))
		}
		switch {
		case whole:
			return st, true, nil
		case late:
			return st, false, v.quiet(ctx)
		}
		if err := loadgen.Sleep(ctx, 20*time.Millisecond); err != nil {
			return st, false, err
		}
	}
}

func received(st *loadgen.Stats) int { return st.Received }

// broadcast pushes events one by one, each when the one before has reached all.
func broadcast(ctx context.Context, s *suite, v *server) error {
	var sum loadgen.Stats
	cpu, err := v.process.Spent(func() error {
		for range s.pushes {
			if err := v.pusher.Push(ctx, eventSize, time.Now()); err != nil {
				return err
			}
			st, whole, err := s.await(ctx, v, expected{"deliveries of an event", v.clients, 1, s.patience, received})
			sum.Merge(&st)
			if err != nil || !whole {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.deliveries(v, "broadcast", cpu, &sum)
	return nil
}

func (s *suite) deliveries(v *server, name string, cpu time.Duration, sum *loadgen.Stats) {
	if sum.Received == 0 {
		return
	}
	s.results.add(v.name, name+".cpu", "µs/delivery", micros(cpu, sum.Received))
	s.results.add(v.name, name+".p99", "ms", rig.Millis(sum.Delivery.Quantile(.99)))
	s.results.merge(v.name, name+".p99", &sum.Delivery)
}

const burstEvents = 10

// burst pushes ten events at the same moment.
func burst(ctx context.Context, s *suite, v *server) error {
	var sum loadgen.Stats
	if _, err := v.collect(ctx); err != nil { // without what was late before
		return err
	}
	cpu, err := v.process.Spent(func() error {
		var wait sync.WaitGroup
		errs := make([]error, burstEvents)
		due := time.Now()
		for i := range burstEvents {
			wait.Go(func() { errs[i] = v.pusher.Push(ctx, eventSize, due) })
		}
		wait.Wait()
		errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
		pushed := burstEvents - len(errs)
		if pushed == 0 {
			return errs[0]
		}
		if len(errs) > 0 {
			s.note(v.name, "%d of %d pushes at once: %v", pushed, burstEvents, errs[0])
		}
		var err error
		sum, _, err = s.await(ctx, v, expected{"deliveries of ten events", pushed * v.clients, pushed, 2 * s.patience, received})
		return err
	})
	if err != nil {
		return err
	}
	s.deliveries(v, "burst", cpu, &sum)
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
	if _, err := v.collect(ctx); err != nil {
		return err
	}
	var sum loadgen.Stats
	cpu, err := v.process.Spent(func() error {
		if err := v.swarm.Drive(ctx, load); err != nil {
			return err
		}
		var err error
		sum, _, err = s.await(ctx, v, expected{
			"answers", int(load.Rate * load.For.Seconds()), 0, s.patience / 2,
			func(st *loadgen.Stats) int { return st.Answered },
		})
		return err
	})
	if err != nil || sum.Answered == 0 {
		return err
	}
	s.results.add(v.name, "echo.cpu", "µs/round trip", micros(cpu, sum.Answered))
	s.results.add(v.name, "echo.p99", "ms", rig.Millis(sum.RoundTrip.Quantile(.99)))
	s.results.merge(v.name, "echo.p99", &sum.RoundTrip)
	return nil
}

// idleWindow is how long heartbeats are counted: each client has one in an interval,
// but not all of them in any part of it.
func (o *options) idleWindow() time.Duration {
	if o.together {
		return o.ping / 3 // three rounds are a whole one
	}
	return o.ping
}

// idle is what clients cost that do nothing but answer heartbeats.
func idle(ctx context.Context, s *suite, v *server) error {
	if _, err := v.collect(ctx); err != nil {
		return err
	}
	cpu, err := v.process.Spent(func() error { return loadgen.Sleep(ctx, s.idleWindow()) })
	if err != nil {
		return err
	}
	st, err := v.collect(ctx)
	if err != nil {
		return err
	}
	s.results.add(v.name, "idle.cpu", "µs/heartbeat", micros(cpu, st.Pings))
	s.results.add(v.name, "idle.rate", "heartbeats/s", float64(st.Pings)/s.idleWindow().Seconds())
	return nil
}

// connect is a client's way in, with a token and a room where the server has such.
func connect(ctx context.Context, s *suite, v *server) error {
	n := int(1000 * s.seconds)
	var st loadgen.Stats
	cpu, err := v.process.Spent(func() error {
		var err error
		st, err = s.connect(ctx, v, n, 1000)
		return err
	})
	if err != nil {
		return err
	}
	s.results.add(v.name, "connect.cpu", "µs/client", micros(cpu, st.Arrived))
	s.results.add(v.name, "connect.p99", "ms", rig.Millis(st.Connect.Quantile(.99)))
	s.results.merge(v.name, "connect.p99", &st.Connect)
	return v.leave(ctx, v.clients)
}

// storm is a closed loop: 64 handshakes under way at any time.
func storm(ctx context.Context, s *suite, v *server) error {
	began := time.Now()
	st, err := s.connect(ctx, v, int(2000*s.seconds), 0)
	if err != nil {
		return err
	}
	s.results.add(v.name, "storm.rate", "clients/s", float64(st.Arrived)/time.Since(began).Seconds())
	return v.leave(ctx, v.clients)
}
