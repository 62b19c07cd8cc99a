package roomlog

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"holdfast/internal/message"
	"holdfast/internal/redis"
)

// RedisOptions bounds a [Redis] log. The zero RedisOptions takes the defaults.
type RedisOptions struct {
	// Prefix begins every key; default "ws". It must be the registry's, whose
	// ws:guid:version:{t} an append reads. It holds no braces.
	Prefix  string
	Count   int           // messages in one key's log; default 1000
	Bytes   int64         // of messages in one key's log; default 4 MiB
	Window  time.Duration // how long a message is kept; default 3 min, at least 10 s
	Timeout time.Duration // of one exchange with Redis; default 5 s
}

// minWindow keeps the window well above clockAge: what has expired must be older than
// any clock that is handed out as a position.
const minWindow = 10 * time.Second

// clockAge is how old the shared clock may be when it is handed out.
const clockAge = time.Second

// Redis keeps logs where all processes find them:
//
//	ws:guid:log:{t}   stream: a room's messages, headers beside the body   Window after the last
//	ws:guid:head:{t}  its last sequence, bytes and first sequence          the same
//	ws:user:log:{t}, ws:user:head:{t}, ws:client:log:{t}, ws:client:head:{t}  likewise
//	ws:epoch          made once; in a Cluster ws:epoch:{slot}, for each    none: it is gone when the data is
//	ws:clock          µs; see Heads                                        none
//
// t is the namespace and the room, user or client, see [redis.Tag]. A log shares its
// tag with the room's membership version, so that one script appends and reads it.
//
// A sequence is the server's clock in µs, or one more than the last where that is
// higher. A key without a log is said to be at ws:clock, which is at most a second
// behind and never runs backwards, even if the server's clock does: no log begins at
// or below it, within a second after a step backwards even that of another process.
//
// In a Cluster each slot has an epoch of its own, see [redis.SlotTag]: a server that loses
// its data loses the epochs of just those logs that are gone.
//
// Redis starts no goroutine and is safe for concurrent use.
type Redis struct {
	client  rueidis.Client
	opts    RedisOptions
	cluster bool
	skew    func() time.Duration // moves both clocks in tests

	mu     sync.Mutex
	clock  uint64    // the shared one, as it was last read
	floor  uint64    // the highest of it and of all sequences seen; own logs begin above
	synced time.Time // when the clock was read
}

//go:embed lua/append.lua
var appendLua string

//go:embed lua/clock.lua
var clockLua string

//go:embed lua/find.lua
var findLua string

var (
	appendScript = redis.NewScript(appendLua)
	findScript   = redis.NewScript(findLua)
	clockScript  = redis.NewScript(clockLua)
)

// NewRedis returns the logs that live under a prefix of a Redis or a Cluster. The
// client stays the caller's, who closes it after the last call.
func NewRedis(client rueidis.Client, opts RedisOptions) *Redis {
	if opts.Prefix == "" {
		opts.Prefix = "ws"
	}
	if opts.Count <= 0 {
		opts.Count = defaultCount
	}
	if opts.Bytes <= 0 {
		opts.Bytes = defaultBytes
	}
	if opts.Window <= 0 {
		opts.Window = defaultWindow
	}
	opts.Window = max(opts.Window, minWindow)
	if opts.Timeout <= 0 {
		opts.Timeout = 5 * time.Second
	}
	return &Redis{client: client, opts: opts, cluster: redis.IsCluster(client), skew: func() time.Duration { return 0 }}
}

func (r *Redis) key(what string, key message.Key) string {
	kind := "guid"
	switch key.Kind() {
	case message.KindUser:
		kind = "user"
	case message.KindClient:
		kind = "client"
	}
	return r.opts.Prefix + ":" + kind + ":" + what + ":" + redis.Tag(key.Namespace(), key.Name())
}

// epochKey is where the epoch of a key's log is.
func (r *Redis) epochKey(key message.Key) string {
	if !r.cluster {
		return r.opts.Prefix + ":epoch"
	}
	return r.opts.Prefix + ":epoch:" + redis.SlotTag(redis.SlotOf(redis.Tag(key.Namespace(), key.Name())))
}

