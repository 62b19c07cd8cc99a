package api

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
	"holdfast/proto/holdfast/v1/holdfastpb/holdfastpbconnect"
)

// recorder is a backend that remembers what it was asked.
type recorder struct {
	mu     sync.Mutex
	events []*pb.Event
	more   sync.Cond
	reply  func(*pb.Event) (*pb.EventReply, error)
}

func newRecorder(reply func(*pb.Event) (*pb.EventReply, error)) *recorder {
	r := &recorder{reply: reply}
	r.more.L = &r.mu
	return r
}

// wait returns the events when there are n.
func (r *recorder) wait(n int) []*pb.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.events) < n {
		r.more.Wait()
	}
	return append([]*pb.Event(nil), r.events...)
}

func (r *recorder) saw(ev *pb.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, ev)
	r.more.Broadcast()
}

func (r *recorder) HandleEvent(_ context.Context, req *connect.Request[pb.Event]) (*connect.Response[pb.EventReply], error) {
	r.saw(req.Msg)
	reply, err := r.reply(req.Msg)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(reply), nil
}

func (r *recorder) seen() []*pb.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*pb.Event(nil), r.events...)
}

// post serves plain JSON, as a backend without any library would.
func (r *recorder) post(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	ev := new(pb.Event)
	if req.URL.Path != "/base/holdfast.v1.BackendService/HandleEvent" || req.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "wrong path or type", http.StatusBadRequest)
		return
	}
	if err := protojson.Unmarshal(body, ev); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.saw(ev)
	reply, err := r.reply(ev)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	b, _ := protojson.Marshal(reply)
	w.Write(b)
}

func (r *recorder) serveJSON(t *testing.T) string {
	srv := httptest.NewServer(http.HandlerFunc(r.post))
	t.Cleanup(srv.Close)
	return srv.URL + "/base/"
}

func (r *recorder) serveGRPC(t *testing.T) string {
	mux := http.NewServeMux()
	mux.Handle(holdfastpbconnect.NewBackendServiceHandler(r))
	return "grpc://" + serveH2C(t, mux)
}

// serveH2C serves h on a loopback port as cmd does, and returns its address.
func serveH2C(t *testing.T, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	ConfigureHTTP(srv)
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(l)
	}()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return l.Addr().String()
}

// backendKinds runs a test against each kind of backend.
func backendKinds(t *testing.T, test func(t *testing.T, serve func(*recorder) string)) {
	t.Run("http", func(t *testing.T) { test(t, func(r *recorder) string { return r.serveJSON(t) }) })
	t.Run("grpc", func(t *testing.T) { test(t, func(r *recorder) string { return r.serveGRPC(t) }) })
}

func TestBackendAnswersAnEvent(t *testing.T) {
	backendKinds(t, func(t *testing.T, serve func(*recorder) string) {
		w := newWorld(t)
		ann := w.add("n1", "ann1", "ann", "doc")
		w.add("n2", "bob1", "bob", "doc")
		r := newRecorder(func(ev *pb.Event) (*pb.EventReply, error) {
			return &pb.EventReply{
				Ack:       &pb.Payload{Json: `["ok", <&>]`},
				JoinRooms: []string{"fresh"},
				Pushes: []*pb.PushRequest{
					{Targets: []*pb.Target{{To: &pb.Target_Room{Room: "fresh"}}}, Event: "hello", Payload: &pb.Payload{Json: "[1]"}},
					{Event: "nobody"},
				},
			}, nil
		})
		s := w.start(Config{
			Backends:  []BackendConfig{{Name: "app", URL: serve(r)}},
			Rules:     []Rule{{Event: "*", Backend: "app", Ack: AckBackend}},
			CheckArgs: func([]byte, int) error { return nil },
		})
		w.emit(ann, "save", `[ {"a":1} ,2]`, 5)
		downs := w.wait("the ack", has(`ack ann1 5 ["ok", <&>]`))
		want := "n1 join c:/,ann1 [fresh]\nn1 push hello [1] to r:/,fresh@1001<0\nn1 ack ann1 5 [\"ok\", <&>]\n"
		if got := describe(downs); got != want {
			t.Errorf("records:\n%swant:\n%s", got, want)
		}
		ev := r.seen()[0]
		if ev.GetPayload().GetJson() != `[ {"a":1} ,2]` || ev.GetEvent() != "save" || !ev.GetWantsAck() ||
			ev.GetClient().GetId() != "ann1" || ev.GetClient().GetRooms()[0] != "doc" ||
			ev.GetType() != pb.EventType_EVENT_TYPE_MESSAGE || ev.GetHeaders()["X-Trace-ID"] != "trace-1" ||
			ev.GetHeaders()["X-Time-Received"] == "" || ev.GetHeaders()["X-Time-Routed"] == "" {
			t.Errorf("the backend saw %v", ev)
		}
		if n := s.Stats().ReplyErrors; n != 1 {
			t.Errorf("%d parts of replies failed, want the push without targets", n)
		}
	})
}

func TestBackendFailures(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	frame := func(length uint32, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Trailer", "Grpc-Status")
			w.Write(binary.BigEndian.AppendUint32([]byte{0}, length))
			io.WriteString(w, body)
			w.Header().Set("Grpc-Status", "0")
		}
	}
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		grpc    bool // the handler is called by gRPC
		url     string
		want    string
	}{
		{name: "no gRPC there", grpc: true, handler: answer(200, "<html>"), want: `"code":"INTERNAL","message":"backend app gave an answer that is not valid"`},
		{name: "no gRPC at that path", grpc: true, handler: answer(404, ""), want: `"code":"UNIMPLEMENTED","message":"backend app answered HTTP status 404`},
		{name: "a proxy that finds no gRPC", grpc: true, handler: answer(503, ""), want: `"code":"UNAVAILABLE","message":"backend app answered HTTP status 503`},
		{name: "a reply that is too large", grpc: true, handler: frame(maxReply+1, strings.Repeat("x", maxReply+1)), want: `"code":"INTERNAL","message":"backend app gave an answer that is not valid"`},
		{name: "a message that is no reply", grpc: true, handler: frame(1, "\xff"), want: `"code":"INTERNAL","message":"backend app gave an answer that is not valid"`},
		{name: "500", handler: answer(500, "boom"), want: `"code":"INTERNAL","message":"backend app answered 500 Internal Server Error"`},
		{name: "503", handler: answer(503, ""), want: `"code":"UNAVAILABLE"`},
		{name: "429", handler: answer(429, ""), want: `"code":"RESOURCE_EXHAUSTED"`},
		{name: "its own words", handler: answer(404, `{"code":"not_found","message":"no such doc"}`), want: `[{"error":{"code":"NOT_FOUND","message":"no such doc"}}]`},
		{name: "its own words in capitals", handler: answer(404, `{"code":"NOT_FOUND","message":"no such doc"}`), want: `[{"error":{"code":"NOT_FOUND","message":"no such doc"}}]`},
		{name: "a code that is none", handler: answer(422, `{"code":"QUOTA","message":"no more"}`), want: `"code":"INTERNAL","message":"backend app answered 422 Unprocessable Entity"`},
		{name: "garbage", handler: answer(200, "<html>"), want: `"code":"INTERNAL","message":"backend app gave an answer that is not valid"`},
		{name: "misspelt", handler: answer(200, `{"push":[]}`), want: `"code":"INTERNAL","message":"backend app gave an answer that is not valid"`},
		{name: "bad ack", handler: answer(200, `{"ack":{"json":"{}"}}`), want: `"code":"INTERNAL","message":"the backend's acknowledgement is not valid"`},
		{name: "nothing", handler: answer(204, ""), want: `ack ann1 1 []`},
		{name: "no ack", handler: answer(200, "{}"), want: `ack ann1 1 []`},
		{name: "hangs", handler: func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // else the server does not notice that the caller went
			<-r.Context().Done()
		}, want: `"code":"DEADLINE_EXCEEDED","message":"backend app did not answer within 300ms"`},
		{name: "dead", url: "http://" + dead.Addr().String(), want: `"code":"UNAVAILABLE","message":"backend app cannot be reached"`},
		{name: "dead grpc", url: "grpc://" + dead.Addr().String(), want: `"code":"UNAVAILABLE","message":"backend app cannot be reached"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			ann := w.add("n1", "ann1", "")
			if c.grpc {
				c.url = "grpc://" + serveH2C(t, c.handler)
			}
			if c.url == "" {
				srv := httptest.NewServer(c.handler)
				defer srv.Close()
				c.url = srv.URL
			}
			timeout := 10 * time.Second
			if c.name == "hangs" {
				timeout = 300 * time.Millisecond
			}
			w.start(Config{
				Backends: []BackendConfig{{Name: "app", URL: c.url, Timeout: timeout}},
				Rules:    []Rule{{Event: "*", Backend: "app", Ack: AckBackend}},
			})
			w.emit(ann, "save", `[]`, 1)
			w.wait(c.want, has(c.want))
		})
	}
}

func TestConnectVerdict(t *testing.T) {
	backendKinds(t, func(t *testing.T, serve func(*recorder) string) {
		w := newWorld(t)
		r := newRecorder(func(ev *pb.Event) (*pb.EventReply, error) {
			switch ev.GetAuth() {
			case `{"no":1}`:
				return &pb.EventReply{Reject: "go away", RejectData: `{"why":"x"}`}, nil
			case `{"bad":1}`:
				return &pb.EventReply{Profile: "[]"}, nil
			case `{"err":1}`:
				return nil, connect.NewError(connect.CodeInternal, io.ErrUnexpectedEOF)
			}
			return &pb.EventReply{
				Uid: "u-7", Profile: `{"name":"Ann"}`, JoinRooms: []string{"doc"},
				Pushes: []*pb.PushRequest{{Targets: []*pb.Target{{To: &pb.Target_Room{Room: "doc"}}}, Event: "welcome"}},
			}, nil
		})
		w.start(Config{
			Backends: []BackendConfig{{Name: "app", URL: serve(r)}},
			Rules:    []Rule{{Type: message.EventConnect, Backend: "app"}, {Type: message.EventDisconnect, Backend: "app"}, {Event: "*", Backend: "app", Ack: AckBackend}},
		})
		w.connect(w.add("n1", "c1", ""), true, `{"token":"t"}`, "ignored")
		w.wait("accept", has("n1 accept c1 uid=u-7 rooms=[doc]\nn1 push welcome [] to r:/,doc@1001<0\n"))

		w.connect(w.add("n1", "c2", ""), true, `{"no":1}`)
		w.wait("reject", has(`reject c2 "go away" {"why":"x"}`))
		w.connect(w.add("n1", "c3", ""), true, `{"bad":1}`)
		w.wait("bad profile", has(`reject c3 "backend app gave an answer that is not valid" {"code":"INTERNAL","retry":true}`))
		w.connect(w.add("n1", "c4", ""), true, `{"err":1}`)
		w.wait("error", has(`reject c4 `))
		w.connect(w.add("n1", "c5", ""), true, "")
		w.wait("no auth", has("accept c5"))
		events := r.seen()
		if got := events[4].GetAuth(); got != "{}" {
			t.Errorf("auth is %q when absent", got)
		}
		if events[0].GetQuery()["EIO"] != "4" || events[0].GetHttpHeaders()["Cookie"] != "a=b" || events[0].GetPayload().GetJson() != "[]" {
			t.Errorf("the CONNECT was %v", events[0])
		}
		w.disconnect(w.add("n1", "c1", ""), "transport close", "doc")
		events = r.wait(6)
		if events[5].GetType() != pb.EventType_EVENT_TYPE_DISCONNECT || events[5].GetReason() != "transport close" {
			t.Errorf("the DISCONNECT was %v", events[5])
		}
	})
}
