package main

import (
	"cmp"
	"context"
	"errors"
	"net"
	"strconv"
	"syscall"
	"time"

	"holdfast/internal/boot"
	"holdfast/internal/gateway"
	"holdfast/internal/mesh"
	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/node"
)

// link is this gateway's end of the link to the others. Without other gateways, on
// stores of this process's own, it is nothing but its zero value.
type link struct {
	mesh     *mesh.Mesh
	listener net.Listener
	addr     string // that the others are told
	process  *load
	load     func() int64
	clients  func() int64
}

var _ gateway.Peers = (*mesh.Mesh)(nil)

// openLink listens for the other gateways.
func (p *process) openLink() (*link, error) {
	s := p.stores
	none := func() int64 { return 0 }
	l := &link{process: p.load, load: none, clients: none}
	if s.shared == nil || p.cfg.Node.Listen == "" {
		return l, nil
	}
	var err error
	l.listener, err = boot.Listen(p.cfg.Node.Listen, "node.listen")
	if errors.Is(err, syscall.EADDRINUSE) && p.cfg.Node.Listen == defaultNodeListen {
		// Several gateways of one host; the others find it wherever it is.
		l.listener, err = boot.Listen(":0", "node.listen")
		if err == nil {
			p.log.Warn("node.listen: another process listens at the default, taking a free port", "addr", l.listener.Addr())
		}
	}
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, func() { _ = l.listener.Close() })
	l.addr = advertised(p.cfg.Node.Advertise, l.listener.Addr())
	opts := mesh.Options{
		Node: s.identity, Secret: string(p.cfg.Node.Secret),
		Members: s.members, WorkerOf: workerOf, Log: p.log,
	}
	if p.cfg.Node.TLS.Cert != "" {
		if opts.Listen, opts.Call, err = p.certs.Link("node.tls", p.cfg.Node.TLS); err != nil {
			return nil, err
		}
	}
	l.mesh = mesh.New(opts)
	l.listener = l.mesh.Listener(l.listener)
	return l, nil
}

// defaultNodeListen is the default of node.listen.
const defaultNodeListen = ":8002"

// peers is the link as the gateway sees it, nil when there is none.
func (l *link) peers() gateway.Peers {
	if l.mesh == nil {
		return nil
	}
	return l.mesh
}

// about is what the other gateways are told of this one.
func (l *link) about() node.About {
	return node.About{
		Addr: l.addr, Version: version(), Load: l.load(), Clients: l.clients(),
		CPU: l.process.thousandths(), Since: l.process.began,
	}
}

// serve adds the services of the link: they stop after the node, which needs them
// while it drains.
func (l *link) serve(p *process, g *gateway.Gateway) {
	l.load, l.clients = g.Stats.Sessions.Load, g.Stats.Clients.Load
	p.clients = l.clients
	if l.mesh == nil {
		return
	}
	door := netpoll.NewPatient(l.listener, "node.listen", 0, p.log)
	registerPauses(p.metrics, "node.listen", door.Pauses)
	p.services = append(p.services,
		boot.Service{Name: "members", Run: func(ctx context.Context, ready func()) error {
			ready()
			l.mesh.Run(ctx)
			return nil
		}},
		boot.HTTPService("node.listen", door, l.mesh.Server(g.PeerHandler()), time.Second),
	)
}

// members is the gateways that share the stores.
func (s *stores) members(ctx context.Context) ([]mesh.Member, error) {
	seen, err := s.shared.workers.Observe(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]mesh.Member, len(seen))
	for i, x := range seen {
		out[i] = mesh.Member{Node: x.Identity, Worker: x.Worker, Addr: x.Addr, Dead: x.Dead}
	}
	return out, nil
}

// workerOf reads the worker number in a session's ID.
func workerOf(sid string) (uint16, bool) {
	if len(sid) != message.SessionIDLen {
		return 0, false
	}
	id, err := node.ParseSnowflake(sid[:message.SnowflakeLen])
	return node.Worker(id), err == nil
}

// advertised is the address by which the others reach a listener: the configured one,
// else the listener's; where that is on all addresses, the host's first that is not
// loopback.
func advertised(configured string, addr net.Addr) string {
	if configured != "" {
		return configured
	}
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	return net.JoinHostPort(hostAddress(), strconv.Itoa(tcp.Port))
}

// hostAddress returns this host's first address that others may reach, loopback when
// there is none.
func hostAddress() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "127.0.0.1"
	}
	six := ""
	for _, a := range addrs {
		ip, ok := a.(*net.IPNet)
		switch {
		case !ok || !ip.IP.IsGlobalUnicast():
		case ip.IP.To4() != nil:
			return ip.IP.String()
		case six == "":
			six = ip.IP.String()
		}
	}
	return cmp.Or(six, "127.0.0.1")
}
