package redis

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"

	"github.com/redis/rueidis"
)

// Script is a Lua script, which servers know by its hash once they have seen it.
type Script struct{ text, sha string }

// NewScript returns a script of this text.
func NewScript(text string) *Script {
	sum := sha1.Sum([]byte(text)) // how Redis names scripts; nothing is secured by it
	return &Script{text: text, sha: hex.EncodeToString(sum[:])}
}

// Call is one command of a pipeline: a script with its keys and arguments or, when
// Script is nil, the command in Args with the keys in Keys placed before its other
// arguments: Args[0], Keys…, Args[1:]….
type Call struct {
	Script *Script
	Keys   []string
	Args   []string
	// ReadOnly lets the client send the call again when its connection broke.
	ReadOnly bool
}

// Command returns a call of a plain command with one key.
func Command(name, key string, args ...string) Call {
	return Call{Keys: []string{key}, Args: append([]string{name}, args...)}
}

// Query is [Command] for commands that only read.
func Query(name, key string, args ...string) Call {
	c := Command(name, key, args...)
	c.ReadOnly = true
	return c
}

func (c *Call) build(client rueidis.Client) rueidis.Completed {
	if c.Script != nil && c.ReadOnly {
		return client.B().EvalshaRo().Sha1(c.Script.sha).Numkeys(int64(len(c.Keys))).Key(c.Keys...).Arg(c.Args...).Build()
	}
	if c.Script != nil {
		return client.B().Evalsha().Sha1(c.Script.sha).Numkeys(int64(len(c.Keys))).Key(c.Keys...).Arg(c.Args...).Build()
	}
	b := client.B().Arbitrary(c.Args[0]).Keys(c.Keys...).Args(c.Args[1:]...)
	if c.ReadOnly {
		return b.ReadOnly()
	}
	return b.Build()
}

// pipelineMax bounds the commands that are sent at once, and so what client and
// server hold of them.
const pipelineMax = 1024

// Do sends one call, as [Pipeline] does.
func Do(ctx context.Context, client rueidis.Client, call Call) rueidis.RedisResult {
	return Pipeline(ctx, client, []Call{call})[0]
}

// Pipeline sends calls together and returns their results in order. Calls with the
// same hash tag are carried out in the order given, others, in a Cluster, in any. A
// server that does not know a script is told it and asked again. A call that may
// have arrived is never repeated unless it only reads.
func Pipeline(ctx context.Context, client rueidis.Client, calls []Call) []rueidis.RedisResult {
	results := make([]rueidis.RedisResult, 0, len(calls))
	for len(calls) > 0 {
		n := min(len(calls), pipelineMax)
		results = append(results, pipeline(ctx, client, calls[:n])...)
		calls = calls[n:]
	}
	return results
}

func pipeline(ctx context.Context, client rueidis.Client, calls []Call) []rueidis.RedisResult {
	results := send(ctx, client, calls)
	var again []int
	for i := range results {
		if redisErr, ok := rueidis.IsRedisErr(results[i].Error()); ok && redisErr.IsNoScript() {
			again = append(again, i)
		}
	}
	if len(again) == 0 {
		return results
	}
	retry := make([]Call, len(again))
	for i, at := range again {
		retry[i] = calls[at]
	}
	if err := load(ctx, client, retry); err != nil {
		for _, at := range again {
			results[at] = rueidis.NewErrorResult(err)
		}
		return results
	}
	for i, r := range send(ctx, client, retry) {
		results[again[i]] = r
	}
	return results
}

func send(ctx context.Context, client rueidis.Client, calls []Call) []rueidis.RedisResult {
	if len(calls) == 1 {
		return []rueidis.RedisResult{client.Do(ctx, calls[0].build(client))}
	}
	built := make([]rueidis.Completed, len(calls))
	for i := range calls {
		built[i] = calls[i].build(client)
	}
	return client.DoMulti(ctx, built...)
}

// load tells the scripts of calls to every server.
func load(ctx context.Context, client rueidis.Client, calls []Call) error {
	told := make(map[*Script]bool)
	for i := range calls {
		s := calls[i].Script
		if s == nil || told[s] {
			continue
		}
		told[s] = true
		for addr, server := range client.Nodes() {
			if err := server.Do(ctx, server.B().ScriptLoad().Script(s.text).Build()).Error(); err != nil {
				return fmt.Errorf("load a script on %s: %w", addr, err)
			}
		}
	}
	return nil
}

// FirstError returns the first error among results, passing over nil replies.
func FirstError(results []rueidis.RedisResult) error {
	for i := range results {
		if err := results[i].Error(); err != nil && !rueidis.IsRedisNil(err) {
			return err
		}
	}
	return nil
}
