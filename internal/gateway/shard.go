package gateway

import (
	"bufio"
	"bytes"
	"runtime"
	"time"

	"holdfast/internal/hub"
	"holdfast/internal/message"
	"holdfast/internal/netpoll"
	"holdfast/internal/session"
	"holdfast/internal/timewheel"
	"holdfast/wsframe"
)

// shard is one goroutine that owns a part of the node's sessions. Everything in it
// but the inbox belongs to that goroutine.
type shard struct {
	g      *Gateway
	index  int
	engine netpoll.Engine
	inbox  inbox
	done   chan struct{}

	now      int64
	sessions map[string]*conn   // by the public part of the session ID
	clients  map[string]*client // accepted ones by the public form of their ID
	wheel    *timewheel.Wheel[*conn]
	away     departures         // sessions that other nodes have, or want
	probes   map[*socket]int64  // sockets that try to take a session over, with their deadline
	greeters map[*greeter]int64 // connections that have not said what they want, with theirs
	parting  map[*socket]int64  // sockets that have said their last, with theirs; at most maxParting
	text     bytes.Reader       // of what a greeter reads
	lines    *bufio.Reader      // the same in lines
	hub      *hub.Index[*client]
	// namespaces are the rooms of whole namespaces: every client is in one of them.
	namespaces map[*hub.Room[*client]]struct{}
	walk       *walk // nil: nobody asks for one
	// coming are the clients whose memberships are being written, by the public form of
	// their ID.
	coming map[string]*client
	acts   session.Actions // used again for every call of a session
	events upEvents        // that the shard publishes
	texts  shortTexts      // their IDs
	id     []byte          // the latest of those

	dirty   []*conn // have output that has not been offered to their transport
	jobs    jobQueue
	holding bool      // the inbox counts what was taken from it and may be done by now
	written []written // pushes whose last socket is flushed next
	output  output
	bufs    [][]byte // what a socket is given at the moment
	pinged  bool     // the socket that is being read has sent a ping
	ping    []byte   // the payload of its last one

	verdicts   map[string]*client // public ID → waits for ws-api's verdict
	waits      verdictQueue
	calls      map[uint64]*ackCall // ack ID → push that waits for acknowledgements
	nextAck    uint64
	early      map[*hub.Room[*client]][]*message.Delivery // records that came before their predecessor
	active     map[*hub.Room[*client]]int64               // rooms of which a record came lately → when
	headsAt    int64                                      // when their heads are compared next
	asking     bool                                       // the heads are being read
	survey     survey
	bodies     map[*conn]*cutBody // posts that are being read
	joins      joins
	repairs    []repair
	repairAt   int64 // when the first of them is due
	fetching   int   // logs that are being read
	backlog    backlog
	quota      quota
	unfinished unfinished
	whole      bool // the socket that is being read has got a message whole
	stopping   bool
	sweepAt    int64
}

// sliceSockets is how many sockets a fan-out serves before the shard looks at the
// poller again, so that a big room does not hold up a heartbeat.
const sliceSockets = 128

// How often the shard looks after what has no timer of its own, in milliseconds.
const (
	retryEvery = 20
	sweepEvery = 250
)

func newShard(g *Gateway, index int) (*shard, error) {
	engine, err := netpoll.New(g.cfg.Engine, netpoll.Options{Descriptors: g.cfg.Descriptors})
	if err != nil {
		return nil, err
	}
	sh := &shard{
		g: g, index: index, engine: engine, done: make(chan struct{}),
		now:      g.now(),
		sessions: make(map[string]*conn),
		clients:  make(map[string]*client),
		probes:   make(map[*socket]int64),
		greeters: make(map[*greeter]int64),
		parting:  make(map[*socket]int64),
		lines:    bufio.NewReader(nil),
		hub:      hub.New[*client](),

		namespaces: make(map[*hub.Room[*client]]struct{}), coming: make(map[string]*client),
		early:    make(map[*hub.Room[*client]][]*message.Delivery),
		active:   make(map[*hub.Room[*client]]int64),
		bodies:   make(map[*conn]*cutBody),
		verdicts: make(map[string]*client),
		calls:    make(map[uint64]*ackCall),
		joins:    make(joins),
	}
	sh.wheel = timewheel.New[*conn](sh.now, 10*time.Millisecond)
	sh.inbox.limit, sh.inbox.limitMem, sh.inbox.wake = g.cfg.InboxRecords, g.cfg.InboxBytes, engine.Wake
	return sh, nil
}

