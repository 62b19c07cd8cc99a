package main

import (
	"maps"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/api"
	"holdfast/internal/boot"
	"holdfast/internal/bus"
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

// registerGateway exports a node's counters and queues.
func registerGateway(m boot.Metrics, q *queues, g *gateway.Gateway) {
	s := &g.Stats
	read := func(v *atomic.Int64) func() float64 { return func() float64 { return float64(v.Load()) } }
	gauge(m, "holdfast_sessions", "Engine.IO sessions on this node.", read(&s.Sessions))
	gauge(m, "holdfast_blocked_sockets", "WebSockets that take nothing at the moment.", read(&s.Blocked))
	gauge(m, "holdfast_blocked_bytes", "Bytes that are framed and that these have not taken.", read(&s.BlockedBytes))
	counter(m, "holdfast_handshakes_total", "Sessions opened.", read(&s.Handshakes))
	counter(m, "holdfast_refused_requests_total", "Requests of clients answered with an error.", read(&s.Refused))
	counter(m, "holdfast_upgrades_total", "Sessions that moved from polling to WebSocket.", read(&s.Upgrades))
	counter(m, "holdfast_events_in_total", "Events from clients.", read(&s.EventsIn))
	counter(m, "holdfast_events_out_total", "Events to clients, counted for each client.", read(&s.EventsOut))
	counter(m, "holdfast_volatile_dropped_total", "Volatile events dropped for a client that could not take them.", read(&s.Dropped))
	counter(m, "holdfast_inbox_overflows_total", "Records that a shard's full inbox refused.", read(&s.Overflows))
	counter(m, "holdfast_log_repairs_total", "Gaps in a room's messages fetched from its log.", read(&s.Repairs))
	counter(m, "holdfast_log_holes_total", "Gaps of which the log did not have all any more: clients have missed messages.", read(&s.Holes))
	counter(m, "holdfast_log_surveys_total", "Times that all rooms were compared with their logs, since the bus had lost it which ones are behind.", read(&s.Surveys))
	counter(m, "holdfast_recovered_total", "Clients that came back and got what they missed.", read(&s.Recovered))
	counter(m, "holdfast_not_recovered_total", "Clients that wanted to come back and had to begin anew.", read(&s.NotRecovered))
	counter(m, "holdfast_slow_consumers_total", "Sessions closed because they did not take what was sent.", read(&s.SlowConsumers))
	counter(m, "holdfast_malformed_total", "Sessions ended for what they sent.", read(&s.Malformed))
	counter(m, "holdfast_crowded_out_total", "Connections closed for messages that they had begun and not ended.", read(&s.CrowdedOut))
	counter(m, "holdfast_registry_strays_total", "Entries of the registry that nobody held any more, taken out by the audit.", read(&s.Strays))
	counter(m, "holdfast_paused_reads_total", "Times that sockets were not read because the bus was full.", read(&s.PausedReads))
	counter(m, "holdfast_forwarded_out_total", "Requests of clients passed on to the node that has their session.", read(&s.ForwardedOut))
	counter(m, "holdfast_forwarded_in_total", "Requests of clients served here that came to another node.", read(&s.ForwardedIn))
	counter(m, "holdfast_moved_out_total", "Sessions that another node took over at their upgrade.", read(&s.MovedOut))
	counter(m, "holdfast_moved_in_total", "Sessions taken over from another node at their upgrade.", read(&s.MovedIn))
	counter(m, "holdfast_link_out_bytes_total", "Bytes sent to other nodes.", read(&s.LinkBytesOut))
	counter(m, "holdfast_link_in_bytes_total", "Bytes that came from other nodes.", read(&s.LinkBytesIn))

	kinds := newSnapshot(s.Kinds)
	kinds.add(prometheus.GaugeValue, "holdfast_clients", "Socket.IO clients on this node.", []string{"protocol", "transport"},
		func(all []gateway.Kind, emit func(float64, ...string)) {
			for _, k := range all {
				emit(float64(k.Clients), k.Protocol, k.Transport)
			}
		})
	m.MustRegister(kinds)

	q.from(func() []queue {
		now := g.Queues()
		all := []queue{{name: "registrar", items: now.Registrar.Items, maxItems: now.Registrar.MaxItems}}
		all = append(all, queue{name: "unfinished", items: now.Unfinished.Items, bytes: now.Unfinished.Bytes, maxBytes: now.Unfinished.MaxBytes})
		for i, b := range now.Inboxes {
			all = append(all, queue{"inbox", strconv.Itoa(i), b.Items, b.Bytes, b.MaxItems, b.MaxBytes})
		}
		for i, b := range now.Backlogs {
			all = append(all, queue{"backlog", strconv.Itoa(i), b.Items, b.Bytes, b.MaxItems, b.MaxBytes})
		}
		return all
	})
}

// registerPauses exports how often a listener had no file descriptor for a connection.
func registerPauses(m boot.Metrics, key string, pauses func() int64) {
	m.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "holdfast_accept_pauses_total", Help: "Times that a listener accepted no connection, for want of file descriptors.",
		ConstLabels: prometheus.Labels{"listener": key},
	}, func() float64 { return float64(pauses()) }))
}

// registerTLS exports what the clients' listener does with TLS.
func registerTLS(m boot.Metrics, h *boot.Handshakes) {
	gauge(m, "holdfast_tls_handshakes", "TLS connections that have made no request yet.", func() float64 { return float64(h.UnderWay()) })
	counter(m, "holdfast_tls_evicted_total", "TLS connections closed before their first request, for others that waited.",
		func() float64 { return float64(h.Evicted()) })
}

// registerCertificates exports until when this process's certificates are valid.
func registerCertificates(m boot.Metrics, certs *boot.Certificates) {
	s := newSnapshot(certs.Expiries)
	s.add(prometheus.GaugeValue, "holdfast_certificate_expires_seconds", "When the certificate in use ends, in seconds since 1970.",
		[]string{"key"}, func(ends map[string]time.Time, emit func(float64, ...string)) {
			for key, end := range ends {
				emit(float64(end.Unix()), key)
			}
		})
	m.MustRegister(s)
}

// registerAPI exports ws-api's counters and queues.
func registerAPI(m boot.Metrics, q *queues, server *api.Server) {
	s := newSnapshot(server.Stats)
	s.counter("holdfast_pushes_total", "Pushes routed.", func(s api.Stats) uint64 { return s.Pushes })
	s.counter("holdfast_pushes_again_total", "Pushes that were made before, by their dedup_id.", func(s api.Stats) uint64 { return s.PushesAgain })
	s.counter("holdfast_push_records_bad_total", "Records of the bus' push topic that were no pushes, and were passed over.", func(s api.Stats) uint64 { return s.PushRecordsBad })
	s.counter("holdfast_push_errors_total", "Valid pushes that could not be routed.", func(s api.Stats) uint64 { return s.PushErrors })
	s.counter("holdfast_records_sent_total", "Records sent to nodes.", func(s api.Stats) uint64 { return s.Sent })
	s.add(prometheus.CounterValue, "holdfast_records_unsent_total", "Records that a node did not get.", []string{"reason"},
		func(s api.Stats, emit func(float64, ...string)) {
			emit(float64(s.SendFull), "full")
			emit(float64(s.SendGone), "gone")
			emit(float64(s.SendFailed), "failed")
		})
	s.counter("holdfast_events_consumed_total", "Events consumed from the bus.", func(s api.Stats) uint64 { return s.Events })
	s.counter("holdfast_events_dropped_total", "Events that a route drops.", func(s api.Stats) uint64 { return s.EventsDropped })
	s.counter("holdfast_relayed_total", "Events relayed to rooms.", func(s api.Stats) uint64 { return s.Relayed })
	s.counter("holdfast_relay_errors_total", "Events that could not be relayed.", func(s api.Stats) uint64 { return s.RelayErrors })
	s.counter("holdfast_acks_total", "Acknowledgements sent to clients.", func(s api.Stats) uint64 { return s.Acks })
	s.counter("holdfast_ack_errors_total", "Acknowledgements that told of an error.", func(s api.Stats) uint64 { return s.AckErrors })
	s.counter("holdfast_unanswered_total", "Acknowledgements and verdicts that no node took.", func(s api.Stats) uint64 { return s.Unanswered })
	s.counter("holdfast_connects_accepted_total", "CONNECTs that a backend let in.", func(s api.Stats) uint64 { return s.Accepted })
	s.counter("holdfast_connects_rejected_total", "CONNECTs kept out by a backend or its failure.", func(s api.Stats) uint64 { return s.Rejected })
	s.counter("holdfast_reply_errors_total", "Parts of backends' replies that could not be carried out.", func(s api.Stats) uint64 { return s.ReplyErrors })
	s.gauge("holdfast_events_waiting", "Events consumed and not yet routed.", func(s api.Stats) float64 { return float64(s.EventsWaiting) })
	s.gauge("holdfast_calls_waiting", "Calls of nodes that wait for answers.", func(s api.Stats) float64 { return float64(s.CallsWaiting) })
	s.gauge("holdfast_groups", "Groups of subscribers.", func(s api.Stats) float64 { return float64(s.Groups) })
	s.gauge("holdfast_consumers", "Streams of subscribers.", func(s api.Stats) float64 { return float64(s.Consumers) })
	s.counter("holdfast_group_acks_total", "Events that subscribers have acknowledged.", func(s api.Stats) uint64 { return s.GroupAcks })
	s.counter("holdfast_group_again_total", "Events given to subscribers once more.", func(s api.Stats) uint64 { return s.GroupAgain })
	s.counter("holdfast_group_dropped_total", "Events that a group of subscribers had no room for.", func(s api.Stats) uint64 { return s.GroupDropped })
	s.counter("holdfast_group_given_total", "Events given to other ws-apis, for subscribers there.", func(s api.Stats) uint64 { return s.GroupGiven })
	s.gauge("holdfast_peers", "Other ws-apis that live.", func(s api.Stats) float64 { return float64(s.Peers) })
	s.counter("holdfast_peer_lost_total", "What could not be told to another ws-api.", func(s api.Stats) uint64 { return s.PeerLost })
	s.gauge("holdfast_presence_rooms", "Rooms with changes not yet announced.", func(s api.Stats) float64 { return float64(s.PresenceRooms) })
	s.counter("holdfast_presence_sent_total", "Presence messages.", func(s api.Stats) uint64 { return s.PresenceSent })
	s.counter("holdfast_presence_lost_total", "Changes of presence that there was no room for.", func(s api.Stats) uint64 { return s.PresenceLost })
	s.counter("holdfast_presence_errors_total", "Presence messages that could not be sent.", func(s api.Stats) uint64 { return s.PresenceErrs })
	s.add(prometheus.CounterValue, "holdfast_route_events_total", "Events for which a route was the first that matched.",
		[]string{"route", "type", "event"}, routeEvents)
	registerBackends(s)
	m.MustRegister(s)

	q.from(func() []queue { return apiQueues(server.Stats()) })
}

// routeEvents names routes as the configuration does: by number, and for people by
// what they match.
func routeEvents(s api.Stats, emit func(float64, ...string)) {
	for i, r := range s.Rules {
		if r.Type == 0 {
			emit(float64(r.Matched), "none", "", "")
			continue
		}
		emit(float64(r.Matched), strconv.Itoa(i), r.Type.String(), r.Event)
	}
}

func registerBackends(s *snapshot[api.Stats]) {
	add := func(kind prometheus.ValueType, name, help string, f func(api.BackendStats) float64) {
		s.add(kind, name, help, []string{"backend"}, func(s api.Stats, emit func(float64, ...string)) {
			for name, b := range s.Backends {
				emit(f(b), name)
			}
		})
	}
	add(prometheus.GaugeValue, "holdfast_backend_in_flight", "Calls of a backend under way.", func(b api.BackendStats) float64 { return float64(b.InFlight) })
	add(prometheus.GaugeValue, "holdfast_backend_limit", "How many calls a backend gets at once, as learnt from its answers.", func(b api.BackendStats) float64 { return float64(b.Limit) })
	add(prometheus.CounterValue, "holdfast_backend_refused_total", "Events that found a backend's queue full.", func(b api.BackendStats) float64 { return float64(b.Refused) })
	add(prometheus.CounterValue, "holdfast_backend_dropped_total", "DISCONNECTs that gave way in a backend's full queue.", func(b api.BackendStats) float64 { return float64(b.Dropped) })
}

func apiQueues(s api.Stats) []queue {
	all := []queue{
		{name: "intake", items: s.EventsWaiting, bytes: s.IntakeBytes, maxBytes: s.IntakeMax},
		{name: "groups", items: s.GroupWaiting, bytes: s.GroupBytes},
	}
	for _, name := range slices.Sorted(maps.Keys(s.Backends)) {
		b := s.Backends[name]
		all = append(all,
			queue{"backend", name, b.Waiting - b.Low, b.Bytes - b.LowBytes, b.MaxItems, b.MaxBytes},
			queue{"backend_disconnects", name, b.Low, b.LowBytes, b.MaxItems, b.MaxBytes})
	}
	return all
}

// registerMemory exports what the memory stores hold.
func registerMemory(m boot.Metrics, reg *registry.Memory, log *roomlog.Memory) {
	gauge(m, "holdfast_registry_clients", "Clients in the registry.", func() float64 { return float64(reg.Stats().Clients) })
	gauge(m, "holdfast_registry_saved", "Sessions that can be recovered.", func() float64 { return float64(reg.Stats().Saved) })
	gauge(m, "holdfast_log_keys", "Logs of rooms, users and clients.", func() float64 { return float64(log.Stats().Keys) })
	gauge(m, "holdfast_log_bytes", "Bytes in all logs.", func() float64 { return float64(log.Stats().Bytes) })
}

// registerBus exports what every bus counts.
func registerBus(m boot.Metrics, q *queues, look func() bus.Stats) {
	s := newSnapshot(look)
	s.counter("holdfast_bus_published_total", "Events that the bus has taken from this node.", func(s bus.Stats) uint64 { return s.Published })
	s.counter("holdfast_bus_refused_total", "Events that the bus had no room for.", func(s bus.Stats) uint64 { return s.UpFull })
	s.counter("holdfast_bus_replies_total", "Answers to calls of ws-api.", func(s bus.Stats) uint64 { return s.Replied })
	s.counter("holdfast_bus_replies_gone_total", "Answers to a ws-api that is not there any more.", func(s bus.Stats) uint64 { return s.ReplyGone })
	m.MustRegister(s)
	q.from(func() []queue {
		s := look()
		return []queue{{name: "upstream", items: s.UpItems, bytes: int(s.UpBytes), maxItems: s.MaxUpItems, maxBytes: int(s.MaxUpBytes)}}
	})
}

// remoteBus is what the buses on Redis and Kafka count alike.
type remoteBus struct {
	bus.Stats
	inFlight, partitions           int
	failures, replyLost, malformed uint64
	replies                        queue
}

func registerRemoteBus(m boot.Metrics, q *queues, of string, look func() remoteBus) {
	registerBus(m, q, func() bus.Stats { return look().Stats })
	s := newSnapshot(look)
	s.gauge("holdfast_bus_in_flight", "Events taken from "+of+" and not settled.", func(s remoteBus) float64 { return float64(s.inFlight) })
	s.gauge("holdfast_bus_partitions", "Partitions of the events that this ws-api has.", func(s remoteBus) float64 { return float64(s.partitions) })
	s.counter("holdfast_bus_retries_total", "Acts on "+of+" that failed and were tried again.", func(s remoteBus) uint64 { return s.failures })
	s.counter("holdfast_bus_replies_lost_total", "Answers to calls that "+of+" did not take.", func(s remoteBus) uint64 { return s.replyLost })
	s.counter("holdfast_bus_malformed_total", "Records that could not be read and were dropped.", func(s remoteBus) uint64 { return s.malformed })
	m.MustRegister(s)
	q.from(func() []queue { return []queue{look().replies} })
}

func registerRedisBus(m boot.Metrics, q *queues, look func() bus.RedisStats) {
	registerRemoteBus(m, q, "Redis", func() remoteBus {
		s := look()
		return remoteBus{
			Stats: s.Stats, inFlight: s.InFlight, partitions: s.Partitions, failures: s.Failures, replyLost: s.ReplyLost, malformed: s.Malformed,
			replies: queue{name: "replies", items: s.ReplyItems, bytes: int(s.ReplyBytes), maxItems: s.MaxReplyItems, maxBytes: int(s.MaxReplyBytes)},
		}
	})
}

// registerKafkaBus exports besides what the bus on Kafka alone counts.
func registerKafkaBus(m boot.Metrics, q *queues, look func() bus.KafkaStats) {
	waiting := func(name string, w bus.Waiting) queue {
		return queue{name: name, items: w.Items, bytes: int(w.Bytes), maxItems: w.MaxItems, maxBytes: int(w.MaxBytes)}
	}
	registerRemoteBus(m, q, "Kafka", func() remoteBus {
		s := look()
		return remoteBus{
			Stats: s.Stats, inFlight: s.InFlight, partitions: s.Partitions, failures: s.Failures, replyLost: s.ReplyLost, malformed: s.Malformed,
			replies: waiting("replies", s.Replies),
		}
	})
	s := newSnapshot(look)
	s.counter("holdfast_bus_events_lost_total", "Events that Kafka refused for good: larger than a topic permits.", func(s bus.KafkaStats) uint64 { return s.UpLost })
	s.counter("holdfast_bus_strays_total", "Records in this node's inbox that were for another node which had it before.", func(s bus.KafkaStats) uint64 { return s.Strays })
	m.MustRegister(s)
	q.from(func() []queue { return []queue{waiting("sends", look().Sends)} })
}

// registerTracer exports what becomes of spans.
func registerTracer(m boot.Metrics, t *boot.Tracer) {
	counter(m, "holdfast_spans_sent_total", "Spans that the collector has taken.", func() float64 { sent, _ := t.Sent(); return float64(sent) })
	counter(m, "holdfast_spans_lost_total", "Spans that the collector has not taken.", func() float64 { _, lost := t.Sent(); return float64(lost) })
}
