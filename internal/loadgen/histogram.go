package loadgen

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// Buckets: values below 2^subBits have one each; each further power of two is cut
// into 2^subBits parts, so that a bucket is at most 1/128 of its value wide.
//
//	value   0 … 127    128 … 255   256 … 511   512 … 1023
//	width   1          1           2           4
const (
	subBits = 7
	sub     = 1 << subBits
)

// Histogram counts durations in buckets of equal relative width, as HDR histograms
// do: a quantile is right within 0.8 %, from a nanosecond to centuries, in a few
// hundred counters. The zero value is ready. It is not safe for concurrent use.
type Histogram struct {
	counts []uint64 // grows to the largest bucket
	total  uint64
	sum    float64 // of nanoseconds
	least  int64
	most   int64
}

// bucket is the index of the bucket of v.
func bucket(v int64) int {
	if v < sub {
		return int(max(v, 0))
	}
	shift := bits.Len64(uint64(v)) - 1 - subBits
	return shift*sub + int(v>>shift)
}

// bounds are the least and the most value of a bucket.
func bounds(i int) (low, high int64) {
	if i < 2*sub {
		return int64(i), int64(i)
	}
	shift := i/sub - 1
	low = int64(i-shift*sub) << shift
	return low, low + 1<<shift - 1
}

// Record counts one duration; what is below zero counts as zero.
func (h *Histogram) Record(d time.Duration) {
	v := max(int64(d), 0)
	i := bucket(v)
	for i >= len(h.counts) {
		h.counts = append(h.counts, make([]uint64, max(sub, i+1-len(h.counts)))...)
	}
	h.counts[i]++
	if h.total == 0 || v < h.least {
		h.least = v
	}
	h.total++
	h.sum += float64(v)
	h.most = max(h.most, v)
}

// Merge adds what other has counted.
func (h *Histogram) Merge(other *Histogram) {
	if other.total == 0 {
		return
	}
	if n := len(other.counts) - len(h.counts); n > 0 {
		h.counts = append(h.counts, make([]uint64, n)...)
	}
	for i, c := range other.counts {
		h.counts[i] += c
	}
	if h.total == 0 || other.least < h.least {
		h.least = other.least
	}
	h.total += other.total
	h.sum += other.sum
	h.most = max(h.most, other.most)
}

// Count is how many durations were recorded.
func (h *Histogram) Count() uint64 { return h.total }

// Mean is their average, exactly; 0 without any.
func (h *Histogram) Mean() time.Duration {
	if h.total == 0 {
		return 0
	}
	return time.Duration(h.sum / float64(h.total))
}

// Max is the longest, exactly.
func (h *Histogram) Max() time.Duration { return time.Duration(h.most) }

// Quantile is the duration that the share q (0 … 1) of all did not exceed, within
// the width of a bucket; 0 without any.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(h.total)))
	if rank <= 1 {
		return time.Duration(h.least)
	}
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen >= rank {
			_, high := bounds(i)
			return time.Duration(min(max(high, h.least), h.most))
		}
	}
	return time.Duration(h.most)
}

// Each calls f for every bucket that is not empty, in order, with its upper bound.
func (h *Histogram) Each(f func(upTo time.Duration, count uint64)) {
	for i, c := range h.counts {
		if c > 0 {
			_, high := bounds(i)
			f(time.Duration(high), c)
		}
	}
}

// histogramJSON keeps the buckets that are not empty, as pairs of index and count.
type histogramJSON struct {
	Count   uint64      `json:"count"`
	Sum     float64     `json:"sumNs"`
	Min     int64       `json:"minNs"`
	P50     int64       `json:"p50Ns"`
	P90     int64       `json:"p90Ns"`
	P99     int64       `json:"p99Ns"`
	P999    int64       `json:"p999Ns"`
	Max     int64       `json:"maxNs"`
	Buckets [][2]uint64 `json:"buckets,omitempty"`
}

// MarshalJSON writes the counters and, for readers, the usual quantiles.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	j := histogramJSON{
		Count: h.total, Sum: h.sum, Min: h.least, Max: h.most,
		P50: int64(h.Quantile(.5)), P90: int64(h.Quantile(.9)), P99: int64(h.Quantile(.99)), P999: int64(h.Quantile(.999)),
	}
	for i, c := range h.counts {
		if c > 0 {
			j.Buckets = append(j.Buckets, [2]uint64{uint64(i), c})
		}
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *Histogram) UnmarshalJSON(b []byte) error {
	var j histogramJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("read a histogram: %w", err)
	}
	*h = Histogram{total: j.Count, sum: j.Sum, least: j.Min, most: j.Max}
	last := uint64(bucket(math.MaxInt64))
	for _, p := range j.Buckets {
		if p[0] > last {
			return fmt.Errorf("read a histogram: there is no bucket %d", p[0])
		}
		if n := int(p[0]) + 1 - len(h.counts); n > 0 {
			h.counts = append(h.counts, make([]uint64, n)...)
		}
		h.counts[p[0]] += p[1]
	}
	return nil
}

// String is one line for people.
func (h *Histogram) String() string {
	if h.total == 0 {
		return "nothing"
	}
	return fmt.Sprintf("p50 %s, p99 %s, p99.9 %s, max %s of %d",
		brief(h.Quantile(.5)), brief(h.Quantile(.99)), brief(h.Quantile(.999)), brief(h.Max()), h.total)
}

// brief rounds a duration to three digits or so.
func brief(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= 100*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(100 * time.Nanosecond).String()
}
