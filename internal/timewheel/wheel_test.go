package timewheel

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"
)

func TestMemoryOfATimer(t *testing.T) {
	if n := unsafe.Sizeof(Timer[struct{}]{}); n > 40 { // an empty last field would be padded
		t.Errorf("%d bytes", n)
	}
	if n := unsafe.Sizeof(Timer[*int]{}) - unsafe.Sizeof((*int)(nil)); n > 32 {
		t.Errorf("%d bytes beside the value", n)
	}
}

// fired advances w and returns the values that fired, sorted.
func fired(w *Wheel[int], now int64) []int {
	var got []int
	w.Advance(now, func(t *Timer[int]) { got = append(got, t.Value) })
	slices.Sort(got)
	return got
}

func TestFiresOnTimeAndNeverEarly(t *testing.T) {
	const tick = 10
	for _, origin := range []int64{0, 7, -12345, math.MinInt64 + 1, math.MaxInt64 - 1<<40} {
		for _, after := range []int64{1, 9, 10, 11, 630, 640, 641, 40_960, 99_999, 2_621_440, 3_600_000, 167_772_160, 400_000_000} {
			w := New[int](origin, tick*time.Millisecond)
			timer := Timer[int]{Value: 1}
			w.Schedule(&timer, origin+after)
			if got := fired(w, origin+after-1); got != nil {
				t.Errorf("origin %d: fired before %d", origin, after)
			}
			if got := fired(w, origin+after+tick-1); got == nil {
				t.Errorf("origin %d: not fired %d ms after %d", origin, tick-1, after)
			}
			if timer.Active() {
				t.Error("active after it fired")
			}
		}
	}
}

func TestCancelAndReschedule(t *testing.T) {
	w := New[int](0, time.Millisecond)
	timers := make([]Timer[int], 5)
	for i := range timers {
		timers[i].Value = i
		w.Schedule(&timers[i], 100) // all in one slot
	}
	w.Cancel(&timers[2])
	w.Cancel(&timers[2])
	w.Cancel(&timers[4]) // an end of the list
	w.Schedule(&timers[0], 50)
	w.Schedule(&timers[1], math.MaxInt64)
	if timers[2].Active() || !timers[1].Active() {
		t.Error("Active is wrong")
	}
	if got := fired(w, 60); !slices.Equal(got, []int{0}) {
		t.Errorf("at 60: %v", got)
	}
	if got := fired(w, 1000); !slices.Equal(got, []int{3}) {
		t.Errorf("at 1000: %v", got)
	}
	w.Schedule(&timers[2], 10) // long past
	if got := fired(w, 1001); !slices.Equal(got, []int{2}) {
		t.Errorf("at 1001: %v", got)
	}
	w.Cancel(&timers[1])
	if _, ok := w.Next(1001); ok {
		t.Error("Next knows of a timer, and all are gone")
	}
}

func TestFireMayDoAnything(t *testing.T) {
	w := New[int](0, time.Millisecond)
	timers := make([]Timer[int], 4)
	for i := range timers {
		timers[i].Value = i
		w.Schedule(&timers[i], 5)
	}
	var got []int
	advance := func(now int64) []int {
		got = nil
		w.Advance(now, func(timer *Timer[int]) {
			if timer.Active() {
				t.Error("active while it fires")
			}
			got = append(got, timer.Value)
			if len(got) > 1 {
				return
			}
			// The first one repeats itself in the past, cancels one that is due now,
			// and moves another to later. One remains.
			w.Schedule(timer, 1)
			others := slices.DeleteFunc([]int{0, 1, 2, 3}, func(i int) bool { return i == timer.Value })
			w.Cancel(&timers[others[0]])
			w.Schedule(&timers[others[1]], now+50)
		})
		return got
	}
	first := advance(1 << 20) // a jump: the repetition must wait for the next call
	if len(first) != 2 {
		t.Fatalf("fired %v", first)
	}
	if second := fired(w, 1<<20+1); !slices.Equal(second, first[:1]) {
		t.Errorf("fired %v, then %v", first, second)
	}
	if third := fired(w, 1<<20+50); len(third) != 1 || slices.Contains(first, third[0]) {
		t.Errorf("the moved one: %v", third)
	}
}

