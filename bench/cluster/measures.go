package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"holdfast/bench/rig"
	"holdfast/internal/loadgen"
	"holdfast/proto/holdfast/v1/holdfastpb"
	"holdfast/proto/holdfast/v1/holdfastpb/holdfastpbconnect"
)

const (
	messageSize = 200  // of an event on its way to a client, in bytes
	pushRate    = 1000 // pushes a second
	perGateway  = 50   // clients of each gateway in the measurements of pushes, each in a room of its own
)

// recovering is the configuration with recovery, as who uses logs has it.
const recovering = "recovery: {enabled: true}\n"

// pushService is a gRPC client of a ws-api.
func pushService(p *process) holdfastpbconnect.PushServiceClient {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	return holdfastpbconnect.NewPushServiceClient(client, p.url, connect.WithGRPC())
}

func push(room string, due time.Time) *holdfastpb.PushRequest {
	return &holdfastpb.PushRequest{
		Targets: []*holdfastpb.Target{{To: &holdfastpb.Target_Room{Room: room}}},
		Event:   loadgen.EventName,
		Payload: &holdfastpb.Payload{Json: "[" + loadgen.Argument(loadgen.EventName, messageSize, due) + "]"},
	}
}

// roomsOf are rooms of one member each.
func roomsOf(gateway int) loadgen.Rooms {
	return loadgen.Rooms{Name: fmt.Sprintf("g%d-", gateway), Least: 1, Most: 1}
}

// inRooms starts a cluster of two gateways with clients, and returns the names of
// their rooms.
func (b *bench) inRooms(ctx context.Context, bus string) (c *cluster, swarms []loadgen.Swarm, rooms []string, stop func(), err error) {
	if c, err = b.start(ctx, bus, size{2, 1}, recovering); err != nil {
		return nil, nil, nil, nil, err
	}
	swarms, leave, err := c.swarms(ctx, len(c.gateways))
	if err != nil {
		c.stop()
		return nil, nil, nil, nil, err
	}
	stop = func() { leave(); c.stop() }
	for i, s := range swarms {
		of := roomsOf(i)
		if _, err = rig.Arrive(ctx, s, loadgen.Plan{Clients: perGateway, Rate: 500, Rooms: of}); err != nil {
			stop()
			return nil, nil, nil, nil, err
		}
		rooms = append(rooms, of.Names(perGateway)...)
	}
	return c, swarms, rooms, stop, nil
}

// pushes measures the time from a push by gRPC until a client of another process
// has it.
func (b *bench) pushes(ctx context.Context) error {
	err := b.pushesOn(ctx, "redis", "≤ 2", "≤ 10")
	if b.kafka != "" {
		err = errors.Join(err, b.pushesOn(ctx, "kafka", "≤ 6", "≤ 25"))
	}
	return err
}

func (b *bench) pushesOn(ctx context.Context, bus, p50, p99 string) error {
	c, swarms, rooms, stop, err := b.inRooms(ctx, bus)
	if err != nil {
		return err
	}
	defer stop()
	service := pushService(c.apis[0])
	if err := pushFor(ctx, service, rooms, 2*time.Second); err != nil { // until everything is warm
		return err
	}
	for _, s := range swarms {
		if _, err := s.Collect(ctx); err != nil {
			return err
		}
	}
	b.load("push." + bus)
	if err := b.profiles(ctx, c, "push."+bus, b.seconds, func() error {
		return pushFor(ctx, service, rooms, b.seconds)
	}); err != nil {
		return err
	}
	var sum loadgen.Stats
	for _, s := range swarms {
		st, err := s.Collect(ctx)
		if err != nil {
			return err
		}
		sum.Merge(&st)
	}
	if want := int(pushRate * b.seconds.Seconds()); sum.Received != want {
		return fmt.Errorf("over %s %d of %d pushes have arrived", bus, sum.Received, want)
	}
	b.figure("push."+bus+".p50", rig.Millis(sum.Delivery.Quantile(.5)), "ms", p50)
	b.figure("push."+bus+".p99", rig.Millis(sum.Delivery.Quantile(.99)), "ms", p99)
	return nil
}

// pushFor pushes at pushRate, each push when it is due, whatever became of those
// before. It waits a moment for the last to arrive.
func pushFor(ctx context.Context, service holdfastpbconnect.PushServiceClient, rooms []string, d time.Duration) error {
	schedule := loadgen.Schedule{Start: time.Now(), Rate: pushRate}
	var under sync.WaitGroup
	var failed atomic.Pointer[error]
	for i := range int(pushRate * d.Seconds()) {
		due := schedule.At(i)
		if err := loadgen.Sleep(ctx, time.Until(due)); err != nil {
			return err
		}
		under.Go(func() {
			if _, err := service.Push(ctx, connect.NewRequest(push(rooms[i%len(rooms)], due))); err != nil {
				failed.Store(&err)
			}
		})
	}
	under.Wait()
	if err := failed.Load(); err != nil {
		return fmt.Errorf("push: %w", *err)
	}
	return loadgen.Sleep(ctx, 300*time.Millisecond)
}

// streams measures how many pushes ws-api routes in a second of processor time.
func (b *bench) streams(ctx context.Context) error {
	c, _, rooms, stop, err := b.inRooms(ctx, "redis")
	if err != nil {
		return err
	}
	defer stop()
	b.load("stream")
	if _, err := streamFor(ctx, c.apis[0], rooms, time.Second); err != nil { // until everything is warm
		return err
	}
	var took time.Duration
	routed := 0
	used, err := c.apis[0].Spent(func() error {
		began := time.Now()
		defer func() { took = time.Since(began) }()
		return b.profiles(ctx, c, "stream", b.seconds, func() (err error) {
			routed, err = streamFor(ctx, c.apis[0], rooms, b.seconds)
			return err
		})
	})
	if err != nil {
		return err
	}
	b.figure("stream.routed", float64(routed)/used.Seconds(), "pushes/CPU-s", "≥ 20000")
	b.figure("stream.rate", float64(routed)/took.Seconds(), "pushes/s", "")
	return nil
}

