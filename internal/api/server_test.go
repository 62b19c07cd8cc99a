package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
	"holdfast/proto/holdfast/v1/holdfastpb/holdfastpbconnect"
)

// h2cClient speaks HTTP/2 without TLS.
func h2cClient(t *testing.T) *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func room(name string) []*pb.Target {
	return []*pb.Target{{To: &pb.Target_Room{Room: name}}}
}

func TestEveryProtocolOnOnePort(t *testing.T) {
	w := newWorld(t)
	w.add("n1", "ann1", "ann", "doc")
	s := w.start(Config{})
	url := "http://" + serveH2C(t, s.Handler())
	h1, h2 := &http.Client{Transport: &http.Transport{}}, h2cClient(t)
	defer h1.CloseIdleConnections()

	for _, c := range []struct {
		name   string
		client *http.Client
		opts   []connect.ClientOption
	}{
		{"gRPC over h2c", h2, []connect.ClientOption{connect.WithGRPC()}},
		{"gRPC-Web over HTTP/1.1", h1, []connect.ClientOption{connect.WithGRPCWeb()}},
		{"gRPC-Web over h2c", h2, []connect.ClientOption{connect.WithGRPCWeb()}},
		{"Connect over HTTP/1.1", h1, nil},
		{"Connect with JSON over h2c", h2, []connect.ClientOption{connect.WithProtoJSON()}},
		{"gRPC with JSON over h2c", h2, []connect.ClientOption{connect.WithGRPC(), connect.WithProtoJSON()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			push := holdfastpbconnect.NewPushServiceClient(c.client, url, c.opts...)
			resp, err := push.Push(t.Context(), connect.NewRequest(&pb.PushRequest{Targets: room("doc"), Event: "e"}))
			if err != nil || resp.Msg.GetNodes() != 1 || len(resp.Msg.GetMessageId()) != 36 {
				t.Errorf("answer %v, error %v", resp, err)
			}
			_, err = push.Push(t.Context(), connect.NewRequest(&pb.PushRequest{Targets: room(""), Event: "e"}))
			if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "targets[0].room: is empty") {
				t.Errorf("error %v", err)
			}
		})
	}

	health, err := grpchealth.NewClient(h2, url, connect.WithGRPC()).Check(t.Context(),
		&grpchealth.CheckRequest{Service: "holdfast.v1.PushService"})
	if err != nil || health.Status != grpchealth.StatusServing {
		t.Errorf("health: %v, error %v", health, err)
	}
	stream := grpcreflect.NewClient(h2, url, connect.WithGRPC()).NewStream(t.Context())
	names, err := stream.ListServices()
	if err != nil || len(names) != 3 {
		t.Errorf("reflection lists %v, error %v", names, err)
	}
	stream.Close()
}

