package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
)

// A PushAndWait with a dedup_id goes on when its caller has gone, so that the one who asks
// again gets what clients answer to the first. Other ws-apis learn of it from a receipt:
//
//	nothing noted           it is the first
//	answered                the answer is the same
//	somebody is at it       it waits for how that ends
//	failed, or said nothing for claimLease and has asked nobody
//	                        it is made again, under the same message ID
//	asked, and said nothing when the acknowledgements' time was over for answerGrace,
//	or said that there is nothing to be had
//	                        errLost: nobody knows what clients answered
//
// An attempt notes that it asks before it does, and does not when another has the claim by
// then. So clients are asked once, however slow one that is taken for dead may be.

const (
	// answerGrace is what an attempt may take beyond the wait for acknowledgements.
	answerGrace = 4 * time.Second
	// slowestLook is the longest pause between two looks at a receipt.
	slowestLook = time.Second
	// maxAnswer is the size of answers, as they are encoded, that others are told.
	maxAnswer = 1 << 20
	// waitedBytes bounds the answers that a ws-api keeps for itself.
	waitedBytes = 64 << 20
)

var (
	errLost = errors.New("an earlier attempt with this dedup_id has asked clients, and what they answered is not known: " +
		"its ws-api has ended, or their answers were more than 1 MiB; push under another one if asking twice is better than not knowing")
	errTaken = errors.New("another attempt has the claim")
)

// pushWait makes a valid push that waits for clients' answers, unless its dedupID was
// made before.
func (s *Server) pushWait(ctx context.Context, p *message.Push, timeout time.Duration, dedupID string) (*pb.PushAndWaitResponse, error) {
	run := s.apart
	if dedupID == "" {
		run = at
	}
	resp, again, err := s.pushWaited.do(ctx, dedupID, s.cfg.NewID(), run, func(messageID string, _ time.Time) (*pb.PushAndWaitResponse, error) {
		p.ID = messageID
		if dedupID == "" {
			return s.pushAndWait(ctx, p, timeout, nil)
		}
		if !s.waits.TryAcquire(1) {
			return nil, errTooManyCalls
		}
		defer s.waits.Release(1)
		if s.cfg.Answers == nil {
			lasting, cancel := s.lasting(ctx)
			defer cancel()
			return s.pushAndWait(lasting, p, timeout, nil)
		}
		return s.waitClaimed(ctx, p, timeout, dedupID)
	})
	if again {
		s.count.pushesAgain.Add(1)
	}
	return resp, err
}

// apart has a goroutine do f. A panic there costs f alone, as that of a handler does.
func (s *Server) apart(f func()) {
	s.spawn(func() {
		defer func() {
			if v := recover(); v != nil {
				s.log.Error("a push that waits panicked", "panic", v)
			}
		}()
		f()
	})
}

// lasting is a context that the caller's end does not end, but the server's does.
func (s *Server) lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(s.base, cancel)
	return ctx, func() { stop(); cancel() }
}

// waitClaimed makes the push when it has got the claim for it, or returns what another
// ws-api was answered. It waits for another attempt no longer than the caller does.
func (s *Server) waitClaimed(ctx context.Context, p *message.Push, timeout time.Duration, dedupID string) (*pb.PushAndWaitResponse, error) {
	name := s.cfg.NewID()
	for pause := claimEvery; ; pause = min(2*pause, slowestLook) {
		r, err := s.cfg.Answers.Claim(ctx, dedupID, p.ID, name, claimLease, s.limits.DedupWindow)
		switch {
		case err != nil:
			return nil, fmt.Errorf("look up whether dedup_id was pushed before: %w", err)
		case r.Lost:
			return nil, errLost
		case r.Done:
			s.count.pushesAgain.Add(1)
			resp := new(pb.PushAndWaitResponse)
			if err := proto.Unmarshal([]byte(r.Answer), resp); err != nil {
				return nil, fmt.Errorf("read what an earlier attempt was answered: %w", err)
			}
			return resp, nil
		case !r.Busy:
			p.ID = r.MessageID
			resp, err := s.waitOnce(ctx, p, timeout, dedupID, name)
			if !errors.Is(err, errTaken) {
				return resp, err
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("wait for another attempt with this dedup_id: %w", ctx.Err())
		}
	}
}

// waitOnce makes a push whose claim the attempt has, and notes how that ended. The error
// is errTaken when it has lost the claim before it asked anybody.
func (s *Server) waitOnce(ctx context.Context, p *message.Push, timeout time.Duration, dedupID, attempt string) (*pb.PushAndWaitResponse, error) {
	answers, window := s.cfg.Answers, s.limits.DedupWindow
	lasting, cancel := s.lasting(ctx)
	defer cancel()
	resp, err := s.pushAndWait(lasting, p, timeout, func() error {
		within := timeout + answerGrace
		held, err := answers.Ask(lasting, dedupID, attempt, within, window+within)
		switch {
		case err != nil:
			return fmt.Errorf("note that clients are asked: %w", err)
		case !held:
			return errTaken
		}
		return nil
	})
	noting := context.WithoutCancel(lasting)
	var unnoted error
	switch {
	case errors.Is(err, errTaken):
		return nil, err
	case err == nil:
		unnoted = answers.Settle(noting, dedupID, attempt, encodedAnswer(resp), window)
	case lasting.Err() != nil:
		unnoted = answers.Settle(noting, dedupID, attempt, nil, window) // this ws-api ends
	default:
		unnoted = answers.Fail(noting, dedupID, attempt, window)
	}
	if unnoted != nil {
		s.receiptErrors.warn(s.log, "what clients answered was not noted for the other ws-apis", "message", p.ID, "error", unnoted)
	}
	return resp, err
}

// encodedAnswer is nothing where it is too large for a receipt.
func encodedAnswer(resp *pb.PushAndWaitResponse) []byte {
	b, err := proto.Marshal(resp)
	if err != nil || len(b) > maxAnswer {
		return nil
	}
	return b
}
