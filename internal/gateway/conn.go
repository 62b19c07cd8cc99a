package gateway

import (
	"time"

	"holdfast/internal/hub"
	"holdfast/internal/message"
	"holdfast/internal/session"
	"holdfast/internal/timewheel"
	"holdfast/socketio"
	"holdfast/wsframe"
)

// conn is one session with what carries it. It belongs to its shard.
type conn struct {
	session session.Session
	sock    *socket  // the WebSocket that carries the session, or nil
	passage *passage // while its transport or node changes, and after it came from another node; else nil
	poll    chan httpAnswer
	timer   timewheel.Timer[*conn]
	remote  string // address of the client
	from    *handshake
	order   string // partition key of its events, fixed by its first CONNECT
	dirty   bool
	paused  bool
	dropped bool
	device  uint32 // of an Engine.IO 3 client, see devices; 0: nothing is learnt
}

// client is what the shard keeps of one Socket.IO socket. What others are told of it,
// see [shard.describe], is made when they are told: a client at rest keeps no more than
// what its session does not say as well.
type client struct {
	sock   *session.Client
	conn   *conn
	id     string // public form
	uid    string // "" when nobody knows who this is
	since  int64  // when it connected, Unix time in ns
	traits *traits
	seats  []hub.Seat[*client] // in the order of joining

	entry    *entry // while it comes in
	asked    bool   // a Connect event is out
	known    bool   // the registry has been told of it
	accepted bool
	away     bool     // its session has gone on to another node
	lastJob  uint32   // serial of the last job that reached it
	recent   *idRing  // pushes to several keys that it has had; nil until there is one
	recover  *recover // with recovery on
}

// traits is what many clients have none of.
type traits struct {
	authType, clientVersion, locale string
	profile                         string // JSON object
}

// get returns the traits, of a nil pointer none.
func (t *traits) get() traits {
	if t == nil {
		return traits{}
	}
	return *t
}

// keep returns what a client is to keep of its traits, nil when it has none.
func (t traits) keep() *traits {
	if t == (traits{}) {
		return nil
	}
	return &t
}

// describe says what others are told of a client, as it is now.
func (sh *shard) describe(cl *client) (info message.Client) {
	sh.fillIn(&info, cl)
	return info
}

// fillIn is describe for an empty info that is in place already: every event has one.
func (sh *shard) fillIn(info *message.Client, cl *client) {
	c := cl.conn
	info.ID, info.Namespace, info.UID, info.Node = cl.id, cl.sock.Namespace, cl.uid, sh.g.cfg.Node
	info.Transport, info.Protocol = c.session.Transport().String(), protocolOf(&c.session).String()
	info.RemoteAddr, info.ConnectedAt = c.remote, time.Unix(0, cl.since)
	if t := cl.traits; t != nil {
		info.AuthType, info.ClientVersion, info.Locale, info.Profile = t.authType, t.clientVersion, t.locale, t.profile
	}
}

// change is one write to the registry about a client.
func (sh *shard) change(kind message.ChangeKind, cl *client, rooms []string) message.Change {
	info := sh.describe(cl)
	return message.Change{Kind: kind, Client: &info, Rooms: rooms}
}

// appendRooms appends the names of the rooms that the client is in, in the order of joining.
func (cl *client) appendRooms(names []string) []string {
	for i := range cl.seats {
		if key := cl.seats[i].Room.Key; key.Kind() == message.KindRoom {
			names = append(names, key.Name())
		}
	}
	return names
}

// entry is what is known of a client only until it is in.
type entry struct {
	auth    []byte // the CONNECT packet's auth object, nil when absent
	call    string // ID of the verdict that lets it in, "" before there is one
	replyTo string // ws-api that wants to know when it is in
	claim   string // ID of the client that it comes back as, "" for a new one
	back    *comeback
}

func (e *entry) authOrEmpty() []byte {
	if e.auth == nil {
		return []byte("{}")
	}
	return e.auth
}

// Seats is where the hub finds the client's places.
func (cl *client) Seats() *[]hub.Seat[*client] { return &cl.seats }

// drop forgets a session that is over.
func (sh *shard) drop(c *conn) {
	if c.dropped {
		return
	}
	if c.poll != nil {
		sh.answerPoll(c)
	}
	c.dropped = true
	sh.holds(c, 0, false)
	sh.cutBodyOf(c)
	if s := c.probing(); s != nil {
		s.fail(wsframe.NormalClosure, "the session is over")
	}
	sh.dropPassage(c)
	sh.wheel.Cancel(&c.timer)
	delete(sh.sessions, message.PublicID(c.session.ID()))
	sh.g.admission.leave(c.remote)
	sh.g.Stats.Sessions.Add(-1)
}

