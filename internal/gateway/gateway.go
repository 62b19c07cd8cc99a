package gateway

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/session"
	"holdfast/wsframe"
)

// Endpoint is one path on which sessions are served.
type Endpoint struct {
	Path       string // with a slash at its end
	Raw        bool   // Engine.IO alone
	Namespaces []string
	Polling    bool
	WebSocket  bool
	V3, V4     bool
	JSONP      bool
	Msgpack3   bool // Engine.IO 3 clients have the MessagePack parser
}

// Config is what a gateway is made of. Node, Registry, Log, Bus, Auth and IDs are
// needed; the zero value of anything else is its default.
type Config struct {
	Node     string // name of this node
	Registry Registry
	Log      Log
	Bus      Bus
	Auth     Authenticator
	IDs      IDs
	Logger   *slog.Logger
	// MayWrite tells whether the node's name is this process's at the moment; what it has
	// to write to the registry waits until it is. nil: always.
	MayWrite func() bool
	// Ledger is what is audited every AuditEvery; nil, or 0: there is no audit.
	Ledger     Ledger
	AuditEvery time.Duration
	Observe    Observer // nobody by default
	Tracer     Tracer   // nil: no message is followed
	Peers      Peers    // nil: there are no other nodes

	Endpoints []Endpoint // default: /socket.io/ with the namespace "/"
	Session   session.Config
	Shards    int          // default: one for each CPU
	Engine    netpoll.Kind // default: epoll where there is one

	// AskBackend makes every CONNECT wait for ws-api's verdict.
	AskBackend bool
	// AckedByTheBus tells which events a node acknowledges by itself as soon as the bus
	// has taken them. nil: none, ws-api does. It is for a bus on which an event is as
	// durable as it gets when Publish returns.
	AckedByTheBus func(event string) bool
	// StoresNeverWait and AuthNeverWaits say that Registry and Log, and Authenticate,
	// return at once, as those in memory do: shards then call them themselves.
	StoresNeverWait, AuthNeverWaits bool
	// VerdictTimeout is how long; default 15 s.
	VerdictTimeout time.Duration
	// MessageTime bounds the time for a message to come whole; default 2 min.
	MessageTime time.Duration
	// UpgradeTimeout bounds a probe; default 10 s.
	UpgradeTimeout time.Duration
	// HeaderTimeout and HeaderBytes bound the first request of a connection that came
	// by [Gateway.Listen]; defaults 10 s and 16 KiB. Larger ones are left to net/http.
	HeaderTimeout time.Duration
	HeaderBytes   int
	// Descriptors is how many of the process's file descriptors may be in use for such
	// connections to be accepted; past it they wait. 0: no limit.
	Descriptors int

	// Recovery gives clients what they missed when they return within Window
	// (default 2 min).
	Recovery bool
	Window   time.Duration

	// Deflate offers permessage-deflate, and compresses messages from
	// DeflateThreshold (default 1 KiB).
	Deflate          bool
	DeflateThreshold int

	Origins      []string // CORS; none: no headers, the Origin of WebSockets is not checked
	HTTPHeaders  []string // of the handshake, which backends get
	ClientBundle string   // folder with socket.io.js and friends
	Proxies      []netip.Prefix

	MaxConnections  int // 0: unlimited
	MaxPerIP        int
	HandshakeRate   int // a second; 0: unlimited
	MaxRooms        int // of one client; default 1000
	MaxHeaders      int // lines of one request; default 100
	MaxPendingAcks  int // of pushes, for each shard; default 65 536
	UnfinishedBytes int // of messages that have not come whole, of all connections; default 256 MiB
	InboxRecords    int // of one shard; default 65 536
	InboxBytes      int // default 64 MiB
	PollingResponse int // bytes of one polling answer, about; default 1 MB
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if len(c.Endpoints) == 0 {
		c.Endpoints = []Endpoint{{Path: "/socket.io/", Polling: true, WebSocket: true, V3: true, V4: true, JSONP: true}}
	}
	c.Shards = cmp.Or(c.Shards, runtime.GOMAXPROCS(0))
	c.DeflateThreshold = cmp.Or(c.DeflateThreshold, 1024)
	c.MaxRooms = cmp.Or(c.MaxRooms, 1000)
	c.MaxHeaders = cmp.Or(c.MaxHeaders, 100)
	c.MaxPendingAcks = cmp.Or(c.MaxPendingAcks, 65_536)
	c.UnfinishedBytes = cmp.Or(c.UnfinishedBytes, 256<<20)
	c.MessageTime = cmp.Or(c.MessageTime, 2*time.Minute)
	c.InboxRecords = cmp.Or(c.InboxRecords, 65_536)
	c.InboxBytes = cmp.Or(c.InboxBytes, 64<<20)
	c.PollingResponse = cmp.Or(c.PollingResponse, 1_000_000)
	c.VerdictTimeout = cmp.Or(c.VerdictTimeout, 15*time.Second)
	c.UpgradeTimeout = cmp.Or(c.UpgradeTimeout, 10*time.Second)
	c.HeaderTimeout = cmp.Or(c.HeaderTimeout, 10*time.Second)
	c.HeaderBytes = cmp.Or(c.HeaderBytes, 16<<10)
	c.Window = cmp.Or(c.Window, 2*time.Minute)
	c.Session = c.Session.WithDefaults()
	return c
}

