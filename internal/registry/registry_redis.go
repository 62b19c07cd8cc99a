package registry

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"holdfast/internal/message"
	"holdfast/internal/redis"
)

// RedisOptions says how a [Redis] registry names its keys. The zero RedisOptions
// takes the defaults.
type RedisOptions struct {
	// Prefix begins every key; default "ws". It holds no braces.
	Prefix string
	// Timeout bounds one exchange with Redis; default 5 s.
	Timeout time.Duration
	// Now is the wall clock, for LastSeenAt; nil stands for time.Now.
	Now func() time.Time
}

// Redis is the registry of many processes. What it keeps where:
//
//	ws:client:{id}        hash: one client, its node and its rooms      owner: its node
//	ws:guid:clients:{t}   sorted set of the IDs in a room               owner: the clients
//	ws:guid:users:{t}     hash: uid → how many of them                  owner: the clients
//	ws:guid:nodes:{t}     set of the nodes that have entered it         owner: the nodes
//	ws:guid:version:{t}   of that set                                   a day after the last node
//	ws:user:clients:{t}   sorted set of a user's clients, client@node   owner: the clients
//	ws:node:clients:{n}   sorted set of the IDs on a node               owner: the node, Bury
//	ws:node:keys:{n}      set of the keys that it has entered           owner: the node, Bury
//	ws:node:touched:{n}   when others last changed a client of it       an hour
//	ws:saved:{pid}        hash: where a client stands                   the TTL of Save
//	ws:receipt:{id}       string: what was pushed for a dedup_id        the TTL of Claim
//
// t is the namespace and the room or user, see [redis.Tag]; a whole namespace is
// the room without a name.
//
// A client's hash is the truth about it. The sets follow in further commands, since
// they live in other slots: additions after the hash names them, and a removal
// stays noted in the hash until the sets have been told, so that whoever tries again
// after a failure finds what is left to do. A node's own set is written first of
// all, that [Redis.Bury] finds whatever else there is.
//
// It starts no goroutine and is safe for concurrent use.
type Redis struct {
	client rueidis.Client
	opts   RedisOptions
}

//go:embed lua/client.lua
var clientLua string

//go:embed lua/settle.lua
var settleLua string

//go:embed lua/own.lua
var ownLua string

//go:embed lua/touch.lua
var touchLua string

//go:embed lua/room.lua
var roomLua string

//go:embed lua/nodes.lua
var nodesLua string

//go:embed lua/save.lua
var saveLua string

//go:embed lua/take.lua
var takeLua string

var (
	clientScript = redis.NewScript(clientLua)
	settleScript = redis.NewScript(settleLua)
	ownScript    = redis.NewScript(ownLua)
	touchScript  = redis.NewScript(touchLua)
	roomScript   = redis.NewScript(roomLua)
	nodesScript  = redis.NewScript(nodesLua)
	saveScript   = redis.NewScript(saveLua)
	takeScript   = redis.NewScript(takeLua)
)

// NewRedis returns the registry that lives under a prefix of a Redis or a Cluster.
// The client stays the caller's, who closes it after the last call.
func NewRedis(client rueidis.Client, opts RedisOptions) *Redis {
	if opts.Prefix == "" {
		opts.Prefix = "ws"
	}
	if opts.Timeout <= 0 {
		opts.Timeout = 5 * time.Second
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Redis{client: client, opts: opts}
}

func (r *Redis) clientKey(id string) string { return r.opts.Prefix + ":client:" + redis.Brace(id) }

func (r *Redis) userKey(tag string) string { return r.opts.Prefix + ":user:clients:" + tag }

func (r *Redis) nodeClientsKey(node string) string {
	return r.opts.Prefix + ":node:clients:" + redis.Brace(node)
}

func (r *Redis) nodeKeysKey(node string) string {
	return r.opts.Prefix + ":node:keys:" + redis.Brace(node)
}

func (r *Redis) nodeTouchedKey(node string) string {
	return r.opts.Prefix + ":node:touched:" + redis.Brace(node)
}

func (r *Redis) savedKey(pid string) string { return r.opts.Prefix + ":saved:" + redis.Brace(pid) }

func (r *Redis) guidKey(what, tag string) string { return r.opts.Prefix + ":guid:" + what + ":" + tag }

func tagOf(key message.Key) string { return redis.Tag(key.Namespace(), key.Name()) }

// bounded gives one exchange its deadline.
func (r *Redis) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, r.opts.Timeout)
}