func TestPlainJSON(t *testing.T) {
	w := newWorld(t)
	w.add("n1", "ann1", "ann", "doc")
	s := w.start(Config{})
	url := "http://" + serveH2C(t, s.Handler())
	good := `{"targets":[{"room":"doc"}],"event":"e","payload":{"json":"[1]"}}`
	for _, c := range []struct {
		name, contentType, origin, body string
		status                          int
		want                            string
	}{
		{"JSON", "application/json", "", good, 200, `"nodes":1`},
		{"JSON with a charset", "application/json; charset=UTF-8", "", good, 200, `"nodes":1`},
		{"curl -d", "application/x-www-form-urlencoded", "", good, 200, `"nodes":1`},
		{"no type", "", "", good, 200, `"nodes":1`},
		{"snake_case", "application/json", "", `{"targets":[{"room":"doc"}],"event":"e","collapse_key":"k"}`, 200, `"nodes":1`},
		{"a form from a page", "application/x-www-form-urlencoded", "http://evil.example", good, 415, `\"application/x-www-form-urlencoded\" is no type of a call`},
		{"XML", "application/xml", "", "<push/>", 415, `\"application/xml\" is no type of a call: send JSON with Content-Type application/json`},
		{"more than any push", "application/json", "", `{"event":"` + strings.Repeat("x", 9_100_000) + `"}`, 413, `"invalid_argument","message":"the request has 9100012 bytes, more than 9048576; the payload of a push may have 4000000 (limits.push_bytes)"`},
		{"unknown field", "application/json", "", `{"targets":[{"room":"doc"}],"volatil":true}`, 400, `unknown field \"volatil\"`},
		{"not JSON", "application/json", "", `{`, 400, `"code":"invalid_argument"`},
		{"nothing", "application/json", "", ``, 400, `the body is empty`},
		{"no targets", "application/json", "", `{}`, 400, `targets: is empty`},
		{"bad args", "application/json", "", `{"targets":[{"room":"doc"}],"event":"e","payload":{"json":"{}"}}`, 400, `payload.json: is not a JSON array`},
		{"args that are no text", "application/json", "", `{"targets":[{"room":"doc"}],"event":"e","payload":{"json":[1]}}`, 400, `payload.json: invalid value for string field json: [, where a text that holds an array`},
		{"reserved", "application/json", "", `{"targets":[{"room":"doc"}],"event":"disconnect"}`, 400, `event: \"disconnect\" is a name`},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, _ := http.NewRequest(http.MethodPost, url+"/holdfast.v1.PushService/Push", strings.NewReader(c.body))
			if c.contentType != "" {
				req.Header.Set("Content-Type", c.contentType)
			}
			if c.origin != "" {
				req.Header.Set("Origin", c.origin)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var compact bytes.Buffer
			body, _ := io.ReadAll(resp.Body)
			if json.Compact(&compact, body) != nil {
				compact.Write(body)
			}
			if resp.StatusCode != c.status || !strings.Contains(compact.String(), c.want) {
				t.Errorf("%d %s, want %d and %s", resp.StatusCode, compact.String(), c.status, c.want)
			}
		})
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestWrongCalls has those answered as calls are that are none.
func TestWrongCalls(t *testing.T) {
	s := newWorld(t).start(Config{})
	url := "http://" + serveH2C(t, s.Handler())
	defer http.DefaultClient.CloseIdleConnections()
	for call, want := range map[string]string{
		"GET /holdfast.v1.PushService/Push":        `405 {"code":"unimplemented","message":"every call is a POST with its request as the body, not a GET"}`,
		"PUT /holdfast.v1.ClientService/GetClient": `405 {"code":"unimplemented","message":"every call is a POST with its request as the body, not a PUT"}`,
		"POST /holdfast.v1.PushService/push":       `404 {"code":"unimplemented","message":"/holdfast.v1.PushService/push is no method; they are named like /holdfast.v1.PushService/Push, with large letters"}`,
		"POST /holdfast.v1.PushService/PushStream": `505 {"code":"unimplemented","message":"/holdfast.v1.PushService/PushStream is a stream in both directions, which needs HTTP/2: gRPC, or Connect over HTTP/2"}`,
	} {
		method, path, _ := strings.Cut(call, " ")
		req, _ := http.NewRequest(method, url+path, strings.NewReader(`{}`))
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if got := fmt.Sprint(resp.StatusCode, " ", strings.TrimSpace(string(body))); got != want || err != nil || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s, %v; want %s", call, got, err, want)
		}
	}
}

// TestWrongRPCs has callers with a generated client told in the form that those read.
func TestWrongRPCs(t *testing.T) {
	s := newWorld(t).start(Config{})
	url := "http://" + serveH2C(t, s.Handler())
	h1, h2 := &http.Client{Transport: &http.Transport{}}, h2cClient(t)
	defer h1.CloseIdleConnections()
	for _, opts := range [][]connect.ClientOption{{connect.WithGRPC()}, {connect.WithGRPCWeb()}, {connect.WithProtoJSON()}} {
		wrong := connect.NewClient[pb.PushRequest, pb.PushResponse](h2, url+"/holdfast.v1.PushService/push", opts...)
		_, err := wrong.CallUnary(t.Context(), connect.NewRequest(&pb.PushRequest{}))
		if connect.CodeOf(err) != connect.CodeUnimplemented || !strings.Contains(err.Error(), "/holdfast.v1.PushService/push is no method") {
			t.Errorf("no method: %v", err)
		}
	}
	// A stream over HTTP/1.1 is answered though the request is still open.
	for _, opts := range [][]connect.ClientOption{{connect.WithGRPCWeb()}, {}} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		stream := holdfastpbconnect.NewEventServiceClient(h1, url, opts...).Subscribe(ctx)
		_ = stream.Send(&pb.SubscribeRequest{})
		_, err := stream.Receive()
		if connect.CodeOf(err) != connect.CodeUnimplemented {
			t.Errorf("a stream over HTTP/1.1: %v", err)
		}
		_, _ = stream.CloseRequest(), stream.CloseResponse()
		cancel()
	}
}

