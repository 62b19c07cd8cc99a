// Package rig is what the measurements of this folder stand on: the processes that
// are measured, the processes in which their clients live, and how busy the machine
// is with other things.
//
//	measurement ──Launch──▶ Process   the server: what it prints, its time, its memory
//	     └────────Clients──▶ Swarm    this program once more, as loadgen's worker
package rig

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"holdfast/internal/loadgen"
)

// Secret signs the tokens of holdfast's clients.
const Secret = "bench-bench-bench-bench-bench-bench"

// Main is the main function of a measurement: measure parses args and measures. It
// returns the exit status.
func Main(name string, measure func(ctx context.Context, args []string, out, log io.Writer) error) int {
	args := os.Args[1:]
	var err error
	if len(args) == 1 && args[0] == workerArgument {
		signal.Ignore(os.Interrupt) // a terminal sends it to all; this one's end is that of its input
		err = loadgen.ServeWorker(context.Background(), os.Stdin, os.Stdout)
	} else {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = measure(ctx, args, os.Stdout, os.Stderr)
	}
	var wrong UsageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &wrong):
		return 2
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(os.Stderr, "%s: interrupted\n", name)
		return 130 // as a shell reports SIGINT
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	return 1
}

// UsageError is an error in the command line of which its user has been told.
type UsageError struct{ error }

// Parse parses args, in which only, if it is not empty, names some of the
// measurements that there are.
func Parse(f *flag.FlagSet, args []string, only *string, names []string) (chosen []string, err error) {
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, UsageError{err}
	}
	if *only == "" {
		return names, nil
	}
	chosen = strings.Split(*only, ",")
	for _, name := range chosen {
		if !slices.Contains(names, name) {
			return nil, Wrong(f, "-only %s: there is no such measurement; there are %s", name, strings.Join(names, ", "))
		}
	}
	return chosen, nil
}

// Wrong tells the user of an error in the command line.
func Wrong(f *flag.FlagSet, format string, args ...any) error {
	err := UsageError{fmt.Errorf(format, args...)}
	fmt.Fprintf(f.Output(), "%s: %v\n", f.Name(), err)
	return err
}

// workerArgument makes a program that calls Main a worker with clients of its own.
const workerArgument = "-worker"

// Clients makes a swarm in a process of its own.
func Clients(ctx context.Context, t loadgen.Target) (loadgen.Swarm, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start the clients: %w", err)
	}
	return loadgen.NewRemote(ctx, 1, []string{self, workerArgument}, t)
}

// Arrive connects clients as planned, all of which must come.
func Arrive(ctx context.Context, s loadgen.Swarm, p loadgen.Plan) (loadgen.Stats, error) {
	if _, err := s.Collect(ctx); err != nil {
		return loadgen.Stats{}, err
	}
	if err := s.Connect(ctx, p); err != nil {
		return loadgen.Stats{}, err
	}
	st, err := s.Collect(ctx)
	if err == nil && st.Arrived < p.Clients {
		err = fmt.Errorf("%d of %d clients did not connect: %v", p.Clients-st.Arrived, p.Clients, st.Errors)
	}
	return st, err
}

// LoadAverage is the machine's, for a figure of a busy one says little.
func LoadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// Millis is a duration in milliseconds.
func Millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
