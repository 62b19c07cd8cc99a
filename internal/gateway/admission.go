package gateway

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// admission refuses handshakes before any work is done for them.
type admission struct {
	max    int
	perIP  int
	bucket *rate.Limiter // nil: unlimited

	mu   sync.Mutex
	now  int
	byIP map[string]int
}

func (a *admission) init(cfg *Config) {
	a.max, a.perIP = cfg.MaxConnections, cfg.MaxPerIP
	if cfg.HandshakeRate > 0 {
		a.bucket = rate.NewLimiter(rate.Limit(cfg.HandshakeRate), max(1, cfg.HandshakeRate/4))
	}
	if a.perIP > 0 {
		a.byIP = make(map[string]int)
	}
}

// enter counts a session of an address in; a non-empty why says why it may not come. Who
// has as many sessions as it may takes nothing of what others may open in this second.
func (a *admission) enter(ip string) (why string) {
	if a.max == 0 && a.perIP == 0 {
		return a.inTime()
	}
	ip = network(ip)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.max > 0 && a.now >= a.max:
		return "this node has as many connections as it may"
	case a.perIP > 0 && a.byIP[ip] >= a.perIP:
		return "too many connections from this address"
	}
	if why = a.inTime(); why != "" {
		return why
	}
	if a.perIP > 0 {
		a.byIP[ip]++
	}
	a.now++
	return ""
}

// inTime takes note of a handshake, if there were not too many in this second.
func (a *admission) inTime() (why string) {
	if a.bucket != nil && !a.bucket.AllowN(time.Now(), 1) {
		return "too many handshakes at the moment"
	}
	return ""
}

// network is what counts as one address: of IPv6 the first 64 bits, for each customer of
// a network has 2^64 addresses at the least.
func network(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil || !addr.Is6() {
		return ip
	}
	p, err := addr.Prefix(64)
	if err != nil {
		return ip
	}
	return p.String()
}

// adopt counts a session in that another node has let in.
func (a *admission) adopt(ip string) {
	if a.max == 0 && a.perIP == 0 {
		return
	}
	ip = network(ip)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.perIP > 0 {
		a.byIP[ip]++
	}
	a.now++
}

// leave counts a session of an address out that was counted in.
func (a *admission) leave(ip string) {
	if a.max == 0 && a.perIP == 0 {
		return
	}
	ip = network(ip)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now--
	if a.perIP == 0 {
		return
	}
	if a.byIP[ip]--; a.byIP[ip] <= 0 {
		delete(a.byIP, ip)
	}
}
