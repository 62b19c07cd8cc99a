package gateway

import (
	"hash/maphash"
	"net/http"
	"sync"

	"holdfast/internal/session"
)

// devices remembers which interval suits the devices of Engine.IO 3 clients, which ping
// at what their handshake tells them, so that a change takes effect with the next one:
//
//	not known ──▶ the longest interval
//	a session ended by ping timeout ──▶ the shortest one (Session.PingFloor)
//	PingRounds pings in time ──▶ PingStep more, until it is the longest: forgotten
//
// A device is an address and a User-Agent, for more is not known at a handshake. Only
// those that have missed pings are in the table; it belongs to the node, and nothing of
// it is written anywhere. Where it is full, any one of them goes back to the longest
// interval.
type devices struct {
	seed maphash.Seed
	cfg  *session.Config

	mu    sync.Mutex
	known map[uint32]device
}

type device struct {
	interval int64 // ms
	good     int   // pings since it grew
}

// maxDevices bounds the table, at about 1 MB.
const maxDevices = 16_384

func (d *devices) init(cfg *session.Config) {
	d.seed, d.cfg, d.known = maphash.MakeSeed(), cfg, make(map[uint32]device)
}

// adaptive tells whether anything is to be learnt.
func (d *devices) adaptive() bool { return d.cfg.PingFloor > 0 && d.cfg.PingFloor < d.cfg.PingInterval }

// find returns who asks, 0 when nothing is learnt, and the interval to tell it, 0 for
// the configured one.
func (d *devices) find(ip string, r *http.Request) (id uint32, interval int64) {
	if !d.adaptive() {
		return 0, 0
	}
	var h maphash.Hash
	h.SetSeed(d.seed)
	_, _ = h.WriteString(ip) // a hash takes everything
	_ = h.WriteByte(0)
	_, _ = h.WriteString(r.UserAgent())
	id = max(uint32(h.Sum64()), 1)
	d.mu.Lock()
	defer d.mu.Unlock()
	return id, d.known[id].interval
}

// learn takes note of a session that is over: how many pings it has answered, and
// whether it ended since one did not come.
func (d *devices) learn(id uint32, good int, missed bool) {
	if id == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	dev, known := d.known[id]
	switch {
	case missed:
		dev = device{interval: d.cfg.PingFloor}
	case !known:
		return
	default:
		rounds := max(1, d.cfg.PingRounds)
		dev.good += good
		dev.interval += int64(dev.good/rounds) * d.cfg.PingStep
		dev.good %= rounds
	}
	if dev.interval >= d.cfg.PingInterval {
		delete(d.known, id)
		return
	}
	if !known && len(d.known) >= maxDevices {
		for other := range d.known {
			delete(d.known, other)
			break
		}
	}
	d.known[id] = dev
}
