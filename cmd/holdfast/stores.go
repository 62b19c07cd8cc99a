package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/boot"
	"holdfast/internal/bus"
	"holdfast/internal/gateway"
	"holdfast/internal/node"
	"holdfast/internal/redis"
	"holdfast/internal/registry"
	"holdfast/internal/roomlog"
)

// stores is what gateway and ws-api meet through, in the kinds that the
// configuration names.
type stores struct {
	registry interface {
		gateway.Registry
		api.Registry
	}
	log interface {
		gateway.Log
		api.Log
	}
	bus interface {
		gateway.Bus
		api.Bus
	}
	workers interface {
		Acquire(ctx context.Context, identity string) (node.Lease, error)
		Renew(ctx context.Context, l node.Lease, until time.Time, about node.About) (node.Renewed, error)
		Release(ctx context.Context, l node.Lease, last time.Time) error
	}
	shared  *sharedStores // nil: the stores are this process's own
	inboxes bus.Directory // for a bus whose inboxes are numbered

	identity      string // of this process among the gateways
	neverWait     bool   // registry and log answer at once
	durableAtOnce bool   // what the bus takes is as durable there as it gets
	sweepers      []func()
	export        []func(boot.Metrics, *queues) // registers what the stores tell of themselves
	closers       []func(ctx context.Context) error
}

// sharedStores is what only stores of several processes have.
type sharedStores struct {
	registry *registry.Redis
	workers  *node.RedisWorkers
	apis     *node.RedisMembers
	marks    *redis.Marks
}

// openStores makes the stores. The caller closes them when everything that uses them
// has ended.
func openStores(ctx context.Context, cfg *boot.Config, certs *boot.Certificates, log *slog.Logger) (*stores, error) {
	s := &stores{identity: cfg.Node.Identity}
	if s.identity == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("node.identity: not set, and the host has no name: %w", err)
		}
		s.identity = host
	}
	s.openMemory(cfg)
	if cfg.Store.Kind == "redis" || cfg.Bus.Kind == "redis" {
		if err := s.openRedis(ctx, cfg, certs, log); err != nil {
			return nil, errors.Join(err, s.close(ctx))
		}
	}
	if cfg.Bus.Kind == "kafka" {
		if err := s.openKafka(ctx, cfg, certs, log); err != nil {
			return nil, errors.Join(err, s.close(ctx))
		}
	}
	return s, nil
}

// close gives the bus time to hand over what waits in it, and disconnects.
func (s *stores) close(ctx context.Context) error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i](ctx))
	}
	return errors.Join(errs...)
}

// closeWithin is close for a process that ends: what hangs after that time, as it may with
// a server that takes connections and says nothing, is left to the end of the process.
func (s *stores) closeWithin(ctx context.Context, most time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- s.close(ctx) }()
	select {
	case err := <-closed:
		return err
	case <-time.After(most + most/10):
		return fmt.Errorf("they still wait for an answer after %s", most)
	}
}

// logWindow is how long a room's log keeps a message. A client is away before its
// node knows: as long as the heartbeat and its output may take.
func logWindow(cfg *boot.Config) time.Duration {
	return cfg.Recovery.Window + cfg.Heartbeat.Interval + cfg.Heartbeat.Timeout + cfg.Limits.OutputAge
}

// openMemory keeps everything in this process.
func (s *stores) openMemory(cfg *boot.Config) {
	reg := registry.NewMemory(registry.Options{})
	log := roomlog.NewMemory(roomlog.Options{
		Count: cfg.Recovery.Messages,
		Bytes: int64(cfg.Recovery.Bytes), TotalBytes: int64(cfg.Recovery.TotalBytes),
		Window: logWindow(cfg), Version: reg.Version,
	})
	s.registry, s.log = reg, log
	b := bus.NewMemory(bus.Options{UpItems: cfg.Limits.UpstreamEvents, UpBytes: int64(cfg.Limits.UpstreamBytes)})
	s.bus = b
	s.workers, s.inboxes = node.NewMemoryWorkers(), node.NewMemoryInboxes()
	s.neverWait, s.durableAtOnce = true, true
	s.sweepers = append(s.sweepers, reg.Sweep, log.Sweep)
	if cfg.Store.Kind == "memory" {
		s.export = append(s.export, func(m boot.Metrics, _ *queues) { registerMemory(m, reg, log) })
	}
	if cfg.Bus.Kind == "memory" {
		s.export = append(s.export, func(m boot.Metrics, q *queues) { registerBus(m, q, b.Stats) })
	}
}

