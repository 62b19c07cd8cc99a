package session

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func random(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// TestQueue holds the queue against a slice: the same messages in the same order,
// bytes that never drift, and no memory in an empty one.
func TestQueue(t *testing.T) {
	for seed := range uint64(100) {
		r := random(seed)
		var (
			q     queue
			model []item
		)
		for step := range 500 {
			switch r.IntN(8) {
			case 0, 1, 2:
				it := item{
					out:  &Outgoing{text: make([]byte, r.IntN(100)), collapse: strings.Repeat("k", r.IntN(3))},
					tail: strings.Repeat("t", r.IntN(10)),
					at:   int64(step),
				}
				q.push(it)
				model = append(model, it)
			case 3, 4:
				if len(model) > 0 {
					if it := q.pop(); it != model[0] {
						t.Fatalf("seed %d step %d: popped %v, want %v", seed, step, it, model[0])
					}
					model = model[1:]
				}
			case 5, 6:
				key := strings.Repeat("k", 1+r.IntN(2))
				q.drop(key)
				for i, it := range slices.Backward(model) {
					if it.out.collapse == key {
						model = slices.Delete(model, i, i+1)
						break
					}
				}
			case 7:
				if r.IntN(20) == 0 {
					q.clear()
					model = nil
				}
			}
			bytes := 0
			for _, it := range model {
				bytes += it.size()
			}
			oldest, ok := q.oldest()
			switch {
			case q.len() != len(model), q.empty() != (len(model) == 0), ok != (len(model) > 0):
				t.Fatalf("seed %d step %d: %d messages, want %d", seed, step, q.len(), len(model))
			case q.bytes() != bytes:
				t.Fatalf("seed %d step %d: %d bytes, want %d", seed, step, q.bytes(), bytes)
			case ok && oldest != model[0].at:
				t.Fatalf("seed %d step %d: the oldest waits since %d, want %d", seed, step, oldest, model[0].at)
			case q.len() < 2 && q.rest != nil:
				t.Fatalf("seed %d step %d: memory is held for nothing", seed, step)
			}
		}
	}
}

// TestQueueForgets: what has left is not held by the slice that it was in.
func TestQueueForgets(t *testing.T) {
	var q queue
	for i := range 5 {
		q.push(item{out: &Outgoing{collapse: fmt.Sprint(i)}})
	}
	whole := q.rest.items[:len(q.rest.items):len(q.rest.items)]
	q.drop("3")
	q.pop()
	q.pop()
	held := 0
	for _, it := range whole {
		if it.out != nil {
			held++
		}
	}
	if held != 1 {
		t.Errorf("%d messages are held besides the first, want 1", held)
	}
}

// TestQueueIsSmall: many messages that come and go one by one do not make it grow.
func TestQueueIsSmall(t *testing.T) {
	var q queue
	q.push(item{out: packetPing})
	for range 10_000 {
		q.push(item{out: packetPing})
		q.pop()
	}
	if q.rest != nil && cap(q.rest.items) > 64 {
		t.Errorf("room for %d messages, one waits", cap(q.rest.items))
	}
}