// ended closes what carries a session that is over.
func (sh *shard) ended(c *conn, why session.Reason) {
	sh.answerPost(c, httpAnswer{ok: true})
	if s := c.sock; s != nil {
		c.sock = nil
		sh.flushSocket(c, s)
		s.close(wsframe.CloseCode(why.Code), why.Text)
	}
	sh.g.devices.learn(c.device, c.session.Pings(), why == session.PingTimeout)
	if why == session.SlowConsumer {
		sh.g.Stats.SlowConsumers.Add(1)
	}
	sh.g.cfg.Logger.Debug("session ended", "session", message.PublicID(c.session.ID()), "reason", why.Text)
}

// malformed logs what a client did wrong. It is the client's mistake, so it is
// no more than a line and a counter.
func (sh *shard) malformed(c *conn, err error) {
	sh.g.Stats.Malformed.Add(1)
	sh.g.cfg.Logger.Info("session ended for what the client sent",
		"session", message.PublicID(c.session.ID()), "remote", c.remote, "err", err)
}

// flush offers what waits to the session's transport.
func (sh *shard) flush(c *conn) {
	switch {
	case c.sock != nil:
		sh.flushSocket(c, c.sock)
	case c.poll != nil && c.session.Ready():
		sh.answerPoll(c)
	}
}

// answerPoll answers the waiting poll with what is queued.
func (sh *shard) answerPoll(c *conn) {
	body, binary := c.session.AppendPayload(nil, sh.g.cfg.PollingResponse, &sh.acts)
	if len(body) == 0 {
		body = append(body, '1') // the session ended under the poll
	}
	c.poll <- httpAnswer{ok: true, body: body, binary: binary}
	c.poll = nil
	if !sh.acts.Empty() {
		sh.settle(c)
	}
}

// left is called once for each client that goes.
func (sh *shard) left(c *conn, a *session.Action) {
	cl, ok := a.Client.Owner.(*client)
	if !ok {
		return
	}
	sh.unclaim(cl)
	sh.noLongerComes(cl)
	if sh.verdicts[cl.id] == cl {
		delete(sh.verdicts, cl.id)
	}
	var exit []message.Key
	saved := sh.lastSave(cl, a.Reason)
	rooms := cl.appendRooms(nil)
	sh.hub.LeaveAll(cl, func(room *hub.Room[*client], last bool) {
		if last {
			exit = append(exit, room.Key)
			sh.abandon(room)
		}
	})
	if cl.accepted {
		sh.g.Stats.count(&c.session, -1)
	}
	if sh.clients[cl.id] == cl {
		delete(sh.clients, cl.id)
	}
	cl.accepted = false
	if cl.entry != nil && cl.entry.call != "" {
		sh.replyVerdict(cl, "the client left before the verdict")
	}
	if !cl.known {
		return
	}
	o := op{changes: []message.Change{sh.change(message.ChangeDisconnect, cl, nil)}}
	saved(&o)
	if cl.asked {
		// The event follows the registry, so that a backend that hears of a leave does
		// not find the client still counted.
		up := sh.up(c, cl, message.EventDisconnect)
		up.Reason, up.Rooms = a.Reason.Text, rooms
		o.done = func([]message.Position) {
			if !sh.inbox.post(func() { sh.publish(nil, up) }) {
				_ = sh.g.cfg.Bus.Publish(up)
			}
		}
	}
	sh.g.registrar.submit(o, nil, exit)
}

// clientAck passes a client's acknowledgement of a push on.
func (sh *shard) clientAck(cl *client, a *session.Action) {
	if call := sh.calls[a.AckID]; call != nil {
		if _, asked := call.waiting[cl]; asked {
			sh.acknowledge(call, cl, a.Payload)
			return
		}
	}
	sh.passAck(cl, a)
}

func (sh *shard) acknowledge(call *ackCall, cl *client, p message.Payload) {
	delete(call.waiting, cl)
	call.node.reply(message.Reply{Ack: &message.AckReply{Client: cl.id, Payload: p}})
	sh.endCall(call, false)
}

// sendAck answers a client's event.
func (sh *shard) sendAck(cl *client, ack *message.Ack) {
	if err := cl.sock.Session.SendAck(cl.sock, ack.AckID, &ack.Payload, sh.now, &sh.acts); err != nil {
		sh.g.cfg.Logger.Warn("an acknowledgement cannot be written", "client", cl.id, "err", err)
		_ = cl.sock.Session.SendAck(cl.sock, ack.AckID, &message.Payload{
			JSON: socketio.AppendEvent(nil, "error", nil),
		}, sh.now, &sh.acts)
	}
	sh.settle(cl.conn)
}