// openRedis puts Redis behind what the configuration wants there.
func (s *stores) openRedis(ctx context.Context, cfg *boot.Config, certs *boot.Certificates, log *slog.Logger) error {
	client, err := dialRedis(ctx, cfg, certs, s.identity)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func(context.Context) error {
		client.Close()
		return nil
	})
	if err := checkRedis(ctx, client, cfg, log, redis.CheckSchema); err != nil {
		return err
	}
	meter := newCallMeter("holdfast_redis", "Redis", redis.Families())
	client = redis.Observe(client, meter.observe)
	s.export = append(s.export, func(m boot.Metrics, _ *queues) { meter.register(m) })
	if d, err := redis.CheckDurability(ctx, client); err != nil {
		log.Warn("the durability of redis is not known", "err", err)
	} else {
		s.durability(d.Warnings(), log)
	}
	if cfg.Store.Kind == "redis" {
		s.sweepers = nil
		s.neverWait = false
		s.shared = &sharedStores{
			registry: registry.NewRedis(client, registry.RedisOptions{Prefix: cfg.Store.Prefix}),
			workers:  node.NewRedisWorkers(client, cfg.Store.Prefix),
			apis:     node.NewRedisMembers(client, cfg.Store.Prefix),
			marks:    redis.NewMarks(client, cfg.Store.Prefix),
		}
		s.registry, s.workers = s.shared.registry, s.shared.workers
		s.inboxes = node.NewRedisInboxes(client, cfg.Store.Prefix)
		s.log = roomlog.NewRedis(client, roomlog.RedisOptions{
			Prefix: cfg.Store.Prefix, Count: cfg.Recovery.Messages, Bytes: int64(cfg.Recovery.Bytes), Window: logWindow(cfg),
		})
	}
	if cfg.Bus.Kind == "redis" {
		s.durableAtOnce = false
		b := bus.NewRedis(client, bus.RedisOptions{
			Prefix: cfg.Store.Prefix, ID: s.identity,
			UpItems: cfg.Limits.UpstreamEvents, UpBytes: int64(cfg.Limits.UpstreamBytes), Log: log,
		})
		s.bus = b
		s.export = append(s.export, func(m boot.Metrics, q *queues) { registerRedisBus(m, q, b.Stats) })
		s.closers = append(s.closers, b.Close)
	}
	return nil
}

// dialRedis connects to the Redis that the configuration names, as id. It fails with the
// key that is to be mended.
func dialRedis(ctx context.Context, cfg *boot.Config, certs *boot.Certificates, id string) (redis.Client, error) {
	c := &cfg.Store
	opts := redis.Options{
		Addrs: c.Addrs, Username: c.Username, Password: string(c.Password), DB: c.DB, Name: "holdfast-" + id,
		Sentinel: redis.Sentinel{
			Master: c.Sentinel.Master, Username: c.Sentinel.Username, Password: string(c.Sentinel.Password),
		},
	}
	if c.TLS {
		var err error
		if opts.TLS, err = certs.Client("store", c.CA, c.Cert, c.Key); err != nil {
			return nil, err
		}
	}
	client, err := redis.Open(ctx, opts)
	if err != nil {
		if why := untakenBy(ctx, err, c.Addrs, opts.TLS); why != nil {
			err = why
		}
		key := wrongKey(err)
		if c.TLS && errors.Is(err, context.DeadlineExceeded) {
			key = "store.tls" // a server that does not speak it just says nothing
		}
		hint := ""
		if !c.TLS && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)) {
			hint = "; a server that wants TLS breaks off like this (store.tls)"
		}
		return nil, fmt.Errorf("%s: %w%s", key, err, hint)
	}
	return client, nil
}

