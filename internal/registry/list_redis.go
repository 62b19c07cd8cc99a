package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/message"
	"holdfast/internal/redis"
)

// List returns the clients behind a key, ordered by ID and above cursor, as
// [Memory.List] does: two exchanges with Redis for a page.
func (r *Redis) List(
	ctx context.Context, key message.Key, cursor string, limit int,
) (clients []message.ClientInfo, next string, err error) {
	switch key.Kind() {
	case message.KindRoom, message.KindAll:
		room := key.Name()
		clients, next, err = r.page(ctx, r.guidKey("clients", tagOf(key)), cursor, limit, func(c *message.ClientInfo) bool {
			return c.Namespace == key.Namespace() && (key.Kind() == message.KindAll || slices.Contains(c.Rooms, room))
		})
	case message.KindUser:
		clients, next, err = r.page(ctx, r.userKey(tagOf(key)), cursor, limit, func(c *message.ClientInfo) bool {
			return c.Namespace == key.Namespace() && c.UID == key.Name()
		})
	case message.KindClient:
		if id := message.PublicID(key.Name()); id > cursor {
			clients, err = r.infos(ctx, []string{id}, func(c *message.ClientInfo) bool { return c.Namespace == key.Namespace() })
		}
	}
	if err != nil {
		return nil, "", fmt.Errorf("list %s: %w", key, err)
	}
	return clients, next, nil
}

// ListNode returns the clients of a node, as [Redis.List] does.
func (r *Redis) ListNode(
	ctx context.Context, name, cursor string, limit int,
) (clients []message.ClientInfo, next string, err error) {
	clients, next, err = r.page(ctx, r.nodeClientsKey(name), cursor, limit, func(c *message.ClientInfo) bool { return c.Node == name })
	if err != nil {
		return nil, "", fmt.Errorf("list node %q: %w", name, err)
	}
	return clients, next, nil
}

// page reads the members of a set above the cursor, and what is known of each. A
// member whose own record says otherwise is on its way in or out, and left out.
func (r *Redis) page(
	ctx context.Context, set, cursor string, limit int, belongs func(*message.ClientInfo) bool,
) (clients []message.ClientInfo, next string, err error) {
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	from := "-"
	if cursor != "" {
		// Behind the cursor itself, and behind cursor@node in the set of a user: a byte
		// above all of UTF-8 follows the @.
		from = "(" + cursor
		if strings.Contains(set, ":user:clients:") {
			from = "(" + cursor + "@\xff"
		}
	}
	ids, err := r.members(ctx, set, from, limit+1)
	if err != nil {
		return nil, "", err
	}
	if len(ids) > limit {
		ids = ids[:limit]
		next = ids[limit-1]
	}
	clients, err = r.infos(ctx, ids, belongs)
	return clients, next, err
}

func (r *Redis) members(ctx context.Context, set, from string, limit int) ([]string, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	ids, err := redis.Do(ctx, r.client,
		redis.Query("ZRANGEBYLEX", set, from, "+", "LIMIT", "0", strconv.Itoa(limit))).AsStrSlice()
	if err != nil {
		return nil, err
	}
	if strings.Contains(set, ":user:clients:") {
		for i, m := range ids {
			ids[i], _ = splitMember(m)
		}
		ids = slices.Compact(ids) // while it moves, a client is there with both nodes
	}
	return ids, nil
}

// infos reads clients' records in one pipeline.
func (r *Redis) infos(ctx context.Context, ids []string, belongs func(*message.ClientInfo) bool) ([]message.ClientInfo, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	calls := make([]redis.Call, len(ids))
	for i, id := range ids {
		calls[i] = redis.Query("HGETALL", r.clientKey(id))
	}
	clients := make([]message.ClientInfo, 0, len(ids))
	for i, result := range redis.Pipeline(ctx, r.client, calls) {
		fields, err := result.AsStrMap()
		if err != nil {
			return nil, err
		}
		info, ok, err := parseClient(ids[i], fields)
		if err != nil {
			return nil, err
		}
		if ok && belongs(&info) {
			clients = append(clients, info)
		}
	}
	return clients, nil
}

// clientJSON is the part of a client that only people and backends read.
type clientJSON struct {
	AuthType      string    `json:"auth_type,omitempty"`
	ClientVersion string    `json:"client_version,omitempty"`
	Locale        string    `json:"locale,omitempty"`
	Transport     string    `json:"transport,omitempty"`
	Protocol      string    `json:"protocol,omitempty"`
	RemoteAddr    string    `json:"remote_addr,omitempty"`
	ConnectedAt   time.Time `json:"connected_at"`
	Profile       string    `json:"profile,omitempty"`
}

func infoJSON(c *message.Client) (string, error) {
	b, err := json.Marshal(clientJSON{
		AuthType: c.AuthType, ClientVersion: c.ClientVersion, Locale: c.Locale, Transport: c.Transport,
		Protocol: c.Protocol, RemoteAddr: c.RemoteAddr, ConnectedAt: c.ConnectedAt, Profile: c.Profile,
	})
	return string(b), err
}

// parseClient makes a client of its hash; false when there is none, or it has left.
func parseClient(id string, fields map[string]string) (info message.ClientInfo, ok bool, err error) {
	node, known := fields["node"]
	if _, bye := fields["bye"]; bye || !known {
		return info, false, nil
	}
	var j clientJSON
	if err := json.Unmarshal([]byte(fields["info"]), &j); err != nil {
		return info, false, fmt.Errorf("parse the record of client %s: %w", id, err)
	}
	info.Client = message.Client{
		ID: id, Namespace: fields["ns"], UID: fields["uid"], Node: node,
		AuthType: j.AuthType, ClientVersion: j.ClientVersion, Locale: j.Locale, Transport: j.Transport,
		Protocol: j.Protocol, RemoteAddr: j.RemoteAddr, ConnectedAt: j.ConnectedAt, Profile: j.Profile,
	}
	for field, value := range fields {
		if room, is := strings.CutPrefix(field, "r:"); is && value == "1" {
			info.Rooms = append(info.Rooms, room)
		}
	}
	slices.Sort(info.Rooms)
	seen, err := strconv.ParseInt(fields["seen"], 10, 64)
	if err != nil {
		return info, false, fmt.Errorf("parse the record of client %s: %w", id, err)
	}
	info.LastSeenAt = time.UnixMilli(seen)
	return info, true, nil
}