func TestClockThatStandsOrRunsBack(t *testing.T) {
	w := New[int](1000, 10*time.Millisecond)
	timer := Timer[int]{Value: 1}
	w.Schedule(&timer, 1020)
	for _, now := range []int64{1000, 0, math.MinInt64, 1019} {
		if got := fired(w, now); got != nil {
			t.Errorf("fired at %d", now)
		}
	}
	if got := fired(w, 1020); got == nil {
		t.Error("not fired at 1020")
	}
}

// A sleeping laptop or a stopped process: the clock jumps by years, and the
// timers beyond still keep their time.
func TestClockThatJumps(t *testing.T) {
	const year = 365 * 24 * 3600 * 1000
	w := New[int](0, 10*time.Millisecond)
	timers := make([]Timer[int], 4)
	for i, deadline := range []int64{30, year, 10*year + 25, math.MaxInt64} {
		timers[i].Value = i
		w.Schedule(&timers[i], deadline)
	}
	if got := fired(w, 10*year); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("after ten years: %v", got)
	}
	if got := fired(w, 10*year+20); got != nil {
		t.Errorf("early: %v", got)
	}
	if got := fired(w, 10*year+30); !slices.Equal(got, []int{2}) {
		t.Errorf("after the jump: %v", got)
	}
	if got := fired(w, math.MaxInt64); len(got) > 1 {
		t.Errorf("at the end of time: %v", got)
	}
}

// Next leads a sleeper to every deadline, never a tick too late, and with few
// stops on the way.
func TestNextLeadsToTheDeadline(t *testing.T) {
	const tick = 10
	for _, deadline := range []int64{1, 10, 250, 639, 640, 655, 25_000, 45_123, 7_200_000, 200_000_000} {
		w := New[int](0, tick*time.Millisecond)
		timer := Timer[int]{Value: 1}
		w.Schedule(&timer, deadline)
		now, stops := int64(0), 0
		for timer.Active() {
			in, ok := w.Next(now)
			if !ok || in <= 0 {
				t.Fatalf("deadline %d, at %d: Next says %v, %v", deadline, now, in, ok)
			}
			now += in.Milliseconds()
			fired(w, now)
			stops++
		}
		if now < deadline || now >= deadline+tick || stops > levels+1 {
			t.Errorf("deadline %d: fired at %d after %d stops", deadline, now, stops)
		}
	}
	w := New[int](0, tick*time.Millisecond)
	var timer Timer[int]
	w.Schedule(&timer, 50)
	if in, ok := w.Next(500); in != 0 || !ok {
		t.Errorf("overdue: %v, %v", in, ok)
	}
}

// naive is the same thing by a heap.
type naive []*Timer[int]

func (h naive) Len() int           { return len(h) }
func (h naive) Less(i, j int) bool { return h[i].deadline < h[j].deadline }
func (h naive) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *naive) Push(x any)        { *h = append(*h, x.(*Timer[int])) }
func (h *naive) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

func (h *naive) remove(value int) {
	if i := slices.IndexFunc(*h, func(t *Timer[int]) bool { return t.Value == value }); i >= 0 {
		heap.Remove(h, i)
	}
}

func (h *naive) schedule(value int, deadline int64) {
	h.remove(value)
	heap.Push(h, &Timer[int]{Value: value, deadline: deadline})
}

// step checks the wheel against the heap: everything that fires was due, and
// everything that was due for more than a tick has fired.
func (h *naive) step(t *testing.T, w *Wheel[int], now, tick int64, again func(*Timer[int])) {
	t.Helper()
	due := map[int]int64{}
	for h.Len() > 0 && (*h)[0].deadline <= now {
		timer := heap.Pop(h).(*Timer[int])
		due[timer.Value] = timer.deadline
	}
	w.Advance(now, func(timer *Timer[int]) {
		if _, ok := due[timer.Value]; !ok {
			t.Fatalf("%d fired at %d, and was not due", timer.Value, now)
		}
		delete(due, timer.Value)
		again(timer)
	})
	for value, deadline := range due {
		if now-deadline > tick {
			t.Fatalf("%d did not fire at %d, %d ms late", value, now, now-deadline)
		}
		h.schedule(value, deadline) // within the tick: it may come in the next step
	}
}

