package registry

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"holdfast/internal/message"
	"holdfast/internal/redis"
)

// Held returns a page of what is recorded as held by a node, ordered by ID and above
// cursor, and the cursor of the following page, "" when there is none. Entries that
// only the node's own set has, or whose client is recorded elsewhere, have no version.
func (r *Redis) Held(
	ctx context.Context, node, cursor string, limit int,
) (entries []message.Held, next string, err error) {
	entries, next, err = r.held(ctx, node, cursor, limit)
	if err != nil {
		return nil, "", fmt.Errorf("read what node %q holds: %w", node, err)
	}
	return entries, next, nil
}

func (r *Redis) held(
	ctx context.Context, node, cursor string, limit int,
) (entries []message.Held, next string, err error) {
	from := "-"
	if cursor != "" {
		from = "(" + cursor
	}
	ids, err := r.members(ctx, r.nodeClientsKey(node), from, limit)
	if err != nil || len(ids) == 0 {
		return nil, "", err
	}
	if len(ids) == limit {
		next = ids[limit-1]
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	calls := make([]redis.Call, len(ids))
	for i, id := range ids {
		calls[i] = redis.Query("HMGET", r.clientKey(id), "v", "node")
	}
	entries = make([]message.Held, len(ids))
	for i, result := range redis.Pipeline(ctx, r.client, calls) {
		fields, err := result.ToArray()
		if err != nil {
			return nil, "", err
		}
		entries[i].ID = ids[i]
		if at, err := fields[1].ToString(); err == nil && at == node {
			entries[i].Version, _ = fields[0].ToString()
		}
	}
	return entries, next, nil
}

// Drop takes entries that the node does not hold out of the registry, except for
// clients that were changed since they were read.
func (r *Redis) Drop(ctx context.Context, node string, entries []message.Held) error {
	if err := r.drop(ctx, node, entries); err != nil {
		return fmt.Errorf("drop what node %q does not hold: %w", node, err)
	}
	return nil
}

func (r *Redis) drop(ctx context.Context, node string, entries []message.Held) error {
	var calls []redis.Call
	var of, own []string
	for _, e := range entries {
		if e.Version == "" {
			own = append(own, e.ID)
			continue
		}
		of = append(of, e.ID)
		calls = append(calls, redis.Call{
			Script: clientScript, Keys: []string{r.clientKey(e.ID)}, Args: []string{"drop", node, e.Version},
		})
	}
	var told []relations
	if len(calls) > 0 {
		bounded, cancel := r.bounded(ctx)
		defer cancel()
		for i, result := range redis.Pipeline(bounded, r.client, calls) {
			rel, ok, err := parseRelations(of[i], result)
			if err != nil {
				return err
			}
			if ok {
				rel.seized = true // what the node itself writes may be on its way
				told = append(told, rel)
			}
		}
	}
	if err := r.tellSets(ctx, told, nil, nil); err != nil || len(own) == 0 {
		return err
	}
	return r.send(ctx, []redis.Call{redis.Command("ZREM", r.nodeClientsKey(node), own...)})
}

// Entered returns some of the keys that a node is recorded to have entered, and the
// cursor for more, "" when there are none. Keys that come and go meanwhile may be left
// out, and any may come twice.
func (r *Redis) Entered(
	ctx context.Context, node, cursor string, limit int,
) (keys []message.Key, next string, err error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	if cursor == "" {
		cursor = "0"
	}
	scan, err := redis.Do(ctx, r.client,
		redis.Query("SSCAN", r.nodeKeysKey(node), cursor, "COUNT", strconv.Itoa(limit))).AsScanEntry()
	if err != nil {
		return nil, "", fmt.Errorf("read what node %q has entered: %w", node, err)
	}
	for _, key := range scan.Elements {
		keys = append(keys, message.Key(key))
	}
	if scan.Cursor != 0 {
		next = strconv.FormatUint(scan.Cursor, 10)
	}
	return keys, next, nil
}

// Tidy looks at a page of a room's members above cursor, and takes out those of which
// no client's record says that they are in it, which nobody else would ever do. Of the
// nodes in the room only the first by name does that. It returns the cursor of the
// following page, "" when there is none.
func (r *Redis) Tidy(ctx context.Context, node string, key message.Key, cursor string, limit int) (next string, err error) {
	next, err = r.tidy(ctx, node, key, cursor, limit)
	if err != nil {
		return "", fmt.Errorf("look through the members of %s: %w", key, err)
	}
	return next, nil
}

func (r *Redis) tidy(ctx context.Context, node string, key message.Key, cursor string, limit int) (next string, err error) {
	if !entered(key) {
		return "", nil
	}
	if nodes, _, err := r.Nodes(ctx, key); err != nil || len(nodes) == 0 || nodes[0] != node {
		return "", err
	}
	from := "-"
	if cursor != "" {
		from = "(" + cursor
	}
	ids, err := r.members(ctx, r.guidKey("clients", tagOf(key)), from, limit)
	if err != nil || len(ids) == 0 {
		return "", err
	}
	if len(ids) == limit {
		next = ids[limit-1]
	}
	strangers, err := r.strangers(ctx, key, ids)
	if err != nil || len(strangers) == 0 {
		return next, err
	}
	s := &setCalls{r: r, at: make(map[string]int)}
	for _, m := range strangers {
		s.room(key.Namespace(), key.Name(), "-", m.id, m.uid)
	}
	if err := r.send(ctx, s.calls); err != nil {
		return "", err
	}
	return next, r.putBack(ctx, key, strangers)
}

// stranger is a member of a room whose record does not say so. uid is known where there
// is a record.
type stranger struct{ id, uid string }

// strangers returns those of a room's members that do not belong there.
func (r *Redis) strangers(ctx context.Context, key message.Key, ids []string) (list []stranger, err error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	field := "node" // in the whole namespace is everybody who is known
	if key.Kind() == message.KindRoom {
		field = "r:" + key.Name()
	}
	calls := make([]redis.Call, len(ids))
	for i, id := range ids {
		calls[i] = redis.Query("HMGET", r.clientKey(id), field, "uid", "ns", "bye")
	}
	for i, result := range redis.Pipeline(ctx, r.client, calls) {
		fields, err := result.ToArray()
		if err != nil {
			return nil, err
		}
		in, _ := fields[0].ToString()
		uid, _ := fields[1].ToString()
		ns, _ := fields[2].ToString()
		// One that says 0, or bye, has left, and whoever wrote that is telling the sets.
		if in != "" && ns == key.Namespace() || !fields[3].IsNil() {
			continue
		}
		list = append(list, stranger{ids[i], uid})
	}
	return list, nil
}

// putBack looks again at those who were taken out: who came in meanwhile belongs there.
func (r *Redis) putBack(ctx context.Context, key message.Key, out []stranger) error {
	gone := make([]string, len(out))
	for i, s := range out {
		gone[i] = s.id
	}
	still, err := r.strangers(ctx, key, gone)
	if err != nil || len(still) == len(out) {
		return err
	}
	s := &setCalls{r: r, at: make(map[string]int)}
	for _, id := range gone {
		if slices.ContainsFunc(still, func(x stranger) bool { return x.id == id }) {
			continue
		}
		info, err := r.Client(ctx, id)
		if err != nil {
			continue // gone once more
		}
		s.room(key.Namespace(), key.Name(), "+", id, info.UID)
	}
	return r.send(ctx, s.calls)
}
