package bus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"holdfast/internal/message"
)

// clocksApart is how far the clock of who writes a record may be behind this one's.
const clocksApart = time.Second

// pollRecords is how many records are taken from the client at once.
const pollRecords = 500

// member is this process in a group of consumers:
//
//	assigned ──▶ part, from the group's committed offset
//	             read: hand over, window grows        settled: window shrinks, position grows
//	revoked  ──▶ nothing more is handed over; wait for what is in flight, commit, forget
//	lost     ──▶ forget: another consumer has it already
//
// A process that stands still, or cannot reach Kafka, is found dead by the others, and
// what it has read already is theirs. So it hands over only under a lease: for so long
// after Kafka took it for a member that nobody can have its partitions yet.
type member struct {
	b      *Kafka
	topic  string
	group  string
	client *kgo.Client
	ending chan struct{} // closed when nobody waits for what is in flight any more
	renew  chan struct{} // holds a token when the lease is to be renewed at once

	// committing is held from a look at the positions until Kafka has them. Else one who
	// has looked earlier may commit later, and what is settled comes again.
	committing sync.Mutex

	mu     sync.Mutex
	parts  map[int32]*part
	gone   int           // in flight in parts that were forgotten
	change chan struct{} // closed at the next settlement; nil: nobody waits for it
	lease  time.Time     // until when this process is a member for certain
}

// part is one partition while it is this process'. A partition that comes back is a
// new part, so that nothing of its former life counts. All fields are guarded by the
// member's mu.
type part struct {
	id        int32
	since     time.Time // it was assigned: older records may have been handed out by another
	leaving   bool
	forgotten bool
	window    []*mark // in flight, and settled behind such
	open      int     // of these, not settled
	position  kgo.EpochOffset
	committed int64
}

// mark is one event that was handed over.
type mark struct {
	offset  int64
	epoch   int32
	settled bool
}

func (b *Kafka) join(topic, group string) (*member, error) {
	m := &member{
		b: b, topic: topic, group: group, parts: make(map[int32]*part),
		ending: make(chan struct{}), renew: make(chan struct{}, 1),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, ErrClosed
	}
	var err error
	m.client, err = b.client(
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(b.opts.DeadAfter), kgo.HeartbeatInterval(b.opts.DeadAfter/8),
		kgo.RebalanceTimeout(b.opts.HandOver+b.opts.Timeout),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(m.assigned), kgo.OnPartitionsRevoked(m.revoked), kgo.OnPartitionsLost(m.lost),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.RewindOffset(time.Minute)),
		kgo.FetchMinBytes(1), kgo.FetchMaxWait(time.Second),
		kgo.FetchMaxBytes(b.opts.fetchBytes()), kgo.FetchMaxPartitionBytes(1<<20),
	)
	if err != nil {
		return nil, err
	}
	b.work.Add(1) // until it has left
	b.members.Add(1)
	b.work.Go(m.commitNowAndThen)
	b.work.Go(m.keepLease)
	return m, nil
}

// fetchBytes bounds what one fetch returns, though a larger record comes alone.
func (o *KafkaOptions) fetchBytes() int32 { return max(8<<20, o.MaxRecord) }

// read hands records over until ctx ends or the bus is closed.
func (m *member) read(ctx context.Context, handle func(r *kgo.Record, again bool, hold func() message.Hold, settled func())) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.b.taking, cancel)()
	again := m.b.backoff("read " + m.topic)
	for ctx.Err() == nil {
		fetches := m.client.PollRecords(ctx, pollRecords)
		batch := m.batch(fetches)
		// From here on partitions may be taken away, which hand notices.
		m.client.AllowRebalance()
		if err := fetchError(ctx, fetches); err != nil && len(batch) == 0 {
			again.failed(ctx, err)
			continue
		}
		again.worked()
		for _, e := range batch {
			if !m.room(ctx, e.part) {
				return
			}
			if settled := m.hand(e); settled != nil {
				again := !e.record.Timestamp.After(e.part.since.Add(clocksApart))
				handle(e.record, again, func() message.Hold { return m.hold(e.part) }, settled)
			}
		}
	}
}

// fetchError returns what is wrong with a fetch, apart from the end of the poll.
func fetchError(ctx context.Context, fetches kgo.Fetches) (err error) {
	fetches.EachError(func(_ string, _ int32, each error) {
		if ctx.Err() == nil && !errors.Is(each, context.Canceled) && !errors.Is(each, context.DeadlineExceeded) {
			err = each
		}
	})
	return err
}