// clients returns typed clients of a running server.
func clients(t *testing.T, s *Server) (holdfastpbconnect.PushServiceClient, holdfastpbconnect.ClientServiceClient, holdfastpbconnect.EventServiceClient) {
	url, h2 := "http://"+serveH2C(t, s.Handler()), h2cClient(t)
	return holdfastpbconnect.NewPushServiceClient(h2, url, connect.WithGRPC()),
		holdfastpbconnect.NewClientServiceClient(h2, url, connect.WithGRPC()),
		holdfastpbconnect.NewEventServiceClient(h2, url, connect.WithGRPC())
}

func TestPushStreamKeepsOrder(t *testing.T) {
	w := newWorld(t)
	w.add("n1", "ann1", "ann", "a", "b", "c")
	s := w.start(Config{})
	push, _, _ := clients(t, s)
	stream := push.PushStream(t.Context())
	const n = 300
	rooms := []string{"a", "b", "c"}
	go func() {
		for i := range n {
			stream.Send(&pb.PushRequest{Targets: room(rooms[i%3]), Event: "e", Payload: &pb.Payload{Json: "[" + string(rune('0'+i%10)) + "]"}})
		}
		stream.CloseRequest()
	}()
	var ids []string
	for {
		resp, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, resp.GetMessageId())
	}
	if len(ids) != n {
		t.Fatalf("%d answers, want %d", len(ids), n)
	}
	at := map[string]int{}
	for i, id := range ids {
		at[id] = i
	}
	for _, r := range rooms {
		last := -1
		for _, p := range w.logged[message.RoomKey("/", r)] {
			if at[p.ID] < last {
				t.Fatalf("room %s: the log's order differs from the requests'", r)
			}
			last = at[p.ID]
		}
	}
	// A bad request ends the stream.
	stream = push.PushStream(t.Context())
	stream.Send(&pb.PushRequest{Targets: room("a"), Event: "e"})
	stream.Send(&pb.PushRequest{Event: "e"})
	if _, err := stream.Receive(); err != nil {
		t.Errorf("the first answer: %v", err)
	}
	if _, err := stream.Receive(); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("the second answer: %v", err)
	}
	stream.CloseRequest()
	stream.CloseResponse()
}

// hesitantLog does not take the first message of the room a, after a while.
type hesitantLog struct {
	*world
	refuse <-chan struct{}
	asked  atomic.Int32
}

func (l *hesitantLog) Append(ctx context.Context, key message.Key, p *message.Push) (message.Appended, error) {
	if key == message.RoomKey("/", "a") && l.asked.Add(1) == 1 {
		<-l.refuse
		return message.Appended{}, errors.New("no answer")
	}
	return l.world.Append(ctx, key, p)
}

// The caller repeats what was not answered. What was behind it on the stream and for the
// same room must not be in the log by then.
func TestPushStreamEndsInOrder(t *testing.T) {
	w, refuse := newWorld(t), make(chan struct{})
	w.add("n1", "bob1", "bob", "b")
	s := w.server(Config{})
	s.cfg.Log = &hesitantLog{world: w, refuse: refuse}
	push, _, _ := clients(t, s)
	stream := push.PushStream(t.Context())
	for _, to := range []string{"a", "a", "a", "b"} {
		if err := stream.Send(&pb.PushRequest{Targets: room(to), Event: "e"}); err != nil {
			t.Fatal(err)
		}
	}
	w.wait("the push to the other room", func(sent []sentDown) bool { return len(sent) == 1 })
	close(refuse)
	if _, err := stream.Receive(); err == nil {
		t.Error("the first push was answered")
	}
	stream.CloseRequest()
	stream.CloseResponse()
	if _, err := push.Push(t.Context(), connect.NewRequest(&pb.PushRequest{Targets: room("a"), Event: "again"})); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := w.logged[message.RoomKey("/", "a")]; len(got) != 1 || got[0].Event != "again" {
		t.Errorf("%d pushes are in the log, and the first one is %q", len(got), got[0].Event)
	}
}