// openKafka makes Kafka the bus.
func (s *stores) openKafka(ctx context.Context, cfg *boot.Config, certs *boot.Certificates, log *slog.Logger) error {
	meter := newCallMeter("holdfast_kafka", "Kafka", bus.KafkaFamilies())
	b, err := newKafka(cfg, certs, s.identity, s.inboxes, meter.observe, log)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, b.Close)
	if err := prepareKafka(ctx, cfg, b); err != nil {
		return err
	}
	warnings, err := b.Durability(ctx)
	if err != nil {
		log.Warn("the durability of kafka is not known", "err", err)
	} else {
		s.kafkaDurability(warnings, log)
	}
	s.bus, s.durableAtOnce = b, false
	s.exportKafka(b, meter)
	return nil
}

// exportKafka has the metrics of the bus on Kafka registered.
func (s *stores) exportKafka(b *bus.Kafka, meter *callMeter) {
	s.export = append(s.export, func(m boot.Metrics, q *queues) {
		meter.register(m)
		registerKafkaBus(m, q, b.Stats)
	})
}

// newKafka makes the bus that the configuration names, and asks nothing of Kafka yet.
func newKafka(
	cfg *boot.Config, certs *boot.Certificates, id string, nodes bus.Directory, observe func(family string, took time.Duration, failed bool), log *slog.Logger,
) (*bus.Kafka, error) {
	c, l := &cfg.Bus, &cfg.Limits
	opts := bus.KafkaOptions{
		Brokers: c.Brokers, Username: c.Username, Password: string(c.Password), Mechanism: c.Mechanism, Nodes: nodes,
		Prefix: c.Prefix, ID: id, Version: version(), CreateTopics: c.CreateTopics, Partitions: int32(c.Partitions), Replication: int16(c.Replication),
		// The largest event or push, with its headers.
		MaxRecord: int32(min(max(l.MaxPayload+l.AttachmentBytes, l.PushBytes)+1<<20, 90<<20)),
		UpItems:   l.UpstreamEvents, UpBytes: int64(l.UpstreamBytes), Log: log, Observe: observe,
	}
	var err error
	if opts.TLS, err = kafkaTLS(c, certs); err != nil {
		return nil, err
	}
	b, err := bus.NewKafka(opts)
	if err != nil {
		return nil, fmt.Errorf("bus.brokers: %w", err)
	}
	return b, nil
}

// kafkaTLS is nil where TLS is not spoken.
func kafkaTLS(c *boot.Bus, certs *boot.Certificates) (*tls.Config, error) {
	if !c.TLS {
		return nil, nil
	}
	return certs.Client("bus", c.CA, c.Cert, c.Key)
}

// prepareKafka fails with the key that is to be mended when Kafka cannot be used.
func prepareKafka(ctx context.Context, cfg *boot.Config, b *bus.Kafka) error {
	if err := b.Reach(ctx); err != nil {
		if conf, bad := kafkaTLS(&cfg.Bus, nil); bad == nil {
			if why := untakenBy(ctx, err, cfg.Bus.Brokers, conf); why != nil {
				err = why
			}
		}
		return fmt.Errorf("%s: %w", wrongKafkaKey(err, "bus.brokers"), err)
	}
	if err := b.PrepareTopics(ctx); err != nil {
		return fmt.Errorf("%s: %w", wrongKafkaKey(err, "bus.prefix"), err)
	}
	return nil
}

// durability tells the operator how much of what is acknowledged survives Redis.
func (s *stores) durability(warnings []string, log *slog.Logger) {
	s.exportDurability("holdfast_redis_durable", "1: what was acknowledged survives the death of Redis (read at the start).", warnings, log)
}

func (s *stores) kafkaDurability(warnings []string, log *slog.Logger) {
	s.exportDurability("holdfast_kafka_durable", "1: what was acknowledged survives the death of one broker (read at the start).", warnings, log)
}

func (s *stores) exportDurability(metric, help string, warnings []string, log *slog.Logger) {
	for _, w := range warnings {
		log.Warn(w)
	}
	s.export = append(s.export, func(m boot.Metrics, _ *queues) {
		gauge(m, metric, help, func() float64 {
			if len(warnings) > 0 {
				return 0
			}
			return 1
		})
	})
}

// sweep drops what has expired in the stores while nobody uses them.
func (s *stores) sweep(ctx context.Context, ready func()) error {
	ready()
	every := time.NewTicker(5 * time.Second)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			for _, sweep := range s.sweepers {
				sweep()
			}
		case <-ctx.Done():
			return nil
		}
	}
}
