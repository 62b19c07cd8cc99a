package loadgen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options are what the scenarios have in common; zero values are replaced by the
// scenario's own.
type Options struct {
	Clients int           `json:"clients"`
	Rate    float64       `json:"rate"`            // of arrivals, or of messages (echo) or comings and goings (churn), a second
	For     time.Duration `json:"forNs"`           // how long it lasts once all are there
	Every   time.Duration `json:"everyNs"`         // from one push to the next
	Size    int           `json:"size"`            // of a message, in bytes
	Hz      float64       `json:"hz"`              // cursors a second in each room
	Scale   float64       `json:"scale,omitempty"` // of s1 to s4
}

// Run is one scenario against one server.
type Run struct {
	Scenario string
	Options  Options
	Target   Target
	Swarm    Swarm
	Pusher   func(room string, ack time.Duration) Pusher // nil: the server has no API
	PID      int                                         // of the server; 0: it is not measured
	Log      func(line string)                           // a line of progress a second
	Command  string                                      // of which this is a part, for the result
}

// scenario is what a name stands for.
type scenario struct {
	name, help string
	defaults   Options
	needsAPI   bool
	rooms      Rooms
	play       func(ctx context.Context, r *recorder) error
}

// scenarios is the list of all, with what each does by default.
func scenarios() []scenario {
	everybody := Rooms{Name: "bench"}
	documents := Rooms{Name: "bench-doc-", Least: 2, Most: 300, Seed: 1}
	// With how many connects a second the reference got there.
	online := func(rate float64) Options {
		return Options{Clients: 500_000, Rate: rate, For: time.Minute, Every: 5 * time.Second, Size: 200}
	}
	return []scenario{
		{
			name: "connect", help: "clients arrive at a rate, and are gone at the end", rooms: everybody,
			defaults: Options{Clients: 5000, Rate: 500}, play: playConnect,
		},
		{
			name: "idle", help: "clients arrive, then do nothing but answer heartbeats", rooms: everybody,
			defaults: Options{Clients: 10_000, Rate: 1000, For: 30 * time.Second}, play: playIdle,
		},
		{
			name: "broadcast", help: "an event to a room of all, again and again", rooms: everybody, needsAPI: true,
			defaults: Options{Clients: 5000, Rate: 1000, For: 20 * time.Second, Every: time.Second, Size: 200}, play: playBroadcast,
		},
		{
			name: "rooms", help: "documents of 2 to 300 people; in each somebody's cursor moves", rooms: documents,
			defaults: Options{Clients: 2000, Rate: 1000, For: 20 * time.Second, Hz: 20, Size: 120}, play: playRooms,
		},
		{
			name: "echo", help: "clients send events, each acknowledged", rooms: everybody,
			defaults: Options{Clients: 1000, Rate: 2000, For: 20 * time.Second, Size: 200}, play: playEcho,
		},
		{
			name: "churn", help: "clients come and go, as many as ever there", rooms: documents,
			defaults: Options{Clients: 5000, Rate: 500, For: 20 * time.Second}, play: playChurn,
		},
		{name: "s1", help: "the reference's users come online", rooms: everybody, defaults: online(16_000), play: playConnect},
		{name: "s2", help: "… a push to all every 5 s, each acknowledged", rooms: everybody, needsAPI: true, defaults: online(10_000), play: playAcknowledged},
		{name: "s3", help: "… the same without acknowledgements", rooms: everybody, needsAPI: true, defaults: online(11_000), play: playBroadcast},
		{name: "s4", help: "… with them, and 40,000 users a second going on and off", rooms: everybody, needsAPI: true, defaults: online(18_570), play: playChurnAcknowledged},
	}
}

// Names are the scenarios, in the order of their help.
func Names() (names []string) {
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return names
}

// Help describes them, one a line.
func Help() string {
	var b strings.Builder
	for _, s := range scenarios() {
		fmt.Fprintf(&b, "  %-10s %s\n", s.name, s.help)
	}
	return b.String()
}