func TestPushAndWait(t *testing.T) {
	w := newWorld(t)
	w.add("n1", "ann1", "ann", "doc")
	w.add("n1", "ann2", "ann", "doc")
	w.add("n2", "bob1", "bob", "doc")
	w.answer = func(client string, _ *message.Push) *message.Payload {
		if client == "ann2" {
			return nil
		}
		return &message.Payload{JSON: []byte(`["` + client + `"]`)}
	}
	s := w.start(Config{})
	push, _, _ := clients(t, s)
	ask := func(timeout time.Duration, targets []*pb.Target) (*pb.PushAndWaitResponse, error) {
		resp, err := push.PushAndWait(t.Context(), connect.NewRequest(&pb.PushRequest{
			Targets: targets, Event: "q", AckTimeout: durationpb.New(timeout),
		}))
		if err != nil {
			return nil, err
		}
		return resp.Msg, nil
	}
	resp, err := ask(100*time.Millisecond, room("doc"))
	if err != nil || len(resp.GetAcks()) != 2 || resp.GetMissing() != 1 {
		t.Fatalf("answer %v, error %v", resp, err)
	}
	// All there: no waiting for the timeout.
	began := time.Now()
	resp, err = ask(30*time.Second, []*pb.Target{{To: &pb.Target_User{User: "bob"}}})
	if err != nil || len(resp.GetAcks()) != 1 || resp.GetAcks()[0].GetPayload().GetJson() != `["bob1"]` || resp.GetMissing() != 0 {
		t.Errorf("answer %v, error %v", resp, err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it waited %v though all acks were there", took)
	}
	resp, err = ask(30*time.Second, room("nobody"))
	if err != nil || resp.GetMissing() != 0 || len(resp.GetAcks()) != 0 {
		t.Errorf("an empty room: %v, error %v", resp, err)
	}
	for _, bad := range []time.Duration{-1, 61 * time.Second} {
		if _, err := ask(bad, room("doc")); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("timeout %v: %v", bad, err)
		}
	}
	w.mu.Lock()
	w.mute["n1"] = true
	w.mu.Unlock()
	resp, err = ask(50*time.Millisecond, room("doc"))
	if err != nil || len(resp.GetAcks()) != 1 || resp.GetFailedNodes() != 1 {
		t.Errorf("a silent node: %v, error %v", resp, err)
	}
	w.mu.Lock()
	w.full["n1"], w.full["n2"] = true, true
	w.mu.Unlock()
	if _, err = ask(time.Second, room("doc")); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("full nodes: %v", err)
	}
	if len(w.logged) != 0 {
		t.Error("a push that asks for acks was logged")
	}
	if n := s.calls.len(); n != 0 {
		t.Errorf("%d calls are left", n)
	}
}

