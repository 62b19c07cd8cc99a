package registry

import (
	"context"
	"fmt"
	"strconv"

	"holdfast/internal/message"
	"holdfast/internal/redis"
)

// buryPage is how many clients, or rooms, of a dead node are taken out at once.
const buryPage = 256

// Bury takes a dead node's clients out of the registry, and the node out of the
// rooms that it had entered. It returns the clients, for whoever tells the others
// that they have left; a client that has come back elsewhere stays where it is and is
// not among them. Several may bury the same node at a time: each client is returned
// to one of them. After an error the clients buried until then are returned too, and
// the rest is buried by the next call. The caller knows that the node is dead and
// that none of that name has begun.
func (r *Redis) Bury(ctx context.Context, node string) (buried []message.ClientInfo, err error) {
	for {
		page, more, err := r.buryClients(ctx, node)
		buried = append(buried, page...)
		if err != nil {
			return buried, fmt.Errorf("bury the clients of node %q: %w", node, err)
		}
		if !more {
			break
		}
	}
	for {
		more, err := r.buryKeys(ctx, node)
		if err != nil {
			return buried, fmt.Errorf("take node %q out of its rooms: %w", node, err)
		}
		if !more {
			return buried, nil
		}
	}
}

func (r *Redis) buryClients(ctx context.Context, node string) (buried []message.ClientInfo, more bool, err error) {
	set := r.nodeClientsKey(node)
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	ids, err := redis.Do(bounded, r.client, redis.Query("ZRANGE", set, "0", strconv.Itoa(buryPage-1))).AsStrSlice()
	if err != nil || len(ids) == 0 {
		return nil, false, err
	}
	calls := make([]redis.Call, 0, 2*len(ids))
	for _, id := range ids {
		key := r.clientKey(id)
		calls = append(calls, redis.Query("HGETALL", key),
			redis.Call{Script: clientScript, Keys: []string{key}, Args: []string{"disconnect", node, "0"}})
	}
	results := redis.Pipeline(bounded, r.client, calls)
	var told []relations
	for i, id := range ids {
		rel, ok, err := parseRelations(id, results[2*i+1])
		if err != nil {
			return buried, false, err
		}
		if !ok {
			continue // it has moved, or never got further than the node's own set
		}
		rel.seized = true // its node may live yet
		told = append(told, rel)
		fields, err := results[2*i].AsStrMap()
		if err != nil {
			return buried, false, err
		}
		// What cannot be parsed is buried all the same.
		if info, ok, err := parseClient(id, fields); err == nil && ok && !rel.late {
			buried = append(buried, info)
		}
	}
	err = r.settleBuried(ctx, set, ids, told)
	return buried, err == nil, err
}

func (r *Redis) settleBuried(ctx context.Context, set string, ids []string, told []relations) error {
	if err := r.tellSets(ctx, told, nil, nil); err != nil {
		return err
	}
	return r.send(ctx, []redis.Call{redis.Command("ZREM", set, ids...)})
}

func (r *Redis) buryKeys(ctx context.Context, node string) (more bool, err error) {
	set := r.nodeKeysKey(node)
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	keys, err := redis.Do(bounded, r.client, redis.Query("SRANDMEMBER", set, strconv.Itoa(buryPage))).AsStrSlice()
	if err != nil || len(keys) == 0 {
		return false, err
	}
	exits := make([]message.Change, len(keys))
	for i, key := range keys {
		exits[i] = message.Change{Kind: message.ChangeExit, Node: node, Key: message.Key(key)}
	}
	if err := r.tellSets(ctx, nil, exits, nil); err != nil {
		return false, err
	}
	// A key that is no room cannot be exited; it leaves the set all the same.
	return true, r.send(ctx, []redis.Call{redis.Command("SREM", set, keys...)})
}
