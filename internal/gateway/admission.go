package gateway

import (
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

// enter counts a session of an address in; a non-empty why says why it may not come.
func (a *admission) enter(ip string) (why string) {
	if a.bucket != nil && !a.bucket.AllowN(time.Now(), 1) {
		return "too many handshakes at the moment"
	}
	if a.max == 0 && a.perIP == 0 {
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.max > 0 && a.now >= a.max {
		return "this node has as many connections as it may"
	}
	if a.perIP > 0 {
		if a.byIP[ip] >= a.perIP {
			return "too many connections from this address"
		}
		a.byIP[ip]++
	}
	a.now++
	return ""
}

// adopt counts a session in that another node has let in.
func (a *admission) adopt(ip string) {
	if a.max == 0 && a.perIP == 0 {
		return
	}
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
