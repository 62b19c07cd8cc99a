package gateway

import (
	"context"
	"errors"
	"net/http"
	"time"

	"holdfast/engineio"
	"holdfast/internal/message"
	"holdfast/internal/session"
	"holdfast/wsframe"
)

// arrival is a WebSocket that tries to take over a session of another node.
type arrival struct {
	call  sessionCall // says which session, and whose attempt it is
	owner string
	step  step
	held  []heldFrame // what the client has sent since its 5, while nothing more is read
	conn  *conn       // from when the session is here
}

type heldFrame struct {
	op      wsframe.Opcode
	payload []byte
}

// step is how far an arrival has got.
type step uint8

const (
	probing step = iota // the client has not said 2probe
	asking              // the owner has not answered that
	probed              // the client has its 3probe
	taking              // it has said 5
	lost                // and is gone meanwhile
)

// upgradeElsewhere brings the socket on which a client of another node tries the
// WebSocket.
func (h *request) upgradeElsewhere() {
	owner := h.owner()
	if owner == "" {
		h.fail(engineio.UnknownSession, "")
		return
	}
	id, err := h.g.cfg.IDs.Secret()
	if err != nil {
		h.busy("no session can be taken over at the moment")
		return
	}
	a := &arrival{owner: owner, call: sessionCall{SID: h.q.sid, ID: id, Node: h.g.cfg.Node}}
	ctx, cancel := context.WithTimeout(h.r.Context(), probeTime)
	defer cancel()
	status, err := h.g.ask(ctx, owner, pathProbe, &a.call, nil)
	if err != nil && status != http.StatusConflict {
		h.fail(engineio.UnknownSession, "")
		return
	}
	free := status == http.StatusOK
	done := false
	defer func() {
		if free && !done {
			h.g.tell(owner, pathLeave, &a.call)
		}
	}()
	if h.r.Method != http.MethodGet {
		h.fail(engineio.BadHandshakeMethod, "")
		return
	}
	key, ok := h.handshakeKey()
	if !ok {
		return
	}
	s := &socket{sh: h.g.shardOf(h.q.sid), probe: true, arrival: a}
	nc, first, err := h.hijack(key, s)
	if err != nil {
		return
	}
	if !free {
		h.g.turnAway(nc)
		return
	}
	sh := s.sh
	done = sh.inbox.post(func() {
		sh.probes[s] = sh.now + sh.g.cfg.UpgradeTimeout.Milliseconds()
		if err := sh.attach(s, nc, first); err != nil {
			delete(sh.probes, s)
			sh.lostArrival(s)
			_ = nc.Close()
		}
	})
	if !done {
		_ = nc.Close()
	}
}

// arrivalFrame takes one message from such a socket.
func (s *socket) arrivalFrame(op wsframe.Opcode, payload []byte) error {
	a, sh := s.arrival, s.sh
	switch {
	case a.step == taking:
		a.held = append(a.held, heldFrame{op, append([]byte(nil), payload...)})
		return nil
	case op == wsframe.Text && a.step == probing && string(payload) == "2probe":
		a.step = asking
		sh.g.wg.Go(func() {
			ctx, cancel := context.WithTimeout(sh.g.ctx, probeTime)
			defer cancel()
			_, err := sh.g.ask(ctx, a.owner, pathPing, &a.call, nil)
			sh.inbox.post(func() { s.pinged(err) })
		})
		return nil
	case op == wsframe.Text && a.step == probed && string(payload) == "5":
		a.step = taking
		delete(sh.probes, s)
		s.nc.PauseReading()
		sh.g.wg.Go(func() { sh.g.take(s) })
		return nil
	}
	s.fail(wsframe.PolicyViolation, "not an upgrade")
	return errStop
}

// pinged goes on when the owner has taken the client's 2probe.
func (s *socket) pinged(err error) {
	switch {
	case s.closed:
	case err != nil:
		s.fail(wsframe.PolicyViolation, "the session cannot be taken over")
	default:
		s.arrival.step = probed
		s.write(whole(wsframe.AppendFrame(nil, wsframe.Text, false, []byte("3probe"))))
	}
}

// lostArrival says that the socket of an arrival is gone. One that has its session
// already goes through to the end, where that is looked at.
func (sh *shard) lostArrival(s *socket) {
	a := s.arrival
	if a.step == taking {
		a.step = lost
		return
	}
	if a.step < taking {
		sh.g.wg.Go(func() { sh.g.tell(a.owner, pathLeave, &a.call) })
	}
}

// take fetches the session from its owner, off the shard.
func (g *Gateway) take(s *socket) {
	a := s.arrival
	ctx, cancel := context.WithTimeout(g.ctx, g.cfg.VerdictTimeout+takeTime)
	defer cancel()
	hand := &handover{}
	_, err := g.ask(ctx, a.owner, pathTake, &a.call, hand)
	if err == nil && hand.Session.ID != a.call.SID {
		err = errors.New("that is another session")
	}
	posted := s.sh.inbox.post(func() {
		if err == nil {
			a.conn, err = s.sh.adopt(hand, s, nil)
		}
		if err != nil {
			g.cfg.Logger.Info("a session cannot be taken over", "session", message.PublicID(a.call.SID), "owner", a.owner, "err", err)
			s.sh.giveBack(s)
		}
	})
	if !posted {
		g.tell(a.owner, pathLeave, &a.call)
	}
}

// giveBack leaves the session to its owner.
func (sh *shard) giveBack(s *socket) {
	a := s.arrival
	a.step = lost
	s.close(wsframe.TryAgainLater, "the session cannot be taken over")
	sh.g.wg.Go(func() { sh.g.tell(a.owner, pathLeave, &a.call) })
}

// adopted goes on when the memberships of all clients are written: the owner is told,
// unless the session has come back here.
func (sh *shard) adopted(c *conn, s *socket) {
	if c.dropped {
		if s != nil {
			sh.giveBack(s)
		}
		return
	}
	if s == nil {
		sh.followUp(c)
		return
	}
	a := s.arrival
	sh.g.wg.Go(func() {
		owned, err := sh.g.confirm(a)
		sh.inbox.post(func() {
			switch {
			case c.dropped:
				sh.tellGone(c, a.owner)
			case err != nil:
				sh.g.cfg.Logger.Info("a session cannot be taken over", "session", message.PublicID(a.call.SID), "owner", a.owner, "err", err)
				sh.letGo(c, owned)
			default:
				sh.g.Stats.MovedIn.Add(1)
				sh.followUp(c)
			}
		})
	})
}

// confirm tells the owner that the session is this node's now, until it answers. On an
// error the session is not: owned says that the owner has it again, else it is dead.
func (g *Gateway) confirm(a *arrival) (owned bool, err error) {
	ctx, cancel := context.WithTimeout(g.ctx, confirmTime*time.Millisecond/2)
	defer cancel()
	for wait := 50 * time.Millisecond; wait < time.Second; wait *= 2 {
		var status int
		if status, err = g.ask(ctx, a.owner, pathTaken, &a.call, nil); err == nil || status == http.StatusGone {
			return status == http.StatusGone, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	// It may have heard it, and only its answer was lost.
	switch status, lost := g.ask(ctx, a.owner, pathLeave, &a.call, nil); {
	case status == http.StatusConflict:
		return false, nil
	default:
		return lost == nil, err
	}
}

// letGo drops a session that was not got. When the owner has it again, nobody else
// hears of that; else backends hear from here that its clients are gone.
func (sh *shard) letGo(c *conn, owned bool) {
	if owned {
		for _, sc := range c.session.Clients() {
			cl := sc.Owner.(*client)
			cl.asked, cl.recover = false, nil
		}
	}
	c.session.Lost(session.TransportClose, &sh.acts)
	sh.settle(c)
}

// passAck brings an acknowledgement to the node where the client was asked for it.
func (sh *shard) passAck(cl *client, a *session.Action) {
	p := cl.conn.passage
	if p == nil || !p.acks[askedAt{cl, a.AckID}] {
		return
	}
	delete(p.acks, askedAt{cl, a.AckID})
	q := &ackCallAway{SID: cl.conn.session.ID(), Client: cl.id, AckID: a.AckID, Payload: a.Payload}
	sh.g.wg.Go(func() { sh.g.tell(p.from, pathAck, q) })
}

// dropPassage is called when a session is over, whatever it was in the middle of.
func (sh *shard) dropPassage(c *conn) {
	delete(sh.away.visited, c)
	p := c.passage
	if p == nil {
		return
	}
	for _, run := range p.later {
		run()
	}
	p.later = nil
	if p.hand != nil {
		p.hand = nil
		sh.away.arriving--
	}
	if p.from != "" {
		sh.tellGone(c, p.from)
	}
}

// tellGone tells the node that keeps a tombstone of a session that it is over.
func (sh *shard) tellGone(c *conn, node string) {
	q := &sessionCall{SID: c.session.ID(), Node: sh.g.cfg.Node}
	sh.g.wg.Go(func() { sh.g.tell(node, pathGone, q) })
}