// run is the shard's goroutine.
func (sh *shard) run() {
	defer close(sh.done)
	for {
		sh.now = sh.g.now()
		sh.runInbox()
		sh.jobs.run(sh)
		sh.flushDirty()
		sh.tellWritten()
		if sh.holding {
			sh.inbox.hold(sh.jobs.items, sh.jobs.bytes)
			sh.holding = sh.jobs.pending()
		}
		sh.wheel.Advance(sh.now, sh.fire)
		sh.sweep()
		sh.flushDirty()
		if sh.stopping {
			break
		}
		if sh.jobs.pending() {
			runtime.Gosched() // or a fan-out holds up the other goroutines for 10 ms at a time
		}
		if err := sh.engine.Poll(sh.patience()); err != nil {
			sh.g.cfg.Logger.Error("the shard's poller failed; the shard stops", "shard", sh.index, "err", err)
			break
		}
		sh.now = sh.g.now()
	}
	sh.stop()
}

// stop ends what the shard still has. Nothing comes in any more; what waits for an
// answer, a poll or a call, gets one.
func (sh *shard) stop() {
	for _, t := range sh.inbox.close() {
		if t.run != nil {
			t.run()
		}
	}
	sh.endSome(len(sh.sessions), session.ShuttingDown)
	sh.endDepartures()
	sh.endCalls()
	sh.retryBacklog()
	if sh.survey.stop != nil {
		sh.survey.stop()
	}
	_ = sh.engine.Close()
	clear(sh.greeters) // were closed with it
	clear(sh.parting)
}

// patience is how long the poller may wait.
func (sh *shard) patience() time.Duration {
	if sh.jobs.pending() {
		return 0
	}
	wait := time.Duration(sweepEvery) * time.Millisecond
	if len(sh.sessions) == 0 && len(sh.probes) == 0 && len(sh.greeters) == 0 && len(sh.parting) == 0 && len(sh.verdicts) == 0 && len(sh.calls) == 0 && len(sh.away.bySession) == 0 {
		wait = -1
	}
	if sh.backlog.pending() {
		wait = retryEvery * time.Millisecond
	}
	wait = sh.quota.patience(wait)
	if len(sh.repairs) > 0 {
		if in := time.Duration(max(sh.repairAt-sh.now, 0)) * time.Millisecond; wait < 0 || in < wait {
			wait = in
		}
	}
	if w := sh.walk; w != nil && !w.busy {
		if in := time.Duration(max(w.at-sh.now, 0)) * time.Millisecond; wait < 0 || in < wait {
			wait = in
		}
	}
	if in, ok := sh.wheel.Next(sh.now); ok && (wait < 0 || in < wait) {
		wait = max(in, 0)
	}
	return wait
}

func (sh *shard) runInbox() {
	tasks, late := sh.inbox.take(sh.jobs.items, sh.jobs.bytes)
	sh.holding = sh.holding || len(tasks) > 0
	for i := range tasks {
		t := &tasks[i]
		if t.record != nil {
			sh.deliver(t.record, t.at)
		} else {
			t.run()
		}
		*t = task{}
	}
	sh.repairAll(late)
}

// fire is called by the wheel for a session whose deadline has come.
func (sh *shard) fire(t *timewheel.Timer[*conn]) {
	c := t.Value
	if c.paused {
		// Its signs of life are left unread, by this side's doing. A socket that is gone
		// shows by what is written to it.
		c.session.Alive(sh.now)
	}
	c.session.Tick(sh.now, &sh.acts)
	sh.settle(c)
}