// entry is a record with the part that it was read for.
type entry struct {
	record *kgo.Record
	part   *part
}

// batch is called before rebalances are allowed, so what was polled is of the parts
// that there are now.
func (m *member) batch(fetches kgo.Fetches) []entry {
	if fetches.Empty() {
		return nil
	}
	out := make([]entry, 0, fetches.NumRecords())
	m.mu.Lock()
	defer m.mu.Unlock()
	fetches.EachRecord(func(r *kgo.Record) {
		if p := m.parts[r.Partition]; p != nil {
			out = append(out, entry{r, p})
		}
	})
	return out
}

// room waits until one more may be in flight, and there is a lease for it; false when
// ctx has ended.
func (m *member) room(ctx context.Context, of *part) bool {
	for ctx.Err() == nil {
		m.mu.Lock()
		behind := 0
		for _, p := range m.parts {
			behind += len(p.window)
		}
		change := m.nextChange()
		ready := of.forgotten || behind < m.b.opts.Window && time.Now().Before(m.lease)
		m.mu.Unlock()
		if ready {
			return true
		}
		select {
		case <-change:
		case <-ctx.Done():
		}
	}
	return false
}

// hand notes a record as in flight and returns what settles it, or nil when its
// partition is not ours to read any more.
func (m *member) hand(e entry) (settled func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := e.part
	if p.leaving || p.forgotten {
		return nil
	}
	k := &mark{offset: e.record.Offset, epoch: e.record.LeaderEpoch}
	p.window = append(p.window, k)
	p.open++
	return func() { m.settle(p, k) }
}

// hold tells how this process stands to a record that was handed out of a part.
func (m *member) hold(p *part) message.Hold {
	m.mu.Lock()
	defer m.mu.Unlock()
	return message.Hold{Until: m.lease, Lost: p.forgotten}
}

func (m *member) settle(p *part, k *mark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k.settled {
		return
	}
	k.settled = true
	p.open--
	if p.forgotten {
		m.gone--
	}
	n := 0
	for n < len(p.window) && p.window[n].settled {
		p.position = kgo.EpochOffset{Epoch: p.window[n].epoch, Offset: p.window[n].offset + 1}
		p.window[n] = nil
		n++
	}
	if p.window = p.window[n:]; len(p.window) == 0 {
		p.window = nil
	}
	m.changed()
}

// nextChange returns what is closed when something is settled or forgotten, or the
// lease is new. Called with mu held, as is changed.
func (m *member) nextChange() <-chan struct{} {
	if m.change == nil {
		m.change = make(chan struct{})
	}
	return m.change
}

func (m *member) changed() {
	if m.change != nil {
		close(m.change)
		m.change = nil
	}
}

func (m *member) count() (inflight, partitions int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.inflight(), len(m.parts)
}

// inflight is called with mu held.
func (m *member) inflight() int {
	n := m.gone
	for _, p := range m.parts {
		n += p.open
	}
	return n
}

func (m *member) assigned(_ context.Context, _ *kgo.Client, added map[string][]int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range added[m.topic] {
		m.parts[id] = &part{id: id, since: time.Now(), position: kgo.EpochOffset{Epoch: -1, Offset: -1}, committed: -1}
	}
	signal(m.renew)
}

// revoked holds the rebalance until what is in flight is settled and committed, but
// not longer than HandOver: the next owner would do it again.
func (m *member) revoked(ctx context.Context, _ *kgo.Client, taken map[string][]int32) {
	if len(taken[m.topic]) == 0 {
		return
	}
	m.mu.Lock()
	for _, id := range taken[m.topic] {
		if p := m.parts[id]; p != nil {
			p.leaving = true
		}
	}
	m.mu.Unlock()
	timeout := time.NewTimer(m.b.opts.HandOver)
	defer timeout.Stop()
	for waiting := true; waiting; {
		open, change := m.openOf(taken[m.topic])
		if open == 0 {
			break
		}
		select {
		case <-change:
		case <-timeout.C:
			waiting = false
		case <-m.ending:
			waiting = false
		}
	}
	if err := m.commit(ctx); err != nil {
		m.b.opts.Log.Warn("what was settled could not be committed before another consumer takes over; it may come again",
			"topic", m.topic, "error", err)
	}
	m.forget(taken[m.topic])
}

