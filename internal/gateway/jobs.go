package gateway

import (
	"holdfast/internal/hub"
	"holdfast/internal/message"
	"holdfast/internal/session"
)

// place is one room that a message goes to, and its position there (0: outside
// the log).
type place struct {
	room *hub.Room[*client]
	seq  uint64
	end  int // slot after the last that was taken when the job began
}

// send is one message of a job, with its encodings as they are needed.
type send struct {
	push   *message.Push
	at     int64 // when it came, see [Gateway.nanos]; 0: it was held or fetched from the log
	places []place
	whole  bool // it goes to all of its rooms here at once, and cannot come by another later
	filter *filter
	forms  []form
	ask    *ackCall // of a push that wants acknowledgements
}

// form is a message encoded for the clients of one namespace and form.
type form struct {
	namespace string
	form      session.Form
	out       *session.Outgoing // nil: not for them
}

// job brings messages to the members of their rooms, in slices. Messages to the
// same single room that come before the job begins go along with it, so that each
// socket gets them in one write.
type job struct {
	sends   []send
	serial  uint32
	room    int // index of the place that is being walked
	slot    int
	started bool
	reached map[*client]struct{} // who was served out of turn; nil: nobody
}

// jobQueue is the fan-outs of a shard. They take turns, a slice each; a job whose
// room is still being walked by an earlier one waits, for that is the order in
// which the room's members see them.
type jobQueue struct {
	jobs   []*job
	serial uint32
	busy   map[*hub.Room[*client]]struct{}

	items, bytes int // of the messages in jobs
}

func (q *jobQueue) pending() bool { return len(q.jobs) > 0 }

// maxMerged bounds the messages that go along with one job.
const maxMerged = 64

// fanOut queues a message that is late for the members of one of its rooms.
func (sh *shard) fanOut(p *message.Push, places []place) {
	sh.jobs.add(send{push: p, places: places, filter: newFilter(p)})
}

func (q *jobQueue) add(s send) {
	q.items++
	q.bytes += s.push.Size()
	if n := len(q.jobs); n > 0 && len(s.places) == 1 {
		last := q.jobs[n-1]
		if !last.started && last.reached == nil && len(last.sends) < maxMerged && len(last.sends[0].places) == 1 &&
			last.sends[0].places[0].room == s.places[0].room {
			last.sends = append(last.sends, s)
			return
		}
	}
	q.serial++
	q.jobs = append(q.jobs, &job{sends: []send{s}, serial: q.serial})
}

// run gives each job that may go on one slice.
func (q *jobQueue) run(sh *shard) {
	if len(q.jobs) == 0 {
		return
	}
	if len(q.jobs) > 1 && q.busy == nil {
		q.busy = make(map[*hub.Room[*client]]struct{})
	}
	clear(q.busy)
	keep := q.jobs[:0]
	for _, j := range q.jobs {
		if q.blocked(j) || !j.slice(sh) {
			keep = append(keep, j)
			if q.busy != nil {
				for i := range j.sends[0].places {
					q.busy[j.sends[0].places[i].room] = struct{}{}
				}
			}
			continue
		}
		for i := range j.sends {
			s := &j.sends[i]
			q.items--
			q.bytes -= s.push.Size()
			if s.at != 0 {
				sh.written = append(sh.written, written{arrived: s.at, trace: s.push.TraceParent})
			}
			if s.ask != nil {
				sh.asked(s.ask)
			}
		}
	}
	clear(q.jobs[len(keep):])
	q.jobs = keep
	if len(keep) == 0 {
		q.jobs = nil
	}
}

// reach has a client served at once by all jobs that have not come to it, in their order,
// for it is about to leave the shard.
func (q *jobQueue) reach(sh *shard, cl *client) {
	for _, j := range q.jobs {
		if j.has(cl) {
			continue
		}
		places := j.sends[0].places
		for at := j.room; at < len(places); at++ {
			p := &places[at]
			seat := hub.SeatOf(cl, p.room)
			if seat == nil || j.started && (seat.Slot() >= p.end || at == j.room && seat.Slot() < j.slot) {
				continue // it has come after the job began, or was served
			}
			for i := range j.sends {
				sh.sendTo(cl, &j.sends[i], at, j.serial, len(places) > 1)
			}
			if j.reached == nil {
				j.reached = make(map[*client]struct{})
			}
			j.reached[cl] = struct{}{}
		}
	}
}

