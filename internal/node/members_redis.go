package node

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"holdfast/internal/message"
)

// RedisMembers tells the ws-apis that share a Redis and a prefix of one another:
//
//	ws:{apis}:beats   hash: ws-api → "<beat> <version> <ms since 1970> <what people see of it>"
//	ws:{apis}:states  hash: ws-api → what it tells of itself, as JSON
//
// One that has died is out after DeadAfter, by whoever looks: as with nodes, its beat has
// stood still over answers of Redis, so an outage of Redis kills nobody. Its entries go
// after membersForget. There is one for each ws-api; it is safe for concurrent use.
type RedisMembers struct {
	client rueidis.Client
	keys   []string
	script *rueidis.Lua
	now    func() time.Time // monotonic

	mu       sync.Mutex
	beat     uint64
	told     uint64    // the version that Redis has of the caller
	answered time.Time // when Redis last answered
	known    map[string]*sightedMember
}

// sightedMember is a ws-api as it was seen.
type sightedMember struct {
	member message.Member
	beat   string
	since  time.Time // the beat has been that
}

// membersForget is when a silent ws-api is no more; one that was only cut off comes back
// with its next beat.
const membersForget = time.Minute

//go:embed members_redis.lua
var membersScript string

// NewRedisMembers returns the list under a prefix, such as "ws". It asks nothing of Redis
// yet. client stays the caller's.
func NewRedisMembers(client rueidis.Client, prefix string) *RedisMembers {
	tag := prefix + ":{apis}:"
	return &RedisMembers{
		client: client, keys: []string{tag + "beats", tag + "states"}, script: rueidis.NewLuaScript(membersScript),
		now: time.Now, known: make(map[string]*sightedMember),
	}
}

// Beat shows that a ws-api lives and tells of it, and returns those that live, itself
// left out, ordered by ID. self.Version grows with each change of self. It is called
// about every RenewEvery.
func (m *RedisMembers) Beat(ctx context.Context, self message.Member) ([]message.Member, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range 2 {
		lost, err := m.tell(ctx, self)
		if err != nil {
			return nil, fmt.Errorf("tell the other ws-apis of this one: %w", err)
		}
		if !lost {
			break
		}
		m.told = 0 // Redis has lost it
	}
	return m.living(), nil
}

func (m *RedisMembers) tell(ctx context.Context, self message.Member) (lost bool, err error) {
	m.beat++
	state := ""
	if m.told != self.Version || self.Version == 0 {
		text, err := json.Marshal(self)
		if err != nil {
			return false, err
		}
		state = string(text)
	}
	args := []string{
		self.ID, strconv.FormatUint(m.beat, 10), strconv.FormatUint(self.Version, 10), state,
		strconv.FormatInt(membersForget.Milliseconds(), 10), aboutText(self.About),
	}
	for id, s := range m.known {
		args = append(args, id, strconv.FormatUint(s.member.Version, 10))
	}
	reply, err := m.script.Exec(ctx, m.client, m.keys, args).AsStrSlice()
	if err != nil {
		return false, err
	}
	m.told = self.Version
	now := m.now()
	silence := now.Sub(m.answered) > 3*RenewEvery
	m.answered = now
	next := make(map[string]*sightedMember, len(reply)/5)
	for ; len(reply) >= 5; reply = reply[5:] {
		id, beat, state := reply[0], reply[1], reply[3]
		if id == self.ID {
			lost = state != ""
			continue
		}
		s := m.known[id]
		if s == nil {
			s = &sightedMember{member: message.Member{ID: id}, beat: beat, since: now}
		}
		if silence || s.beat != beat {
			s.beat, s.since = beat, now
		}
		if state != "" {
			var told message.Member
			if err := json.Unmarshal([]byte(state), &told); err != nil {
				return false, fmt.Errorf("what ws-api %s tells: %w", id, err)
			}
			told.ID = id
			s.member = told
		}
		s.member.About = parseAboutText(reply[4])
		next[id] = s
	}
	m.known = next
	return lost, nil
}

func (m *RedisMembers) living() []message.Member {
	out := make([]message.Member, 0, len(m.known))
	for _, s := range m.known {
		if m.now().Sub(s.since) < DeadAfter {
			out = append(out, s.member)
		}
	}
	slices.SortFunc(out, func(a, b message.Member) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// Known returns the others as they were told of at the last beat, also those that have
// died lately, with how long they have been silent.
func (m *RedisMembers) Known() []message.Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]message.Member, 0, len(m.known))
	for _, s := range m.known {
		member := s.member
		member.Silent = m.now().Sub(s.since)
		out = append(out, member)
	}
	return out
}

func aboutText(a message.About) string {
	return fmt.Sprintf("%d %d %s %s", a.CPU, a.Since.UnixMilli(), word(a.Program), word(a.Name))
}

// parseAboutText reads what aboutText wrote; the zero About when there is none.
func parseAboutText(text string) message.About {
	var a message.About
	var since int64
	if n, err := fmt.Sscanf(text, "%d %d %s %s", &a.CPU, &since, &a.Program, &a.Name); n != 4 || err != nil {
		return message.About{}
	}
	a.Program, a.Name, a.Since = unword(a.Program), unword(a.Name), time.UnixMilli(since)
	return a
}

// Leave takes a ws-api out.
func (m *RedisMembers) Leave(ctx context.Context, id string) error {
	var cmds rueidis.Commands
	for _, key := range m.keys {
		cmds = append(cmds, m.client.B().Hdel().Key(key).Field(id).Build())
	}
	for _, reply := range m.client.DoMulti(ctx, cmds...) {
		if err := reply.Error(); err != nil {
			return fmt.Errorf("take ws-api %s out: %w", id, err)
		}
	}
	return nil
}
