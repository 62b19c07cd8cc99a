package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"holdfast/internal/message"
)

// What nodes ask of each other about sessions. Each is a POST with a JSON object, and
// its answer one or nothing.
const (
	pathProbe = "/session/probe" // may another WebSocket try to take the session over?
	pathPing  = "/session/ping"  // its client has said 2probe
	pathTake  = "/session/take"  // its client has said 5: hand the session over
	pathTaken = "/session/taken" // the session is the caller's now
	pathLeave = "/session/leave" // the attempt is over; the session stays
	pathGone  = "/session/gone"  // a session that was handed over has ended
	pathAck   = "/session/ack"   // a client acknowledges a push from before it moved
	pathCall  = "/call"          // a record for a client that has moved
	pathLook  = "/session/look"  // which of the sessions that were handed over are over?
	pathEvict = "/evict"         // a client has come back at the caller
)

// The times that calls between nodes may take. A node that is gone fails them sooner;
// these are for one that is slow.
const (
	probeTime  = 5 * time.Second
	takeTime   = 10 * time.Second
	settleTime = 5 * time.Second
	callTime   = 10 * time.Second
	tellTime   = 2 * time.Second
)

// maxCall bounds what one call brings, in bytes.
const maxCall = 64 << 20

// sessionCall says which session a call is about, and whose attempt to take it over.
type sessionCall struct{ SID, ID, Node string }

// ackCallAway is a client's acknowledgement of a push.
type ackCallAway struct {
	SID, Client string
	AckID       uint64
	Payload     message.Payload
}

// callAnswer is what came of a record that was passed on.
type callAnswer struct {
	Clients uint32
	Err     string
	Acks    []message.AckReply `json:",omitempty"`
}

// ask has a node carry a call out. err is not nil unless the answer is 200; status is 0
// when there was none.
func (g *Gateway) ask(ctx context.Context, node, path string, question, answer any) (status int, err error) {
	body, err := json.Marshal(question)
	if err != nil {
		return 0, fmt.Errorf("write a call of %s: %w", path, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	g.Stats.LinkBytesOut.Add(int64(len(body)))
	resp, err := g.cfg.Peers.Do(node, r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	in := &counted{ReadCloser: resp.Body, n: &g.Stats.LinkBytesIn}
	if resp.StatusCode != http.StatusOK {
		_, _ = io.Copy(io.Discard, io.LimitReader(in, 4096))
		return resp.StatusCode, fmt.Errorf("%s of node %s: %s", path, node, resp.Status)
	}
	if answer == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(in, 4096))
		return resp.StatusCode, nil
	}
	if err := json.NewDecoder(io.LimitReader(in, maxCall)).Decode(answer); err != nil {
		return resp.StatusCode, fmt.Errorf("read the answer to %s of node %s: %w", path, node, err)
	}
	return resp.StatusCode, nil
}

// tell is a call whose answer nobody waits for. It is made even when the node stops.
func (g *Gateway) tell(node, path string, question any) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(g.ctx), tellTime)
	defer cancel()
	if _, err := g.ask(ctx, node, path, question, nil); err != nil {
		g.cfg.Logger.Debug("another node was not told", "node", node, "path", path, "err", err)
	}
}

// servePeers adds what other nodes ask about sessions.
func (g *Gateway) servePeers(mux *http.ServeMux) {
	session := func(path string, do func(*shard, *sessionCall) int) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			var q sessionCall
			if !g.question(w, r, &q) {
				return
			}
			sh := g.shardOf(q.SID)
			status, ok := runOn(sh, func() int { return do(sh, &q) })
			if !ok {
				status = http.StatusNotFound
			}
			w.WriteHeader(status)
		})
	}
	session(pathProbe, (*shard).visit)
	session(pathPing, (*shard).pingVisit)
	session(pathTaken, (*shard).confirm)
	session(pathLeave, (*shard).leaveVisit)
	session(pathGone, (*shard).departed)
	mux.HandleFunc("POST "+pathTake, g.serveTake)
	mux.HandleFunc("POST "+pathAck, func(w http.ResponseWriter, r *http.Request) {
		var q ackCallAway
		if !g.question(w, r, &q) {
			return
		}
		sh := g.shardOf(q.SID)
		status, ok := runOn(sh, func() int { return sh.ackedAway(&q) })
		if !ok {
			status = http.StatusGone
		}
		w.WriteHeader(status)
	})
	mux.HandleFunc("POST "+pathCall, g.serveCall)
	mux.HandleFunc("POST "+pathLook, g.serveLook)
	mux.HandleFunc("POST "+pathEvict, g.serveEvict)
}

// question reads what is asked; false when it was answered as no question.
func (g *Gateway) question(w http.ResponseWriter, r *http.Request, q any) bool {
	body := &counted{ReadCloser: r.Body, n: &g.Stats.LinkBytesIn}
	if err := json.NewDecoder(io.LimitReader(body, maxCall)).Decode(q); err != nil {
		http.Error(w, "no JSON object of this call", http.StatusBadRequest)
		return false
	}
	return true
}

