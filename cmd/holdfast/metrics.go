package main

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/api"
	"holdfast/internal/boot"
	"holdfast/internal/gateway"
	"holdfast/internal/registry"
	"holdfast/internal/roomlog"
)

func gauge(m boot.Metrics, name, help string, f func() float64) {
	m.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
}

func counter(m boot.Metrics, name, help string, f func() float64) {
	m.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, f))
}

// registerGateway exports a node's counters.
func registerGateway(m boot.Metrics, g *gateway.Gateway) {
	s := &g.Stats
	read := func(v *atomic.Int64) func() float64 { return func() float64 { return float64(v.Load()) } }
	gauge(m, "holdfast_sessions", "Engine.IO sessions on this node.", read(&s.Sessions))
	gauge(m, "holdfast_clients", "Socket.IO clients on this node.", read(&s.Clients))
	counter(m, "holdfast_handshakes_total", "Sessions opened.", read(&s.Handshakes))
	counter(m, "holdfast_refused_requests_total", "Requests of clients answered with an error.", read(&s.Refused))
	counter(m, "holdfast_upgrades_total", "Sessions that moved from polling to WebSocket.", read(&s.Upgrades))
	counter(m, "holdfast_events_in_total", "Events from clients.", read(&s.EventsIn))
	counter(m, "holdfast_events_out_total", "Events to clients, counted for each client.", read(&s.EventsOut))
	counter(m, "holdfast_volatile_dropped_total", "Volatile events dropped for a client that could not take them.", read(&s.Dropped))
	counter(m, "holdfast_inbox_overflows_total", "Records that a shard's full inbox refused.", read(&s.Overflows))
	counter(m, "holdfast_log_repairs_total", "Gaps in a room's messages fetched from its log.", read(&s.Repairs))
	counter(m, "holdfast_recovered_total", "Clients that came back and got what they missed.", read(&s.Recovered))
	counter(m, "holdfast_not_recovered_total", "Clients that wanted to come back and had to begin anew.", read(&s.NotRecovered))
	counter(m, "holdfast_slow_consumers_total", "Sessions closed because they did not take what was sent.", read(&s.SlowConsumers))
	counter(m, "holdfast_malformed_total", "Sessions ended for what they sent.", read(&s.Malformed))
	counter(m, "holdfast_paused_reads_total", "Times that sockets were not read because the bus was full.", read(&s.PausedReads))
	counter(m, "holdfast_forwarded_out_total", "Requests of clients passed on to the node that has their session.", read(&s.ForwardedOut))
	counter(m, "holdfast_forwarded_in_total", "Requests of clients served here that came to another node.", read(&s.ForwardedIn))
	counter(m, "holdfast_link_out_bytes_total", "Bytes sent to other nodes.", read(&s.LinkBytesOut))
	counter(m, "holdfast_link_in_bytes_total", "Bytes that came from other nodes.", read(&s.LinkBytesIn))
}

// registerAPI exports ws-api's counters.
func registerAPI(m boot.Metrics, s *api.Server) {
	count := func(name, help string, f func(api.Stats) uint64) {
		counter(m, name, help, func() float64 { return float64(f(s.Stats())) })
	}
	count("holdfast_pushes_total", "Pushes routed.", func(s api.Stats) uint64 { return s.Pushes })
	count("holdfast_push_errors_total", "Valid pushes that could not be routed.", func(s api.Stats) uint64 { return s.PushErrors })
	count("holdfast_records_sent_total", "Records sent to nodes.", func(s api.Stats) uint64 { return s.Sent })
	count("holdfast_events_consumed_total", "Events consumed from the bus.", func(s api.Stats) uint64 { return s.Events })
	count("holdfast_relayed_total", "Events relayed to rooms.", func(s api.Stats) uint64 { return s.Relayed })
	count("holdfast_acks_total", "Acknowledgements sent to clients.", func(s api.Stats) uint64 { return s.Acks })
	count("holdfast_ack_errors_total", "Acknowledgements that told of an error.", func(s api.Stats) uint64 { return s.AckErrors })
	count("holdfast_connects_accepted_total", "CONNECTs that a backend let in.", func(s api.Stats) uint64 { return s.Accepted })
	count("holdfast_connects_rejected_total", "CONNECTs kept out by a backend or its failure.", func(s api.Stats) uint64 { return s.Rejected })
	count("holdfast_group_dropped_total", "Events that a group of subscribers had no room for.", func(s api.Stats) uint64 { return s.GroupDropped })
	gauge(m, "holdfast_events_waiting", "Events consumed and not yet routed.", func() float64 { return float64(s.Stats().EventsWaiting) })
	gauge(m, "holdfast_groups", "Groups of subscribers.", func() float64 { return float64(s.Stats().Groups) })
	gauge(m, "holdfast_consumers", "Streams of subscribers.", func() float64 { return float64(s.Stats().Consumers) })
}

// registerMemory exports what the memory stores hold.
func registerMemory(m boot.Metrics, reg *registry.Memory, log *roomlog.Memory) {
	gauge(m, "holdfast_registry_clients", "Clients in the registry.", func() float64 { return float64(reg.Stats().Clients) })
	gauge(m, "holdfast_registry_saved", "Sessions that can be recovered.", func() float64 { return float64(reg.Stats().Saved) })
	gauge(m, "holdfast_log_keys", "Logs of rooms, users and clients.", func() float64 { return float64(log.Stats().Keys) })
	gauge(m, "holdfast_log_bytes", "Bytes in all logs.", func() float64 { return float64(log.Stats().Bytes) })
}
