package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
	"holdfast/proto/holdfast/v1/holdfastpb/holdfastpbconnect"
)

// clientService is ClientService over a Server.
type clientService struct{ s *Server }

var _ holdfastpbconnect.ClientServiceHandler = (*clientService)(nil)

// Sizes of a page of clients.
const (
	defaultPage = 100
	maxPage     = 1000
)

// GetClient looks one client up.
func (c *clientService) GetClient(ctx context.Context, req *connect.Request[pb.GetClientRequest]) (*connect.Response[pb.Client], error) {
	id := message.PublicID(req.Msg.GetId())
	if err := message.CheckName(id); err != nil {
		return nil, invalid(&fieldError{"id", err})
	}
	info, err := c.s.cfg.Registry.Client(ctx, id)
	if errors.Is(err, message.ErrNotFound) {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no client %q", id))
	}
	if err != nil {
		return nil, rpcError(fmt.Errorf("look up client %q: %w", id, err))
	}
	return connect.NewResponse(clientToProto(&info)), nil
}

// ListClients returns one page of a target's or a node's clients.
func (c *clientService) ListClients(ctx context.Context, req *connect.Request[pb.ListClientsRequest]) (*connect.Response[pb.ListClientsResponse], error) {
	m := req.Msg
	size := int(m.GetPageSize())
	if size == 0 {
		size = defaultPage
	}
	size = min(size, maxPage)

	var (
		subject string
		fetch   func(cursor string) ([]message.ClientInfo, string, error)
	)
	switch {
	case m.GetTarget() != nil && m.GetNode() != "":
		return nil, invalid(badField("node", "goes without target; set one of them"))
	case m.GetNode() != "":
		subject = "n:" + m.GetNode()
		fetch = func(cursor string) ([]message.ClientInfo, string, error) {
			return c.s.cfg.Registry.ListNode(ctx, m.GetNode(), cursor, size)
		}
	case m.GetTarget() != nil:
		key, err := targetKey("target", m.GetTarget())
		if err != nil {
			return nil, invalid(err)
		}
		subject = string(key)
		fetch = func(cursor string) ([]message.ClientInfo, string, error) {
			return c.s.cfg.Registry.List(ctx, key, cursor, size)
		}
	default:
		return nil, invalid(badField("target", "is empty; set it, or node"))
	}
	cursor, err := openToken(subject, m.GetPageToken())
	if err != nil {
		return nil, invalid(&fieldError{"page_token", err})
	}
	clients, next, err := fetch(cursor)
	if err != nil {
		return nil, rpcError(fmt.Errorf("list clients: %w", err))
	}
	resp := &pb.ListClientsResponse{Clients: make([]*pb.Client, 0, len(clients)), NextPageToken: sealToken(subject, next)}
	for i := range clients {
		resp.Clients = append(resp.Clients, clientToProto(&clients[i]))
	}
	return connect.NewResponse(resp), nil
}

var errForeignToken = errors.New("is not next_page_token of this list")

// sealToken makes a page token of a cursor. It carries a checksum of what is listed,
// so that one of another list is noticed.
func sealToken(subject, cursor string) string {
	if cursor == "" {
		return ""
	}
	sum := crc32.ChecksumIEEE([]byte(subject))
	b := append([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}, cursor...)
	return base64.RawURLEncoding.EncodeToString(b)
}

func openToken(subject, token string) (cursor string, err error) {
	if token == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) <= 4 || len(b) > 4+2*message.MaxKeyName || sealToken(subject, string(b[4:])) != token {
		return "", errForeignToken
	}
	return string(b[4:]), nil
}

// CountClients counts the clients of a target.
func (c *clientService) CountClients(ctx context.Context, req *connect.Request[pb.CountClientsRequest]) (*connect.Response[pb.CountClientsResponse], error) {
	key, err := targetKey("target", req.Msg.GetTarget())
	if err != nil {
		return nil, invalid(err)
	}
	clients, users, err := c.s.cfg.Registry.Count(ctx, key)
	if err != nil {
		return nil, rpcError(fmt.Errorf("count clients: %w", err))
	}
	return connect.NewResponse(&pb.CountClientsResponse{Clients: clients, Users: users}), nil
}

// Join puts clients into rooms.
func (c *clientService) Join(ctx context.Context, req *connect.Request[pb.JoinRequest]) (*connect.Response[pb.JoinResponse], error) {
	n, err := c.membership(ctx, req.Msg.GetTarget(), req.Msg.GetRooms(), true)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&pb.JoinResponse{Clients: n}), nil
}

// Leave takes clients out of rooms.
func (c *clientService) Leave(ctx context.Context, req *connect.Request[pb.LeaveRequest]) (*connect.Response[pb.LeaveResponse], error) {
	n, err := c.membership(ctx, req.Msg.GetTarget(), req.Msg.GetRooms(), false)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&pb.LeaveResponse{Clients: n}), nil
}

