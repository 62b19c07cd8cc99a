package api

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/message"
)

// A relayed event may have been acknowledged, and nobody sends it again.
func TestRelayWaitsForTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.start(Config{Rules: []Rule{{Event: "say", Relay: RelayAll}}})
		room := message.RoomKey("/", "doc")
		ann := w.add("n1", "ann1", "ann", "doc")
		logged := func() (n, finds int) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return len(w.logged[room]), w.finds
		}
		fail := func(err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.failLog = err
		}
		settled := false
		fail(errors.New("connection reset"))
		s.intake.take(w.event(ann, "say", `["hi"]`, 3), func() { settled = true })
		<-time.After(time.Minute)
		synctest.Wait()
		if n, _ := logged(); n != 0 || settled {
			t.Fatalf("%d messages are in the log, the event is settled: %v", n, settled)
		}
		fail(nil)
		<-time.After(2 * ackAgain)
		synctest.Wait()
		if n, finds := logged(); n != 1 || finds == 0 || !settled {
			t.Errorf("%d messages are in the log, which was asked %d times; the event is settled: %v", n, finds, settled)
		}
	})
}

// A ws-api that stood still has events that may be another's by now.
func TestRelayOfWhatAnotherMayHave(t *testing.T) {
	for _, test := range []struct {
		name          string
		then          message.Hold // when the bus knows
		logged, finds int
	}{
		{"it has not", message.Hold{Until: time.Unix(1<<40, 0)}, 1, 0},
		{"it has", message.Hold{Lost: true}, 0, 0},
		{"it had in between", message.Hold{Until: time.Unix(1<<40, 0), Again: true}, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				s := w.start(Config{Rules: []Rule{{Event: "say", Relay: RelayAll}}})
				ann := w.add("n1", "ann1", "ann", "doc")
				up := w.event(ann, "say", `["hi"]`, 3)
				up.Enqueued = time.Now()
				known := time.Now().Add(10 * time.Second)
				up.Hold = func() message.Hold {
					if time.Now().Before(known) {
						return message.Hold{}
					}
					return test.then
				}
				s.intake.take(up, func() {})
				state := func() (logged, finds int) {
					synctest.Wait()
					w.mu.Lock()
					defer w.mu.Unlock()
					return len(w.logged[message.RoomKey("/", "doc")]), w.finds
				}
				<-time.After(5 * time.Second)
				if logged, _ := state(); logged != 0 {
					t.Error("it was relayed before that was known")
				}
				<-time.After(10 * time.Second)
				if logged, finds := state(); logged != test.logged || finds != test.finds {
					t.Errorf("%d messages are in the log, which was asked %d times", logged, finds)
				}
			})
		})
	}
}

// One that ends meanwhile leaves the event to the others.
func TestRelayIsLeftToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.start(Config{Rules: []Rule{{Event: "say", Relay: RelayAll}}})
		ann := w.add("n1", "ann1", "ann", "doc")
		w.mu.Lock()
		w.failLog = errors.New("connection reset")
		w.mu.Unlock()
		settled := false
		s.intake.take(w.event(ann, "say", `["hi"]`, 3), func() { settled = true })
		<-time.After(time.Second)
		s.hurry()
		<-time.After(time.Second)
		synctest.Wait()
		if settled {
			t.Error("what was not relayed is done with")
		}
	})
}
