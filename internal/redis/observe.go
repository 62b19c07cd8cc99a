package redis

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// Observer is told of every command: its family, how long its answer took, and
// whether it failed (a nil reply, a script that the server has not seen yet and an end
// that the caller wished are no failures). Commands that travelled together have waited equally long. It is called by
// many goroutines and must not wait.
type Observer func(family string, took time.Duration, failed bool)

// The families of commands. There are a few, whatever is sent.
const (
	FamilyScript = "script" // EVALSHA
	FamilyStream = "stream" // X…, but for
	FamilyWait   = "wait"   // those that wait for something to come: slow is what they are for
	FamilyKey    = "key"    // hashes, sets, strings and times to live
	FamilyServer = "server" // PING, TIME, CONFIG
)

// Families returns all of them.
func Families() []string {
	return []string{FamilyScript, FamilyStream, FamilyWait, FamilyKey, FamilyServer}
}

// family returns the family of a command by its words.
func family(words []string) string {
	if len(words) == 0 {
		return FamilyServer
	}
	name := strings.ToUpper(words[0])
	switch {
	case strings.HasPrefix(name, "EVAL"):
		return FamilyScript
	case name == "XREAD" && slices.Contains(words, "BLOCK"):
		return FamilyWait
	case strings.HasPrefix(name, "X"):
		return FamilyStream
	}
	switch name {
	case "PING", "TIME", "CONFIG", "SCRIPT", "INFO", "CLUSTER", "WAIT", "CLIENT", "FLUSHALL":
		return FamilyServer
	}
	return FamilyKey
}

// observed is a client whose commands somebody watches.
type observed struct {
	rueidis.Client
	tell Observer
}

// Observe returns a client that does what c does and tells of it.
func Observe(c rueidis.Client, tell Observer) rueidis.Client {
	if tell == nil {
		return c
	}
	return &observed{c, tell}
}

// Do implements rueidis.Client.
func (o *observed) Do(ctx context.Context, cmd rueidis.Completed) rueidis.RedisResult {
	of := family(cmd.Commands()) // before it is sent: its memory is used again afterwards
	began := time.Now()
	result := o.Client.Do(ctx, cmd)
	o.tell(of, time.Since(began), failed(ctx, result.Error()))
	return result
}

// DoMulti implements rueidis.Client.
func (o *observed) DoMulti(ctx context.Context, cmds ...rueidis.Completed) []rueidis.RedisResult {
	of := make([]string, len(cmds))
	for i := range cmds {
		of[i] = family(cmds[i].Commands())
	}
	began := time.Now()
	results := o.Client.DoMulti(ctx, cmds...)
	took := time.Since(began)
	for i := range results {
		o.tell(of[i], took, failed(ctx, results[i].Error()))
	}
	return results
}

// Nodes implements rueidis.Client.
func (o *observed) Nodes() map[string]rueidis.Client {
	nodes := o.Client.Nodes()
	for addr, node := range nodes {
		nodes[addr] = &observed{node, o.tell}
	}
	return nodes
}

func failed(ctx context.Context, err error) bool {
	if err == nil || rueidis.IsRedisNil(err) {
		return false
	}
	if answer, ok := rueidis.IsRedisErr(err); ok && answer.IsNoScript() {
		return false // the script is sent next
	}
	return !errors.Is(err, context.Canceled) || ctx.Err() == nil
}
