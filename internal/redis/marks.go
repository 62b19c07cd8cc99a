package redis

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// marksMax is how many marks there are. They are spread evenly over the slots, so that
// each server of a Cluster with up to half as many of them has one.
const marksMax = 64

// Marks shows whether a server of a Cluster has lost data, which nothing else shows as
// long as the others have theirs:
//
//	ws:mark:{slot}  how often it has been counted up   none: it is gone when the data is
//
// Where there is one server only, nothing is kept and nothing told. It is safe for
// concurrent use.
type Marks struct {
	client rueidis.Client
	keys   []string // none: there is no Cluster

	mu   sync.Mutex
	last []int64 // what each mark was, 0: that is not known yet
}

// NewMarks returns the marks under a prefix, such as "ws". It asks nothing of Redis
// yet. client stays the caller's.
func NewMarks(client rueidis.Client, prefix string) *Marks {
	m := &Marks{client: client}
	if !IsCluster(client) {
		return m
	}
	for i := range marksMax {
		m.keys = append(m.keys, prefix+":mark:"+SlotTag((2*i+1)*slots/(2*marksMax)))
	}
	m.last = make([]int64, len(m.keys))
	return m
}

// Count counts the marks up, and tells whether any is lower than it has been: its server
// has lost data since the call before, or is a replica that had not all of it. It asks
// for no longer than a second; lost counts whatever the error, which says that some
// servers have not answered.
func (m *Marks) Count(ctx context.Context) (lost bool, err error) {
	if len(m.keys) == 0 {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	calls := make([]Call, len(m.keys))
	for i, key := range m.keys {
		calls[i] = Command("INCR", key)
	}
	results := Pipeline(ctx, m.client, calls)
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for i := range results {
		n, err := results[i].AsInt64()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		lost = lost || n <= m.last[i]
		m.last[i] = n
	}
	if len(errs) > 0 {
		return lost, fmt.Errorf("count %d of %d marks: %w", len(errs), len(m.keys), errs[0])
	}
	return lost, nil
}