func TestClientService(t *testing.T) {
	w := newWorld(t)
	w.add("n1", "ann1", "ann", "doc")
	w.add("n2", "ann2", "ann")
	w.add("n2", "bob1", "", "doc")
	s := w.start(Config{})
	_, cs, _ := clients(t, s)
	ctx := t.Context()

	c, err := cs.GetClient(ctx, connect.NewRequest(&pb.GetClientRequest{Id: "ann1"}))
	if err != nil || c.Msg.GetUid() != "ann" || c.Msg.GetNode() != "n1" || c.Msg.GetRooms()[0] != "doc" ||
		c.Msg.GetProtocol() != "socket.io/5" || c.Msg.GetConnectedAt().GetSeconds() != 1700000000 {
		t.Errorf("GetClient: %v, error %v", c, err)
	}
	if _, err := cs.GetClient(ctx, connect.NewRequest(&pb.GetClientRequest{Id: "nobody"})); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("GetClient of nobody: %v", err)
	}
	count, err := cs.CountClients(ctx, connect.NewRequest(&pb.CountClientsRequest{Target: &pb.Target{To: &pb.Target_All{All: true}}}))
	if err != nil || count.Msg.GetClients() != 3 || count.Msg.GetUsers() != 1 {
		t.Errorf("CountClients: %v, error %v", count, err)
	}

	var ids []string
	list := &pb.ListClientsRequest{Target: &pb.Target{To: &pb.Target_All{All: true}}, PageSize: 2}
	for {
		page, err := cs.ListClients(ctx, connect.NewRequest(list))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Msg.GetClients() {
			ids = append(ids, c.GetId())
		}
		if list.PageToken = page.Msg.GetNextPageToken(); list.PageToken == "" {
			break
		}
		if _, err := cs.ListClients(ctx, connect.NewRequest(&pb.ListClientsRequest{Node: "n2", PageToken: list.PageToken})); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("a token of another list: %v", err)
		}
	}
	if got := strings.Join(ids, " "); got != "ann1 ann2 bob1" {
		t.Errorf("pages list %s", got)
	}
	node, err := cs.ListClients(ctx, connect.NewRequest(&pb.ListClientsRequest{Node: "n2"}))
	if err != nil || len(node.Msg.GetClients()) != 2 {
		t.Errorf("ListClients of a node: %v, error %v", node, err)
	}
	if _, err := cs.ListClients(ctx, connect.NewRequest(&pb.ListClientsRequest{})); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("ListClients of nothing: %v", err)
	}

	user := &pb.Target{To: &pb.Target_User{User: "ann"}}
	joined, err := cs.Join(ctx, connect.NewRequest(&pb.JoinRequest{Target: user, Rooms: []string{"x", "y"}}))
	if err != nil || joined.Msg.GetClients() != 2 {
		t.Errorf("Join: %v, error %v", joined, err)
	}
	if _, err := cs.Join(ctx, connect.NewRequest(&pb.JoinRequest{Target: user, Rooms: []string{"x", ""}})); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "rooms[1]: is empty") {
		t.Errorf("Join of a room without a name: %v", err)
	}
	left, err := cs.Leave(ctx, connect.NewRequest(&pb.LeaveRequest{Target: &pb.Target{To: &pb.Target_Room{Room: "x"}}, Rooms: []string{"x"}}))
	if err != nil || left.Msg.GetClients() != 2 {
		t.Errorf("Leave: %v, error %v", left, err)
	}
	w.mu.Lock()
	w.full["n2"] = true
	w.mu.Unlock()
	if _, err := cs.Join(ctx, connect.NewRequest(&pb.JoinRequest{Target: user, Rooms: []string{"z"}})); connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "node n2") {
		t.Errorf("Join with a full node: %v", err)
	}
	w.mu.Lock()
	w.full["n2"] = false
	w.mu.Unlock()
	gone, err := cs.Disconnect(ctx, connect.NewRequest(&pb.DisconnectRequest{Target: user, Reason: "bye"}))
	if err != nil || gone.Msg.GetClients() != 2 {
		t.Errorf("Disconnect: %v, error %v", gone, err)
	}
	if !strings.Contains(describe(w.sent()), `disconnect u:/,ann "bye"`) {
		t.Errorf("records:\n%s", describe(w.sent()))
	}
}

func TestConfigErrorsNameTheKey(t *testing.T) {
	w := newWorld(t)
	_, err := New(Config{
		ID: "x", Registry: w, Log: w, Bus: w,
		Backends: []BackendConfig{{Name: "app", URL: "ftp://x"}, {Name: "two", URL: "http://"}},
		Rules:    []Rule{{Backend: "none"}, {Drop: true, Relay: RelayAll}, {Volatile: true}, {Type: message.EventConnect, Event: "a"}},
	})
	for _, want := range []string{"backends.app.url: ", "backends.two.url: ", "routes[0]: backend: ", "routes[1]: drop: ", "routes[2]: volatile", "routes[3]: event: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("an empty config was taken")
	}
}

// A server whose bus fails says so, and one that is told to stop ends with all
// that it started.
func TestRunReturnsTheBusError(t *testing.T) {
	w := newWorld(t)
	broken := brokenBus{w, errors.New("no broker")}
	s, err := New(Config{ID: "x", Registry: w, Log: w, Bus: broken})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(context.Background()); !errors.Is(err, broken.err) {
		t.Errorf("Run: %v", err)
	}
}

type brokenBus struct {
	*world
	err error
}

func (b brokenBus) Consume(context.Context, func(*message.Up)) error { return b.err }
