package gateway

import (
	"strings"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/session"
)

// noArguments is an acknowledgement that says nothing but that it is one.
var noArguments = message.Payload{JSON: []byte("[]")}

// event passes what a client emitted on to ws-api.
func (sh *shard) event(c *conn, a *session.Action) {
	cl := a.Client.Owner.(*client)
	sh.g.Stats.EventsIn.Add(1)
	acked := a.WantsAck && sh.g.cfg.AckedByTheBus != nil && sh.g.cfg.AckedByTheBus(a.Name)
	up := sh.up(c, cl, message.EventMessage)
	up.Name, up.Payload = a.Name, a.Payload
	up.WantsAck, up.AckID, up.Acked = a.WantsAck, a.AckID, acked
	if taken := sh.publish(c, up); acked && taken {
		_ = c.session.SendAck(a.Client, a.AckID, &noArguments, sh.now, &sh.acts) // [] can be written in any form
	}
}

// up makes an event with what every event of a client has.
func (sh *shard) up(c *conn, cl *client, what message.EventType) *message.Up {
	event := sh.events.next()
	sh.fillIn(&event.client, cl)
	up := &event.up
	up.Type = what
	id, err := sh.g.cfg.IDs.AppendMessageID(sh.id[:0])
	if err != nil {
		sh.g.cfg.Logger.Error("make a message ID", "err", err)
	}
	sh.id = id
	up.ID = sh.texts.add(id)
	up.TraceID = up.ID
	if t := sh.g.cfg.Tracer; t != nil {
		if up.TraceParent = t.Root(up.ID); up.TraceParent != "" {
			up.TraceID, _, _ = message.ParseTraceParent(up.TraceParent)
		}
	}
	up.Client, up.Rooms = &event.client, cl.appendRooms(event.room[:0])
	up.Order = c.order
	up.Session = message.PublicID(c.session.ID())
	up.Query, up.HTTPHeaders = c.from.query, c.from.headers
	up.Received = time.Now()
	return up
}

// An event lives for as long as ws-api needs it, which no shard knows, so it cannot be
// used again. What a shard can do is to make several at once. They are few, since all of
// them live as long as the last: a backend that holds on to one event in four has four
// times the memory of what it holds, and not a hundred times.
const (
	eventsAtOnce = 4
	textsAtOnce  = 8 * 36 // bytes: eight IDs
)

// upEvent is an event with what it refers to; most clients are in one room at most.
type upEvent struct {
	up     message.Up
	client message.Client
	room   [1]string
}

// upEvents makes events.
type upEvents struct{ unused []upEvent }

func (e *upEvents) next() *upEvent {
	if len(e.unused) == 0 {
		e.unused = make([]upEvent, eventsAtOnce)
	}
	next := &e.unused[0]
	e.unused = e.unused[1:]
	return next
}

// shortTexts makes strings of small pieces of bytes.
type shortTexts struct{ all strings.Builder }

// add returns b as a string, a part of one that it has in common with some others.
func (s *shortTexts) add(b []byte) string {
	if s.all.Len()+len(b) > s.all.Cap() {
		s.all = strings.Builder{}
		s.all.Grow(max(textsAtOnce, len(b)))
	}
	from := s.all.Len()
	s.all.Write(b)
	return s.all.String()[from:]
}
