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
	receiptAsked  = "asked"
	receiptFailed = "failed"
	receiptLost   = "lost"
	receiptNodes  = "nodes:"
	receiptAnswer = "answer:"
)

func (r *Redis) receiptKey(id string) string { return r.opts.Prefix + ":receipt:" + redis.Brace(id) }

// Claim asks for the push of a dedup_id: the caller is to make it, unless the answer
// says that it is done or that another attempt is at it, which it is taken to be for
// lease. messageID is the message's ID if nobody has tried before; attempt is a name that
// no other attempt has. What is noted is kept for ttl. It is one command.
func (r *Redis) Claim(ctx context.Context, id, messageID, attempt string, lease, ttl time.Duration) (message.Receipt, error) {
	return r.claim(ctx, r.receiptKey(id), messageID, attempt, lease, ttl)
}

func (r *Redis) claim(ctx context.Context, key, messageID, attempt string, lease, ttl time.Duration) (message.Receipt, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	reply, err := redis.Do(ctx, r.client, redis.Call{
		Script: claimScript, Keys: []string{key},
		Args: []string{messageID, attempt, millis(ttl), micros(lease)},
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
	case state == receiptLost:
		r.Lost = true
	case strings.HasPrefix(state, receiptAnswer):
		r.Done, r.Answer = true, strings.TrimPrefix(state, receiptAnswer)
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
	_, err := r.note(ctx, r.receiptKey(id), attempt, receiptNodes+strconv.FormatUint(uint64(nodes), 10), ttl)
	return err
}

// Fail notes that an attempt has failed, so that the next one need not wait.
func (r *Redis) Fail(ctx context.Context, id, attempt string, ttl time.Duration) error {
	_, err := r.note(ctx, r.receiptKey(id), attempt, receiptFailed, ttl)
	return err
}

// note is false when another attempt has the claim.
func (r *Redis) note(ctx context.Context, key, attempt, state string, ttl time.Duration, more ...string) (bool, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	noted, err := redis.Do(ctx, r.client, redis.Call{
		Script: receiptScript, Keys: []string{key}, Args: append([]string{attempt, state, millis(ttl)}, more...),
	}).AsBool()
	if err != nil {
		return false, fmt.Errorf("note in the registry what became of a push: %w", err)
	}
	return noted, nil
}

func millis(d time.Duration) string { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }

func micros(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }

// Answers is the receipts of the pushes that wait for clients' answers. A dedup_id of one
// of them is another than the same of a push that does not wait.
type Answers struct{ r *Redis }

// Answers returns the receipts of pushes that wait for answers, in the same store.
func (r *Redis) Answers() *Answers { return &Answers{r} }

func (a *Answers) key(id string) string { return a.r.opts.Prefix + ":answers:" + redis.Brace(id) }

// Claim is [Redis.Claim]. After an attempt that had asked clients, and has not said within
// its time what they answered, the receipt is Lost, and nobody has the claim.
func (a *Answers) Claim(ctx context.Context, id, messageID, attempt string, lease, ttl time.Duration) (message.Receipt, error) {
	return a.r.claim(ctx, a.key(id), messageID, attempt, lease, ttl)
}

// Ask notes for ttl that an attempt is about to ask clients, and says within a time how
// that ended. False: another attempt has the claim, and this one is not to ask.
func (a *Answers) Ask(ctx context.Context, id, attempt string, within, ttl time.Duration) (bool, error) {
	return a.r.note(ctx, a.key(id), attempt, receiptAsked, ttl, micros(within))
}

// Settle notes for ttl what an attempt was answered; nothing: that it is lost.
func (a *Answers) Settle(ctx context.Context, id, attempt string, answer []byte, ttl time.Duration) error {
	state := receiptLost
	if len(answer) > 0 {
		state = receiptAnswer + string(answer)
	}
	_, err := a.r.note(ctx, a.key(id), attempt, state, ttl)
	return err
}

// Fail notes that an attempt has failed, and may be made again.
func (a *Answers) Fail(ctx context.Context, id, attempt string, ttl time.Duration) error {
	_, err := a.r.note(ctx, a.key(id), attempt, receiptFailed, ttl)
	return err
}
