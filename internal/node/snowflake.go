package node

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// The widths of a Snowflake's parts, see the package's drawing.
const (
	timeBits     = 41
	workerBits   = 10
	sequenceBits = 12

	maxTime     = 1<<timeBits - 1
	maxSequence = 1<<sequenceBits - 1

	// MaxWorker is the highest worker number.
	MaxWorker = 1<<workerBits - 1
)

// epochMilli is 2000-01-01T00:00:00Z, from which 41 bits reach to September 2069.
// It is no later because testing/synctest's clock begins there.
const epochMilli = 946_684_800_000

// MaxBackwards is how far the clock may be behind the last ID for [Snowflake.Next]
// to wait until it has caught up. A clock that is further behind is an error at
// once: a caller that holds a connection should answer "try later" rather than
// hang for as long as somebody's clock was wrong.
const MaxBackwards = 10 * time.Millisecond

// Errors of [New], [Snowflake.Next] and [ParseSnowflake].
var (
	ErrWorker         = fmt.Errorf("worker number is not within 0 and %d", MaxWorker)
	ErrClockBackwards = errors.New("clock runs backwards")
	ErrNotReserved    = errors.New("the time of an ID is not within the lease of its worker number")
	ErrClockRange     = errors.New("clock is outside of what an ID can hold")
	ErrNotSnowflake   = errors.New("not a Snowflake")
)

// Snowflake makes IDs that are unique as long as no other process uses the same
// worker number at the same time. It is safe for concurrent use.
type Snowflake struct {
	worker uint64           // shifted into place
	now    func() time.Time // wall clock

	mu       sync.Mutex
	last     int64 // ms since the epoch of the last ID
	sequence uint64
	until    int64 // ms since the epoch; no ID is later
}

// New returns a maker of IDs for a worker number, which must be the caller's alone
// (see [MemoryWorkers]). now is the wall clock; nil stands for time.Now.
func New(worker uint16, now func() time.Time) (*Snowflake, error) {
	if worker > MaxWorker {
		return nil, fmt.Errorf("worker %d: %w", worker, ErrWorker)
	}
	if now == nil {
		now = time.Now
	}
	return &Snowflake{worker: uint64(worker) << sequenceBits, now: now, last: -1, until: maxTime}, nil
}

// NewLeased returns a maker of IDs for the number of a lease. It makes none before
// [Snowflake.Reserve], and none that is not later than the lease's Since.
func NewLeased(l Lease, now func() time.Time) (*Snowflake, error) {
	s, err := New(l.Worker, now)
	if err != nil {
		return nil, err
	}
	s.last, s.sequence = max(l.Since.UnixMilli()-epochMilli, -1), maxSequence
	s.until = s.last
	return s, nil
}

// Reserve lets IDs have times up to until, which the caller has just been granted.
// Beyond it [Snowflake.Next] fails with [ErrNotReserved].
func (s *Snowflake) Reserve(until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = max(s.until, until.UnixMilli()-epochMilli)
}

// Last returns the time of the last ID, or of the lease's Since before there is one.
func (s *Snowflake) Last() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.UnixMilli(s.last + epochMilli)
}

// Next returns an ID that is above all before it. It waits for the clock where a
// millisecond has used its 4,096 IDs up, or the clock was set back by at most
// [MaxBackwards]; set back further, it fails with [ErrClockBackwards].
func (s *Snowflake) Next() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ms, err := s.tick()
	if err != nil {
		return 0, err
	}
	if ms == s.last {
		s.sequence++
	} else {
		s.last, s.sequence = ms, 0
	}
	return uint64(ms)<<(workerBits+sequenceBits) | s.worker | s.sequence, nil
}

// tick returns a millisecond, s.last or later, in which an ID is free. It sleeps
// with the lock held, since nobody else could get an ID meanwhile either.
func (s *Snowflake) tick() (int64, error) {
	var waited time.Duration
	for {
		now := s.now()
		ms := now.UnixMilli() - epochMilli
		if ms < 0 || ms > maxTime {
			return 0, ErrClockRange
		}
		if ms > s.until {
			return 0, ErrNotReserved
		}
		behind := time.Duration(s.last-ms) * time.Millisecond
		switch {
		case ms > s.last || (ms == s.last && s.sequence < maxSequence):
			return ms, nil
		case behind > MaxBackwards || waited > 2*MaxBackwards:
			// The second condition is a clock that stands still or keeps falling back.
			return 0, fmt.Errorf("%w: %v behind the last ID", ErrClockBackwards, behind)
		}
		pause := behind + time.Millisecond - time.Duration(now.Nanosecond()%1e6)
		time.Sleep(pause) //nolint:forbidigo // of the caller's time, at most 2*MaxBackwards
		waited += pause
	}
}

// Worker returns the worker number in a Snowflake.
func Worker(id uint64) uint16 { return uint16(id>>sequenceBits) & MaxWorker }

// Time returns when a Snowflake was made, to the millisecond.
func Time(id uint64) time.Time {
	return time.UnixMilli(int64(id>>(workerBits+sequenceBits)) + epochMilli)
}
