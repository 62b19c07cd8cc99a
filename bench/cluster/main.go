// Command cluster measures holdfast as several processes over Redis and Kafka, on
// one machine: how fast a push reaches a client of another process, what ws-api can
// route, what goes over the wire for it, and what a gateway's client takes of memory.
// scripts/bench cluster builds what it needs, starts the servers and then this.
//
//	pushes (gRPC) ─▶ holdfast api ─▶ Redis or Kafka ─▶ holdfast gateway ×2 ─▶ clients (loadgen)
//
// It prints a line for each figure: name, figure, unit, and the target where there
// is one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"holdfast/bench/rig"
)

func main() { os.Exit(rig.Main("cluster", measureAll)) }

func measureAll(ctx context.Context, args []string, out, log io.Writer) error {
	b, err := parse(args, log)
	if err != nil {
		return err
	}
	b.out, b.log = out, log
	return b.run(ctx)
}

// bench is one run.
type bench struct {
	program string // holdfast
	redis   string // address
	kafka   string // address; empty: that bus is not measured
	only    []string
	profile string // folder for profiles; empty: none

	seconds  time.Duration // of load for each measurement
	low      int           // idle clients at the lower end of the memory's slope
	high     int           // and at the upper
	settle   time.Duration // before memory is measured
	arrivals int           // connects that are counted

	out, log io.Writer
	clusters int // started so far
}

// measure is something to measure; its name begins the figures' names.
type measure struct {
	name string
	do   func(b *bench, ctx context.Context) error
}

func measures() []measure {
	return []measure{
		{"push", (*bench).pushes},
		{"stream", (*bench).streams},
		{"records", (*bench).records},
		{"connect", (*bench).connects},
		{"memory", (*bench).memory},
	}
}

func parse(args []string, log io.Writer) (*bench, error) {
	var names []string
	for _, m := range measures() {
		names = append(names, m.name)
	}
	f := flag.NewFlagSet("cluster", flag.ContinueOnError)
	f.SetOutput(log)
	b := &bench{}
	quick := f.Bool("quick", false, "fewer clients, less time: a look within a minute")
	f.StringVar(&b.program, "holdfast", "bench/.build/holdfast", "the program that is measured")
	f.StringVar(&b.redis, "redis", "127.0.0.1:6379", "a Redis to use; keys begin with bench-")
	f.StringVar(&b.kafka, "kafka", "", "a Kafka broker to use as the bus beside Redis; none by default")
	only := f.String("only", "", "measure only these, of: "+strings.Join(names, ","))
	f.StringVar(&b.profile, "profile", "", "write processor profiles of the processes under load to this folder")
	var err error
	if b.only, err = rig.Parse(f, args, only, names); err != nil {
		return nil, err
	}
	b.seconds, b.low, b.high, b.settle, b.arrivals = 10*time.Second, 4000, 18_000, 30*time.Second, 10_000
	if *quick {
		b.seconds, b.low, b.high, b.settle, b.arrivals = 3*time.Second, 1000, 4000, 5*time.Second, 3000
	}
	return b, nil
}

// run measures one thing after the other; what fails does not keep the others from
// being measured.
func (b *bench) run(ctx context.Context) error {
	var errs []error
	for _, m := range measures() {
		if !slices.Contains(b.only, m.name) {
			continue
		}
		if err := b.within(ctx, m); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// measureLimit is the most that one measurement may take: several times what it does.
const measureLimit = 5 * time.Minute

func (b *bench) within(ctx context.Context, m measure) error {
	limit, cancel := context.WithTimeout(ctx, measureLimit)
	defer cancel()
	err := m.do(b, limit)
	if err != nil && ctx.Err() == nil && limit.Err() != nil {
		return fmt.Errorf("it was not done within %s: %w", measureLimit, err)
	}
	return err
}

// figure prints one line. target is "" when there is none.
func (b *bench) figure(name string, value float64, unit, target string) {
	line := fmt.Sprintf("%-24s %10.2f %-16s %s", name, value, unit, target)
	fmt.Fprintln(b.out, strings.TrimRight(line, " "))
}

// load tells how busy the machine is.
func (b *bench) load(before string) {
	fmt.Fprintf(b.log, "%s: load average %s\n", before, rig.LoadAverage())
}
