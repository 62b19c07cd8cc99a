// Command compare measures holdfast and other servers in one run, with the same
// clients on the same processors, one server at a time. scripts/bench builds what
// it needs and starts it.
//
//	start each server ─▶ memory of idle clients ─▶ rounds of broadcasts, echoes,
//	heartbeats, connects, in turns: floor, holdfast, …, floor, holdfast, …
//
// Each figure is the median over the rounds; each ratio the median of the ratios
// within a round, so that what slows the machine down for a while counts on both
// sides.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"holdfast/internal/loadgen"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// options are the flags.
type options struct {
	bin     string // folder of the servers
	names   []string
	only    []string
	low     int
	high    int
	settle  time.Duration
	rounds  int
	pushes  int
	ping    time.Duration
	seconds float64 // scales what takes time
	page    string
	json    string
	svg     string
}

func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	if len(args) == 1 && args[0] == workerArgument {
		if err := loadgen.ServeWorker(ctx, in, out); err != nil {
			fmt.Fprintln(errOut, "compare:", err)
			return 1
		}
		return 0
	}
	o, err := parse(args, errOut)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	s := &suite{options: *o, out: out, log: errOut}
	err = s.run(ctx)
	s.stop()
	if err != nil {
		fmt.Fprintln(errOut, "compare:", err)
		return 1
	}
	return 0
}

// workerArgument makes this program a worker of itself.
const workerArgument = "-worker"

func parse(args []string, errOut io.Writer) (*options, error) {
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.SetOutput(errOut)
	quick := f.Bool("quick", false, "fewer clients, less time: a look within a minute")
	o := &options{}
	f.StringVar(&o.bin, "bin", "bench/.build", "folder of the built servers")
	servers := f.String("servers", "floor,holdfast,gws,gorilla,node,centrifugo", "which servers, holdfast-tls may be one of them; floor is what the ratios refer to")
	only := f.String("only", "", "measure only these, of: "+strings.Join(measureNames(), ","))
	f.IntVar(&o.low, "low", 0, "idle clients at the lower end of the memory's slope (default 4000; quick: 1000)")
	f.IntVar(&o.high, "clients", 0, "and at its upper end, which stay for the broadcasts (default 14000; quick: 4000)")
	f.DurationVar(&o.settle, "settle", 0, "wait before memory is measured (default 30s; quick: 2s)")
	f.IntVar(&o.rounds, "rounds", 0, "rounds of each measurement (default 5; quick: 3)")
	f.IntVar(&o.pushes, "pushes", 0, "events a round (default 5; quick: 3)")
	f.DurationVar(&o.ping, "ping", 0, "interval of heartbeats (default 25s; quick: 10s)")
	f.StringVar(&o.page, "html", "", "write a page with plots to this file")
	f.StringVar(&o.json, "json", "", "write the figures to this file")
	f.StringVar(&o.svg, "svg", "", "write a picture of the ratios to this file")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	o.names = strings.Split(*servers, ",")
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	defaults := options{low: 4000, high: 14000, settle: 30 * time.Second, rounds: 5, pushes: 5, ping: 25 * time.Second, seconds: 3}
	if *quick {
		defaults = options{low: 1000, high: 4000, settle: 2 * time.Second, rounds: 3, pushes: 3, ping: 10 * time.Second, seconds: 1}
	}
	o.fill(defaults)
	if o.low >= o.high {
		err := fmt.Errorf("-low %d is not below -clients %d", o.low, o.high)
		fmt.Fprintln(errOut, "compare:", err)
		return nil, err
	}
	return o, nil
}

// fill sets what no flag has set.
func (o *options) fill(d options) {
	for _, v := range []struct{ to, from *int }{{&o.low, &d.low}, {&o.high, &d.high}, {&o.rounds, &d.rounds}, {&o.pushes, &d.pushes}} {
		if *v.to == 0 {
			*v.to = *v.from
		}
	}
	if o.settle == 0 {
		o.settle = d.settle
	}
	if o.ping == 0 {
		o.ping = d.ping
	}
	o.seconds = d.seconds
}