func (r *Redis) clockKey() string { return r.opts.Prefix + ":clock" }

func (r *Redis) skewMicros() string { return strconv.FormatInt(r.skew().Microseconds(), 10) }

// Append adds a message to a key's log and returns its position, as [Memory.Append]
// does. When it returns nil, the message is as durable as the server makes it. After
// an error nobody knows whether it is in the log.
func (r *Redis) Append(ctx context.Context, key message.Key, p *message.Push) (message.Appended, error) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	at, err := r.append(ctx, key, p)
	if err != nil {
		return message.Appended{}, fmt.Errorf("append to the log of %s: %w", key, err)
	}
	return at, nil
}

func (r *Redis) append(ctx context.Context, key message.Key, p *message.Push) (at message.Appended, err error) {
	_, floor, err := r.tick(ctx)
	if err != nil {
		return at, err
	}
	call := redis.Call{
		Script: appendScript,
		Keys:   []string{r.key("log", key), r.key("head", key)},
		Args: append([]string{
			strconv.FormatUint(floor, 10), strconv.FormatInt(r.opts.Window.Milliseconds(), 10),
			strconv.Itoa(r.opts.Count), strconv.FormatInt(r.opts.Bytes, 10), r.skewMicros(), strconv.Itoa(p.Size()),
		}, fieldsOf(p)...),
	}
	if k := key.Kind(); k == message.KindRoom || k == message.KindAll {
		call.Keys = append(call.Keys, r.key("version", key))
	}
	results := redis.Pipeline(ctx, r.client, []redis.Call{redis.Query("GET", r.epochKey(key)), call})
	reply, err := results[1].AsStrSlice()
	if err != nil {
		return at, err
	}
	var numbers [3]uint64
	for i := range numbers {
		if i >= len(reply) {
			return at, fmt.Errorf("a reply of %d numbers", len(reply))
		}
		if numbers[i], err = strconv.ParseUint(reply[i], 10, 64); err != nil {
			return at, err
		}
	}
	at = message.Appended{Position: message.Position{Seq: numbers[0]}, Prev: numbers[1], Version: numbers[2]}
	r.saw(at.Seq)
	at.Epoch, err = r.epoch(ctx, key, results[0])
	return at, err
}

// epoch reads the epoch of a key's log in a reply, and makes one where there is none.
func (r *Redis) epoch(ctx context.Context, key message.Key, reply rueidis.RedisResult) (uint64, error) {
	text, err := reply.ToString()
	if rueidis.IsRedisNil(err) {
		name := r.epochKey(key)
		made, err := r.makeEpochs(ctx, []string{name})
		return made[name], err
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 10, 64)
}

// makeEpochs makes those of these epochs that nobody else has made meanwhile.
func (r *Redis) makeEpochs(ctx context.Context, names []string) (map[string]uint64, error) {
	calls := make([]redis.Call, 0, 2*len(names))
	for _, name := range names {
		calls = append(calls,
			redis.Command("SETNX", name, strconv.FormatUint(newEpoch(), 10)), redis.Query("GET", name))
	}
	results := redis.Pipeline(ctx, r.client, calls)
	if err := redis.FirstError(results); err != nil {
		return nil, err
	}
	made := make(map[string]uint64, len(names))
	for i, name := range names {
		epoch, err := results[2*i+1].AsUint64()
		if err != nil {
			return nil, err
		}
		made[name] = epoch
	}
	return made, nil
}