// merged fills in the scenario's own values.
func (s *scenario) merged(o Options) Options {
	d := s.defaults
	if strings.HasPrefix(s.name, "s") {
		o.Scale = cmp.Or(o.Scale, .01)
		d.Clients = max(int(float64(d.Clients)*o.Scale), 1)
		d.Rate *= o.Scale
	}
	o.Clients = cmp.Or(o.Clients, d.Clients)
	o.Rate = cmp.Or(o.Rate, d.Rate)
	o.For = cmp.Or(o.For, d.For)
	o.Every = cmp.Or(o.Every, d.Every)
	o.Size = cmp.Or(o.Size, d.Size)
	o.Hz = cmp.Or(o.Hz, d.Hz)
	return o
}

// Do plays the scenario and returns what came of it, as far as it got when the
// error is not nil. The swarm has no clients when it begins, and none afterwards.
func (r *Run) Do(ctx context.Context) (*Result, error) {
	at := slices.IndexFunc(scenarios(), func(s scenario) bool { return s.name == r.Scenario })
	if at < 0 {
		return nil, fmt.Errorf("there is no scenario %q; there are %s", r.Scenario, strings.Join(Names(), ", "))
	}
	s := scenarios()[at]
	if s.needsAPI && r.Pusher == nil {
		return nil, fmt.Errorf("%s: the scenario pushes, but the address of an API is not known", s.name)
	}
	rec := &recorder{
		run: r, rooms: s.rooms, options: s.merged(r.Options), ask: make(chan chan snapshot),
		result: &Result{
			Scenario: s.name, Server: r.Target.URL, Began: time.Now(), Command: r.Command, Machine: Machine(),
			Protocol: cmp.Or(r.Target.Protocol, SocketIO5), Transport: cmp.Or(r.Target.Transport, WebSocket),
		},
	}
	rec.result.Options = rec.options
	err := rec.record(ctx, s.play)
	return rec.result, err
}

func playConnect(ctx context.Context, r *recorder) error { return r.arrive(ctx) }

func playIdle(ctx context.Context, r *recorder) error {
	if err := r.arrive(ctx); err != nil {
		return err
	}
	before := r.now().usage
	err := r.phase("idle", "heartbeat", func(s *Stats) int { return s.Pings }, func() error { return Sleep(ctx, r.options.For) })
	if after := r.now().usage; r.run.PID != 0 && err == nil {
		r.figure("memory.settled", float64(after.RSS)/1e6, "MB")
		r.figure("memory.given-back", float64(before.RSS-after.RSS)/1e6, "MB")
	}
	return err
}

func playBroadcast(ctx context.Context, r *recorder) error {
	if err := r.arrive(ctx); err != nil {
		return err
	}
	return r.phase("broadcast", "delivery", func(s *Stats) int { return s.Received }, func() error { return r.push(ctx, 0) })
}

func playAcknowledged(ctx context.Context, r *recorder) error {
	if err := r.arrive(ctx); err != nil {
		return err
	}
	return r.phase("broadcast", "delivery", func(s *Stats) int { return s.Received }, func() error { return r.push(ctx, r.ackTimeout()) })
}

// ackTimeout is how long a push waits for acknowledgements. Others are pushed
// meanwhile.
func (r *recorder) ackTimeout() time.Duration { return max(r.options.Every, 5*time.Second) }

func playRooms(ctx context.Context, r *recorder) error {
	if err := r.arrive(ctx); err != nil {
		return err
	}
	rooms := len(slices.Compact(r.rooms.Names(r.options.Clients)))
	return r.phase("cursors", "delivery", func(s *Stats) int { return s.Received }, func() error {
		return r.drive(ctx, Load{Rate: r.options.Hz * float64(rooms), For: r.options.For, Event: "cursor", Size: r.options.Size, Leads: true})
	})
}

func playEcho(ctx context.Context, r *recorder) error {
	messages := r.options.Rate
	r.options.Rate = 1000 // of arrivals
	if err := r.arrive(ctx); err != nil {
		return err
	}
	return r.phase("echo", "round trip", func(s *Stats) int { return s.Answered }, func() error {
		return r.drive(ctx, Load{Rate: messages, For: r.options.For, Event: "echo", Size: r.options.Size, Ack: true})
	})
}