// sweep looks after what is too rare to have a timer of its own.
func (sh *shard) sweep() {
	if sh.backlog.pending() && sh.now >= sh.backlog.retryAt {
		sh.retryBacklog()
	}
	sh.runQuota()
	if len(sh.repairs) > 0 && sh.now >= sh.repairAt {
		sh.runRepairs()
	}
	sh.stepWalk()
	if sh.now < sh.sweepAt {
		return
	}
	sh.sweepAt = sh.now + sweepEvery
	for s, deadline := range sh.probes {
		if sh.now >= deadline {
			s.fail(wsframe.PolicyViolation, "no upgrade in time")
		}
	}
	for gr, deadline := range sh.greeters {
		if sh.now >= deadline {
			gr.close()
		}
	}
	for s, deadline := range sh.parting {
		if sh.now >= deadline {
			s.part()
		}
	}
	sh.sweepUnfinished()
	sh.expireVerdicts()
	sh.expireCalls()
	sh.sweepDepartures()
	if len(sh.active) > 0 {
		sh.compareHeads()
	}
	if sh.index == 0 && sh.g.producers.silent(sh.now) {
		sh.g.survey()
	}
	sh.runSurvey()
}

// settle follows up on a call of c's session: it does the actions, arms the timer
// and notes that there may be output.
func (sh *shard) settle(c *conn) {
	// Doing an action may call the session again and add more.
	for !sh.acts.Empty() {
		list := sh.acts.Take()
		for i := range list {
			sh.do(c, &list[i])
		}
		sh.acts.Done(list)
	}
	switch c.session.State() {
	case session.Closed:
		sh.drop(c)
		return
	case session.Closing:
		sh.answerPost(c, httpAnswer{ok: true}) // nothing follows it that could be held up
		sh.cutBodyOf(c)
	}
	sh.arm(c)
	sh.markDirty(c)
}

// arm has the wheel call when the session wants it. A deadline that has moved on
// is left where it is: Tick finds nothing to do then and the timer is armed anew,
// which is cheaper than moving it with each packet.
func (sh *shard) arm(c *conn) {
	if at := c.session.Deadline(); !c.timer.Active() || at < c.timer.Deadline() {
		sh.wheel.Schedule(&c.timer, at)
	}
}

func (sh *shard) do(c *conn, a *session.Action) {
	switch a.Kind {
	case session.Connect:
		sh.connect(c, a)
	case session.Event:
		sh.event(c, a)
	case session.Ack:
		sh.clientAck(a.Client.Owner.(*client), a)
	case session.Leave:
		sh.left(c, a)
	case session.Ended:
		sh.ended(c, a.Reason)
	}
}

func (sh *shard) markDirty(c *conn) {
	if !c.dirty && (c.session.Pending() || c.poll != nil) {
		c.dirty = true
		sh.dirty = append(sh.dirty, c)
	}
}

func (sh *shard) flushDirty() {
	for len(sh.dirty) > 0 {
		dirty := sh.dirty
		sh.dirty = nil
		for i, c := range dirty {
			dirty[i] = nil
			c.dirty = false
			sh.flush(c)
		}
		if sh.dirty == nil {
			sh.dirty = dirty[:0]
		}
	}
}

// endSome ends up to n sessions and returns how many of n are left over.
func (sh *shard) endSome(n int, why session.Reason) (left int) {
	for _, c := range sh.sessions {
		if n == 0 {
			break
		}
		n--
		c.session.End(why, sh.now, &sh.acts)
		sh.settle(c)
		if c.session.State() == session.Closing && c.poll == nil {
			// Nobody waits to be told; the client's next poll gets code 1.
			c.session.Lost(why, &sh.acts)
			sh.settle(c)
		}
	}
	sh.flushDirty()
	return n
}
