package loadgen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
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
	Pusher   NewPusher         // nil: there is nothing that can push
	PID      int               // of the server; 0: it is not measured
	Log      func(line string) // a line of progress a second
	Command  string            // of which this is a part, for the result
}

// NewPusher makes what pushes to a room, once the server has shown that it takes
// pushes. ack, if not 0, is how long each push waits for acknowledgements of all.
type NewPusher func(ctx context.Context, room string, ack time.Duration) (Pusher, error)

// scenario is what a name stands for.
type scenario struct {
	name, help string
	defaults   Options
	scaled     bool // Options.Scale multiplies what defaults say of clients and rates
	pushes     bool
	acked      bool // and each push is acknowledged
	rooms      Rooms
	play       func(ctx context.Context, r *recorder) error
}

// scenarios is the list of all, with what each does by default.
func scenarios() []scenario {
	everybody := Rooms{Name: "bench"}
	documents := Rooms{Name: "bench-doc-", Least: 2, Most: 300, Seed: 1}
	// They come as fast as they did where these loads were first played.
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
			name: "broadcast", help: "an event to a room of all, again and again", rooms: everybody, pushes: true,
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
		{
			name: "s1", help: "500,000 × scale users come online, 16,000 × scale a second", rooms: everybody, scaled: true,
			defaults: Options{Clients: 500_000, Rate: 16_000}, play: playConnect,
		},
		{
			name: "s2", help: "as many, and every 5 s a push to all that each acknowledges", rooms: everybody, scaled: true,
			pushes: true, acked: true, defaults: online(10_000), play: playBroadcast,
		},
		{
			name: "s3", help: "the same without acknowledgements", rooms: everybody, scaled: true,
			pushes: true, defaults: online(11_000), play: playBroadcast,
		},
		{
			name: "s4", help: "as s2, while 40,000 × scale users a second go on and off", rooms: everybody, scaled: true,
			pushes: true, acked: true, defaults: online(18_570), play: playBroadcastAndChurn,
		},
	}
}

// Names are the scenarios, in the order of their help.
func Names() (names []string) {
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return names
}

// Help describes them, and says what they do when no option says otherwise.
func Help() string {
	var b strings.Builder
	for _, s := range scenarios() {
		fmt.Fprintf(&b, "  %-10s %s\n  %-10s   %s\n", s.name, s.help, "", s.merged(Options{}))
	}
	return b.String()
}

// String is how o is written as flags of `holdfast bench`.
func (o Options) String() string {
	var flags []string
	for _, f := range []struct {
		name  string
		set   bool
		value any
	}{
		{"-n", o.Clients != 0, o.Clients},
		{"--rate", o.Rate != 0, o.Rate},
		{"--for", o.For != 0, o.For},
		{"--every", o.Every != 0, o.Every},
		{"--size", o.Size != 0, o.Size},
		{"--hz", o.Hz != 0, o.Hz},
		{"--scale", o.Scale != 0, o.Scale},
	} {
		if n, is := f.value.(float64); is {
			f.value = strconv.FormatFloat(n, 'g', 6, 64)
		}
		if f.set {
			flags = append(flags, fmt.Sprint(f.name, " ", f.value))
		}
	}
	return strings.Join(flags, " ")
}

// leastEvery is the least time between pushes, each of which is a request.
const leastEvery = 100 * time.Microsecond

// find returns the scenario of a name.
func find(name string) (*scenario, error) {
	all := scenarios()
	at := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
	if at < 0 {
		return nil, fmt.Errorf("there is no scenario %q; there are %s", name, strings.Join(Names(), ", "))
	}
	return &all[at], nil
}

// Check says what is wrong with a scenario's name or with options, if anything is.
func Check(name string, o Options) error {
	if _, err := find(name); err != nil {
		return err
	}
	for _, v := range []struct {
		name  string
		value float64
	}{
		{"clients", float64(o.Clients)},
		{"rate", o.Rate},
		{"for", o.For.Seconds()},
		{"every", o.Every.Seconds()},
		{"size", float64(o.Size)},
		{"hz", o.Hz},
		{"scale", o.Scale},
	} {
		if !(v.value >= 0) || math.IsInf(v.value, 1) { // NaN is not, either
			return fmt.Errorf("%s is %v, and must be a number above 0 (0: what the scenario has)", v.name, v.value)
		}
	}
	if o.Every > 0 && o.Every < leastEvery {
		return fmt.Errorf("every is %s, and must be %s at least; larger messages or more clients are more load, too", o.Every, leastEvery)
	}
	return nil
}

