package gateway

import (
	"holdfast/internal/message"
)

// Where a connect backend decides, a CONNECT waits for its verdict:
//
//	askBackend ──▶ Up, WantVerdict ──▶ ws-api ──▶ Down, Verdict ──▶ passVerdict ──▶ verdict
//	                                                                 refused or admit ─┘
//
// ws-api is told when the client has its answer, for what the backend pushes next is to
// come after it.

// verdictQueue has the clients that wait for a verdict, oldest first: they all
// wait for the same time.
type verdictQueue []struct {
	cl *client
	at int64
}

// askBackend has ws-api decide.
func (sh *shard) askBackend(cl *client) {
	cl.asked = true
	sh.verdicts[cl.id] = cl
	sh.waits = append(sh.waits, struct {
		cl *client
		at int64
	}{cl, sh.now + sh.g.cfg.VerdictTimeout.Milliseconds()})
	up := sh.up(cl.conn, cl, message.EventConnect)
	up.WantVerdict, up.Auth, up.Recovered = true, cl.entry.authOrEmpty(), cl.recover != nil
	sh.publish(cl.conn, up)
}

func (sh *shard) expireVerdicts() {
	n := 0
	for _, w := range sh.waits {
		if w.at > sh.now {
			break
		}
		n++
		if sh.verdicts[w.cl.id] == w.cl {
			delete(sh.verdicts, w.cl.id)
			sh.refuse(w.cl, "the backend did not answer in time; try again", "DEADLINE_EXCEEDED", true)
		}
	}
	sh.waits = append(sh.waits[:0], sh.waits[n:]...)
	if len(sh.waits) == 0 {
		sh.waits = nil
	}
}

// passVerdict takes a verdict to the shard whose client waits for it. That is not
// always the one that the ID says: a client that came back keeps an ID that was made
// for another session. left is how many shards have not been asked.
func (sh *shard) passVerdict(v *message.Verdict, call *nodeCall, left int) {
	pass := func() {
		if left == 1 {
			call.reply(message.Reply{Done: true, Err: "the client is gone"})
			return
		}
		sh.g.shards[(sh.index+1)%len(sh.g.shards)].passVerdict(v, call, left-1)
	}
	posted := sh.inbox.post(func() {
		if cl := sh.verdicts[v.Client]; cl != nil {
			sh.verdict(cl, v, call)
		} else {
			pass()
		}
	})
	if !posted {
		pass()
	}
}

// verdict carries out what ws-api has decided about a CONNECT.
func (sh *shard) verdict(cl *client, v *message.Verdict, call *nodeCall) {
	delete(sh.verdicts, v.Client)
	cl.entry.call, cl.entry.replyTo = call.id, call.to
	if v.Reject != nil {
		cl.asked = false // who was never let in does not leave either
		sh.refuseWith(cl, v.Reject.Message, v.Reject.Data)
		sh.replyVerdict(cl, "")
		return
	}
	if v.UID != "" {
		cl.uid = v.UID
	}
	if v.Profile != "" {
		t := cl.traits.get()
		t.profile = v.Profile
		cl.traits = t.keep()
	}
	if cl.recover != nil && cl.recover.uid != cl.uid {
		// The private ID was another user's: this client begins anew.
		sh.replyVerdict(cl, "the client is asked about again under a new ID")
		sh.unclaim(cl)
		cl.recover, cl.entry.back = nil, nil
		if err := sh.name(cl); err != nil {
			sh.refuse(cl, "no ID can be made at the moment; try again", "UNAVAILABLE", true)
			return
		}
		sh.askBackend(cl)
		return
	}
	sh.admit(cl, v.JoinRooms)
}

// replyVerdict tells ws-api that the client has its answer, or why it has none.
func (sh *shard) replyVerdict(cl *client, why string) {
	call := nodeCall{g: sh.g, id: cl.entry.call, to: cl.entry.replyTo}
	cl.entry.call = ""
	call.reply(message.Reply{Clients: 1, Done: true, Err: why})
}