func playChurn(ctx context.Context, r *recorder) error {
	rate := r.options.Rate
	if err := r.arrive(ctx); err != nil {
		return err
	}
	return r.phase("churn", "client", func(s *Stats) int { return s.Arrived }, func() error { return r.churn(ctx, rate) })
}

func playChurnAcknowledged(ctx context.Context, r *recorder) error {
	if err := r.arrive(ctx); err != nil {
		return err
	}
	return r.phase("broadcast", "delivery", func(s *Stats) int { return s.Received }, func() error {
		both := make(chan error, 2)
		go func() { both <- r.push(ctx, r.ackTimeout()) }()
		go func() { both <- r.churn(ctx, 40_000*r.options.Scale/2) }() // half of them on, half off
		return errors.Join(<-both, <-both)
	})
}

// arrive brings all clients, and measures what they cost.
func (r *recorder) arrive(ctx context.Context) error {
	o := r.options
	err := r.phase("arrival", "client", func(s *Stats) int { return s.Arrived }, func() error {
		return r.run.Swarm.Connect(ctx, Plan{Clients: o.Clients, Rate: o.Rate, Rooms: r.rooms})
	})
	if st := r.now().total; err == nil && st.Up == 0 {
		return fmt.Errorf("no client is connected: %s", strings.Join(st.Reasons(), "; "))
	}
	return err
}

// churn lets clients come and go at a rate.
func (r *recorder) churn(ctx context.Context, rate float64) error {
	n := int(rate * r.options.For.Seconds())
	both := make(chan error, 2)
	go func() {
		both <- r.run.Swarm.Connect(ctx, Plan{Clients: n, First: r.options.Clients, Rate: rate, Rooms: r.rooms})
	}()
	go func() { both <- r.run.Swarm.Leave(ctx, n, rate) }()
	return errors.Join(<-both, <-both)
}

// What was sent last may take a while: a phase is over when nothing has come for
// tail, or after longestTail.
const (
	tail        = time.Second
	longestTail = 15 * time.Second
)

// answers waits for that. The phase's rates are of the time before.
func (r *recorder) answers(ctx context.Context) error {
	began := time.Now()
	defer func() { r.waited = time.Since(began) }()
	came, at := -1, began
	for {
		now := r.now().total
		if n := now.Received + now.Answered; n != came {
			came, at = n, time.Now()
		}
		if time.Since(at) >= tail || time.Since(began) >= longestTail {
			return nil
		}
		if err := Sleep(ctx, tail/10); err != nil {
			return err
		}
	}
}

func (r *recorder) drive(ctx context.Context, l Load) error {
	if err := r.run.Swarm.Drive(ctx, l); err != nil {
		return err
	}
	return r.answers(ctx)
}

// push sends an event to all as often as it is due. A push that takes longer than
// the time to the next one does not hold that up, and one that fails is counted.
func (r *recorder) push(ctx context.Context, ack time.Duration) error {
	p := r.run.Pusher(r.rooms.Name, ack)
	defer func() { _ = p.Close() }()
	schedule := Schedule{Start: time.Now(), Rate: 1 / r.options.Every.Seconds()}
	n := max(int(r.options.For/r.options.Every), 1)
	errs := make([]error, n)
	var pushes sync.WaitGroup
	for i := range n {
		due := schedule.At(i)
		if err := sleepUntil(ctx, due); err != nil {
			pushes.Wait()
			return err
		}
		pushes.Go(func() { errs[i] = p.Push(ctx, r.options.Size, due) })
	}
	pushes.Wait()
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) == n {
		return fmt.Errorf("every push failed, the first with: %w", errs[0])
	}
	r.unpushed = append(r.unpushed, errs...)
	return r.answers(ctx)
}

// Clients is how many clients a scenario will have at once; 0 for one that does
// not exist.
func Clients(name string, o Options) int {
	for _, s := range scenarios() {
		if s.name == name {
			return s.merged(o).Clients
		}
	}
	return 0
}
