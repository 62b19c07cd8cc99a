package node

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"

	"holdfast/internal/message"
)

// RedisInboxes says which partition of a topic is which node's inbox, beside the
// leases of [RedisWorkers] under the same prefix:
//
//	ws:{workers}:inboxes  hash: identity → partition
//
// A partition belongs to a node as long as that has a lease, so none has two live
// nodes, and a restarted node finds its own again unless another one needed it
// meanwhile. Worker numbers would not do for this: they go round among a thousand,
// and a topic has as many partitions as there are nodes. It is safe for concurrent
// use.
type RedisInboxes struct {
	client      rueidis.Client
	keys        []string
	claim, find *rueidis.Lua
}

//go:embed claim_redis.lua
var claimScript string

//go:embed find_redis.lua
var findScript string

// NewRedisInboxes returns the table under a prefix, such as "ws". It asks nothing of
// Redis yet. client stays the caller's.
func NewRedisInboxes(client rueidis.Client, prefix string) *RedisInboxes {
	tag := prefix + ":{workers}:"
	return &RedisInboxes{
		client: client, keys: []string{tag + "leases", tag + "inboxes"},
		claim: rueidis.NewLuaScript(claimScript), find: rueidis.NewLuaScript(findScript),
	}
}

// Claim gives a node that has a lease its partition: the one that it has, else want
// where that is no live node's (below 0: no wish), else the lowest below limit that
// is none's. It fails with [message.ErrFull] when there is none, and with
// [message.ErrGone] when the node has no lease.
func (i *RedisInboxes) Claim(ctx context.Context, node string, limit, want int32) (int32, error) {
	p, err := i.claim.Exec(ctx, i.client, i.keys, []string{node, strconv.Itoa(int(limit)), strconv.Itoa(int(want))}).AsInt64()
	switch {
	case err != nil:
		return 0, fmt.Errorf("claim an inbox for node %s: %w", node, err)
	case p == -2:
		return 0, fmt.Errorf("claim an inbox for node %s, which has no lease: %w", node, message.ErrGone)
	case p < 0:
		return 0, message.ErrFull
	}
	return int32(p), nil
}

// Find returns the partition of a node, or [message.ErrGone] when it has no lease or
// no partition.
func (i *RedisInboxes) Find(ctx context.Context, node string) (int32, error) {
	p, err := i.find.Exec(ctx, i.client, i.keys, []string{node}).AsInt64()
	switch {
	case err != nil:
		return 0, fmt.Errorf("find the inbox of node %s: %w", node, err)
	case p < 0:
		return 0, message.ErrGone
	}
	return int32(p), nil
}
