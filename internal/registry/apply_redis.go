package registry

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/rueidis"

	"holdfast/internal/message"
	"holdfast/internal/redis"
)

const (
	// roundMax bounds the changes that are on their way at once.
	roundMax = 256
	// stepsMax bounds the steps of one call of room.lua, during which Redis does
	// nothing else.
	stepsMax = 1024
	// versionTTL is how long the version of a room without nodes is kept. It must
	// outlive what a ws-api remembers of the room; versions begin at the clock, so
	// that a later one is higher even so.
	versionTTL = 24 * 60 * 60
)

// Apply makes changes in their order; the package's doc says what each does. A
// batch takes four exchanges with Redis, whatever its size up to some hundreds, a fifth
// when clients move, and at most six commands for a client that connects and joins one
// room. After an error any number of changes, and parts of them, may have been made; the
// same batch sent again completes them.
func (r *Redis) Apply(ctx context.Context, changes []message.Change) error {
	for len(changes) > 0 {
		n := roundOf(changes)
		if err := r.applyRound(ctx, changes[:n]); err != nil {
			return fmt.Errorf("write to the registry: %w", err)
		}
		changes = changes[n:]
	}
	return ctx.Err()
}

// roundOf returns how many of the first changes are about different clients, so
// that their order among each other does not matter.
func roundOf(changes []message.Change) int {
	seen := make(map[string]bool, min(len(changes), roundMax))
	for i := range changes {
		if i == roundMax {
			return i
		}
		if c := changes[i].Client; c != nil {
			id := message.PublicID(c.ID)
			if seen[id] {
				return i
			}
			seen[id] = true
		}
	}
	return len(changes)
}

func (r *Redis) applyRound(ctx context.Context, changes []message.Change) error {
	before, err := r.own(ctx, changes)
	if err != nil {
		return err
	}
	told, again, err := r.tellClients(ctx, changes)
	if err != nil {
		return err
	}
	for try := 0; len(again) > 0; try++ {
		// Former clients of the same IDs go first, and altogether.
		if try == settleTries {
			return errContested
		}
		var former []relations
		var resend []message.Change
		for _, a := range again {
			a.seized = a.node != a.change.Client.Node
			former, resend = append(former, a.relations), append(resend, *a.change)
		}
		if err := r.tellSets(ctx, former, nil, nil); err != nil {
			return err
		}
		// What was read first of how the nodes' clients stand is what counts.
		if _, err := r.own(ctx, resend); err != nil {
			return err
		}
		var more []relations
		if more, again, err = r.tellClients(ctx, resend); err != nil {
			return err
		}
		told = append(told, more...)
	}
	return r.tellSets(ctx, told, changes, before)
}