func TestAgainstHeap(t *testing.T) {
	for seed := range uint64(32) {
		rng := rand.New(rand.NewPCG(seed, 1))
		tick := []int64{1, 3, 10, 20}[seed%4]
		now := rng.Int64N(1<<40) - 1<<39
		w := New[int](now, time.Duration(tick)*time.Millisecond)
		h := &naive{}
		timers := make([]Timer[int], 200)
		for i := range timers {
			timers[i].Value = i
		}
		// Spans from a tick to beyond the last level, each as likely.
		span := func() int64 { return rng.Int64N(1 << (1 + rng.IntN(34))) }
		schedule := func(timer *Timer[int], deadline int64) {
			w.Schedule(timer, deadline)
			h.schedule(timer.Value, max(deadline, now)) // lateness counts from being asked
		}
		for range 2000 {
			timer := &timers[rng.IntN(len(timers))]
			switch rng.IntN(4) {
			case 0, 1:
				schedule(timer, now+span()-5) // sometimes in the past
			case 2:
				w.Cancel(timer)
				h.remove(timer.Value)
			default:
				if in, ok := w.Next(now); ok && rng.IntN(2) == 0 {
					now += in.Milliseconds() + rng.Int64N(2)
				} else {
					now += span() >> rng.IntN(20)
				}
				h.step(t, w, now, tick, func(timer *Timer[int]) {
					if rng.IntN(3) == 0 {
						schedule(timer, now+1+span())
					}
				})
			}
			if active := timer.Active(); active != slices.ContainsFunc(*h, func(o *Timer[int]) bool { return o.Value == timer.Value }) {
				t.Fatalf("seed %d: Active of %d is %v", seed, timer.Value, active)
			}
			checkNext(t, w, h, now, tick)
		}
	}
}

// checkNext: never later than the tick of the earliest deadline.
func checkNext(t *testing.T, w *Wheel[int], h *naive, now, tick int64) {
	t.Helper()
	in, ok := w.Next(now)
	if ok != (h.Len() > 0) {
		t.Fatalf("Next says %v with %d timers", ok, h.Len())
	}
	if ok && now+in.Milliseconds() > max((*h)[0].deadline, now)+tick {
		t.Fatalf("Next leads to %d, the deadline is %d", now+in.Milliseconds(), (*h)[0].deadline)
	}
}

// FuzzWheel reads the input as a list of steps: which timer, what to do, how far.
func FuzzWheel(f *testing.F) {
	f.Add([]byte{0, 0, 5, 1, 3, 200, 2, 9, 1})
	f.Add([]byte{1, 30, 255, 0, 63, 255, 1, 2, 64})
	f.Fuzz(func(t *testing.T, steps []byte) {
		const tick = 10
		now := int64(0)
		w, h := New[int](now, tick*time.Millisecond), &naive{}
		timers := make([]Timer[int], 16)
		for i := range timers {
			timers[i].Value = i
		}
		for ; len(steps) >= 3; steps = steps[3:] {
			timer := &timers[steps[0]%16]
			by := int64(steps[2]) << (steps[1] >> 2 % 32)
			switch steps[1] % 4 {
			case 0:
				w.Cancel(timer)
				h.remove(timer.Value)
			case 1:
				now += by
				h.step(t, w, now, tick, func(*Timer[int]) {})
			default:
				w.Schedule(timer, now+by)
				h.schedule(timer.Value, now+by)
			}
			checkNext(t, w, h, now, tick)
		}
	})
}

// What a shard does for each message: it puts a heartbeat off.
func BenchmarkReschedule(b *testing.B) {
	w := New[int](0, 10*time.Millisecond)
	timers := make([]Timer[int], 100_000)
	now := int64(0)
	for i := range timers {
		w.Schedule(&timers[i], 25_000+int64(i%1000))
	}
	for i := 0; b.Loop(); i++ {
		w.Schedule(&timers[i%len(timers)], now+25_000+int64(i%1000))
	}
}

func BenchmarkAdvanceIdle(b *testing.B) {
	w := New[int](0, 10*time.Millisecond)
	timers := make([]Timer[int], 100_000)
	for i := range timers {
		w.Schedule(&timers[i], 1<<40)
	}
	for now := int64(0); b.Loop(); now += 10 {
		w.Advance(now, func(*Timer[int]) {})
	}
}
