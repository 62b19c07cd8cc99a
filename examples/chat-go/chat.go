package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	pb "holdfast/proto/holdfast/v1/holdfastpb"
	"holdfast/proto/holdfast/v1/holdfastpb/holdfastpbconnect"
)

// kept is how many messages of a conversation are remembered.
const kept = 100

// message is one message as browsers see it. To is "#group" or a name.
type message struct {
	ID   string `json:"id"`
	From string `json:"from"`
	To   string `json:"to"`
	Text string `json:"text"`
	At   int64  `json:"at"` // ms since 1970
}

// chat is the backend.
type chat struct {
	push holdfastpbconnect.PushServiceClient

	mu            sync.Mutex
	conversations map[string][]message // "#lobby", or the two names; oldest first
}

var _ holdfastpbconnect.BackendServiceHandler = (*chat)(nil)

// HandleEvent answers what a client did.
func (c *chat) HandleEvent(ctx context.Context, req *connect.Request[pb.Event]) (*connect.Response[pb.EventReply], error) {
	var reply *pb.EventReply
	var err error
	switch e := req.Msg; e.GetType() {
	case pb.EventType_EVENT_TYPE_CONNECT:
		reply, err = c.connect(e)
	case pb.EventType_EVENT_TYPE_MESSAGE:
		reply, err = c.message(ctx, e)
	default:
		reply = &pb.EventReply{}
	}
	if err != nil {
		log.Print(err)
		return nil, connect.NewError(connect.CodeInternal, err)
	}
	return connect.NewResponse(reply), nil
}

var name = regexp.MustCompile(`^[\w-]{1,30}$`)

// connect lets a client in. A real chat would check a password or a token here.
func (c *chat) connect(e *pb.Event) (*pb.EventReply, error) {
	auth := struct {
		Name   string   `json:"name"`
		Groups []string `json:"groups"`
	}{Groups: []string{"lobby"}}
	if err := json.Unmarshal([]byte(e.GetAuth()), &auth); err != nil || !name.MatchString(auth.Name) {
		return &pb.EventReply{Reject: "a name has up to 30 letters, digits and -"}, nil
	}
	if slices.ContainsFunc(auth.Groups, func(g string) bool { return !name.MatchString(g) }) {
		return &pb.EventReply{Reject: "groups are named like people"}, nil
	}
	profile, err := json.Marshal(map[string]string{"name": auth.Name})
	if err != nil {
		return nil, fmt.Errorf("write the profile: %w", err)
	}
	reply := &pb.EventReply{Uid: auth.Name, Profile: string(profile), JoinRooms: auth.Groups}
	if e.GetRecovered() {
		return reply, nil // it got what was missed already
	}
	args, err := arguments(c.historyFor(auth.Name, auth.Groups))
	if err != nil {
		return nil, err
	}
	toClient := &pb.Target{To: &pb.Target_Client{Client: e.GetClient().GetId()}}
	reply.Pushes = []*pb.PushRequest{{Targets: []*pb.Target{toClient}, Event: "history", Payload: args}}
	return reply, nil
}

// message sends one on and answers with the message as it was stored.
func (c *chat) message(ctx context.Context, e *pb.Event) (*pb.EventReply, error) {
	var args []message
	if err := json.Unmarshal([]byte(e.GetPayload().GetJson()), &args); err != nil || len(args) != 1 || args[0].To == "" || strings.TrimSpace(args[0].Text) == "" {
		return refuse("a message has `to` and `text`")
	}
	// Who sent it is what holdfast says, not what the page says.
	m := message{ID: e.GetId(), From: e.GetClient().GetUid(), To: args[0].To, Text: args[0].Text, At: time.Now().UnixMilli()}

	var targets []*pb.Target
	if group, ok := strings.CutPrefix(m.To, "#"); ok {
		if !slices.Contains(e.GetClient().GetRooms(), group) {
			return refuse("you are not in " + m.To)
		}
		targets = []*pb.Target{{To: &pb.Target_Room{Room: group}}}
	} else { // the sender's other windows get it too
		targets = []*pb.Target{{To: &pb.Target_User{User: m.To}}, {To: &pb.Target_User{User: m.From}}}
	}
	payload, err := arguments(m)
	if err != nil {
		return nil, err
	}
	// The event's ID stays the same when the event is given again, so nobody gets a
	// message twice.
	_, err = c.push.Push(ctx, connect.NewRequest(&pb.PushRequest{
		Targets: targets, Event: "chat", Payload: payload, DedupId: e.GetId(),
		Filter: &pb.Filter{ExceptClients: []string{e.GetClient().GetId()}},
	}))
	if err != nil {
		return nil, fmt.Errorf("push to %s: %w", m.To, err)
	}
	c.store(m)
	return &pb.EventReply{Ack: payload}, nil
}

func refuse(why string) (*pb.EventReply, error) {
	ack, err := arguments(map[string]any{"error": map[string]string{"message": why}})
	return &pb.EventReply{Ack: ack}, err
}

// arguments makes a payload of one argument.
func arguments(v any) (*pb.Payload, error) {
	text, err := json.Marshal([]any{v})
	if err != nil {
		return nil, fmt.Errorf("write arguments: %w", err)
	}
	return &pb.Payload{Json: string(text)}, nil
}

func (c *chat) store(m message) {
	key := m.To
	if !strings.HasPrefix(key, "#") {
		key = min(m.From, m.To) + " and " + max(m.From, m.To)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := append(c.conversations[key], m)
	c.conversations[key] = all[max(0, len(all)-kept):]
}

// historyFor is what somebody may read, oldest first.
func (c *chat) historyFor(who string, groups []string) []message {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := []message{}
	for _, messages := range c.conversations {
		for _, m := range messages {
			group, toGroup := strings.CutPrefix(m.To, "#")
			if (toGroup && slices.Contains(groups, group)) || (!toGroup && (m.From == who || m.To == who)) {
				all = append(all, m)
			}
		}
	}
	slices.SortFunc(all, func(a, b message) int { return int(a.At - b.At) })
	return all[max(0, len(all)-kept):]
}