// streamFor pushes over four streams as fast as they take it, and returns how many
// pushes were answered.
func streamFor(ctx context.Context, api *process, rooms []string, d time.Duration) (int, error) {
	const streams = 4
	end := time.Now().Add(d)
	var answered atomic.Int64
	var work sync.WaitGroup
	errs := make([]error, 2*streams)
	for i := range streams {
		stream := pushService(api).PushStream(ctx)
		work.Go(func() {
			for n := i; time.Now().Before(end) && errs[2*i] == nil; n++ {
				errs[2*i] = stream.Send(push(rooms[n%len(rooms)], time.Now()))
			}
			errs[2*i] = errors.Join(errs[2*i], stream.CloseRequest())
		})
		work.Go(func() {
			for {
				if _, err := stream.Receive(); err != nil {
					break
				}
				answered.Add(1)
			}
			errs[2*i+1] = stream.CloseResponse()
		})
	}
	work.Wait()
	return int(answered.Load()), errors.Join(errs...)
}

// records counts what a push to a room of 3 nodes costs among 20.
func (b *bench) records(ctx context.Context) error {
	const nodes, members, count = 20, 3, 100
	c, err := b.start(ctx, "redis", size{nodes, 1}, recovering)
	if err != nil {
		return err
	}
	defer c.stop()
	swarms, leave, err := c.swarms(ctx, members)
	if err != nil {
		return err
	}
	defer leave()
	for _, s := range swarms {
		if _, err := rig.Arrive(ctx, s, loadgen.Plan{Clients: 1, Rooms: loadgen.Rooms{Name: "three"}}); err != nil {
			return err
		}
	}
	api := c.apis[0]
	before, err := api.metric(ctx, "holdfast_records_sent_total")
	if err != nil {
		return err
	}
	for range count {
		if _, err := pushService(api).Push(ctx, connect.NewRequest(push("three", time.Now()))); err != nil {
			return fmt.Errorf("push: %w", err)
		}
	}
	after, err := api.metric(ctx, "holdfast_records_sent_total")
	if err != nil {
		return err
	}
	b.figure("records.3of20", (after-before)/count, "records/push", "= 3")
	return nil
}

// connects counts the commands that gateways send to Redis for clients that come,
// with a token and a room each, and recovery on.
func (b *bench) connects(ctx context.Context) error {
	const rate = 5000
	c, err := b.start(ctx, "redis", size{2, 1}, recovering)
	if err != nil {
		return err
	}
	defer c.stop()
	swarms, leave, err := c.swarms(ctx, len(c.gateways))
	if err != nil {
		return err
	}
	defer leave()
	sent := func() (sum float64, err error) {
		for _, g := range c.gateways {
			for _, family := range []string{"script", "stream", "key"} {
				n, err := g.metric(ctx, "holdfast_redis_seconds_count", `family="`+family+`"`)
				if err != nil {
					return 0, err
				}
				sum += n
			}
		}
		return sum, nil
	}
	before, err := sent()
	if err != nil {
		return err
	}
	b.load("connect")
	began := time.Now()
	var work sync.WaitGroup
	errs := make([]error, len(swarms))
	for i, s := range swarms {
		n := b.arrivals / len(swarms)
		work.Go(func() {
			documents := loadgen.Rooms{Name: fmt.Sprintf("d%d-", i), Least: 2, Most: 300, Seed: 1}
			_, errs[i] = rig.Arrive(ctx, s, loadgen.Plan{Clients: n, First: i * n, Rate: rate / float64(len(swarms)), Rooms: documents})
		})
	}
	work.Wait()
	took := time.Since(began)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := loadgen.Sleep(ctx, time.Second); err != nil { // what is written a moment later counts
		return err
	}
	after, err := sent()
	if err != nil {
		return err
	}
	b.figure("connect.commands", (after-before)/float64(b.arrivals), "commands/client", "≤ 6")
	b.figure("connect.rate", float64(b.arrivals)/took.Seconds(), "clients/s", "")
	return nil
}

// memory is the slope of a gateway's resident memory between two numbers of idle
// clients.
func (b *bench) memory(ctx context.Context) error {
	c, err := b.start(ctx, "redis", size{1, 1}, "")
	if err != nil {
		return err
	}
	defer c.stop()
	gateway := c.gateways[0]
	c.gateways = append(c.gateways, gateway) // two processes for the clients: one opens 20,000 files at most
	swarms, leave, err := c.swarms(ctx, 2)
	c.gateways = c.gateways[:1]
	if err != nil {
		return err
	}
	defer leave()
	var rss [2]int64
	there := 0
	for i, n := range []int{b.low, b.high} {
		half := (n - there) / len(swarms)
		for _, s := range swarms {
			documents := loadgen.Rooms{Name: "all"}
			if _, err := rig.Arrive(ctx, s, loadgen.Plan{Clients: half, First: there, Rate: 1500, Rooms: documents}); err != nil {
				return err
			}
			there += half
		}
		if err := loadgen.Sleep(ctx, b.settle); err != nil {
			return err
		}
		used, err := gateway.Usage()
		if err != nil {
			return err
		}
		rss[i] = used.RSS
	}
	slope := float64(rss[1]-rss[0]) / float64(b.high-b.low)
	b.figure("memory.client", slope/1000, "KB/client", "≤ 1.25")
	b.figure("memory.base", (float64(rss[0])-slope*float64(b.low))/1e6, "MB", "")
	return nil
}
