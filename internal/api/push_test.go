package api

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
)

func TestOneRecordForEachNode(t *testing.T) {
	w := newWorld(t)
	w.add("n1", "ann1", "ann", "a", "b")
	w.add("n2", "bob1", "bob", "b")
	s := w.server(Config{})
	push := func(req *pb.PushRequest) *pb.PushResponse {
		t.Helper()
		p, err := s.pushOf("", req, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.push(t.Context(), p, req.GetDedupId())
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	for _, c := range []struct {
		name  string
		req   *pb.PushRequest
		nodes uint32
		want  string
	}{
		{
			"two rooms", &pb.PushRequest{Targets: append(room("a"), room("b")...), Event: "e"}, 2,
			"n1 push e [] to r:/,a@1001<0 r:/,b@1001<0\nn2 push e [] to r:/,b@1001<0\n",
		},
		{
			"a user and a client", &pb.PushRequest{Event: "e", Targets: []*pb.Target{
				{To: &pb.Target_User{User: "bob"}}, {To: &pb.Target_Client{Client: "ann1"}}, {To: &pb.Target_Client{Client: "ann1"}},
			}}, 2,
			"n1 push e [] to c:/,ann1@1001<0\nn2 push e [] to u:/,bob@1001<0\n",
		},
		{"an offline user has a log", &pb.PushRequest{Targets: []*pb.Target{{To: &pb.Target_User{User: "zoe"}}}, Event: "e"}, 0, ""},
		{"a namespace that nobody is in", &pb.PushRequest{Targets: []*pb.Target{{To: &pb.Target_All{All: true}, Namespace: "/x"}}, Event: "e"}, 0, ""},
		{
			"volatile is in no log", &pb.PushRequest{Targets: room("a"), Event: "e", Volatile: true}, 1,
			"n1 push e [] to r:/,a@0<0\n",
		},
		{
			"the next one names its predecessor", &pb.PushRequest{Targets: room("a"), Event: "e"}, 1,
			"n1 push e [] to r:/,a@1002<1001\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.forget()
			resp := push(c.req)
			if got := describe(w.sent()); got != c.want || resp.GetNodes() != c.nodes {
				t.Errorf("%d nodes:\n%swant %d nodes:\n%s", resp.GetNodes(), got, c.nodes, c.want)
			}
		})
	}
	if len(w.logged[message.UserKey("/", "zoe")]) != 1 {
		t.Error("the offline user's message is not in a log")
	}
}

func TestNodesAreReloadedWhenTheMembershipIsNewer(t *testing.T) {
	w := newWorld(t)
	w.add("n1", "ann1", "ann", "a")
	s := w.server(Config{})
	push := func() uint32 {
		n, err := s.route(t.Context(), &message.Push{ID: "m", Targets: []message.Key{message.RoomKey("/", "a")}})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for range 5 {
		if n := push(); n != 1 {
			t.Fatalf("sent to %d nodes", n)
		}
	}
	if w.loads != 1 {
		t.Errorf("the registry was asked %d times for an unchanged room", w.loads)
	}
	w.add("n2", "bob1", "bob", "a")
	if n := push(); n != 2 || w.loads != 2 {
		t.Errorf("after a join: %d nodes, asked %d times", n, w.loads)
	}
	// A node that is gone makes the list be read again.
	w.mu.Lock()
	w.nodes["n2"] = false
	w.mu.Unlock()
	if n := push(); n != 1 || s.Stats().SendGone != 1 {
		t.Errorf("a dead node: sent to %d, gone %d", n, s.Stats().SendGone)
	}
	w.remove("bob1")
	if n := push(); n != 1 || w.loads != 3 || s.Stats().SendGone != 1 {
		t.Errorf("after that: sent to %d, asked %d times, gone %d", n, w.loads, s.Stats().SendGone)
	}
	// A full inbox is no error: the node repairs from the log.
	w.mu.Lock()
	w.full["n1"] = true
	w.mu.Unlock()
	if n := push(); n != 0 || s.Stats().SendFull != 1 {
		t.Errorf("a full node: sent to %d", n)
	}
}

func TestNodeListsAreBounded(t *testing.T) {
	w := newWorld(t)
	s := w.server(Config{Limits: Limits{NodeLists: 10}})
	for i := range 100 {
		key := message.RoomKey("/", strings.Repeat("r", i+1))
		if _, err := s.route(t.Context(), &message.Push{Targets: []message.Key{key}}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.nodes.byKey); n != 10 || s.nodes.used.Len() != 10 {
		t.Errorf("%d lists are kept", n)
	}
}

func TestDedup(t *testing.T) {
	w := newWorld(t)
	w.add("n1", "ann1", "ann", "a")
	now := time.Unix(1000, 0)
	s := w.server(Config{Now: func() time.Time { return now }})
	push := func(id string) (string, error) {
		resp, err := s.push(t.Context(), &message.Push{Targets: []message.Key{message.RoomKey("/", "a")}}, id)
		return resp.GetMessageId(), err
	}
	first, _ := push("x")
	again, _ := push("x")
	other, _ := push("y")
	none1, _ := push("")
	none2, _ := push("")
	if first != again || first == other || none1 == none2 {
		t.Errorf("IDs %s %s %s %s %s", first, again, other, none1, none2)
	}
	if n := len(w.logged[message.RoomKey("/", "a")]); n != 4 {
		t.Errorf("%d messages were routed, want 4", n)
	}
	now = now.Add(2*time.Minute + time.Second)
	if later, _ := push("x"); later == first {
		t.Error("an ID is remembered beyond the window")
	}

	// A failed attempt may be repeated, and is the same message then.
	w.failLog = errors.New("away")
	if _, err := push("z"); err == nil {
		t.Fatal("no error from a log that is away")
	}
	failed := s.pushed.byID["z"].Value.(*attempt[*pb.PushResponse]).messageID
	w.failLog = nil
	if id, err := push("z"); err != nil || id != failed {
		t.Errorf("the second attempt is %s, error %v; the first was %s", id, err, failed)
	}
}

func TestDedupWaitsForTheFirst(t *testing.T) {
	d := newDedup[int](time.Minute, 2, time.Now)
	entered, finish := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	results := make(chan int, 3)
	wg.Go(func() {
		v, _, _ := d.do(t.Context(), "a", "m", at, func(string, time.Time) (int, error) {
			close(entered)
			<-finish
			return 1, nil
		})
		results <- v
	})
	<-entered
	for range 2 {
		wg.Go(func() {
			v, _, _ := d.do(t.Context(), "a", "m", at, func(string, time.Time) (int, error) { return 2, nil })
			results <- v
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := d.do(ctx, "a", "m", at, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("who gives up waiting gets %v", err)
	}
	close(finish)
	wg.Wait()
	for range 3 {
		if v := <-results; v != 1 {
			t.Errorf("answer %d, want the first one's", v)
		}
	}
	for _, id := range []string{"b", "c", "d"} {
		d.do(t.Context(), id, "m", at, func(string, time.Time) (int, error) { return 0, nil })
	}
	if len(d.byID) != 2 || d.used.Len() != 2 {
		t.Errorf("%d IDs are kept, want 2", len(d.byID))
	}
}

// TestDedupForgetsLargeAnswers bounds what is kept in bytes. Who is at it is not forgotten.
func TestDedupForgetsLargeAnswers(t *testing.T) {
	d := newDedup[string](time.Minute, 100, time.Now)
	d.maxBytes, d.size = 10, func(s string) int { return len(s) }
	_, _, err := d.do(t.Context(), "outer", "m", at, func(string, time.Time) (string, error) {
		for i, answer := range []string{"1234", "1234567", "12", ""} {
			id := strconv.Itoa(i)
			if got, again, err := d.do(t.Context(), id, "m", at, func(string, time.Time) (string, error) { return answer, nil }); got != answer || again || err != nil {
				t.Errorf("%s is %q, %v, %v", id, got, again, err)
			}
		}
		return "1234567890", errors.New("nothing to keep")
	})
	if err == nil || d.bytes != 9 {
		t.Errorf("%d bytes are kept, %v", d.bytes, err)
	}
	for id, want := range map[string]bool{"0": false, "1": true, "2": true, "3": true, "outer": true} {
		if _, kept := d.byID[id]; kept != want {
			t.Errorf("%s is kept: %v", id, kept)
		}
	}
	if got, _, err := d.do(t.Context(), "large", "m", at, func(string, time.Time) (string, error) { return "12345678901", nil }); got != "12345678901" || err != nil || d.bytes != 0 {
		t.Errorf("one that is too large for all: %q, %v, and %d bytes are kept", got, err, d.bytes)
	}
}

func TestValidation(t *testing.T) {
	w := newWorld(t)
	s := w.server(Config{Limits: Limits{Targets: 2, PushBytes: 100}, CheckMsgpack: func(b []byte) (binaries int, err error) {
		_, err = checkMsgpackHead(b)
		return bytes.Count(b, []byte{0xc4}), err
	}})
	ok := func() *pb.PushRequest { return &pb.PushRequest{Targets: room("a"), Event: "e"} }
	for _, c := range []struct {
		name   string
		change func(*pb.PushRequest)
		want   string // "": valid
	}{
		{"plain", func(*pb.PushRequest) {}, ""},
		{"no event, for raw sessions", func(r *pb.PushRequest) { r.Event = "" }, ""},
		{"no targets", func(r *pb.PushRequest) { r.Targets = nil }, "targets: is empty"},
		{"many targets", func(r *pb.PushRequest) { r.Targets = append(room("a"), append(room("b"), room("c")...)...) }, "targets: has 3"},
		{"empty target", func(r *pb.PushRequest) { r.Targets = []*pb.Target{{}} }, "targets[0]: names nobody"},
		{"second target", func(r *pb.PushRequest) {
			r.Targets = append(room("a"), &pb.Target{To: &pb.Target_User{}})
		}, "targets[1].user: is empty"},
		{"all: false", func(r *pb.PushRequest) { r.Targets = []*pb.Target{{To: &pb.Target_All{}}} }, "targets[0].all: is false"},
		{"namespace", func(r *pb.PushRequest) { r.Targets[0].Namespace = "chat" }, "targets[0].namespace: is not a namespace"},
		{"unknown namespace", func(r *pb.PushRequest) { r.Targets[0].Namespace = "/none" }, ""},
		{"long room", func(r *pb.PushRequest) { r.Targets = room(strings.Repeat("x", 513)) }, "targets[0].room: is longer"},
		{"reserved", func(r *pb.PushRequest) { r.Event = "connect_error" }, `event: "connect_error" is a name`},
		{"long event", func(r *pb.PushRequest) { r.Event = strings.Repeat("x", 513) }, "event: is longer than 512 bytes"},
		{"both payloads", func(r *pb.PushRequest) { r.Payload = &pb.Payload{Json: "[]", Msgpack: []byte{0x90}} }, "payload: json and msgpack are both set"},
		{"msgpack", func(r *pb.PushRequest) { r.Payload = &pb.Payload{Msgpack: []byte{0x91, 1}} }, ""},
		{"msgpack of many binary values", func(r *pb.PushRequest) {
			r.Payload = &pb.Payload{Msgpack: append([]byte{0x9b}, bytes.Repeat([]byte{0xc4, 0}, 11)...)}
		}, "payload.msgpack: binary values: are 11, more than 10"},
		{"no msgpack array", func(r *pb.PushRequest) { r.Payload = &pb.Payload{Msgpack: []byte{0x81, 1}} }, "payload.msgpack: is not a MessagePack array"},
		{"large msgpack", func(r *pb.PushRequest) {
			r.Payload = &pb.Payload{Msgpack: append([]byte{0x91, 0xd9, 97}, make([]byte, 98)...)}
		}, "payload: has 101 bytes"},
		{"msgpack and attachments", func(r *pb.PushRequest) {
			r.Payload = &pb.Payload{Msgpack: []byte{0x90}, Attachments: [][]byte{{1}}}
		}, "payload.attachments: go with json only"},
		{"not an array", func(r *pb.PushRequest) { r.Payload = &pb.Payload{Json: `{"a":1}`} }, "payload.json: is not a JSON array"},
		{"not JSON", func(r *pb.PushRequest) { r.Payload = &pb.Payload{Json: `[1,]`} }, "payload.json: is not a JSON array"},
		{"eleven attachments", func(r *pb.PushRequest) {
			r.Payload = &pb.Payload{Json: `[]`, Attachments: make([][]byte, 11)}
		}, "payload.attachments: are 11, more than 10"},
		{"large", func(r *pb.PushRequest) { r.Payload = &pb.Payload{Json: `["` + strings.Repeat("x", 100) + `"]`} }, "payload: has 104 bytes"},
		{"version", func(r *pb.PushRequest) { r.Filter = &pb.Filter{MinClientVersion: "2.10.0-rc.1"} }, ""},
		{"no version", func(r *pb.PushRequest) { r.Filter = &pb.Filter{MinClientVersion: "new"} }, "filter.min_client_version: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := ok()
			c.change(r)
			_, err := s.pushOf("", r, nil)
			if c.want == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
				t.Errorf("error %v, want %s", err, c.want)
			}
		})
	}
}

func TestTargetOfAV2Client(t *testing.T) {
	secret := strings.Repeat("s", message.SecretLen)
	for _, c := range []struct{ id, namespace, want string }{
		{"0123456789a" + secret, "", "c:/,0123456789a"},
		{"/chat#0123456789a" + secret, "", "c:/chat,/chat#0123456789a"},
		{"0123456789a", "/chat", "c:/chat,0123456789a"},
	} {
		key, err := targetKey("t", &pb.Target{To: &pb.Target_Client{Client: c.id}, Namespace: c.namespace})
		if err != nil || string(key) != c.want {
			t.Errorf("%s in %q: %s, error %v; want %s", c.id, c.namespace, key, err, c.want)
		}
	}
}