// merged fills in the scenario's own values.
func (s *scenario) merged(o Options) Options {
	d := s.defaults
	if s.scaled {
		o.Scale = cmp.Or(o.Scale, .01)
		d.Clients = max(int(float64(d.Clients)*o.Scale), 1)
		d.Rate *= o.Scale
	} else {
		o.Scale = 0
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
	if err := Check(r.Scenario, r.Options); err != nil {
		return nil, err
	}
	s, err := find(r.Scenario)
	if err != nil {
		return nil, err
	}
	rec := &recorder{
		run: r, rooms: s.rooms, options: s.merged(r.Options), ask: make(chan chan snapshot),
		result: &Result{
			Scenario: s.name, Server: r.Target.URL, Began: time.Now(), Command: r.Command, Machine: Machine(),
			Protocol: cmp.Or(r.Target.Protocol, SocketIO5), Transport: cmp.Or(r.Target.Transport, WebSocket),
		},
	}
	if r.Target.Msgpack {
		rec.result.Parser = "socket.io-msgpack-parser"
	}
	rec.result.Options = rec.options
	if s.pushes {
		// Before clients come, so that nobody waits for them in vain.
		if rec.pusher, err = rec.newPusher(ctx, s.acked); err != nil {
			return nil, err
		}
		defer func() { _ = rec.pusher.Close() }()
	}
	err = rec.record(ctx, s.play)
	return rec.result, err
}

func (r *recorder) newPusher(ctx context.Context, acked bool) (Pusher, error) {
	if r.run.Pusher == nil {
		return nil, errors.New("the scenario pushes, but the address of an API is not known")
	}
	if acked {
		r.ackTimeout = max(r.options.Every, 5*time.Second) // others are pushed meanwhile
	}
	return r.run.Pusher(ctx, r.rooms.Name, r.ackTimeout)
}

func playConnect(ctx context.Context, r *recorder) error { return r.arrive(ctx) }

func playIdle(ctx context.Context, r *recorder) error {
	if err := r.arrive(ctx); err != nil {
		return err
	}
	before := r.now()
	err := r.phase("idle", "heartbeat", func(s *Stats) int { return s.Pings }, func() error { return Sleep(ctx, r.options.For) })
	if after := r.now(); before.measured && after.measured && err == nil {
		r.figure("memory.settled", float64(after.usage.RSS)/1e6, "MB")
		r.figure("memory.given-back", float64(before.usage.RSS-after.usage.RSS)/1e6, "MB")
	}
	return err
}

func received(s *Stats) int { return s.Received }

func playBroadcast(ctx context.Context, r *recorder) error {
	if err := r.arrive(ctx); err != nil {
		return err
	}
	before := r.now().total
	err := r.phase("broadcast", "delivery", received, func() error { return r.push(ctx) })
	after := r.now().total
	due := r.pushed * before.Up
	r.figure("broadcast.pushes", float64(r.pushed), "events")
	r.figure("broadcast.missing", float64(due-(after.Received-before.Received)), "deliveries")
	if err == nil && due > 0 && after.Received == 0 && after.Up > 0 {
		return fmt.Errorf("%d events were pushed to the room %q and none has come; does the server put clients into the room that they name "+
			"when they connect, and, if one of them pushes, send its event b on to the others?", r.pushed, r.rooms.Name)
	}
	return err
}

func playRooms(ctx context.Context, r *recorder) error {
	if err := r.arrive(ctx); err != nil {
		return err
	}
	rooms := len(slices.Compact(r.rooms.Names(r.options.Clients)))
	before := r.now().total
	err := r.phase("cursors", "delivery", received, func() error {
		return r.drive(ctx, Load{Rate: r.options.Hz, For: r.options.For, Event: "cursor", Size: r.options.Size, Leads: true})
	})
	after := r.now().total
	r.figure("cursors.sent", float64(after.Sent-before.Sent), "messages")
	if err == nil && after.Sent > before.Sent && after.Received == 0 && before.Up > rooms {
		return errors.New("cursors were sent and none has come; does the server relay the event cursor to the others in the room that clients name when they connect?")
	}
	return err
}

func playEcho(ctx context.Context, r *recorder) error {
	messages := r.options.Rate
	r.options.Rate = 1000 // of arrivals
	if err := r.arrive(ctx); err != nil {
		return err
	}
	before := r.now().total
	err := r.phase("echo", "round trip", func(s *Stats) int { return s.Answered }, func() error {
		return r.drive(ctx, Load{Rate: messages, For: r.options.For, Event: "echo", Size: r.options.Size, Ack: true})
	})
	after := r.now().total
	sent, answered := after.Sent-before.Sent, after.Answered-before.Answered
	r.figure("echo.sent", float64(sent), "messages")
	r.figure("echo.unanswered", float64(sent-answered), "messages")
	if err == nil && sent > 0 && answered == 0 && after.Up > 0 {
		return fmt.Errorf("no message was answered; does the server acknowledge the event echo? %s", after.why())
	}
	return err
}

func playChurn(ctx context.Context, r *recorder) error {
	rate := r.options.Rate
	if err := r.arrive(ctx); err != nil {
		return err
	}
	return r.phase("churn", "client", func(s *Stats) int { return s.Arrived }, func() error { return r.churn(ctx, rate) })
}

func playBroadcastAndChurn(ctx context.Context, r *recorder) error {
	if err := r.arrive(ctx); err != nil {
		return err
	}
	err := r.phase("broadcast", "delivery", received, func() error {
		both := make(chan error, 2)
		go func() { both <- r.push(ctx) }()
		go func() { both <- r.churn(ctx, 40_000*r.options.Scale/2) }() // half of them on, half off
		return errors.Join(<-both, <-both)
	})
	r.figure("broadcast.pushes", float64(r.pushed), "events")
	return err
}

// arrive brings all clients, and measures what they cost.
func (r *recorder) arrive(ctx context.Context) error {
	o := r.options
	err := r.phase("arrival", "client", func(s *Stats) int { return s.Arrived }, func() error {
		return r.run.Swarm.Connect(ctx, Plan{Clients: o.Clients, Rate: o.Rate, Rooms: r.rooms})
	})
	if st := r.now().total; err == nil && st.Up == 0 {
		return fmt.Errorf("no client is connected: %s", st.why())
	}
	r.there.Store(err == nil)
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

// answers waits for that, since began, when the last thing had been sent. The phase's
// rates are of the time before.
func (r *recorder) answers(ctx context.Context, began time.Time) error {
	defer func() { r.waited = time.Since(began) }()
	now := time.Now()
	came, at, end := -1, now, now.Add(longestTail)
	for {
		st := r.now().total
		if n := st.Received + st.Answered; n != came {
			came, at = n, time.Now()
		}
		if time.Since(at) >= tail || time.Now().After(end) {
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
	return r.answers(ctx, time.Now())
}

// maxPushes is how many pushes are under way at once at most. One that has to wait for
// another is late, which its deliveries are charged.
const maxPushes = 256

// pushPatience is how long a push may take, beside what it waits for acknowledgements.
const pushPatience = 20 * time.Second

// push sends an event to all as often as it is due. A push that takes longer than
// the time to the next one does not hold that up, and one that fails is counted.
func (r *recorder) push(ctx context.Context) error {
	schedule := Schedule{Start: time.Now(), Rate: 1 / r.options.Every.Seconds()}
	n := max(int(r.options.For/r.options.Every), 1)
	errs := make([]error, 0, n)
	under := make(chan struct{}, maxPushes)
	var pushes sync.WaitGroup
	var stopped error
	for i := range n {
		due := schedule.At(i)
		if stopped = sleepUntil(ctx, due); stopped != nil {
			break
		}
		r.pushLate.Record(time.Since(due))
		under <- struct{}{} // each of them ends in time
		errs = append(errs, nil)
		err := &errs[i]
		pushes.Go(func() {
			defer func() { <-under }()
			limit, cancel := context.WithTimeout(ctx, pushPatience+r.ackTimeout)
			defer cancel()
			*err = r.pusher.Push(limit, r.options.Size, due)
		})
	}
	if stopped == nil {
		stopped = sleepUntil(ctx, schedule.At(n)) // the last one has its time as well
	}
	end := time.Now()
	pushes.Wait()
	begun := len(errs)
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	r.pushed += begun - len(errs)
	if stopped != nil {
		return stopped // which is also why the last of them have failed
	}
	if len(errs) == n {
		return fmt.Errorf("every push failed, the first with: %w", errs[0])
	}
	r.unpushed = append(r.unpushed, errs...)
	return r.answers(ctx, end)
}

// Clients is how many clients a scenario will have at once; 0 for one that does
// not exist.
func Clients(name string, o Options) int {
	s, err := find(name)
	if err != nil {
		return 0
	}
	return s.merged(o).Clients
}
