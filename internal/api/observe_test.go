package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
)

// TestEachStageIsObservedOnce takes an event to a backend whose reply is a push.
func TestEachStageIsObservedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var mu sync.Mutex
		stages, calls := map[Stage][]time.Duration{}, 0
		s := w.startWith(Config{
			Rules: toApp(AckBackend),
			Observe: Observer{
				Stage: func(st Stage, took time.Duration) {
					mu.Lock()
					defer mu.Unlock()
					stages[st] = append(stages[st], took)
				},
				Backend: func(name string, took time.Duration, code string) {
					mu.Lock()
					defer mu.Unlock()
					calls++
					if name != "app" || took != time.Second || code != "" {
						t.Errorf("call of %q took %v, %q", name, took, code)
					}
				},
			},
		}, func(context.Context, *pb.Event) (*pb.EventReply, *failure) {
			<-time.After(time.Second) // by the fake clock
			return &pb.EventReply{Pushes: []*pb.PushRequest{{Targets: room("doc"), Event: "x"}}}, nil
		})
		ann := w.add("n1", "ann", "", "doc")
		w.emit(ann, "say", "[]", 1)
		synctest.Wait()
		if st := s.Stats(); st.Backends["app"].Waiting != 1 || st.Backends["app"].Low != 0 || st.Backends["app"].MaxItems == 0 {
			t.Errorf("during the call: %+v", st.Backends["app"])
		}
		<-time.After(2 * time.Second)
		w.disconnect(ann, "transport close")
		synctest.Wait()

		mu.Lock()
		defer mu.Unlock()
		if calls != 1 {
			t.Errorf("%d calls", calls)
		}
		// Enqueued is the bus's to fill in; the fake one leaves it empty.
		for st, want := range map[Stage]int{Dequeued: 0, Routed: 2, Appended: 1, Pushed: 1} {
			if got := len(stages[st]); got != want {
				t.Errorf("%v: %d observations, want %d", st, got, want)
			}
		}
		st := s.Stats()
		if st.IntakeBytes != 0 || st.IntakeMax == 0 {
			t.Errorf("the intake holds %d of %d bytes", st.IntakeBytes, st.IntakeMax)
		}
		for _, r := range st.Rules { // the last is for what no other matched
			want := map[message.EventType]uint64{message.EventMessage: 1, message.EventDisconnect: 1}[r.Type]
			if r.Matched != want {
				t.Errorf("rules %+v", st.Rules)
			}
		}
	})
}

// TestLogLinesNameTheTrace has a backend fail: the line in the log says which trace
// has more.
func TestLogLinesNameTheTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var mu sync.Mutex
		var log bytes.Buffer
		w.startWith(Config{
			Rules:  toApp(AckBackend),
			Logger: slog.New(slog.NewJSONHandler(&locked{mu: &mu, w: &log}, nil)),
		}, func(context.Context, *pb.Event) (*pb.EventReply, *failure) {
			return nil, &failure{code: codeUnavailable, message: "backend app cannot be reached"}
		})
		w.emit(w.add("n1", "ann", "", "doc"), "say", "[]", 1)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		var line struct {
			Msg     string `json:"msg"`
			TraceID string `json:"trace_id"`
		}
		if err := json.Unmarshal(log.Bytes(), &line); err != nil || line.TraceID != "trace-1" {
			t.Errorf("%+v, %v in %s", line, err, &log)
		}
	})
}

// locked is a writer that a test looks at.
type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