// tick returns the shared clock, not older than clockAge, having advanced it if need
// be, and the sequence above which this process begins logs.
func (r *Redis) tick(ctx context.Context) (clock, floor uint64, err error) {
	now := time.Now().Add(r.skew())
	r.mu.Lock()
	clock, floor = r.clock, r.floor
	age := now.Sub(r.synced)
	r.mu.Unlock()
	if age >= 0 && age < clockAge && clock > 0 {
		return clock, floor, nil
	}
	text, err := redis.Do(ctx, r.client, redis.Call{
		Script: clockScript, Keys: []string{r.clockKey()},
		Args: []string{r.skewMicros(), strconv.FormatUint(floor, 10)},
	}).ToString()
	if err != nil {
		return 0, 0, err
	}
	if clock, err = strconv.ParseUint(text, 10, 64); err != nil {
		return 0, 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock, r.synced = clock, now
	r.floor = max(r.floor, clock)
	return clock, r.floor, nil
}

// saw takes note of a sequence that is in use.
func (r *Redis) saw(seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.floor = max(r.floor, seq)
}

// Heads returns, in the order of keys, the position of each key's last message, as
// [Memory.Heads] does: one command for all, in a Cluster one for each slot.
func (r *Redis) Heads(ctx context.Context, keys []message.Key) ([]message.Position, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	heads, err := r.heads(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("read the heads of %d logs: %w", len(keys), err)
	}
	return heads, nil
}

func (r *Redis) heads(ctx context.Context, keys []message.Key) ([]message.Position, error) {
	clock, _, err := r.tick(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(keys)+1)
	epochKeys := make([]string, len(keys))
	asked := make(map[string]bool, len(keys)+1)
	ask := func(name string) {
		if !asked[name] {
			asked[name] = true
			names = append(names, name)
		}
	}
	for i, key := range keys {
		epochKeys[i] = r.epochKey(key)
		ask(epochKeys[i])
		ask(r.key("head", key))
	}
	values, err := rueidis.MGet(r.client, ctx, names)
	if err != nil {
		return nil, err
	}
	epochs, err := r.epochsOf(ctx, epochKeys, values)
	if err != nil {
		return nil, err
	}
	heads := make([]message.Position, len(keys))
	for i, key := range keys {
		heads[i] = message.Position{Epoch: epochs[epochKeys[i]], Seq: clock}
		value := values[r.key("head", key)]
		if value.IsNil() {
			continue
		}
		text, err := value.ToString()
		if err != nil {
			return nil, err
		}
		last, _, _ := strings.Cut(text, " ")
		if heads[i].Seq, err = strconv.ParseUint(last, 10, 64); err != nil {
			return nil, err
		}
		r.saw(heads[i].Seq)
	}
	return heads, nil
}

// epochsOf returns the epochs of these names, which values has as far as there are any.
func (r *Redis) epochsOf(
	ctx context.Context, names []string, values map[string]rueidis.RedisMessage,
) (map[string]uint64, error) {
	epochs := make(map[string]uint64)
	var missing []string
	for _, name := range names {
		if _, known := epochs[name]; known {
			continue
		}
		value := values[name]
		epoch, err := value.AsUint64()
		switch {
		case value.IsNil():
			missing = append(missing, name)
		case err != nil:
			return nil, err
		}
		epochs[name] = epoch
	}
	if len(missing) == 0 {
		return epochs, nil
	}
	made, err := r.makeEpochs(ctx, missing)
	maps.Copy(epochs, made)
	return epochs, err
}

// Range returns the messages of a key after a position, as [Memory.Range] does. What
// is missing although it would not have expired yet makes the answer incomplete.
func (r *Redis) Range(
	ctx context.Context, key message.Key, after message.Position, limit int,
) (records []message.Logged, complete bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	records, complete, err = r.after(ctx, key, after, limit)
	if err != nil {
		return nil, false, fmt.Errorf("read the log of %s: %w", key, err)
	}
	return records, complete, nil
}

func (r *Redis) after(
	ctx context.Context, key message.Key, after message.Position, limit int,
) (records []message.Logged, complete bool, err error) {
	read := redis.Query("XRANGE", r.key("log", key), strconv.FormatUint(after.Seq+1, 10)+"-0", "+")
	if limit > 0 {
		read.Args = append(read.Args, "COUNT", strconv.Itoa(limit))
	}
	results := redis.Pipeline(ctx, r.client, []redis.Call{redis.Query("GET", r.epochKey(key)), read})
	epoch, err := r.epoch(ctx, key, results[0])
	if err != nil {
		return nil, false, err
	}
	if epoch != after.Epoch {
		return nil, false, nil
	}
	entries, err := results[1].AsXRange()
	if err != nil {
		return nil, false, err
	}
	records = make([]message.Logged, len(entries))
	for i, e := range entries {
		if records[i], err = parseEntry(e); err != nil {
			return nil, false, err
		}
	}
	if len(records) == 0 || records[0].Prev <= after.Seq {
		return records, true, nil
	}
	// Something in between is gone. It went by its age if it would have gone by now.
	now, err := r.serverClock(ctx)
	if err != nil {
		return nil, false, err
	}
	return records, records[0].Prev+uint64(r.opts.Window.Microseconds()) < now, nil
}

// clockSkew is how far the clocks of a Cluster's servers may be apart.
const clockSkew = time.Second

// Find returns the place of a message in a key's log, as [Memory.Find] does. The server
// does the looking.
func (r *Redis) Find(ctx context.Context, key message.Key, messageID string, since time.Time) (message.Appended, error) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	at, err := r.find(ctx, key, messageID, since.Add(-clockSkew))
	if err != nil {
		return message.Appended{}, fmt.Errorf("find a message in the log of %s: %w", key, err)
	}
	return at, nil
}

