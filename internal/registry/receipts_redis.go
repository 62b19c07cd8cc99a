package registry

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/redis"
)

//go:embed lua/claim.lua
var claimLua string

//go:embed lua/receipt.lua
var receiptLua string

var (
	claimScript   = redis.NewScript(claimLua)
	receiptScript = redis.NewScript(receiptLua)
)

// What a receipt says of a push; see lua/claim.lua.
const (
	receiptBusy   = "busy"
	receiptFailed = "failed"
	receiptNodes  = "nodes:"
)

func (r *Redis) receiptKey(id string) string { return r.opts.Prefix + ":receipt:" + redis.Brace(id) }

// Claim asks for the push of a dedup_id: the caller is to make it, unless the answer
// says that it is done or that another attempt is at it, which it is taken to be for
// lease. messageID is the message's ID if nobody has tried before; attempt is a name that
// no other attempt has. What is noted is kept for ttl. It is one command.
func (r *Redis) Claim(ctx context.Context, id, messageID, attempt string, lease, ttl time.Duration) (message.Receipt, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	reply, err := redis.Do(ctx, r.client, redis.Call{
		Script: claimScript, Keys: []string{r.receiptKey(id)},
		Args: []string{messageID, attempt, millis(ttl), strconv.FormatInt(lease.Microseconds(), 10)},
	}).AsStrSlice()
	if err != nil {
		return message.Receipt{}, fmt.Errorf("claim a push in the registry: %w", err)
	}
	receipt, err := parseReceipt(reply)
	if err != nil {
		return message.Receipt{}, fmt.Errorf("claim a push in the registry: %w", err)
	}
	return receipt, nil
}

func parseReceipt(reply []string) (r message.Receipt, err error) {
	if len(reply) != 3 {
		return r, fmt.Errorf("a reply of %d parts", len(reply))
	}
	begun, err := strconv.ParseInt(reply[1], 10, 64)
	if err != nil {
		return r, err
	}
	r.MessageID, r.Begun = reply[0], time.UnixMicro(begun)
	switch state := reply[2]; {
	case state == "":
	case state == receiptBusy:
		r.Busy = true
	case strings.HasPrefix(state, receiptNodes):
		nodes, err := strconv.ParseUint(strings.TrimPrefix(state, receiptNodes), 10, 32)
		if err != nil {
			return r, err
		}
		r.Done, r.Nodes = true, uint32(nodes)
	default:
		r.Tried = true
	}
	return r, nil
}

// Settle notes for ttl that an attempt has sent the push to so many nodes. Where another
// attempt has got the claim meanwhile, it does nothing.
func (r *Redis) Settle(ctx context.Context, id, attempt string, nodes uint32, ttl time.Duration) error {
	return r.settleReceipt(ctx, id, attempt, receiptNodes+strconv.FormatUint(uint64(nodes), 10), ttl)
}

// Fail notes that an attempt has failed, so that the next one need not wait.
func (r *Redis) Fail(ctx context.Context, id, attempt string, ttl time.Duration) error {
	return r.settleReceipt(ctx, id, attempt, receiptFailed, ttl)
}

func (r *Redis) settleReceipt(ctx context.Context, id, attempt, state string, ttl time.Duration) error {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	err := redis.Do(ctx, r.client, redis.Call{
		Script: receiptScript, Keys: []string{r.receiptKey(id)}, Args: []string{attempt, state, millis(ttl)},
	}).Error()
	if err != nil {
		return fmt.Errorf("note in the registry how a push ended: %w", err)
	}
	return nil
}

func millis(d time.Duration) string { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }
