package boot

import (
	"net/netip"
	"time"
)

//go:generate go test -run TestReference -update .

// Config is everything that can be set. One tree serves every command; each
// ignores what it does not use.
//
// Tags: key names the key; default is its default, dev the default of
// `holdfast dev` where that differs; one lists the permitted words; min is the
// least value (numbers and durations are at least 0 anyway); is names a check
// of shape (addr, url, path, origin). The comment of a field is its text in
// docs/config.md.
type Config struct {
	// Where clients connect: HTTP, WebSocket, and /healthz and /readyz. Port 0 picks a free one. Used by dev and gateway.
	Listen string `key:"listen" default:":8000" dev:"127.0.0.1:8000" is:"addr"`
	// Where every process serves /healthz, /readyz, /metrics and /debug; in dev and api the API for backends and the
	// console as well. Whoever reaches it can push to clients, unless `api_tokens` says who may: keep it inside.
	APIListen string `key:"api_listen" default:":8001" dev:"127.0.0.1:8001" is:"addr"`
	// TLS of `api_listen`. Without a certificate it speaks plain HTTP.
	APITLS TLS `key:"api_tls"`
	// Tokens of those who may use `api_listen`, each enough by itself so that one can take another's place: they come with
	// `Authorization: Bearer TOKEN`. Health checks and the console's page need none. Empty: everybody may.
	APITokens []Secret `key:"api_tokens"`
	// This process among the gateways.
	Node Node `key:"node"`
	// TLS of `listen`. Without a certificate it speaks plain HTTP.
	TLS TLS `key:"tls"`
	// What is served where on `listen`.
	Endpoints []Endpoint `key:"endpoints" default:"[{path: /socket.io/, protocol: socket.io, namespaces: [/]}]"`
	// How connections are served: epoll (Linux) without a goroutine for each, or goroutines, which is what other systems have. auto takes epoll where there is one.
	Engine string `key:"engine" default:"auto" one:"auto|epoll|goroutines"`
	// A folder with the files of the stock client (socket.io.js and friends), served below each socket.io endpoint.
	ClientBundle string `key:"client_bundle"`
	// Requests from pages of other origins.
	CORS CORS `key:"cors"`
	// How dead connections are found.
	Heartbeat Heartbeat `key:"heartbeat"`
	// How long a client may take.
	Timeouts Timeouts `key:"timeouts"`
	// What one client, and all of them, may use.
	Limits Limits `key:"limits"`
	// Compression of what is sent.
	Compression Compression `key:"compression"`
	// Connection state recovery, and the logs of rooms below it.
	Recovery Recovery `key:"recovery"`
	// Who is in a room, told to the room.
	Presence Presence `key:"presence"`
	// Who may connect.
	Auth Auth `key:"auth"`
	// Backends by name; routes refer to them.
	Backends map[string]Backend `key:"backends"`
	// What happens to events: the first route that matches wins. After the last stands one for every other message,
	// {event: "*", ack: durable}: it is stored for subscribers and acknowledged.
	Routes []Route `key:"routes"`
	// Handshake headers that backends get to see with each event. Add Cookie and Authorization where they need them.
	HTTPHeaders []string `key:"http_headers" default:"User-Agent,Accept-Language,Origin"`
	// Addresses and networks (CIDR) of proxies whose X-Forwarded-For is believed. Empty: nobody's.
	TrustedProxies []netip.Prefix `key:"trusted_proxies"`
	// Where rooms, sessions and logs are kept.
	Store Store `key:"store"`
	// What carries events to the API and messages to the gateways.
	Bus Bus `key:"bus"`
	// What the process writes about itself, to standard error.
	Log Log `key:"log"`
	// Where spans of messages go, for OpenTelemetry.
	Tracing Tracing `key:"tracing"`
	// How a gateway leaves on SIGTERM.
	Drain Drain `key:"drain"`

	// Warnings are settings that are allowed but probably not meant, as sentences; the caller logs them.
	Warnings []string
}

// Node is this process among the gateways.
type Node struct {
	// Where the other gateways reach this one; opened where `store.kind` is shared by several. Where the default is taken, a free port is used. Empty: nowhere, which suits a single gateway.
	Listen string `key:"listen" default:":8002" dev:"" is:"addr?"`
	// The address that the others are told to use, when it is not that of `node.listen` (or, where that names no host, this host's first address that is not loopback).
	Advertise string `key:"advertise" is:"addr?"`
	// Who this is across restarts; the worker number goes with it. Empty: the host's name, which on Kubernetes is the pod's.
	Identity string `key:"identity"`
	// What gateways prove to each other; the same for all of them.
	Secret Secret `key:"secret"`
	// TLS between the gateways, by which both ends show a certificate; the same for all of them. Without one they speak in the clear.
	TLS LinkCertificates `key:"tls"`
}

// LinkCertificates is what a gateway shows to the others, and what it takes from them.
type LinkCertificates struct {
	// PEM file with the chain of a certificate for servers and clients. All of these files are read again when they change, without a restart.
	Cert string `key:"cert"`
	// PEM file with its private key.
	Key string `key:"key"`
	// PEM file with the certificates of those who may have signed the gateways'. Whoever has a certificate of theirs can listen to the link, so let them sign nobody else, or set `name`.
	CA string `key:"ca"`
	// A name that the certificate of each gateway must have. Empty: any will do, for gateways reach each other by addresses.
	Name string `key:"name"`
}

// TLS of a listener.
type TLS struct {
	// PEM file with the certificate chain. A changed file is read again without a restart.
	Cert string `key:"cert"`
	// PEM file with the private key.
	Key string `key:"key"`
}

// Endpoint is one path and what is spoken there.
type Endpoint struct {
	// Path that the requests' path begins with.
	Path string `key:"path" default:"/socket.io/" is:"path"`
	// What is spoken: Socket.IO, or Engine.IO without Socket.IO on top.
	Protocol string `key:"protocol" default:"socket.io" one:"socket.io|engine.io"`
	// Namespaces that exist; * stands for any characters. Socket.IO only. Empty: `/` alone.
	Namespaces []string `key:"namespaces"`
	// Transports on offer.
	Transports []string `key:"transports" default:"polling,websocket" one:"polling|websocket"`
	// Engine.IO versions on offer: 3 is Socket.IO 1 and 2, 4 is Socket.IO 3 and 4.
	Versions []int `key:"versions" default:"3,4"`
	// Polling by script tag (JSONP), for version 2 clients that ask for it.
	JSONP bool `key:"jsonp" default:"true"`
	// How packets are encoded for Engine.IO 3, where the server speaks first. Engine.IO 4 clients are recognised.
	Parser string `key:"parser" default:"json" one:"json|msgpack"`
}

// CORS is the answer to requests from other origins.
type CORS struct {
	// Origins that may use polling and WebSocket: `https://app.example.com`, with * for any characters, or `*` alone.
	// The origin is echoed, with credentials allowed. Empty: no CORS headers, and the WebSocket Origin is not checked.
	Origins []string `key:"origins" is:"origin"`
}

// Heartbeat of connections.
type Heartbeat struct {
	// Time between heartbeats; with `adaptive` the longest. Clients are told this one.
	Interval time.Duration `key:"interval" default:"25s" min:"10ms"`
	// Silence after a heartbeat was due until the connection counts as dead.
	Timeout time.Duration `key:"timeout" default:"20s" min:"10ms"`
	// Begin at `heartbeat.floor` and grow to `interval` while the connection is good. Off: always `interval`.
	Adaptive bool `key:"adaptive" default:"true"`
	// Shortest time between heartbeats: at the start and after a miss. Never above `interval`.
	Floor time.Duration `key:"floor" default:"5s" min:"10ms"`
	// How much the interval grows at once.
	Step time.Duration `key:"step" default:"5s" min:"1ms"`
	// Good heartbeats in a row before it grows.
	Rounds int `key:"rounds" default:"3" min:"1"`
}

// Timeouts for clients.
type Timeouts struct {
	// From the handshake to the first Socket.IO CONNECT.
	Connect time.Duration `key:"connect" default:"45s" min:"1ms"`
	// From the probe on the new WebSocket to the end of the upgrade.
	Upgrade time.Duration `key:"upgrade" default:"10s" min:"1ms"`
	// For the connect backend's verdict on a CONNECT, its way there and back included.
	Verdict time.Duration `key:"verdict" default:"15s" min:"1ms"`
	// For the TLS handshake and the request's header.
	Header time.Duration `key:"header" default:"10s" min:"1ms"`
	// How long an HTTP connection without a request is kept.
	Idle time.Duration `key:"idle" default:"2m" min:"1ms"`
}

// Limits of clients, of pushes, and of queues.
type Limits struct {
	// Largest packet from a client. Clients are told it.
	MaxPayload Bytes `key:"max_payload" default:"1MB" min:"1"`
	// Packets in one polling request.
	PollingPackets int `key:"polling_packets" default:"16384" min:"1"`
	// Bytes of one polling answer, about; what is left comes with the next. A single larger message goes alone.
	PollingResponse Bytes `key:"polling_response" default:"1MB" min:"1KiB"`
	// Attachments of one packet from a client.
	Attachments int `key:"attachments" default:"64"`
	// Bytes of all attachments of one packet.
	AttachmentBytes Bytes `key:"attachment_bytes" default:"10MB"`
	// Time for all attachments of one packet to arrive.
	AttachmentTime time.Duration `key:"attachment_time" default:"10s" min:"1ms"`
	// Bytes of messages that clients have begun and not ended, of all connections of a node together: parts of large ones, and packets without their last attachments; at least `limits.max_payload` and `attachment_bytes`. Past it those that have been under way for longest are closed with 1013.
	UnfinishedBytes Bytes `key:"unfinished_bytes" default:"256MiB" min:"1KiB"`
	// Time for one message to come whole.
	MessageTime time.Duration `key:"message_time" default:"2m" min:"1ms"`
	// Namespaces that one connection may be in.
	Namespaces int `key:"namespaces" default:"32" min:"1"`
	// Rooms that one client may be in.
	Rooms int `key:"rooms" default:"1000" min:"1"`
	// Acknowledgements that one shard (there is one for each CPU) may wait for; PushAndWait counts the clients past it as missing.
	PendingAcks int `key:"pending_acks" default:"65536" min:"1"`
	// Bytes of an event's name.
	EventName Bytes `key:"event_name" default:"512" min:"1"`
	// Header lines of a request.
	Headers int `key:"headers" default:"100" min:"1"`
	// Bytes of a request's first line and header.
	HeaderBytes Bytes `key:"header_bytes" default:"16KiB" min:"1KiB"`
	// Bytes of one push from a backend, attachments included.
	PushBytes Bytes `key:"push_bytes" default:"4MB" min:"1"`
	// Attachments of one push. Stock clients since socket.io-parser 4.2.6 disconnect at more than 10.
	PushAttachments int `key:"push_attachments" default:"10"`
	// Bytes that may wait for one client's socket; past it the connection is closed, and the client may recover.
	OutputBytes Bytes `key:"output_bytes" default:"4MB" min:"1KiB"`
	// Messages that may wait for one client's socket.
	OutputMessages int `key:"output_messages" default:"16384" min:"1"`
	// How long a message may wait for one client's socket.
	OutputAge time.Duration `key:"output_age" default:"30s" min:"1ms"`
	// Connections to this node; further handshakes get 503. 0: unlimited.
	Connections int `key:"connections" default:"0"`
	// Connections to this node from one address, or from one network of 64 bits where that is IPv6. 0: unlimited.
	ConnectionsPerIP int `key:"connections_per_ip" default:"0"`
	// Handshakes a second on this node; further ones get 503 with Retry-After. 0: unlimited.
	HandshakeRate int `key:"handshake_rate" default:"0"`
	// TLS connections that have not made their first request yet. When all places are taken, new ones wait for the oldest,
	// which then gets two seconds.
	TLSHandshakes int `key:"tls_handshakes" default:"4096" min:"1"`
	// Events on their way to the bus; when it is full, sockets are not read.
	UpstreamEvents int `key:"upstream_events" default:"65536" min:"1"`
	// Bytes of events on their way to the bus.
	UpstreamBytes Bytes `key:"upstream_bytes" default:"64MiB" min:"1KiB"`
	// Messages that wait for one shard; past it recoverable ones are repaired from the log, others dropped and counted.
	ShardMessages int `key:"shard_messages" default:"65536" min:"1"`
	// Bytes of messages that wait for one shard.
	ShardBytes Bytes `key:"shard_bytes" default:"64MiB" min:"1KiB"`
}

// Compression of what is sent.
type Compression struct {
	// permessage-deflate on WebSockets that offer it: less traffic for more CPU and, while a message is written, memory.
	WebSocket bool `key:"websocket" default:"false"`
	// Smallest message that is compressed.
	Threshold Bytes `key:"threshold" default:"1KiB"`
}

// Recovery of connections, and the bounds of room logs.
type Recovery struct {
	// Give clients what they missed when they come back in time. It adds an argument, the offset, to events without an acknowledgement.
	Enabled bool `key:"enabled" default:"false" dev:"true"`
	// How long a client may be away.
	Window time.Duration `key:"window" default:"2m" min:"1ms"`
	// Messages kept in one room's log; an older one cannot be recovered.
	Messages int `key:"messages" default:"1000" min:"1"`
	// Bytes kept in one room's log.
	Bytes Bytes `key:"bytes" default:"4MiB" min:"1KiB"`
	// Bytes kept in all logs of a memory store together; the oldest messages go first.
	TotalBytes Bytes `key:"total_bytes" default:"256MiB" min:"1KiB"`
}

// Presence of clients in rooms.
type Presence struct {
	// Tell each room who joins and leaves, and whoever joins who is there.
	Enabled bool `key:"enabled" default:"false" dev:"true"`
	// Name of the event.
	Event string `key:"event" default:"message"`
	// Changes within this time are told together.
	Coalesce time.Duration `key:"coalesce" default:"250ms"`
	// Up to this many clients in a room each change carries their profiles; above it counts and differences, at most once a second.
	FullUpTo int `key:"full_up_to" default:"100"`
}

// Auth decides who may connect where no connect route asks a backend.
type Auth struct {
	// Let clients without a token in.
	Anonymous bool `key:"anonymous" default:"false" dev:"true"`
	// JSON Web Tokens, from the auth object's or the query's `token`, or an Authorization: Bearer header.
	JWT JWT `key:"jwt"`
}

// JWT says which tokens are believed. At most one of Secret, KeyFile and
// JWKSURL is set; none: no token is believed.
type JWT struct {
	// Shared secret of HMAC tokens. `holdfast token` signs with it.
	Secret Secret `key:"secret"`
	// PEM file with a public key or a certificate.
	KeyFile string `key:"key_file"`
	// Address of a key set (JWKS); fetched at the start, from time to time, and for an unknown key ID.
	JWKSURL string `key:"jwks_url" is:"url"`
	// Permitted algorithms. Empty: those that suit the key (HS256 for a secret).
	Algorithms []string `key:"algorithms" one:"HS256|HS384|HS512|RS256|RS384|RS512|PS256|PS384|PS512|ES256|ES384|ES512|EdDSA"`
	// What `aud` must contain. Empty: not checked.
	Audience string `key:"audience"`
	// What `iss` must be. Empty: not checked.
	Issuer string `key:"issuer"`
	// How far clocks may differ for `exp`, `nbf` and `iat`.
	Leeway time.Duration `key:"leeway" default:"0s"`
	// Which claims say what.
	Claims Claims `key:"claims"`
}

// Claims names the claims of a token.
type Claims struct {
	// Who the user is, a text or a number. Empty: `sub`, or `uid` where that is missing.
	UID string `key:"uid"`
	// Rooms that it may join: an array of names and patterns (* for any characters).
	Rooms string `key:"rooms" default:"rooms"`
	// An object that presence and GetClient show.
	Profile string `key:"profile" default:"profile"`
	// How the user signed in, for `Filter.auth_types`.
	AuthType string `key:"auth_type" default:"auth_type"`
}

// Backend is a service that events are sent to.
type Backend struct {
	// http and https: POST with JSON to <url>/holdfast.v1.BackendService/HandleEvent; grpc and grpcs: gRPC.
	URL string `key:"url" is:"backend"`
	// Time for one answer.
	Timeout time.Duration `key:"timeout" default:"10s" min:"1ms"`
	// Most events at once; below it concurrency follows how the backend answers.
	MaxConcurrency int `key:"max_concurrency" default:"256" min:"1"`
	// Headers added to each call, such as Authorization with a word that only the backend and holdfast know: so it can tell who calls.
	Headers map[string]Secret `key:"headers"`
	// File with the certificates (PEM) of those who may have signed the backend's, for https and grpcs. Default: the system's.
	CA string `key:"ca"`
	// File with the chain of a certificate (PEM) to show to a backend that wants one. A changed file is read again for new connections.
	Cert string `key:"cert"`
	// File with its private key (PEM).
	Key string `key:"key"`
}

// Route says what happens to the events that it matches.
type Route struct {
	// What it matches: CONNECTs, messages or disconnects.
	Type string `key:"type" default:"message" one:"connect|message|disconnect"`
	// The event's name; * stands for any characters. Messages only.
	Event string `key:"event" default:"*"`
	// The backend that gets it.
	Backend string `key:"backend"`
	// Send it to the sender's rooms at once: to others, or to all with the sender.
	Relay string `key:"relay" one:"others|all"`
	// Relay at most once: never stored, dropped for a client that cannot take it now.
	Volatile bool `key:"volatile" default:"false"`
	// Relay only the newest of the sender's events of that name to a client that is behind.
	Collapse bool `key:"collapse" default:"false"`
	// What answers the sender's acknowledgement: that the event is stored on the bus, the reply of the backend (where none
	// is named, of a subscriber), or nothing.
	// Default: backend where a backend is named, none with `drop`, else durable.
	Ack string `key:"ack" one:"durable|backend|none"`
	// Ignore it; subscribers do not get it either.
	Drop bool `key:"drop" default:"false"`
}

// Sentinel is what sentinels are asked.
type Sentinel struct {
	// Name of the master among the sentinels; empty when there are none.
	Master string `key:"master"`
	// User of the sentinels, if they want one.
	Username string `key:"username"`
	// Password of the sentinels, if they want one.
	Password Secret `key:"password"`
}

// Store keeps rooms, sessions and logs.
type Store struct {
	// memory serves one process and is empty at its start; redis serves all.
	Kind string `key:"kind" default:"memory" one:"memory|redis"`
	// Redis servers; of a Cluster, any of its nodes; with sentinel.master the sentinels.
	Addrs []string `key:"addrs" is:"peer"`
	// How the server is found where sentinels watch over it.
	Sentinel Sentinel `key:"sentinel"`
	// What every key begins with.
	Prefix string `key:"prefix" default:"ws"`
	// Redis user.
	Username string `key:"username"`
	// Redis password.
	Password Secret `key:"password"`
	// Redis database; a Cluster has only 0.
	DB int `key:"db" default:"0"`
	// Speak TLS to Redis, and to sentinels.
	TLS bool `key:"tls" default:"false"`
	// File with the certificates (PEM) of those who may have signed the servers'. Default: the system's.
	CA string `key:"ca"`
	// File with the chain of a certificate (PEM) to show to servers that want one. A changed file is read again for new connections.
	Cert string `key:"cert"`
	// File with its private key (PEM).
	Key string `key:"key"`
	// How often a gateway compares what it holds with what Redis has recorded of it, and mends what differs; 0 for never.
	Audit time.Duration `key:"audit" default:"10m"`
}

// Bus carries events and messages between processes.
type Bus struct {
	// memory serves one process; redis uses `store.addrs`; kafka uses `bus.brokers`.
	Kind string `key:"kind" default:"memory" one:"memory|redis|kafka"`
	// Kafka brokers to begin with.
	Brokers []string `key:"brokers" is:"peer"`
	// What Kafka's topics begin with.
	Prefix string `key:"prefix" default:"holdfast"`
	// Create the topics that are missing. Off: their absence ends the start.
	CreateTopics bool `key:"create_topics" default:"true"`
	// Partitions of a topic that holdfast creates: the upstream's upper bound of API processes, and one for each gateway's inbox.
	Partitions int `key:"partitions" default:"32" min:"1"`
	// Copies of a topic that holdfast creates. 0: the broker's default.
	Replication int `key:"replication" default:"0"`
	// SASL user of Kafka; empty: no SASL.
	Username string `key:"username"`
	// SASL password.
	Password Secret `key:"password"`
	// SASL mechanism. PLAIN without `tls` shows the password to the network.
	// Default: SCRAM-SHA-512 with `tls`, else PLAIN.
	Mechanism string `key:"mechanism" one:"PLAIN|SCRAM-SHA-256|SCRAM-SHA-512"`
	// Speak TLS to the brokers.
	TLS bool `key:"tls" default:"false"`
	// File with the certificates (PEM) of those who may have signed the brokers'. Default: the system's.
	CA string `key:"ca"`
	// File with the chain of a certificate (PEM) to show to brokers that want one (`ssl.client.auth`). A changed file is read again for new connections.
	Cert string `key:"cert"`
	// File with its private key (PEM).
	Key string `key:"key"`
}

// Log is what the process writes about itself.
type Log struct {
	// Least level; PUT /debug/loglevel changes it at run time.
	Level string `key:"level" default:"info" one:"debug|info|warn|error"`
	// text or json lines. auto: text on a terminal, else json.
	Format string `key:"format" default:"auto" one:"auto|text|json"`
}

// Share is a part of all, from 0 to 1.
type Share float64

// Tracing follows some messages through holdfast.
type Tracing struct {
	// A collector that takes OTLP over HTTP, such as `http://localhost:4318`; /v1/traces is called there unless it has a path.
	// Empty: no message is followed.
	Endpoint string `key:"endpoint" is:"url"`
	// Share of the messages that are followed, of those that nobody follows already: a push whose sender follows it always is.
	Sample Share `key:"sample" default:"0.01"`
}

// Drain is how a gateway leaves.
type Drain struct {
	// From readiness off to the first closed connection, for the balancer to notice.
	Pause time.Duration `key:"pause" default:"5s" dev:"0s"`
	// Connections closed a second. 0: all at once.
	Rate int `key:"rate" default:"5000" dev:"0"`
	// After this, and up to 5 s more for the stores, the process ends whatever is left.
	Timeout time.Duration `key:"timeout" default:"2m" dev:"10s" min:"1ms"`
}
