package api

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func (w *world) setFull(node string, full bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.full[node] = full
}

// An acknowledgement waits for a bus that is away, as long as a client may wait, and the
// session's next event with it.
func TestAckWaitsForTheBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ann := w.add("n1", "ann1", "ann", "doc")
		s := w.server(Config{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		acked := func(ids ...uint64) {
			t.Helper()
			w.wait("the acknowledgements", func(sent []sentDown) bool {
				n := 0
				for _, d := range sent {
					if d.d.Ack != nil && n < len(ids) && d.d.Ack.AckID == ids[n] {
						n++
					}
				}
				return n == len(ids)
			})
		}
		unanswered := func(want uint64) {
			t.Helper()
			if got := s.Stats().Unanswered; got != want {
				t.Errorf("%d are unanswered, want %d", got, want)
			}
		}
		w.setFull("n1", true)
		w.emit(ann, "say", "[]", 1)
		w.emit(ann, "say", "[]", 2)
		<-time.After(40 * time.Second)
		unanswered(0)
		w.setFull("n1", false)
		acked(1, 2)

		w.setFull("n1", true)
		w.emit(ann, "say", "[]", 3)
		<-time.After(ackPatience + time.Second)
		unanswered(1)
		w.setFull("n1", false)
		w.emit(ann, "say", "[]", 4)
		acked(1, 2, 4)

		// Nobody is kept from ending by it.
		w.setFull("n1", true)
		w.emit(ann, "say", "[]", 5)
		synctest.Wait()
		began := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the end took %v", took)
		}
		unanswered(2)
	})
}
