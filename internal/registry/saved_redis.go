package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"holdfast/internal/message"
	"holdfast/internal/redis"
)

// generationJSON is one save of a session.
type generationJSON struct {
	Tag    string      `json:"tag"`
	Gen    uint32      `json:"gen"`
	At     time.Time   `json:"at"`
	Places []placeJSON `json:"places"`
	Had    []string    `json:"had,omitempty"`
}

type placeJSON struct {
	Key   message.Key `json:"key"`
	Epoch uint64      `json:"epoch"`
	Seq   uint64      `json:"seq"`
}

// savedClient is a client whose ID, names and node are written too.
type savedClient struct {
	ID        string `json:"id"`
	Namespace string `json:"namespace"`
	UID       string `json:"uid,omitempty"`
	Node      string `json:"node"`
	clientJSON
}

// Save stores what a client needs to come back, as [Memory.Save] does, in one
// command.
func (r *Redis) Save(ctx context.Context, s *message.Saved, ttl time.Duration) error {
	g := generationJSON{Tag: s.Tag, Gen: s.Gen, At: s.SavedAt, Had: s.Had, Places: make([]placeJSON, len(s.Places))}
	for i, p := range s.Places {
		g.Places[i] = placeJSON{p.Key, p.Epoch, p.Seq}
	}
	generation, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("encode a session: %w", err)
	}
	c := &s.Client
	client, err := json.Marshal(savedClient{c.ID, c.Namespace, c.UID, c.Node, clientJSON{
		AuthType: c.AuthType, ClientVersion: c.ClientVersion, Locale: c.Locale, Transport: c.Transport,
		Protocol: c.Protocol, RemoteAddr: c.RemoteAddr, ConnectedAt: c.ConnectedAt, Profile: c.Profile,
	}})
	if err != nil {
		return fmt.Errorf("encode a session: %w", err)
	}
	err = r.send(ctx, []redis.Call{{
		Script: saveScript, Keys: []string{r.savedKey(s.PID)},
		Args: []string{
			s.Tag, strconv.FormatUint(uint64(s.Gen), 10), string(client), string(generation),
			millis(ttl), strconv.Itoa(OlderGenerations),
		},
	}})
	if err != nil {
		return fmt.Errorf("save a session: %w", err)
	}
	return nil
}

// Load returns what was saved last under a private ID and the generations before
// it, as [Memory.Load] does.
func (r *Redis) Load(ctx context.Context, pid string) (*message.Saved, []message.Saved, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	fields, err := redis.Do(ctx, r.client, redis.Query("HGETALL", r.savedKey(pid))).AsStrMap()
	if err != nil {
		return nil, nil, fmt.Errorf("load a session: %w", err)
	}
	if len(fields) == 0 {
		return nil, nil, fmt.Errorf("saved session: %w", message.ErrNotFound)
	}
	all, err := parseSaved(pid, fields)
	if err != nil {
		return nil, nil, fmt.Errorf("load a session: %w", err)
	}
	return &all[0], all[1:], nil
}

func parseSaved(pid string, fields map[string]string) ([]message.Saved, error) {
	var c savedClient
	if err := json.Unmarshal([]byte(fields["client"]), &c); err != nil {
		return nil, fmt.Errorf("parse its client: %w", err)
	}
	n, err := strconv.Atoi(fields["n"])
	if err != nil {
		return nil, fmt.Errorf("parse its number: %w", err)
	}
	claim, err := parseClaim(fields["claim"])
	if err != nil {
		return nil, fmt.Errorf("parse its claim: %w", err)
	}
	var all []message.Saved
	for ; ; n-- {
		text, ok := fields["g"+strconv.Itoa(n)]
		if !ok {
			break
		}
		var g generationJSON
		if err := json.Unmarshal([]byte(text), &g); err != nil {
			return nil, fmt.Errorf("parse a generation: %w", err)
		}
		s := message.Saved{
			PID: pid, Tag: g.Tag, Gen: g.Gen, SavedAt: g.At, Had: g.Had, Claim: claim, Places: make([]message.Place, len(g.Places)),
			Client: message.Client{
				ID: c.ID, Namespace: c.Namespace, UID: c.UID, Node: c.Node,
				AuthType: c.AuthType, ClientVersion: c.ClientVersion, Locale: c.Locale, Transport: c.Transport,
				Protocol: c.Protocol, RemoteAddr: c.RemoteAddr, ConnectedAt: c.ConnectedAt, Profile: c.Profile,
			},
		}
		for i, p := range g.Places {
			s.Places[i] = message.Place{Key: p.Key, Position: message.Position{Epoch: p.Epoch, Seq: p.Seq}}
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("saved session: %w", message.ErrNotFound)
	}
	return all, nil
}

// Take notes that a client is coming back on a node, and returns which attempt had been
// the last one. It fails with [message.ErrNotFound] when nothing is saved.
func (r *Redis) Take(ctx context.Context, pid, node string) (before message.Claim, number uint64, err error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	reply, err := redis.Do(ctx, r.client, redis.Call{
		Script: takeScript, Keys: []string{r.savedKey(pid)}, Args: []string{node},
	}).AsStrSlice()
	switch {
	case rueidis.IsRedisNil(err):
		return before, 0, fmt.Errorf("saved session: %w", message.ErrNotFound)
	case err == nil && len(reply) != 3:
		err = fmt.Errorf("a reply of %d fields", len(reply))
	case err == nil:
		if number, err = strconv.ParseUint(reply[0], 10, 64); err == nil {
			before, err = parseClaim(reply[1] + " " + reply[2])
		}
	}
	if err != nil {
		return before, 0, fmt.Errorf("take a session over: %w", err)
	}
	return before, number, nil
}

// parseClaim reads "<number> <node>".
func parseClaim(text string) (c message.Claim, err error) {
	if text == "" {
		return c, nil
	}
	number, node, _ := strings.Cut(text, " ")
	c.Node = node
	c.Number, err = strconv.ParseUint(number, 10, 64)
	return c, err
}

// Forget drops what was saved under a private ID, for a client that left for good.
func (r *Redis) Forget(ctx context.Context, pid string) error {
	if err := r.send(ctx, []redis.Call{redis.Command("DEL", r.savedKey(pid))}); err != nil {
		return fmt.Errorf("forget a session: %w", err)
	}
	return nil
}
