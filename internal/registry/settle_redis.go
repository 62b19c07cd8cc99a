package registry

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"holdfast/internal/redis"
)

const (
	// settleTries bounds how often sets are told again since the client was changed
	// by another node meanwhile.
	settleTries = 8
	// touchedTTL is how many seconds it is kept that a node's clients were touched. It
	// must outlast any batch.
	touchedTTL = 60 * 60
)

// errContested says that others keep changing a client.
var errContested = errors.New("a client is being changed by several nodes")

// touch tells the nodes that their clients have been changed by somebody else, after
// the records were changed and before the sets are told.
//
// It is for the sake of a node that has just made one of the records and may be telling
// the sets yet. That node does not look at each record once more, which would be a
// command for each client that connects. It reads when it was touched, before it makes
// records and after it has told their sets, and looks at them if that differs:
//
//	maker:  own, reads touched ─▶ record ─▶ sets ─▶ touched again
//	other:                          record ─▶ touch ─▶ sets
//
// If the maker's sets come after the other's, its second look comes after the touch,
// and the first one came before its record, so before the touch.
func (r *Redis) touch(ctx context.Context, told []relations) error {
	var calls []redis.Call
	seen := make(map[string]bool)
	add := func(node string) {
		if seen[node] {
			return
		}
		seen[node] = true
		calls = append(calls, redis.Call{
			Script: touchScript, Keys: []string{r.nodeTouchedKey(node)}, Args: []string{strconv.Itoa(touchedTTL)},
		})
	}
	for i := range told {
		if told[i].seized {
			add(told[i].node)
		}
		for _, node := range told[i].from {
			add(node)
		}
	}
	return r.send(ctx, calls)
}

// settle notes in the clients' records that their sets have been told, and then
// takes off the nodes' own sets what they own no more. Sets of clients that were
// changed meanwhile are told once more: the last to change a client sees to it. before
// is what the nodes of fresh records had been touched at.
func (r *Redis) settle(ctx context.Context, told []relations, before map[string]string, after []redis.Call) error {
	var open, fresh []*relations
	for i := range told {
		if told[i].fresh {
			fresh = append(fresh, &told[i])
		} else {
			open = append(open, &told[i])
		}
	}
	changed, done, err := r.settleOnce(ctx, open, fresh, before)
	for try := 0; err == nil && len(changed) > 0; try++ {
		if try == settleTries {
			return errContested
		}
		var again []*relations
		if open, err = r.tellAgain(ctx, changed); err != nil {
			break
		}
		changed, again, err = r.settleOnce(ctx, open, nil, nil)
		done = append(done, again...)
	}
	if err != nil {
		return err
	}
	for _, rel := range done {
		if rel.bye {
			after = append(after, redis.Command("ZREM", r.nodeClientsKey(rel.node), rel.id))
		}
	}
	return r.send(ctx, merged(after))
}

// settleOnce settles what has not been changed since its sets were told, and returns
// what has, and what is settled. Of fresh records it looks only at those whose nodes
// were touched.
func (r *Redis) settleOnce(
	ctx context.Context, open, fresh []*relations, before map[string]string,
) (changed, done []*relations, err error) {
	var calls []redis.Call
	var nodes []string
	for _, rel := range fresh {
		if !slices.Contains(nodes, rel.node) {
			nodes = append(nodes, rel.node)
			calls = append(calls, redis.Query("GET", r.nodeTouchedKey(rel.node)))
		}
	}
	for _, rel := range open {
		calls = append(calls, redis.Call{Script: settleScript, Keys: []string{r.clientKey(rel.id)}, Args: []string{rel.v}})
	}
	if len(calls) == 0 {
		return nil, nil, nil
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	results := redis.Pipeline(bounded, r.client, calls)
	if err := redis.FirstError(results); err != nil {
		return nil, nil, err
	}
	for i, rel := range open {
		switch answer, err := results[len(nodes)+i].AsInt64(); {
		case err != nil:
			return nil, nil, err
		case answer == 0, answer == 2 && !rel.bye: // or it has been disconnected meanwhile
			changed = append(changed, rel)
		default:
			done = append(done, rel)
		}
	}
	var look []*relations
	for _, rel := range fresh {
		touched, _ := results[slices.Index(nodes, rel.node)].ToString() // "" when there is none
		if touched != before[rel.node] {
			look = append(look, rel)
		}
	}
	more, settled, err := r.settleOnce(ctx, look, nil, nil)
	return append(changed, more...), append(done, settled...), err
}

// tellAgain reads the records of clients that others have changed, tells their sets,
// and returns what has to be settled then.
func (r *Redis) tellAgain(ctx context.Context, changed []*relations) (open []*relations, err error) {
	calls := make([]redis.Call, len(changed))
	for i, rel := range changed {
		calls[i] = redis.Call{Script: clientScript, Keys: []string{r.clientKey(rel.id)}, Args: []string{"state", "", ""}}
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	s := &setCalls{r: r, at: make(map[string]int)}
	for i, result := range redis.Pipeline(bounded, r.client, calls) {
		now, ok, err := parseRelations(changed[i].id, result)
		if err != nil {
			return nil, err
		}
		if ok {
			now.takeBack(changed[i])
		} else { // it has gone: out of whatever it was put in
			now = *changed[i]
			now.bye = true
		}
		s.client(&now)
		open = append(open, &now)
	}
	return open, r.send(ctx, merged(s.calls))
}

// takeBack adds what told has put into sets and the record does not have any more to
// what is told to be left: whoever changed the record may have told the sets, and
// settled that, before told was carried out.
func (rel *relations) takeBack(told *relations) {
	for _, room := range told.in {
		if !slices.Contains(rel.in, room) && !slices.Contains(rel.left, room) {
			rel.left = append(rel.left, room)
		}
	}
	if told.node != rel.node && !slices.Contains(rel.from, told.node) {
		rel.from = append(rel.from, told.node)
	}
}

// merged makes one command of those that put members into the same set, or take them
// off.
func merged(calls []redis.Call) []redis.Call {
	at := make(map[string]int)
	kept := calls[:0]
	for _, c := range calls {
		if c.Script != nil {
			kept = append(kept, c)
			continue
		}
		of := c.Args[0] + " " + c.Keys[0]
		if i, ok := at[of]; ok {
			kept[i].Args = append(kept[i].Args, c.Args[1:]...)
			continue
		}
		at[of] = len(kept)
		kept = append(kept, c)
	}
	return kept
}
