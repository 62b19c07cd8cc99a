package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// Options says which Redis to use, and how.
type Options struct {
	// Addrs are the server, or some of a Cluster's nodes, or the sentinels, as host:port.
	Addrs    []string
	Username string
	Password string
	DB       int // a Cluster has only 0
	// Sentinel is how the server is found, where sentinels know it.
	Sentinel Sentinel
	// TLS is spoken when it is not nil.
	TLS *tls.Config
	// Name is what CLIENT LIST shows of this process; default "holdfast".
	Name string
	// DialTimeout bounds the making of a connection; default 3 s.
	DialTimeout time.Duration
}

// Client is a connection to Redis, as the stores take it.
type Client = rueidis.Client

// Sentinel says which of the servers that sentinels watch is meant.
type Sentinel struct {
	Master             string // its name among the sentinels; "" for none: Addrs are servers
	Username, Password string // of the sentinels
}

// topologyEvery is how often the sentinels are asked which server is the master, beside
// what they tell by themselves.
const topologyEvery = 5 * time.Second

// The buffers of a connection. They are smaller than the library's half megabyte,
// since a gateway counts its memory by the kilobyte, and pipelines longer than a
// buffer are merely written in parts.
const connBuffer = 64 << 10

// Open connects to Redis and finds out whether it is a Cluster. The client connects
// again by itself when connections break; commands that were under way fail then.
// The caller closes it.
func Open(ctx context.Context, opts Options) (rueidis.Client, error) {
	if len(opts.Addrs) == 0 {
		return nil, errors.New("redis: no address is given")
	}
	if opts.Name == "" {
		opts.Name = "holdfast"
	}
	if opts.DialTimeout <= 0 {
		opts.DialTimeout = 3 * time.Second
	}
	option := rueidis.ClientOption{
		InitAddress: opts.Addrs, Username: opts.Username, Password: opts.Password, SelectDB: opts.DB,
		TLSConfig: opts.TLS, ClientName: opts.Name,
		Dialer:           net.Dialer{Timeout: opts.DialTimeout, KeepAlive: time.Second},
		ConnWriteTimeout: 10 * time.Second, // a server that stalls for some seconds is not given up
		// Two connections: a page of a log does not hold up all that is behind it.
		PipelineMultiplex: 1,
		// A call that finds the connection idle would else read its reply by itself, and one
		// that gives up waiting for a server that stalls close it under the calls behind it.
		AlwaysPipelining:   true,
		ReadBufferEachConn: connBuffer, WriteBufferEachConn: connBuffer,
		DisableCache: true, // nothing is read so often that the server should track it
	}
	if s := opts.Sentinel; s.Master != "" {
		option.Sentinel = rueidis.SentinelOption{
			MasterSet: s.Master, Username: s.Username, Password: s.Password, ClientName: opts.Name,
			TLSConfig: opts.TLS, Dialer: option.Dialer, TopologyRefreshInterval: topologyEvery,
		}
	}
	c, err := rueidis.NewClient(option)
	if err != nil {
		return nil, fmt.Errorf("connect to redis at %s: %w", strings.Join(opts.Addrs, ", "), err)
	}
	if err := c.Do(ctx, c.B().Ping().Build()).Error(); err != nil {
		c.Close()
		return nil, fmt.Errorf("connect to redis at %s: %w", strings.Join(opts.Addrs, ", "), err)
	}
	return c, nil
}
