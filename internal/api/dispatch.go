package api

import (
	"context"
	"sync"
	"time"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
)

// dispatcher hands events to one backend: those of a session one at a time, those
// of different sessions side by side, as many as the backend's answers allow.
// DISCONNECTs wait in lines of their own class: they are handed out when nothing
// else waits, and every eighth time when something does, and take a quarter of the
// concurrency at most, so that half a million clients going offline at once leave
// the backend to those who are there.
type dispatcher struct {
	s       *Server
	cfg     *BackendConfig
	backend backend
	errors  burst

	mu       sync.Mutex
	queue    *lineup
	limiter  *limiter
	inFlight int
	lowOut   int // of those, DISCONNECTs
	turn     uint
	empty    chan struct{} // not nil: closed when the queue is empty

	calls, failed, refused, dropped uint64
}

const lowTurn = 8 // every eighth pick looks at DISCONNECTs first

func (s *Server) newDispatcher(cfg *BackendConfig) (*dispatcher, error) {
	b, err := newBackend(cfg)
	if err != nil {
		return nil, err
	}
	return &dispatcher{
		s: s, cfg: cfg, backend: b,
		errors:  burst{now: s.cfg.Now, every: 10 * time.Second},
		queue:   newLineup(),
		limiter: newLimiter(cfg.MaxConcurrency),
	}, nil
}

// offer queues an event, which it holds until it is done with. False: there is no
// room, and the event is not held.
func (d *dispatcher) offer(e *event) bool {
	low := e.up.Type == message.EventDisconnect
	var dropped []*event
	defer func() { // when the lock is given up
		for _, old := range dropped {
			old.release()
		}
	}()
	d.mu.Lock()
	defer d.mu.Unlock()
	t := &d.queue.normal
	if low {
		t = &d.queue.lows
		for !t.room(e.size(), d.cfg.QueueItems, d.cfg.QueueBytes) {
			old := d.queue.dropOldest(true)
			if old == nil {
				break
			}
			d.dropped++
			dropped = append(dropped, old.ev)
		}
	}
	if !t.room(e.size(), d.cfg.QueueItems, d.cfg.QueueBytes) {
		d.refused++
		return false
	}
	e.hold()
	d.queue.push(e, low)
	d.pump()
	return true
}

// pump starts as many calls as are allowed. d.mu is held.
func (d *dispatcher) pump() {
	for d.inFlight < d.limiter.allowed() && d.s.base.Err() == nil {
		en := d.pick()
		if en == nil {
			return
		}
		d.inFlight++
		if en.low {
			d.lowOut++
		}
		d.s.spawn(func() { d.run(en) })
	}
}

func (d *dispatcher) pick() *entry {
	if d.lowOut >= max(1, d.limiter.allowed()/4) && d.queue.ready.Len() == 0 {
		return nil
	}
	d.turn++
	return d.queue.take(d.turn%lowTurn == 0 && d.lowOut < max(1, d.limiter.allowed()/4))
}

// run takes one event through the backend and what comes of it.
func (d *dispatcher) run(en *entry) {
	e := en.ev
	if e.up.Type == message.EventConnect && e.up.WantVerdict {
		d.s.decide(d.s.base, d, e)
	} else {
		d.s.serve(d.s.base, d, e)
	}
	e.release()

	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue.done(en)
	d.inFlight--
	if en.low {
		d.lowOut--
	}
	d.pump()
	if d.empty != nil && d.queue.len() == 0 {
		close(d.empty)
		d.empty = nil
	}
}

// call asks the backend about an event. trace is the traceparent for what the reply
// asks for.
func (d *dispatcher) call(ctx context.Context, e *event) (reply *pb.EventReply, f *failure, trace string) {
	began := d.s.cfg.Now()
	st := d.s.begin("call backend", message.SpanClient, e.trace, began)
	st.say("holdfast.backend", d.cfg.Name)
	trace = st.trace(e.trace)
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	reply, f = d.backend.handle(ctx, e.proto(trace))
	now := d.s.cfg.Now()
	took := now.Sub(began)
	code, problem := "", ""
	if f != nil {
		code, problem = f.code, f.code+": "+f.message
		d.errors.warn(d.s.log, f.kind(), "a backend failed", "backend", d.cfg.Name, "event", e.up.ID, "trace_id", e.up.TraceID, "name", e.up.Name,
			"type", e.up.Type.String(), "took", took, "error", f)
	}
	st.end(now, problem)
	if d.s.cfg.Observe.Backend != nil {
		d.s.cfg.Observe.Backend(d.cfg.Name, took, code)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	if f != nil {
		d.failed++
	}
	d.limiter.answer(now, took, f != nil && f.overloaded(), d.inFlight)
	return reply, f, trace
}

// idle returns a channel that is closed when nothing waits or is under way. One
// caller at a time.
func (d *dispatcher) idle() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	ch := make(chan struct{})
	if d.queue.len() == 0 {
		close(ch)
	} else {
		d.empty = ch
	}
	return ch
}

func (d *dispatcher) close() { d.backend.close() }

func (d *dispatcher) stats() BackendStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return BackendStats{
		Calls: d.calls, Errors: d.failed, Refused: d.refused, Dropped: d.dropped,
		InFlight: d.inFlight, Limit: d.limiter.allowed(), Waiting: d.queue.len(), Bytes: d.queue.size(),
		Low: d.queue.lows.arrivals.Len(), LowBytes: d.queue.lows.bytes,
		MaxItems: d.cfg.QueueItems, MaxBytes: d.cfg.QueueBytes,
	}
}
