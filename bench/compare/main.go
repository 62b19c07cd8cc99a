// Command compare measures holdfast and other servers in one run, with the same
// clients on the same processors. scripts/bench builds what it needs and starts it.
//
//	round 1: floor, holdfast, gws, …   each is started, measured alone, and ended:
//	round 2: floor, holdfast, gws, …     memory of idle clients, heartbeats, broadcasts,
//	round 3: …                           echoes, connects
//
// Within a minute (-quick, -together) there is no time for that: there all servers
// are started at once, keep their clients, and take turns at each measurement.
//
// Each figure is the median over the rounds; each ratio the median of the ratios
// within a round, so that what slows the machine down for a while counts on both
// sides. A server that does not manage what is asked of it ends its own turn at
// worst; what it did manage is told.
package main

import (
	"cmp"
	"context"
	"flag"
	"io"
	"os"
	"strings"
	"time"

	"holdfast/bench/rig"
)

func main() { os.Exit(rig.Main("compare", compare)) }

// options are the flags.
type options struct {
	args     []string // all of them
	bin      string   // folder of the servers
	names    []string
	only     []string
	low      int
	high     int
	settle   time.Duration
	rounds   int
	pushes   int
	ping     time.Duration
	seconds  float64 // scales what takes time
	patience time.Duration
	together bool
	within   time.Duration // what a busy machine has no time for is left out, with together; 0: nothing is
	// turnLimit is the most that a server gets for its turn, when it is measured alone.
	turnLimit time.Duration
	total     time.Duration // the most that all turns may take
	page      string
	json      string
	svg       string
}

func compare(ctx context.Context, args []string, out, log io.Writer) error {
	o, err := parse(args, log)
	if err != nil {
		return err
	}
	s := &suite{options: *o, out: out, log: log}
	defer s.stop()
	return s.run(ctx)
}

func parse(args []string, log io.Writer) (*options, error) {
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.SetOutput(log)
	quick := f.Bool("quick", false, "fewer clients, less time, all servers together: a look within a minute")
	o := &options{args: args}
	f.StringVar(&o.bin, "bin", "bench/.build", "folder of the built servers")
	servers := f.String("servers", "floor,holdfast,gws,gorilla,node,centrifugo", "which servers, holdfast-tls may be one of them; floor is what the ratios refer to")
	only := f.String("only", "", "measure only these, of: "+strings.Join(measureNames(), ","))
	f.BoolVar(&o.together, "together", false, "start all servers at once, and let them take turns (default with -quick)")
	f.IntVar(&o.low, "low", 0, "idle clients at the lower end of the memory's slope (default 4000; quick: 1000)")
	f.IntVar(&o.high, "clients", 0, "and at its upper end, which stay for the broadcasts (default 14000; quick: 4000)")
	f.DurationVar(&o.settle, "settle", 0, "wait before memory is measured (default 30s, 20s for the lower end; quick: 2s)")
	f.IntVar(&o.rounds, "rounds", 0, "rounds of each measurement (default 3)")
	f.IntVar(&o.pushes, "pushes", 0, "events a round (default 5; quick: 3)")
	f.DurationVar(&o.ping, "ping", 0, "interval of heartbeats (default 25s; quick: 10s)")
	f.DurationVar(&o.patience, "patience", 20*time.Second, "how long an event may take to reach all")
	f.DurationVar(&o.turnLimit, "turn", 150*time.Second, "the most that a server gets for its turn; without -together")
	f.DurationVar(&o.total, "total", 45*time.Minute, "the most that all turns may take: what there is no time for is left out, and told; without -together")
	f.DurationVar(&o.within, "within", 0, "leave out rounds, and say so, when a busy machine would take longer; with -together (quick, unless -rounds is given: 50s for three servers; else no bound)")
	f.StringVar(&o.page, "html", "", "write a page with plots to this file")
	f.StringVar(&o.json, "json", "", "write the figures to this file")
	f.StringVar(&o.svg, "svg", "", "write a picture of the ratios to this file")
	var err error
	if o.only, err = rig.Parse(f, args, only, measureNames()); err != nil {
		return nil, err
	}
	o.names = strings.Split(*servers, ",")
	defaults := options{low: 4000, high: 14000, settle: 30 * time.Second, rounds: 3, pushes: 5, ping: 25 * time.Second, seconds: 3}
	if *quick {
		defaults = options{low: 1000, high: 4000, settle: 2 * time.Second, rounds: 3, pushes: 3, ping: 10 * time.Second, seconds: 1}
		o.together = true
		if o.rounds == 0 {
			// 50 s for three servers, and what was asked for besides.
			patient := 2 * max(o.settle-defaults.settle, 0)
			o.within = cmp.Or(o.within, max(50*time.Second, time.Duration(len(o.names))*17*time.Second)+patient)
		}
	}
	o.fill(defaults)
	if o.low >= o.high {
		return nil, rig.Wrong(f, "-low %d is not below -clients %d", o.low, o.high)
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
