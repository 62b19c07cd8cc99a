package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"holdfast/internal/hub"
	"holdfast/internal/message"
	"holdfast/internal/session"
	"holdfast/socketio"
)

// The way of a CONNECT:
//
//	connect ──▶ (goroutine) who is it? anything to recover? ──▶ identified
//	identified ──▶ no connect backend: its guid, if permitted ─────────────▶ admit
//	           └─▶ ask ──▶ Up, WantVerdict ──▶ … ──▶ verdict ──▶ refused or ▶ admit
//	admit ──▶ seats; registrar writes memberships and reads the logs' heads ─▶ admitted
//	admitted ──▶ (recovery: fetch and queue what was missed) ──▶ accept: the answer

// declared is what a client's auth object or query says that the gateway itself
// looks at. What is longer than declaredMost counts as absent: some of it goes with each
// event of the client. A guid that is too long is refused.
type declared struct {
	GUID          text `json:"guid"`
	PID           text `json:"pid"`
	Offset        text `json:"offset"`
	Locale        text `json:"locale"`
	ClientVersion text `json:"client_version"`
	AuthType      text `json:"auth_type"`
}

// declaredMost bounds each of them, in bytes.
const declaredMost = 512

// largeAuth is the size in bytes from which an auth object is not read on the shard: one
// of a megabyte takes tens of milliseconds.
const largeAuth = 16 << 10

// text is a string, or a number as it is written: a document whose ID is 7 is named by
// guid=7 in a query and by {"guid":7} in an auth object. Anything else counts as absent.
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(b []byte) error {
	var s string
	var n json.Number
	switch {
	case json.Unmarshal(b, &s) == nil:
		*t = text(s)
	case json.Unmarshal(b, &n) == nil:
		*t = text(n)
	}
	return nil
}

func declare(auth []byte, query map[string]string) declared {
	var d declared
	if len(auth) > 0 {
		_ = json.Unmarshal(auth, &d) // not an object: nothing is declared
	}
	for name, field := range map[string]*text{
		"guid": &d.GUID, "locale": &d.Locale, "client_version": &d.ClientVersion, "auth_type": &d.AuthType,
	} {
		if *field == "" {
			*field = text(query[name])
		}
	}
	for _, field := range []*text{&d.PID, &d.Offset, &d.Locale, &d.ClientVersion, &d.AuthType} {
		if len(*field) > declaredMost {
			*field = ""
		}
	}
	if len(d.GUID) > message.MaxKeyName {
		d.GUID = text(strings.Clone(string(d.GUID[:message.MaxKeyName+1])))
	}
	return d
}

// connect begins with a client's CONNECT.
func (sh *shard) connect(c *conn, a *session.Action) {
	cl := &client{sock: a.Client, conn: c, entry: &entry{}}
	a.Client.Owner = cl
	cl.entry.auth = authObject(&c.session, a.Client.Namespace, a.Auth)
	cl.since = time.Now().UnixNano()
	if err := sh.name(cl); err != nil {
		sh.refuse(cl, "no ID can be made at the moment; try again", "UNAVAILABLE", true)
		return
	}
	if sh.g.registrar.behind() {
		// As no handshake is accepted then: sessions that are there ask for more and more.
		sh.refuse(cl, "this node has too much to do; try again", "RESOURCE_EXHAUSTED", true)
		return
	}
	creds := message.Credentials{
		Namespace: cl.sock.Namespace, Auth: cl.entry.auth, Query: c.from.query, Headers: c.from.auth,
	}
	if sh.g.cfg.AuthNeverWaits && len(creds.Auth) < largeAuth {
		d := declare(creds.Auth, creds.Query)
		if d.PID == "" || !sh.g.cfg.Recovery {
			id, err := sh.g.cfg.Auth.Authenticate(sh.g.ctx, creds)
			sh.identified(cl, &d, id, err, nil)
			return
		}
	}
	sh.g.wg.Go(func() {
		d := declare(creds.Auth, creds.Query)
		ctx, cancel := context.WithTimeout(sh.g.ctx, sh.g.cfg.VerdictTimeout)
		defer cancel()
		id, err := sh.g.cfg.Auth.Authenticate(ctx, creds)
		var back *comeback
		if err == nil && d.PID != "" && sh.g.cfg.Recovery {
			back = sh.g.lookBack(ctx, string(d.PID), string(d.Offset), creds.Namespace)
		}
		sh.inbox.post(func() { sh.identified(cl, &d, id, err, back) })
	})
}