// Nodes returns the names of the nodes that a message for key must reach, sorted,
// and the version of that list, as [Memory.Nodes] does. The version of a room that
// all nodes have left is still told for a day, then it is 0.
func (r *Redis) Nodes(ctx context.Context, key message.Key) (nodes []string, version uint64, err error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	switch key.Kind() {
	case message.KindRoom, message.KindAll:
		nodes, version, err = r.entered(ctx, key)
	case message.KindUser:
		nodes, err = r.nodesOfUser(ctx, key)
	case message.KindClient:
		nodes, err = r.nodeOfClient(ctx, key)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the nodes of %s: %w", key, err)
	}
	slices.Sort(nodes)
	return nodes, version, nil
}

func (r *Redis) entered(ctx context.Context, key message.Key) (nodes []string, version uint64, err error) {
	tag := tagOf(key)
	reply, err := redis.Do(ctx, r.client, redis.Call{
		Script: nodesScript, Keys: []string{r.guidKey("nodes", tag), r.guidKey("version", tag)}, ReadOnly: true,
	}).AsStrSlice()
	if err != nil || len(reply) == 0 {
		return nil, 0, err
	}
	version, err = strconv.ParseUint(reply[0], 10, 64)
	return reply[1:], version, err
}

func (r *Redis) nodesOfUser(ctx context.Context, key message.Key) (nodes []string, err error) {
	members, err := redis.Do(ctx, r.client, redis.Query("ZRANGE", r.userKey(tagOf(key)), "0", "-1")).AsStrSlice()
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		if _, node := splitMember(m); !slices.Contains(nodes, node) {
			nodes = append(nodes, node)
		}
	}
	return nodes, nil
}

func (r *Redis) nodeOfClient(ctx context.Context, key message.Key) ([]string, error) {
	fields, err := redis.Do(ctx, r.client,
		redis.Query("HMGET", r.clientKey(message.PublicID(key.Name())), "node", "ns", "bye")).ToArray()
	if err != nil {
		return nil, err
	}
	node, err := fields[0].ToString()
	if err != nil || !fields[2].IsNil() {
		return nil, nil //nolint:nilerr // no such field: no such client
	}
	if ns, _ := fields[1].ToString(); ns != key.Namespace() {
		return nil, nil
	}
	return []string{node}, nil
}

// memberOf is a user's client as ws:user:clients has it. An @ in the node's name is
// escaped, so that the last one separates.
func memberOf(id, node string) string {
	return id + "@" + strings.NewReplacer("%", "%25", "@", "%40").Replace(node)
}

func splitMember(m string) (id, node string) {
	i := strings.LastIndexByte(m, '@')
	if i < 0 {
		return m, ""
	}
	return m[:i], strings.NewReplacer("%40", "@", "%25", "%").Replace(m[i+1:])
}

// Client returns a client by either form of its ID, or [message.ErrNotFound].
func (r *Redis) Client(ctx context.Context, id string) (message.ClientInfo, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	id = message.PublicID(id)
	fields, err := redis.Do(ctx, r.client, redis.Query("HGETALL", r.clientKey(id))).AsStrMap()
	if err != nil {
		return message.ClientInfo{}, fmt.Errorf("read client %s: %w", id, err)
	}
	info, ok, err := parseClient(id, fields)
	if err != nil {
		return message.ClientInfo{}, fmt.Errorf("read client %s: %w", id, err)
	}
	if !ok {
		return message.ClientInfo{}, fmt.Errorf("client: %w", message.ErrNotFound)
	}
	return info, nil
}

// Count returns how many clients are behind a key, and how many known users they
// are, as [Memory.Count] does. It is O(1).
func (r *Redis) Count(ctx context.Context, key message.Key) (clients, users uint64, err error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	tag := tagOf(key)
	var results []rueidis.RedisResult
	switch key.Kind() {
	case message.KindRoom, message.KindAll:
		results = redis.Pipeline(ctx, r.client, []redis.Call{
			redis.Query("ZCARD", r.guidKey("clients", tag)), redis.Query("HLEN", r.guidKey("users", tag)),
		})
	case message.KindUser:
		results = redis.Pipeline(ctx, r.client, []redis.Call{redis.Query("ZCARD", r.userKey(tag))})
	case message.KindClient:
		list, _, err := r.List(ctx, key, "", 1)
		if err != nil || len(list) == 0 {
			return 0, 0, err
		}
		return 1, min(uint64(len(list[0].UID)), 1), nil
	default:
		return 0, 0, nil
	}
	if err := redis.FirstError(results); err != nil {
		return 0, 0, fmt.Errorf("count %s: %w", key, err)
	}
	n, _ := results[0].AsInt64()
	clients = uint64(n)
	if len(results) == 1 {
		return clients, min(clients, 1), nil
	}
	n, _ = results[1].AsInt64()
	return clients, uint64(n), nil
}
