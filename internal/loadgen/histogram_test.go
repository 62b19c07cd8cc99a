package loadgen

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBucketsCoverEveryValueOnce(t *testing.T) {
	next := int64(0)
	for i := range bucket(math.MaxInt64) + 1 {
		low, high := bounds(i)
		if low != next || high < low {
			t.Fatalf("bucket %d is [%d, %d], want it to begin at %d", i, low, high, next)
		}
		if bucket(low) != i || bucket(high) != i {
			t.Fatalf("the bounds of bucket %d are in buckets %d and %d", i, bucket(low), bucket(high))
		}
		if low >= sub && float64(high-low+1)/float64(low) > 1.0/sub {
			t.Fatalf("bucket %d, [%d, %d], is too wide", i, low, high)
		}
		next = high + 1
	}
	if next != math.MinInt64 { // one past the largest
		t.Fatalf("the last bucket ends at %d", next-1)
	}
}

func TestQuantilesAreWithinABucket(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	var all []int64
	for range 20_000 {
		v := int64(math.Exp(random.NormFloat64()*2 + 13))
		all = append(all, v)
		h.Record(time.Duration(v))
	}
	slices.Sort(all)
	for _, q := range []float64{0, .001, .5, .9, .99, .999, 1} {
		exact := all[max(int(math.Ceil(q*float64(len(all))))-1, 0)]
		got := int64(h.Quantile(q))
		if got < exact || float64(got-exact) > float64(exact)/sub {
			t.Errorf("quantile %v: %d, want %d or up to 1/128 more", q, got, exact)
		}
	}
	if h.Max() != time.Duration(all[len(all)-1]) || h.Quantile(0) != time.Duration(all[0]) {
		t.Errorf("the ends are %d and %d, want them exact", h.Quantile(0), h.Max())
	}
}

func TestHistogramMergesAndTravels(t *testing.T) {
	var a, b, both Histogram
	for i := range 1000 {
		d := time.Duration(i*i) * time.Microsecond
		both.Record(d)
		if i%3 == 0 {
			a.Record(d)
		} else {
			b.Record(d)
		}
	}
	text, err := json.Marshal(&b)
	if err != nil {
		t.Fatal(err)
	}
	var travelled Histogram
	if err := json.Unmarshal(text, &travelled); err != nil {
		t.Fatal(err)
	}
	a.Merge(&travelled)
	a.Merge(&Histogram{})
	for _, q := range []float64{0, .1, .5, .99, 1} {
		if a.Quantile(q) != both.Quantile(q) {
			t.Errorf("quantile %v: %s, want %s", q, a.Quantile(q), both.Quantile(q))
		}
	}
	if a.Count() != 1000 || a.Mean() != both.Mean() {
		t.Errorf("count %d, mean %s, want 1000 and %s", a.Count(), a.Mean(), both.Mean())
	}
}

func TestHistogramRefusesForeignBuckets(t *testing.T) {
	for _, text := range []string{`{"buckets":[[99999999,1]]}`, `{"buckets":7}`, `[]`} {
		var h Histogram
		if json.Unmarshal([]byte(text), &h) == nil {
			t.Errorf("%s was read", text)
		}
	}
}

func TestEmptyHistogram(t *testing.T) {
	var h Histogram
	h.Record(-time.Second) // a clock that was set back
	if h.Max() != 0 || h.Count() != 1 {
		t.Errorf("a negative duration: max %s of %d", h.Max(), h.Count())
	}
	h = Histogram{}
	if h.Quantile(.5) != 0 || h.Mean() != 0 || h.String() != "nothing" {
		t.Error("an empty histogram has quantiles")
	}
}
