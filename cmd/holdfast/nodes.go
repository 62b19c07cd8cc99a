package main

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/internal/console"
	"holdfast/internal/message"
	"holdfast/internal/node"
)

// load tells how busy this process is.
type load struct {
	began time.Time

	mu   sync.Mutex
	at   time.Time
	used time.Duration // of processor time until then
	cpu  int64         // thousandths of a core before that
}

func newLoad() *load {
	now := time.Now()
	return &load{began: now, at: now, used: processorTime()}
}

// loadOver is the time that a figure is of, at least.
const loadOver = 2 * time.Second

// thousandths returns how many thousandths of a core the process took lately.
func (l *load) thousandths() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if took := now.Sub(l.at); took >= loadOver {
		used := processorTime()
		l.cpu = int64(1000 * (used - l.used) / took)
		l.at, l.used = now, used
	}
	return l.cpu
}

// aboutAPI is what the other ws-apis are told for people to see.
func (p *process) aboutAPI() message.About {
	return message.About{Name: p.stores.identity, Program: version(), CPU: p.load.thousandths(), Since: p.load.began}
}

// nodesWait bounds how long the console waits for Redis.
const nodesWait = 2 * time.Second

// nodes lists the processes that share the stores.
func (p *process) nodes(ctx context.Context) ([]console.Node, error) {
	self := console.Node{
		Name: p.stores.identity, Kind: string(p.kind), Version: version(),
		Load: cores(p.load.thousandths()), Since: p.load.began,
	}
	shared := p.stores.shared
	if shared == nil {
		if p.clients != nil {
			n := p.clients()
			self.Clients = &n
		}
		return []console.Node{self}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, nodesWait)
	defer cancel()
	gateways, err := shared.workers.Observe(ctx)
	if err != nil {
		return nil, err
	}
	self.Kind = "api"
	return listNodes(self, gateways, shared.apis.Known()), nil
}

// listNodes puts together what is known of all.
func listNodes(self console.Node, gateways []node.Sighting, apis []message.Member) []console.Node {
	all := []console.Node{self}
	for i := range gateways {
		g := &gateways[i]
		all = append(all, console.Node{
			Name: g.Identity, Kind: "gateway", Version: g.Version, Clients: &g.Clients,
			Load: cores(g.CPU), Since: g.About.Since, Silent: g.Silent.Seconds(), Dead: g.Dead,
		})
	}
	for _, a := range apis {
		all = append(all, console.Node{
			Name: a.About.Name, Kind: "api", Version: a.About.Program, Load: cores(a.About.CPU), Since: a.About.Since,
			Silent: a.Silent.Seconds(), Dead: a.Silent >= node.DeadAfter,
		})
	}
	slices.SortFunc(all, func(a, b console.Node) int {
		if byKind := strings.Compare(b.Kind, a.Kind); byKind != 0 { // gateways first
			return byKind
		}
		if byName := strings.Compare(a.Name, b.Name); byName != 0 {
			return byName
		}
		return a.Since.Compare(b.Since)
	})
	return all
}

func cores(thousandths int64) float64 { return float64(thousandths) / 1000 }