// has tells whether a client was served out of turn.
func (j *job) has(cl *client) bool {
	_, had := j.reached[cl]
	return had
}

func (q *jobQueue) blocked(j *job) bool {
	if len(q.busy) == 0 {
		return false
	}
	for i := range j.sends[0].places {
		if _, busy := q.busy[j.sends[0].places[i].room]; busy {
			return true
		}
	}
	return false
}

// slice serves the next sockets; true when the job is done.
func (j *job) slice(sh *shard) bool {
	if !j.started {
		j.started = true
		for i := range j.sends {
			for k := range j.sends[i].places {
				p := &j.sends[i].places[k]
				p.room.Hold()
				p.end = p.room.End()
			}
		}
	}
	places := j.sends[0].places
	left := sliceSockets
	for j.room < len(places) {
		p := &places[j.room]
		for j.slot < p.end && left > 0 {
			if cl := p.room.At(j.slot); cl != nil && !j.has(cl) {
				for i := range j.sends {
					sh.sendTo(cl, &j.sends[i], j.room, j.serial, len(places) > 1)
				}
				left--
			}
			j.slot++
		}
		if j.slot < p.end {
			return false
		}
		j.room++
		j.slot = 0
	}
	for i := range j.sends {
		for k := range j.sends[i].places {
			hub.Release(j.sends[i].places[k].room)
		}
	}
	return true
}

// sendTo queues one message for one client: once, though it may be in several of
// the message's rooms, and not at all where it has been there already.
func (sh *shard) sendTo(cl *client, s *send, at int, serial uint32, several bool) {
	if !cl.accepted {
		if cl.keep(s.push, &s.places[at]); s.places[at].seq == 0 {
			sh.keepUnlogged(cl, s)
		}
		return
	}
	if several {
		if cl.lastJob == serial {
			return
		}
		cl.lastJob = serial
	}
	fresh := false
	for i := range s.places {
		p := &s.places[i]
		if !several && i != at {
			continue
		}
		if p.seq == 0 {
			fresh = true
			continue
		}
		if seat := hub.SeatOf(cl, p.room); seat != nil && seat.Seq < p.seq {
			seat.Seq = p.seq
			fresh = true
		}
	}
	if !fresh || len(s.push.Targets) > 1 && cl.hadBefore(s.push.ID, !s.whole) || !s.filter.passes(cl) {
		return
	}
	if s.ask != nil {
		sh.sendAsking(cl, s)
		return
	}
	if s.places[at].seq == 0 && !sh.first(cl, s.push.ID) {
		return
	}
	out := s.encoded(sh, cl, 0, false)
	if out == nil {
		return
	}
	sh.sendOut(cl, out, sh.offset(cl))
}

// sendOut queues an encoded message on the client's session; false when it was not
// taken.
func (sh *shard) sendOut(cl *client, out *session.Outgoing, tail string) bool {
	c := cl.conn
	blocked := c.sock != nil && c.sock.blocked()
	sent, err := c.session.Send(out, tail, blocked, sh.now, &sh.acts)
	switch {
	case err != nil:
		sh.g.cfg.Logger.Info("a client is too slow for what is sent to it",
			"session", message.PublicID(c.session.ID()), "remote", c.remote)
		sh.settle(c)
		return false
	case !sent:
		sh.g.Stats.Dropped.Add(1)
		return false
	}
	sh.g.Stats.EventsOut.Add(1)
	if !c.dirty {
		c.dirty = true
		sh.dirty = append(sh.dirty, c)
	}
	sh.arm(c)
	return true
}

// encoded returns the message in the form of the client's session, encoding it for
// the first one who takes that form.
func (s *send) encoded(sh *shard, cl *client, id uint64, hasID bool) *session.Outgoing {
	f := cl.conn.session.Form()
	for i := range s.forms {
		if s.forms[i].form == f && s.forms[i].namespace == cl.sock.Namespace {
			return s.forms[i].out
		}
	}
	out, err := session.EncodeEvent(f, cl.sock.Namespace, s.push, id, hasID)
	if err != nil {
		sh.g.cfg.Logger.Warn("a push cannot be written in the form of some clients", "message", s.push.ID, "trace_id", s.push.TraceID, "err", err)
	}
	s.forms = append(s.forms, form{namespace: cl.sock.Namespace, form: f, out: out})
	return out
}
