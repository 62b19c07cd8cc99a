package loadgen

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"sync"
	"time"

	"holdfast/internal/netpoll"
)

// dialer makes the connections of a swarm. A goroutine for each lasts as long as
// the TCP and TLS handshakes.
type dialer struct {
	addr    string // host and port
	tls     *tls.Config
	sources int

	under sync.WaitGroup
	ctx   context.Context // of the connections that clients make by themselves; ends with the swarm
	stop  context.CancelFunc
}

func newDialer(t *Target, u *url.URL) *dialer {
	d := &dialer{addr: u.Host, sources: min(t.Sources, 250)}
	d.ctx, d.stop = context.WithCancel(context.Background())
	if u.Port() == "" {
		d.addr = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	if u.Scheme == "https" {
		d.tls = &tls.Config{ServerName: u.Hostname(), InsecureSkipVerify: t.Insecure, NextProtos: []string{"http/1.1"}}
	}
	return d
}

// dial makes one connection, from the address that source chooses.
func (d *dialer) dial(ctx context.Context, source int) (net.Conn, error) {
	of := net.Dialer{KeepAlive: -1, Control: lateBind}
	if d.sources > 0 {
		of.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+source%d.sources))}
	}
	nc, err := of.DialContext(ctx, "tcp", d.addr)
	if err != nil || d.tls == nil {
		return nc, err
	}
	tc := tls.Client(netpoll.NewSocket(nc), d.tls) // so that the loop needs no goroutine for it
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return tc, nil
}

// dialTimeout bounds a client's further connections.
const dialTimeout = 20 * time.Second

// start makes a connection and gives it to take, in a goroutine of its own.
func (d *dialer) start(source int, take func(net.Conn, error)) {
	d.under.Go(func() {
		ctx, cancel := context.WithTimeout(d.ctx, dialTimeout)
		defer cancel()
		take(d.dial(ctx, source))
	})
}