// Gateway is one node. Its methods are safe for concurrent use.
type Gateway struct {
	cfg       Config
	endpoints []*endpoint
	shards    []*shard
	registrar *registrar
	seed      maphash.Seed
	start     time.Time
	told      *handshakeTable // what handshakes told
	admission admission
	devices   devices
	readers   [2]wsframe.ReaderOptions // without and with permessage-deflate

	// Stats are counters since the start.
	Stats Stats

	held, holders atomic.Int64 // see unfinished: bytes, and who has them
	posted        atomic.Int64 // bytes of posts that are being read

	draining atomic.Bool
	running  atomic.Bool // Start was called
	detach   func()

	ctx    context.Context // of what the shards have looked up; ends when they have stopped
	cancel context.CancelFunc
	wg     sync.WaitGroup // lookups

	writing  sync.WaitGroup // the registrar
	lastOps  chan struct{}  // closed: no op comes any more
	stopOnce sync.Once
	stopOps  context.CancelFunc
	claims   claims

	producers producers
}

// New makes a gateway. It serves from Run on.
func New(cfg Config) (*Gateway, error) {
	switch {
	case cfg.Node == "":
		return nil, errors.New("gateway: no name for the node")
	case cfg.Registry == nil || cfg.Log == nil || cfg.Bus == nil || cfg.Auth == nil || cfg.IDs == nil:
		return nil, errors.New("gateway: Registry, Log, Bus, Auth and IDs are needed")
	}
	g := &Gateway{
		cfg: cfg.withDefaults(), seed: maphash.MakeSeed(), start: time.Now(), told: newHandshakeTable(), lastOps: make(chan struct{}),
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.registrar = newRegistrar(cfg.Node, cfg.Registry, cfg.Log, g.cfg.Logger)
	g.registrar.neverWaits, g.registrar.mayWrite = cfg.StoresNeverWait, cfg.MayWrite
	g.admission.init(&g.cfg)
	g.devices.init(&g.cfg.Session)
	for i := range g.readers {
		g.readers[i] = wsframe.ReaderOptions{MaxMessage: g.cfg.Session.MaxPayload, Deflate: i == 1, TellOversized: true}
	}
	for i := range g.cfg.Endpoints {
		g.endpoints = append(g.endpoints, newEndpoint(&g.cfg, &g.cfg.Endpoints[i]))
	}
	for i := range g.cfg.Shards {
		sh, err := newShard(g, i)
		if err != nil {
			for _, other := range g.shards {
				_ = other.engine.Close()
			}
			g.cancel()
			return nil, err
		}
		g.shards = append(g.shards, sh)
	}
	return g, nil
}

// Start begins to serve: the shards run and the node hears its inbox.
func (g *Gateway) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	g.stopOps = cancel
	g.running.Store(true)
	g.writing.Go(func() { g.registrar.run(ctx, g.lastOps) })
	for _, sh := range g.shards {
		go sh.run()
	}
	g.detach = g.cfg.Bus.AttachNode(g.cfg.Node, g.receive)
	if g.cfg.Ledger != nil && g.cfg.AuditEvery > 0 {
		g.wg.Go(func() { g.auditAgain(g.ctx) })
	}
}

// Drain ends sessions at up to rate a second, so that their clients come back
// elsewhere, until none is left or ctx ends. New handshakes get 503.
func (g *Gateway) Drain(ctx context.Context, rate int) {
	g.draining.Store(true)
	const tick = 20 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	due := 0.0 // sessions
	for turn := 0; g.Stats.Sessions.Load() > 0; turn++ {
		due += float64(max(rate, 1)) * tick.Seconds()
		if n := int(due); n > 0 {
			due -= float64(n)
			g.endSome(turn, len(g.shards), n)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// endSome has a shard end n sessions, and the next ones what it is short of.
func (g *Gateway) endSome(turn, shards, n int) {
	sh := g.shards[turn%len(g.shards)]
	sh.inbox.post(func() {
		if left := sh.endSome(n, session.ShuttingDown); left > 0 && shards > 1 {
			g.endSome(turn+1, shards-1, left)
		}
	})
}

// Disown says that another process has taken over the node's name: from now on nothing
// is written to the registry under it. The caller drains and closes the gateway.
func (g *Gateway) Disown() { g.registrar.disowned.Store(true) }

// Close ends every session and stops all goroutines. ctx bounds how long it waits
// for the registry to hear of it: what that has not heard by then is left to the
// node's lease, and Close returns ctx's error. A gateway that was not started only
// gives up what it holds.
func (g *Gateway) Close(ctx context.Context) error {
	g.draining.Store(true)
	defer g.cancel()
	if g.detach == nil {
		for _, sh := range g.shards {
			_ = sh.engine.Close()
		}
		return nil
	}
	g.detach()
	for _, sh := range g.shards {
		sh.inbox.post(func() { sh.stopping = true })
		<-sh.done // a shard never waits for anything
	}
	g.cancel()
	g.wg.Wait()
	g.stopOnce.Do(func() { close(g.lastOps) })
	release := context.AfterFunc(ctx, g.stopOps)
	g.writing.Wait()
	g.stopOps()
	if !release() {
		return ctx.Err()
	}
	return nil
}

// now is the time of the node's own scale: monotonic milliseconds.
func (g *Gateway) now() int64 { return int64(time.Since(g.start) / time.Millisecond) }

// shardOf returns the shard of a session, and of a client that was made for it.
// Clients that came back from another session may be elsewhere.
func (g *Gateway) shardOf(id string) *shard {
	id = message.PublicID(id)
	if n := len(id); n > message.SnowflakeLen {
		id = id[n-message.SnowflakeLen:] // of a protocol 4 client: /chat#id
	}
	return g.shards[maphash.String(g.seed, id)%uint64(len(g.shards))]
}