func (g *Gateway) answer(w http.ResponseWriter, a any) {
	body, err := json.Marshal(a)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	n, _ := w.Write(body)
	g.Stats.LinkBytesOut.Add(int64(n))
}

// takeAgain is how often it is looked whether a session is at rest.
const takeAgain = 10 * time.Millisecond

// serveTake hands a session over when nothing of it is under way any more and all that
// it has said is outside.
func (g *Gateway) serveTake(w http.ResponseWriter, r *http.Request) {
	var q sessionCall
	if !g.question(w, r, &q) {
		return
	}
	sh := g.shardOf(q.SID)
	hand, status := g.takeAtRest(r.Context(), sh, &q)
	if hand == nil {
		w.WriteHeader(status)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), settleTime)
	defer cancel()
	if err := g.outside(ctx); err != nil {
		g.cfg.Logger.Info("a session stays, for what it has said cannot be written", "session", message.PublicID(q.SID), "err", err)
		_, _ = runOn(sh, func() int { return sh.leaveVisit(&q) })
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	g.answer(w, hand)
}

func (g *Gateway) takeAtRest(ctx context.Context, sh *shard, q *sessionCall) (*handover, int) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.VerdictTimeout+takeTime/2)
	defer cancel()
	type result struct {
		hand   *handover
		status int
	}
	for {
		x, ok := runOn(sh, func() result {
			hand, status := sh.freeze(q)
			return result{hand, status}
		})
		switch {
		case !ok:
			return nil, http.StatusNotFound
		case x.status != http.StatusLocked:
			return x.hand, x.status
		}
		select {
		case <-time.After(takeAgain):
		case <-ctx.Done():
			_, _ = runOn(sh, func() int { return sh.leaveVisit(q) })
			return nil, http.StatusLocked
		}
	}
}

// flusher is a bus whose Publish returns before the event is there.
type flusher interface {
	// Flush returns when every event that was published before is on the bus.
	Flush(ctx context.Context) error
}

// outside returns when all that this node has written and published up to now, and what
// follows from that, is outside, so that another one can speak after it: in the registry,
// and then on the bus.
func (g *Gateway) outside(ctx context.Context) error {
	if err := g.registrar.flush(ctx); err != nil {
		return fmt.Errorf("wait for the registry: %w", err)
	}
	for _, sh := range g.shards { // which publish what they hear of the registrar
		_, _ = runOn(sh, func() bool { return true })
	}
	if bus, ok := g.cfg.Bus.(flusher); ok {
		return bus.Flush(ctx)
	}
	return nil
}

// serveCall carries out a record for a client that was elsewhere before.
func (g *Gateway) serveCall(w http.ResponseWriter, r *http.Request) {
	var d message.Down
	if !g.question(w, r, &d) {
		return
	}
	answered := make(chan callAnswer, 1)
	var mu sync.Mutex // shards answer side by side
	var acks []message.AckReply
	g.callFor(&errand{
		down: &d,
		ack: func(a *message.AckReply) {
			mu.Lock()
			defer mu.Unlock()
			acks = append(acks, *a)
		},
		done: func(n uint32, why string) {
			mu.Lock()
			defer mu.Unlock()
			answered <- callAnswer{n, why, acks}
		},
	})
	select {
	case a := <-answered:
		g.answer(w, &a)
	case <-r.Context().Done():
	case <-g.ctx.Done():
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// callFor carries a record out on this node, for somebody who waits.
func (g *Gateway) callFor(e *errand) {
	d := e.down
	switch {
	case d.Ack != nil:
		_ = g.receive(d) // an acknowledgement is never refused
		e.done(0, "")
	case d.Join != nil, d.Leave != nil, d.Disconnect != nil:
		call := g.newCall(d)
		call.sink = func(r message.Reply) {
			if r.Done {
				e.done(r.Clients, r.Err)
			}
		}
		call.each(0, func(sh *shard) { sh.control(d, call) })
	case d.Push != nil && d.Push.WantAcks:
		call := g.newCall(d)
		call.sink = func(r message.Reply) {
			switch {
			case r.Ack != nil:
				e.ack(r.Ack)
			case r.Done:
				e.done(r.Clients, r.Err)
			}
		}
		call.each(d.Push.Size(), func(sh *shard) {
			if !sh.stillFor(d.Push) {
				call.count(0, false)
				call.done()
				return
			}
			sh.deliverAsking(d, call, 0)
		})
	case d.Push != nil:
		for _, sh := range g.shards {
			if err := sh.inbox.call(d.Push.Size(), func() {
				if sh.stillFor(d.Push) {
					sh.deliver(d.Push, 0)
				}
			}); err != nil {
				g.Stats.Overflows.Add(1)
			}
		}
		e.done(0, "")
	default:
		e.done(0, "no such call")
	}
}
