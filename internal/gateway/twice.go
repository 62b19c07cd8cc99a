package gateway

import (
	"context"
	"slices"

	"holdfast/internal/message"
)

// A push to several keys may have come to a client by one of them while the record for
// another was lost, and then the connection was. When the client comes back, the other
// key's log has the push as one that it has missed, though it has had it. Two things
// tell: what had been sent before the save that its offset counts from (Saved.Had), and
// the logs of its keys between that save and where it stood.

// received is what a client that comes back has had of the pushes to several keys.
type received struct {
	ids  map[string]struct{}
	had  []string        // those of them that were sent before the save
	from []message.Place // at the save that its offset counts from
	to   []message.Place // the same places moved on by the offset
	seen []bool          // which of those logs have been read

	newest bool // that save is the newest
	shown  bool // by an offset that is the session's
}

func receivedBy(saved *message.Saved, older []message.Saved, offset string) (r received) {
	from, to, ok := reached(saved, older, offset)
	if !ok {
		return r
	}
	r.from, r.to, r.seen = from.Places, to, make([]bool, len(to))
	r.had, r.newest = from.Had, from.Gen == saved.Gen
	_, _, r.shown = parseOffset(saved.Tag, offset)
	r.ids = make(map[string]struct{}, len(from.Had))
	for _, id := range from.Had {
		r.ids[id] = struct{}{}
	}
	return r
}

func (r *received) has(id string) bool {
	_, had := r.ids[id]
	return had
}

// lookForTwice finds out which of the missed pushes to several keys the client has
// had; false when a log cannot be read. A log that no longer has all tells what it can.
func (g *Gateway) lookForTwice(ctx context.Context, back *comeback) bool {
	r := &back.received
	for _, m := range back.missed {
		if len(m.push.Targets) < 2 || r.has(m.push.ID) {
			continue
		}
		for i := range r.to {
			if r.seen[i] || r.to[i].Seq == r.from[i].Seq || !slices.Contains(m.push.Targets, r.to[i].Key) {
				continue
			}
			r.seen[i] = true
			if !g.readReceived(ctx, r, i) {
				return false
			}
		}
	}
	return true
}

// readReceived notes the pushes to several keys of the log of place i up to where the
// client stood.
func (g *Gateway) readReceived(ctx context.Context, r *received, i int) bool {
	for at := r.from[i]; ; {
		records, _, err := g.cfg.Log.Range(ctx, at.Key, at.Position, repairPage)
		if err != nil {
			return false
		}
		for _, x := range records {
			if x.Seq > r.to[i].Seq {
				return true
			}
			if at.Seq = x.Seq; len(x.Push.Targets) > 1 {
				r.ids[x.Push.ID] = struct{}{}
			}
		}
		if len(records) < repairPage {
			return true
		}
	}
}
