package api

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
)

// A caller that got no answer asks again, and its request may come to another ws-api. A
// receipt tells that one what has become of the push:
//
//	nothing noted             it is the first
//	done                      the answer is the same
//	somebody is at it         it waits for how that ends
//	failed, or nothing said   it is tried again, under the same message ID; a log that
//	for claimLease            has the message does not get it twice
//
// Two attempts are never under way together, although the one that is taken to be dead
// may be slow only: an attempt asks nothing of a store any more when attemptTime is over,
// which is before others may begin. What it asked last may still lie in front of a store
// that has stalled, but there it lies before what they ask.
const (
	attemptTime = 3 * time.Second
	claimLease  = 4 * time.Second
	claimEvery  = 100 * time.Millisecond
)

// pushClaimed routes a push, unless another attempt at the same dedupID has or another
// ws-api does; elsewhere tells so. Its ID may become that of the first attempt.
func (s *Server) pushClaimed(ctx context.Context, p *message.Push, dedupID string, receipts Receipts) (resp *pb.PushResponse, elsewhere bool, err error) {
	attempt := s.cfg.NewID()
	for {
		trying, cancel := context.WithTimeout(ctx, attemptTime)
		resp, r, err := s.attempt(trying, p, dedupID, attempt, receipts)
		cancel()
		if err != nil || !r.Busy {
			return resp, r.Done, err
		}
		timer := time.NewTimer(claimEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, false, fmt.Errorf("wait for another attempt with this dedup_id: %w", ctx.Err())
		}
	}
}

// attempt routes a push if it gets the claim for it. Otherwise the receipt tells why not.
func (s *Server) attempt(ctx context.Context, p *message.Push, dedupID, name string, receipts Receipts) (*pb.PushResponse, message.Receipt, error) {
	window := s.limits.DedupWindow
	r, err := receipts.Claim(ctx, dedupID, p.ID, name, claimLease, window)
	switch {
	case err != nil:
		return nil, r, fmt.Errorf("look up whether dedup_id was pushed before: %w", err)
	case r.Busy:
		return nil, r, nil
	case r.Done:
		return &pb.PushResponse{MessageId: r.MessageID, Nodes: r.Nodes}, r, nil
	}
	p.ID = r.MessageID
	var since time.Time
	if r.Tried {
		since = r.Begun
	}
	resp, err := s.pushOnce(ctx, p, since)
	// The caller may have gone, and the time of the attempt may be over.
	noting := context.WithoutCancel(ctx)
	var unnoted error
	if err != nil {
		unnoted = receipts.Fail(noting, dedupID, name, window)
	} else {
		unnoted = receipts.Settle(noting, dedupID, name, resp.GetNodes(), window)
	}
	if unnoted != nil {
		// The push is what it is. A retry elsewhere waits in vain, and looks into the logs.
		s.receiptErrors.warn(s.log, "", "how a push ended was not noted for the other ws-apis", "message", p.ID, "error", unnoted)
	}
	return resp, r, err
}