func (r *Redis) find(ctx context.Context, key message.Key, messageID string, since time.Time) (at message.Appended, err error) {
	results := redis.Pipeline(ctx, r.client, []redis.Call{
		redis.Query("GET", r.epochKey(key)),
		{
			Script: findScript, Keys: []string{r.key("log", key)},
			Args: []string{
				messageID, strconv.FormatUint(micros(since), 10), strconv.FormatInt(r.opts.Window.Milliseconds(), 10), r.skewMicros(),
			},
		},
	})
	if at.Epoch, err = r.epoch(ctx, key, results[0]); err != nil {
		return at, err
	}
	reply, err := results[1].AsStrSlice()
	switch {
	case err != nil:
		return at, err
	case len(reply) == 1 && reply[0] == "forgotten":
		return at, message.ErrForgotten
	case len(reply) != 2:
		return at, message.ErrNotFound
	}
	if at.Seq, err = strconv.ParseUint(reply[0], 10, 64); err != nil {
		return at, err
	}
	at.Prev, err = strconv.ParseUint(reply[1], 10, 64)
	return at, err
}

// serverClock returns the server's clock in µs.
func (r *Redis) serverClock(ctx context.Context) (uint64, error) {
	parts, err := r.client.Do(ctx, r.client.B().Time().Build()).AsIntSlice()
	if err != nil || len(parts) != 2 {
		return 0, fmt.Errorf("ask for the time: %w", err)
	}
	return uint64(parts[0]*1e6 + parts[1] + r.skew().Microseconds()), nil
}

// The fields of an entry beside the record's headers. append.lua relies on prev and
// size being the first two.
const (
	fieldPrev = "prev"
	fieldSize = "size"
	fieldBody = "body"
)

// fieldsOf returns the record of a message as names and values.
func fieldsOf(p *message.Push) []string {
	_, headers, body := (&message.Down{Push: &message.Delivery{Push: p}}).Record()
	fields := make([]string, 0, 2*len(headers)+2)
	for _, h := range headers {
		fields = append(fields, h.Name, h.Value)
	}
	return append(fields, fieldBody, rueidis.BinaryString(body))
}

func parseEntry(e rueidis.XRangeEntry) (l message.Logged, err error) {
	seq, _, _ := strings.Cut(e.ID, "-")
	if l.Seq, err = strconv.ParseUint(seq, 10, 64); err != nil {
		return l, err
	}
	if l.Prev, err = strconv.ParseUint(e.FieldValues[fieldPrev], 10, 64); err != nil {
		return l, err
	}
	headers := make([]message.Header, 0, len(e.FieldValues))
	for name, value := range e.FieldValues {
		if name != fieldPrev && name != fieldSize && name != fieldBody {
			headers = append(headers, message.Header{Name: name, Value: value})
		}
	}
	d, err := message.ParseDown(headers, []byte(e.FieldValues[fieldBody]))
	if err != nil {
		return l, fmt.Errorf("record %d: %w", l.Seq, err)
	}
	if d.Push == nil || d.Push.Push == nil {
		return l, fmt.Errorf("record %d is no push: %w", l.Seq, message.ErrRecord)
	}
	l.Push = d.Push.Push
	return l, nil
}