// name gives a client its ID: protocol 4 clients compute theirs from the session's, and
// raw ones have no other.
func (sh *shard) name(cl *client) error {
	if s := &cl.conn.session; s.Version() == 3 || s.Form() == session.Raw {
		cl.id = message.PublicID(session.PublicName(cl.sock.Namespace, s.ID()))
		return nil
	}
	// An ID that falls to this shard saves looking for the client elsewhere.
	for range 8 * len(sh.g.shards) {
		id, err := sh.g.cfg.IDs.ClientID()
		if err != nil {
			return err
		}
		cl.id = id
		if sh.g.shardOf(id) == sh {
			break
		}
	}
	return nil
}

// authObject is the auth object as events have it: of protocol 5 the packet's, of
// protocol 4 the namespace's query as an object, {} when there is none. nil when
// there is nothing.
func authObject(s *session.Session, namespace string, auth []byte) []byte {
	if len(auth) == 0 {
		return nil
	}
	if s.Version() != 3 {
		return append([]byte(nil), auth...)
	}
	if namespace == "/" {
		return nil
	}
	return queryObject(string(auth))
}

// queryObject writes a query string as a JSON object of strings, as a protocol 4
// namespace's query stands for its auth object.
func queryObject(raw string) []byte {
	values, err := url.ParseQuery(raw)
	if err != nil && len(values) == 0 {
		return nil
	}
	object := make(map[string]string, len(values))
	for name, v := range values {
		object[name] = v[0]
	}
	b, err := json.Marshal(object)
	if err != nil {
		return nil
	}
	return b
}

// refusal is an error that says what the client is told.
type refusal interface {
	error
	Refusal() (msg string, data []byte)
}

// refuse turns a client away with data {"code":…,"message":…}, and "retry" where
// that helps. The message is in both places because version 2 clients are given
// the data alone.
func (sh *shard) refuse(cl *client, msg, code string, retry bool) {
	data := append([]byte(`{"code":`), socketio.AppendString(nil, code)...)
	data = append(data, `,"message":`...)
	data = socketio.AppendString(data, msg)
	if retry {
		data = append(data, `,"retry":true`...)
	}
	sh.refuseWith(cl, msg, append(data, '}'))
}

func (sh *shard) refuseWith(cl *client, msg string, data []byte) {
	sh.unclaim(cl)
	c := cl.conn
	c.session.Refuse(cl.sock, msg, data, sh.now, &sh.acts)
	sh.settle(c)
}

// identified goes on when it is known who the client is.
func (sh *shard) identified(cl *client, d *declared, id message.Identity, err error, back *comeback) {
	c, guid := cl.conn, string(d.GUID)
	if cl.sock.Gone() {
		return
	}
	if err != nil && !sh.g.cfg.AskBackend {
		var r refusal
		if errors.As(err, &r) {
			msg, data := r.Refusal()
			sh.refuseWith(cl, msg, data)
			return
		}
		sh.g.cfg.Logger.Warn("a client cannot be authenticated at the moment", "remote", c.remote, "err", err)
		sh.refuse(cl, "authentication is not available; try again", "UNAVAILABLE", true)
		return
	}
	cl.uid = id.UID
	cl.traits = traits{
		locale: string(d.Locale), clientVersion: string(d.ClientVersion),
		authType: cmp.Or(id.AuthType, string(d.AuthType)), profile: id.Profile,
	}.keep()
	if back != nil && back.saved.Client.UID != id.UID && !sh.g.cfg.AskBackend {
		back = nil // somebody else's private ID
	}
	if c.order == "" {
		c.order = cmp.Or(guid, id.UID, cl.id)
	}
	if back != nil {
		sh.restore(cl, back, func() { sh.decide(cl, id, guid) })
		return
	}
	sh.decide(cl, id, guid)
}

// decide asks the backend about a client, or else decides by what it has shown.
func (sh *shard) decide(cl *client, id message.Identity, guid string) {
	if cl.sock.Gone() {
		return
	}
	if sh.g.cfg.AskBackend {
		sh.askBackend(cl)
		return
	}
	var rooms []string
	if guid != "" {
		if err := message.CheckName(guid); err != nil {
			sh.refuse(cl, "guid: "+err.Error(), "INVALID_ARGUMENT", false)
			return
		}
		if !sh.g.cfg.Auth.RoomPermitted(id, guid) {
			sh.refuse(cl, "the token does not permit this room", "PERMISSION_DENIED", false)
			return
		}
		rooms = []string{guid}
	}
	sh.admit(cl, rooms)
}