func (c *clientService) membership(ctx context.Context, t *pb.Target, rooms []string, join bool) (uint32, error) {
	key, err := targetKey("target", t)
	if err != nil {
		return 0, invalid(err)
	}
	if len(rooms) == 0 {
		return 0, invalid(badField("rooms", "is empty"))
	}
	if err := c.s.checkRooms("rooms", rooms); err != nil {
		return 0, invalid(err)
	}
	var moving []message.ClientInfo
	if c.s.presence != nil {
		// Read beforehand, for the target may be a room that is left.
		if moving, _, err = c.s.cfg.Registry.List(ctx, key, "", maxPage); err != nil {
			return 0, rpcError(fmt.Errorf("list clients: %w", err))
		}
	}
	n, err := c.s.callTarget(ctx, key, membershipDown(key, rooms, join))
	if n > 0 {
		for i := range moving {
			c.s.presence.move(&moving[i].Client, rooms, join)
		}
	}
	return n, err
}

func membershipDown(key message.Key, rooms []string, join bool) message.Down {
	m := &message.Membership{To: key, Rooms: rooms}
	if join {
		return message.Down{Join: m}
	}
	return message.Down{Leave: m}
}

// maxReason bounds the text that goes into a DISCONNECT event.
const maxReason = 512

// Disconnect closes clients.
func (c *clientService) Disconnect(ctx context.Context, req *connect.Request[pb.DisconnectRequest]) (*connect.Response[pb.DisconnectResponse], error) {
	key, err := targetKey("target", req.Msg.GetTarget())
	if err != nil {
		return nil, invalid(err)
	}
	if len(req.Msg.GetReason()) > maxReason {
		return nil, invalid(badField("reason", "is longer than %d bytes", maxReason))
	}
	n, err := c.s.callTarget(ctx, key, message.Down{Disconnect: &message.Disconnect{
		To: key, AllowReconnect: req.Msg.GetAllowReconnect(), Reason: req.Msg.GetReason(),
	}})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&pb.DisconnectResponse{Clients: n}), nil
}

// callTarget sends a call to every node with members of key, waits for their
// answers and returns the number of clients concerned. Each node gets a copy of d.
func (s *Server) callTarget(ctx context.Context, key message.Key, d message.Down) (uint32, error) {
	nodes, err := s.nodes.fresh(ctx, key)
	if err != nil {
		return 0, rpcError(fmt.Errorf("look up the nodes of %q: %w", key, err))
	}
	o, err := s.call(ctx, nodes, d)
	if err != nil {
		return 0, rpcError(err)
	}
	return o.clients, o.failure()
}

// call sends a copy of d to each of nodes as one call, and collects the answers.
func (s *Server) call(ctx context.Context, nodes []string, d message.Down) (outcome, error) {
	if len(nodes) == 0 {
		return outcome{}, nil
	}
	k, err := s.calls.begin(s.cfg.NewID(), false)
	if err != nil {
		return outcome{}, err
	}
	defer s.calls.end(k)
	waitCtx, cancel := context.WithTimeout(ctx, s.limits.CallTimeout)
	defer cancel()
	d.Call, d.ReplyTo, d.Expires = k.id, s.cfg.ID, s.cfg.Now().Add(s.limits.CallTimeout)
	for _, node := range nodes {
		k.ask(node)
		each := d
		if err := s.send(waitCtx, node, &each); err != nil && !errors.Is(err, message.ErrGone) {
			k.fail(node, err)
		} else if err != nil {
			k.absent(node) // its clients are gone with it
		}
	}
	k.seal()
	if err := k.wait(waitCtx); err != nil && ctx.Err() != nil {
		return outcome{}, fmt.Errorf("wait for nodes: %w", ctx.Err())
	}
	return k.outcome(), nil
}

// clientToProto makes the public form of a client.
func clientToProto(c *message.ClientInfo) *pb.Client {
	out := &pb.Client{
		Id:            message.PublicID(c.ID),
		Uid:           c.UID,
		Namespace:     c.Namespace,
		Rooms:         c.Rooms,
		Node:          c.Node,
		AuthType:      c.AuthType,
		ClientVersion: c.ClientVersion,
		Locale:        c.Locale,
		Transport:     c.Transport,
		Protocol:      c.Protocol,
		RemoteAddr:    c.RemoteAddr,
		Profile:       c.Profile,
	}
	if !c.ConnectedAt.IsZero() {
		out.ConnectedAt = timestamppb.New(c.ConnectedAt)
	}
	if !c.LastSeenAt.IsZero() {
		out.LastSeenAt = timestamppb.New(c.LastSeenAt)
	}
	// Headers of the handshake may hold any bytes, and proto3 takes UTF-8 only.
	for _, s := range []*string{&out.Uid, &out.AuthType, &out.ClientVersion, &out.Locale, &out.RemoteAddr, &out.Profile} {
		*s = strings.ToValidUTF8(*s, "\uFFFD")
	}
	return out
}