// own writes what a node owns, before anything else is written: whatever follows
// can be found through it when the node dies. It returns when the nodes' clients were
// last touched by others, see [Redis.touch].
func (r *Redis) own(ctx context.Context, changes []message.Change) (touched map[string]string, err error) {
	var calls []redis.Call
	var nodes []string         // whose clients are in calls; "" where it is keys
	at := make(map[string]int) // key of the set → index of its call
	add := func(key, node, member string, call func() redis.Call) {
		i, ok := at[key]
		if !ok {
			i = len(calls)
			at[key] = i
			calls, nodes = append(calls, call()), append(nodes, node)
		}
		calls[i].Args = append(calls[i].Args, member)
	}
	for i := range changes {
		switch ch := &changes[i]; ch.Kind {
		case message.ChangeConnect, message.ChangeMend:
			node := ch.Client.Node
			key := r.nodeClientsKey(node)
			add(key, node, message.PublicID(ch.Client.ID), func() redis.Call {
				return redis.Call{Script: ownScript, Keys: []string{key, r.nodeTouchedKey(node)}}
			})
		case message.ChangeEnter:
			if entered(ch.Key) {
				key := r.nodeKeysKey(ch.Node)
				add(key, "", string(ch.Key), func() redis.Call { return redis.Command("SADD", key) })
			}
		}
	}
	if len(calls) == 0 {
		return nil, nil
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	results := redis.Pipeline(ctx, r.client, calls)
	if err := redis.FirstError(results); err != nil {
		return nil, err
	}
	touched = make(map[string]string)
	for i, node := range nodes {
		if node == "" {
			continue
		}
		if touched[node], err = results[i].ToString(); err != nil {
			return nil, err
		}
	}
	return touched, nil
}

// send carries calls out whose replies say nothing.
func (r *Redis) send(ctx context.Context, calls []redis.Call) error {
	if len(calls) == 0 {
		return nil
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	return redis.FirstError(redis.Pipeline(ctx, r.client, calls))
}

// relations is what client.lua tells of a client: which sets it belongs to.
type relations struct {
	id, v, ns, uid, node string
	bye                  bool // it has left all
	fresh                bool // the record was made now
	late                 bool // of a disconnect: another one had been there before
	seized               bool // it was changed by others than its node
	in, left, from       []string
	// few restricts the sets that are told to these rooms: the others knew before.
	few   []string
	isFew bool
}

// resend is a connect that has to wait until a former client of its ID is forgotten.
type resend struct {
	relations
	change *message.Change
}

// tellClients writes the clients' own records and returns what follows from that.
func (r *Redis) tellClients(ctx context.Context, changes []message.Change) (told []relations, again []resend, err error) {
	var calls []redis.Call
	var of []*message.Change
	for i := range changes {
		if changes[i].Client == nil {
			continue
		}
		call, err := r.clientCall(&changes[i])
		if err != nil {
			return nil, nil, err
		}
		calls, of = append(calls, call), append(of, &changes[i])
	}
	if len(calls) == 0 {
		return nil, nil, nil
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	for i, result := range redis.Pipeline(ctx, r.client, calls) {
		rel, ok, err := parseRelations(message.PublicID(of[i].Client.ID), result)
		if err != nil {
			return nil, nil, err
		}
		switch ch := of[i]; {
		case !ok:
		case (ch.Kind == message.ChangeConnect || ch.Kind == message.ChangeMend) && rel.bye:
			again = append(again, resend{rel, ch})
		default:
			if ch.Kind == message.ChangeJoin || ch.Kind == message.ChangeLeave {
				rel.few, rel.isFew = ch.Rooms, true
			}
			told = append(told, rel)
		}
	}
	return told, again, nil
}

func (r *Redis) clientCall(ch *message.Change) (redis.Call, error) {
	c := ch.Client
	call := redis.Call{
		Script: clientScript,
		Keys:   []string{r.clientKey(message.PublicID(c.ID))},
		Args:   []string{"", c.Node, strconv.FormatInt(r.opts.Now().UnixMilli(), 10)},
	}
	switch ch.Kind {
	case message.ChangeConnect, message.ChangeMend:
		info, err := infoJSON(c)
		if err != nil {
			return call, fmt.Errorf("encode client %s: %w", c.ID, err)
		}
		call.Args[0] = "connect"
		if ch.Kind == message.ChangeMend {
			call.Args[0], call.Args[2] = "mend", strconv.FormatInt(c.ConnectedAt.UnixMilli(), 10)
		}
		call.Args = append(append(call.Args, c.Namespace, c.UID, info), ch.Rooms...)
	case message.ChangeJoin:
		call.Args[0] = "join"
		call.Args = append(call.Args, ch.Rooms...)
	case message.ChangeLeave:
		call.Args[0] = "leave"
		call.Args = append(call.Args, ch.Rooms...)
	default:
		call.Args[0] = "disconnect"
	}
	return call, nil
}

// parseRelations reads the reply of client.lua; false when there is nothing to do.
func parseRelations(id string, result rueidis.RedisResult) (rel relations, ok bool, err error) {
	lists, err := result.ToArray()
	if rueidis.IsRedisNil(err) {
		return rel, false, nil
	}
	if err != nil {
		return rel, false, err
	}
	var parts [4][]string
	for i := range parts {
		if i >= len(lists) {
			return rel, false, fmt.Errorf("client %s: a reply with %d lists", id, len(lists))
		}
		if parts[i], err = lists[i].AsStrSlice(); err != nil {
			return rel, false, err
		}
	}
	head := parts[0]
	if len(head) != 6 {
		return rel, false, fmt.Errorf("client %s: a reply of %d fields", id, len(head))
	}
	return relations{
		id: id, v: head[0], ns: head[1], uid: head[2], node: head[3],
		bye: head[4] == "1", fresh: head[5] == "0", late: head[5] == "2",
		in: parts[1], left: parts[2], from: parts[3],
	}, true, nil
}

// setCalls gathers what is told to the sets, one call for each room.
type setCalls struct {
	r     *Redis
	calls []redis.Call
	at    map[string]int
}

func (s *setCalls) room(ns, name string, step ...string) {
	tag := redis.Tag(ns, name)
	i, ok := s.at[tag]
	if !ok || len(s.calls[i].Args) > 3*stepsMax {
		i = len(s.calls)
		s.at[tag] = i
		s.calls = append(s.calls, redis.Call{
			Script: roomScript,
			Keys: []string{
				s.r.guidKey("clients", tag), s.r.guidKey("users", tag),
				s.r.guidKey("nodes", tag), s.r.guidKey("version", tag),
			},
			Args: []string{strconv.Itoa(versionTTL)},
		})
	}
	s.calls[i].Args = append(s.calls[i].Args, step...)
}

func (s *setCalls) user(rel *relations, command, node string) {
	if rel.uid == "" {
		return
	}
	key := s.r.userKey(redis.Tag(rel.ns, rel.uid))
	member := memberOf(rel.id, node)
	if command == "ZADD" {
		s.calls = append(s.calls, redis.Command(command, key, "0", member))
		return
	}
	s.calls = append(s.calls, redis.Command(command, key, member))
}

// client tells the sets where a client is, and where it is no more.
func (s *setCalls) client(rel *relations) {
	for _, room := range rel.left {
		s.room(rel.ns, room, "-", rel.id, rel.uid)
	}
	if rel.bye {
		for _, room := range rel.in {
			s.room(rel.ns, room, "-", rel.id, rel.uid)
		}
		s.room(rel.ns, "", "-", rel.id, rel.uid)
		s.user(rel, "ZREM", rel.node)
	} else {
		for _, room := range rel.in {
			if !rel.isFew || slices.Contains(rel.few, room) {
				s.room(rel.ns, room, "+", rel.id, rel.uid)
			}
		}
		if !rel.isFew {
			s.room(rel.ns, "", "+", rel.id, rel.uid)
			s.user(rel, "ZADD", rel.node)
		}
	}
	for _, node := range rel.from {
		s.user(rel, "ZREM", node)
		s.calls = append(s.calls, redis.Command("ZREM", s.r.nodeClientsKey(node), rel.id))
	}
	if len(rel.from) > 0 && !rel.bye {
		// It may be back where it had been, and be taken off that node's set by the one
		// that it has been on in between, which looks at the record only afterwards.
		s.calls = append(s.calls, redis.Command("ZADD", s.r.nodeClientsKey(rel.node), "0", rel.id))
	}
}

// tellSets brings the sets up to the clients' records, and nodes into rooms and out
// of them. before is what [Redis.own] returned, which is wanted of the nodes of records
// that were made now.
func (r *Redis) tellSets(
	ctx context.Context, told []relations, changes []message.Change, before map[string]string,
) error {
	if err := r.touch(ctx, told); err != nil {
		return err
	}
	s := &setCalls{r: r, at: make(map[string]int)}
	for i := range told {
		s.client(&told[i])
	}
	var exits []redis.Call
	for i := range changes {
		ch := &changes[i]
		if ch.Client != nil || !entered(ch.Key) {
			continue
		}
		ns, name := ch.Key.Namespace(), ch.Key.Name()
		if ch.Kind == message.ChangeEnter {
			s.room(ns, name, "E", ch.Node)
		} else {
			s.room(ns, name, "X", ch.Node)
			if !entersLater(changes[i+1:], ch) {
				exits = append(exits, redis.Command("SREM", r.nodeKeysKey(ch.Node), string(ch.Key)))
			}
		}
	}
	if err := r.send(ctx, merged(s.calls)); err != nil {
		return err
	}
	return r.settle(ctx, told, before, exits)
}

// entersLater tells whether the same node enters the same key once more, so that it
// still owns it.
func entersLater(rest []message.Change, exit *message.Change) bool {
	return slices.ContainsFunc(rest, func(ch message.Change) bool {
		return ch.Kind == message.ChangeEnter && ch.Key == exit.Key && ch.Node == exit.Node
	})
}