// admit gives a client its seats and has its memberships written.
func (sh *shard) admit(cl *client, rooms []string) {
	rooms = cl.entry.back.withRooms(rooms)
	rooms = unique(rooms)
	if len(rooms) > sh.g.cfg.MaxRooms {
		sh.refuse(cl, "too many rooms", "RESOURCE_EXHAUSTED", false)
		if cl.entry.call != "" {
			sh.replyVerdict(cl, "too many rooms")
		}
		return
	}
	cl.known = true
	namespace := cl.sock.Namespace
	keys := []message.Key{message.AllKey(namespace)}
	if sh.g.cfg.Recovery {
		keys = append(keys, message.ClientKey(namespace, cl.id)) // its position is saved with the others; else see room
	}
	if cl.uid != "" {
		keys = append(keys, message.UserKey(namespace, cl.uid))
	}
	for _, room := range rooms {
		keys = append(keys, message.RoomKey(namespace, room))
	}
	enter, fresh := sh.seat(cl, keys)
	cl.shareNames()
	sh.coming[cl.id] = cl
	back := cl.entry.back
	strange := back.strangers(sh, keys)
	sh.g.registrar.submit(op{
		changes: []message.Change{sh.change(message.ChangeConnect, cl, rooms)},
		heads:   slices.Concat(enter, strange),
		done: func(heads []message.Position) {
			sh.inbox.post(func() {
				if len(heads) > len(enter) {
					back.beyond = positionsOf(strange, heads[len(enter):])
				}
				sh.admitted(cl, fresh, heads[:min(len(heads), len(enter))])
			})
		},
	}, enter, nil)
}

// seat gives a client seats and returns the keys, with their rooms, that had no
// member here before.
func (sh *shard) seat(cl *client, keys []message.Key) (enter []message.Key, fresh []*hub.Room[*client]) {
	if cl.seats == nil {
		cl.seats = make([]hub.Seat[*client], 0, len(keys)) // most clients stay where they came in
	}
	for _, key := range keys {
		if room, first := sh.hub.Join(cl, key); first {
			enter, fresh = append(enter, key), append(fresh, room)
			if key.Kind() == message.KindAll {
				sh.namespaces[room] = struct{}{}
			}
		}
	}
	return enter, fresh
}

// shareNames has the client keep no copies of names that the keys of its rooms have.
func (cl *client) shareNames() {
	for i := range cl.seats {
		name := cl.seats[i].Room.Key.Name()
		for _, own := range []*string{&cl.id, &cl.uid, &cl.conn.order} {
			if *own == name {
				*own = name
			}
		}
	}
}

// goLive notes the positions of rooms whose membership has been written.
func (sh *shard) goLive(rooms []*hub.Room[*client], heads []message.Position) {
	for i, head := range heads {
		sh.live(rooms[i], head)
	}
}

func (sh *shard) admitted(cl *client, fresh []*hub.Room[*client], heads []message.Position) {
	sh.goLive(fresh, heads)
	if cl.sock.Gone() {
		return
	}
	if cl.entry.back != nil {
		sh.catchUp(cl)
		return
	}
	cl.standAtHeads()
	sh.accept(cl)
}

// standAtHeads gives the client its rooms' positions: it gets what comes from now on.
func (cl *client) standAtHeads() {
	for i := range cl.seats {
		cl.seats[i].Seq = cl.seats[i].Room.Log.Seq
	}
}

// accept lets the client in: from here on it gets what its rooms get.
func (sh *shard) accept(cl *client) {
	c := cl.conn
	id := cl.id
	if c.session.Version() == 3 {
		id = session.PublicName(cl.sock.Namespace, c.session.ID())
	}
	pid := sh.beginRecovery(cl)
	cl.accepted = true
	sh.clients[cl.id] = cl
	sh.noLongerComes(cl)
	sh.g.Stats.count(&c.session, 1)
	c.session.Accept(cl.sock, id, pid, sh.now)
	if c.from.later != nil {
		c.from = c.from.later
	}
	if cl.asked {
		if cl.entry.call != "" {
			// The answer leaves before what the backend pushes next can be queued.
			sh.replyVerdict(cl, "")
		}
	} else {
		cl.asked = true
		up := sh.up(c, cl, message.EventConnect)
		up.Auth, up.Recovered = cl.entry.authOrEmpty(), cl.recover != nil && cl.recover.returned
		sh.publish(c, up)
	}
	cl.entry = nil
	sh.settle(c)
}

// noLongerComes says that a client is in, or has gone.
func (sh *shard) noLongerComes(cl *client) {
	if sh.coming[cl.id] == cl {
		delete(sh.coming, cl.id)
	}
}
