package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
)

// pushTopic carries out what backends have written to the bus by themselves. Records
// that share a target are routed in the order in which they came, others side by
// side. A record that is no push is logged, counted and passed over. One that cannot
// be routed now is tried until it can, which holds up those that come after it.
type pushTopic struct {
	s     *Server
	ctx   context.Context // no new tries after its end
	slots *semaphore.Weighted
	bytes *semaphore.Weighted
	last  map[message.Key]*slot // the newest record for each target
	work  sync.WaitGroup
}

// topicAhead bounds how many records are worked on at once; Limits.IntakeBytes bounds
// their size.
const topicAhead = 256

// The pause between tries doubles from the one to the other.
const (
	topicRetry    = 50 * time.Millisecond
	topicMaxRetry = 2 * time.Second
)

// consumePushes works on the push topic until ctx ends, where the bus has one.
func (s *Server) consumePushes(ctx context.Context) error {
	bus, ok := s.cfg.Bus.(PushSource)
	if !ok {
		return nil
	}
	t := &pushTopic{
		s: s, ctx: ctx, slots: semaphore.NewWeighted(topicAhead),
		bytes: semaphore.NewWeighted(int64(s.limits.IntakeBytes)), last: make(map[message.Key]*slot),
	}
	defer t.work.Wait()
	if err := bus.ConsumePushes(ctx, t.take); err != nil {
		return fmt.Errorf("consume pushes: %w", err)
	}
	return nil
}

// take is called by the bus for each record. It waits while as many are worked on as
// may be.
func (t *pushTopic) take(r message.PushRecord, settled func()) {
	s := t.s
	p, dedupID, err := s.recordedPush(&r)
	if err != nil {
		s.count.pushRecordsBad.Add(1)
		s.recordErrors.warn(s.log, err.Error(), "a record of the push topic is no push and was passed over", "record", r.ID, "error", err)
		settled()
		return
	}
	size := int64(min(p.Size(), s.limits.IntakeBytes))
	if t.slots.Acquire(t.ctx, 1) != nil {
		return // it comes again
	}
	if t.bytes.Acquire(t.ctx, size) != nil {
		t.slots.Release(1)
		return
	}
	sl := &slot{done: make(chan struct{})}
	before := follow(t.last, p.Targets, sl, topicAhead)
	t.work.Go(func() {
		defer t.slots.Release(1)
		defer t.bytes.Release(size)
		defer close(sl.done)
		for _, b := range before {
			<-b.done
		}
		if t.route(p, dedupID, &r) {
			settled()
		}
	})
}

// route tries until the push is on its way; false when the time for that was over. A
// record without a dedup_id of its own is read by one ws-api, until that one dies, so the
// others need not know of it.
func (t *pushTopic) route(p *message.Push, dedupID string, r *message.PushRecord) bool {
	o := once{dedupID: dedupID, messageID: recordedID(dedupID), receipts: t.s.cfg.Receipts}
	if dedupID == r.ID {
		o.receipts = nil
		if r.Again {
			o.since = triedSince(r.Written)
		}
	}
	for pause := topicRetry; t.ctx.Err() == nil; pause = min(2*pause, topicMaxRetry) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), t.s.limits.CallTimeout)
		_, err := t.s.pushAs(ctx, p, o)
		cancel()
		if err == nil {
			return true
		}
		if errors.Is(err, message.ErrForgotten) {
			o.dedupID, o.since = "", time.Time{} // nobody can be asked: rather twice than not at all
			continue
		}
		t.s.recordErrors.warn(t.s.log, "", "a record of the push topic cannot be routed and is tried again", "record", r.ID, "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-t.ctx.Done():
			timer.Stop()
		}
	}
	return false
}

// recordedID is the ID of a message that was written to the topic: the same whoever
// consumes it again, so that logs are found to have it.
func recordedID(dedupID string) string { return uuid.NewSHA1(uuid.Nil, []byte(dedupID)).String() }

// recordedPush makes a push of a record, checked as those of PushService are.
func (s *Server) recordedPush(r *message.PushRecord) (p *message.Push, dedupID string, err error) {
	var req *pb.PushRequest
	if r.Addressed() {
		if req, err = addressedRequest(r); err != nil {
			return nil, "", err
		}
	} else {
		req = &pb.PushRequest{}
		if err := (strictJSON{}).Unmarshal(r.Body, req); err != nil {
			return nil, "", fmt.Errorf("there is no X-Targets header, and the value is not the JSON of a PushRequest: %w", err)
		}
	}
	h := make(http.Header)
	for _, name := range []string{headerTraceID, headerTraceParent} {
		if v := r.Header(name); v != "" {
			h.Set(name, v)
		}
	}
	if p, err = s.pushOf("", req, h); err != nil {
		return nil, "", err
	}
	if dedupID = req.GetDedupId(); dedupID == "" {
		dedupID = r.ID
	}
	return p, dedupID, nil
}

var errBadTarget = errors.New("X-Targets: is not a list of targets such as r:/,doc-7")

// addressedRequest makes a request of a push that is in the headers.
func addressedRequest(r *message.PushRecord) (*pb.PushRequest, error) {
	p, err := r.Push()
	if err != nil {
		return nil, err
	}
	req := &pb.PushRequest{
		Event: p.Event, Volatile: p.Volatile, CollapseKey: p.CollapseKey, DedupId: p.ID,
		Payload: &pb.Payload{Json: string(p.Payload.JSON), Msgpack: p.Payload.Msgpack, Attachments: p.Payload.Attachments},
	}
	for _, key := range p.Targets {
		t := &pb.Target{Namespace: key.Namespace()}
		switch key.Kind() {
		case message.KindRoom:
			t.To = &pb.Target_Room{Room: key.Name()}
		case message.KindUser:
			t.To = &pb.Target_User{User: key.Name()}
		case message.KindClient:
			t.To = &pb.Target_Client{Client: key.Name()}
		case message.KindAll:
			t.To = &pb.Target_All{All: true}
		default:
			return nil, errBadTarget
		}
		if t.Namespace == "" {
			return nil, errBadTarget
		}
		req.Targets = append(req.Targets, t)
	}
	if f := p.Filter; f != nil {
		req.Filter = &pb.Filter{
			ExceptClients: f.ExceptClients, AuthTypes: f.AuthTypes, Locales: f.Locales, MinClientVersion: f.MinClientVersion,
		}
	}
	return req, nil
}