func (m *member) openOf(ids []int32) (open int, change <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		if p := m.parts[id]; p != nil {
			open += p.open
		}
	}
	return open, m.nextChange()
}

func (m *member) lost(_ context.Context, _ *kgo.Client, taken map[string][]int32) {
	m.forget(taken[m.topic])
}

func (m *member) forget(ids []int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		if p := m.parts[id]; p != nil {
			p.forgotten = true
			m.gone += p.open
			delete(m.parts, id)
		}
	}
	m.changed()
}

// commit tells Kafka how far each partition is settled.
func (m *member) commit(ctx context.Context) error {
	m.committing.Lock()
	defer m.committing.Unlock()
	m.mu.Lock()
	offsets := make(map[int32]kgo.EpochOffset)
	for id, p := range m.parts {
		if p.position.Offset > p.committed {
			offsets[id] = p.position
		}
	}
	m.mu.Unlock()
	if len(offsets) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, m.b.opts.Timeout)
	defer cancel()
	refused := make(map[int32]bool)
	var failed error
	m.client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{m.topic: offsets},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			if failed = err; err != nil {
				return
			}
			for i := range resp.Topics {
				for _, p := range resp.Topics[i].Partitions {
					if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
						failed, refused[p.Partition] = err, true
					}
				}
			}
		})
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, at := range offsets {
		if p := m.parts[id]; p != nil && !refused[id] && (failed == nil || len(refused) > 0) {
			p.committed = max(p.committed, at.Offset)
		}
	}
	return failed
}

// commitNowAndThen commits until the member leaves.
func (m *member) commitNowAndThen() {
	every := time.NewTicker(m.b.opts.Commit)
	defer every.Stop()
	again := m.b.backoff("commit what is settled of " + m.topic)
	for {
		select {
		case <-every.C:
		case <-m.ending:
			return
		}
		err := m.commit(m.b.base)
		switch {
		case err == nil:
			again.worked()
		case errors.Is(err, kerr.RebalanceInProgress), errors.Is(err, kerr.IllegalGeneration), errors.Is(err, kerr.UnknownMemberID):
			// Partitions change hands; what is still ours then is committed the next time.
		default:
			again.failed(m.b.base, err)
		}
	}
}

// keepLease asks now and then whether this process is a member still, until it leaves.
// The client asks too, and takes partitions away when it is not, but does not tell when
// it was.
func (m *member) keepLease() {
	every := time.NewTicker(m.b.opts.DeadAfter / 4)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-m.renew:
		case <-m.ending:
			return
		}
		m.renewLease()
	}
}

// renewLease asks once. Kafka counts the silence of a member from when it hears it, which
// is later than began, so a lease of less than DeadAfter is over before that.
func (m *member) renewLease() {
	id, generation := m.client.GroupMetadata()
	if id == "" || generation < 0 {
		return // no member yet, or not any more
	}
	ctx, cancel := context.WithTimeout(m.b.base, m.b.opts.DeadAfter/2)
	defer cancel()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = m.group, id, generation
	began := time.Now()
	resp, err := req.RequestWith(ctx, m.client)
	if err != nil {
		return // the client tells of it
	}
	// While partitions change hands those that stay here are read on.
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil && !errors.Is(err, kerr.RebalanceInProgress) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lease = began.Add(m.b.opts.DeadAfter * 3 / 4)
	m.changed()
}

// leave lets another consumer have the partitions when what is in flight is settled,
// or the bus is closed, and calls left after that. It does not wait for it.
func (m *member) leave(left func()) {
	m.client.PauseFetchTopics(m.topic)
	go func() { // Close waits for it
		defer m.b.work.Done()
		defer m.b.members.Done()
		defer left()
		for closed := false; !closed; {
			m.mu.Lock()
			open := m.inflight()
			change := m.nextChange()
			m.mu.Unlock()
			if open == 0 {
				break
			}
			select {
			case <-change:
			case <-m.b.closing:
				closed = true
			}
		}
		close(m.ending)
		ctx, cancel := context.WithTimeout(m.b.base, m.b.opts.Timeout)
		defer cancel()
		if err := m.commit(ctx); err != nil {
			m.b.opts.Log.Warn("what was settled could not be committed; it may come again", "topic", m.topic, "error", err)
		}
		if err := m.client.LeaveGroupContext(ctx); err != nil {
			m.b.opts.Log.Warn("the bus could not say good-bye; others take over when they find it dead", "topic", m.topic, "error", err)
		}
		m.client.CloseAllowingRebalance()
	}()
}
