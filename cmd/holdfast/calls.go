package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"holdfast/internal/auth"
	"holdfast/internal/boot"
	"holdfast/proto/holdfast/v1/holdfastpb"
	"holdfast/proto/holdfast/v1/holdfastpb/holdfastpbconnect"
)

// remote is the flags of commands that call a running ws-api.
type remote struct {
	API   string `name:"api" env:"HOLDFAST_API" help:"URL of the API." default:"http://127.0.0.1:8001" placeholder:"URL"`
	Token string `name:"token" env:"HOLDFAST_API_TOKEN" help:"One of its api_tokens, where it has some; better given by the variable." placeholder:"T"`
	CA    string `name:"ca" env:"HOLDFAST_API_CA" help:"File of who has signed its certificate, or of that itself (PEM). Default: the system's." type:"path" placeholder:"F"`

	roots *tls.Config // of CA; nil: there is none
}

// client speaks HTTP/2 without TLS to http URLs, which streams need.
func (r *remote) client() *http.Client {
	p := new(http.Protocols)
	if strings.HasPrefix(r.API, "https:") {
		p.SetHTTP2(true)
	} else {
		p.SetUnencryptedHTTP2(true)
	}
	return &http.Client{Transport: bearer{r.Token, &http.Transport{Protocols: p, TLSClientConfig: r.roots}}}
}

// bearer adds a token to requests, unless it is empty.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}

// check looks at what can be wrong with the flags before the API is called.
func (r *remote) check() error {
	u, err := url.Parse(r.API)
	if err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
		if r.CA != "" {
			roots, err := boot.ReadCA(r.CA)
			if err != nil {
				return usageError{fmt.Errorf("--ca: %w", err)}
			}
			r.roots = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
		}
		return nil
	}
	_, address, found := strings.Cut(r.API, "://")
	if !found {
		address = r.API
	}
	return usageError{fmt.Errorf("--api: %q is no URL of an API; did you mean http://%s?", r.API, cmp.Or(address, "127.0.0.1:8001"))}
}

// explain makes errors of calls say what to do. It asks what there is at the address, for
// what HTTP/2 says of a server that does not speak it depends on who hangs up first.
func (r *remote) explain(ctx context.Context, act string, err error) error {
	var c *connect.Error
	if errors.As(err, &c) && c.Code() == connect.CodeUnauthenticated {
		return fmt.Errorf("%s: %w (--token, or %s)", act, err, boot.APITokenVariable)
	}
	if !errors.As(err, &c) || c.Code() != connect.CodeUnavailable && c.Code() != connect.CodeCanceled && c.Code() != connect.CodeUnimplemented {
		return fmt.Errorf("%s: %w", act, err)
	}
	status, lookErr := r.look(ctx)
	switch {
	case status == http.StatusNotFound:
		return fmt.Errorf("%s: what answers at %s is no API; is it where clients connect? (--api URL names another address): %w", act, r.API, err)
	case status == http.StatusBadRequest && strings.HasPrefix(r.API, "http:"):
		return fmt.Errorf("%s: there is TLS at %s; write https://: %w", act, r.API, err)
	case lookErr == nil:
		return fmt.Errorf("%s: %w", act, err)
	case errors.Is(lookErr, http.ErrSchemeMismatch):
		return fmt.Errorf("%s: there is no TLS at %s; write http://: %w", act, r.API, err)
	case strings.Contains(lookErr.Error(), "x509:"):
		return fmt.Errorf("%s: the certificate of %s does not pass; --ca FILE says who may have signed it: %w", act, r.API, lookErr)
	}
	return fmt.Errorf("%s: nothing answers at %s; is `holdfast dev` running? (--api URL names another address): %w", act, r.API, err)
}

// look asks by HTTP/1.1 for what any API has, and returns the status of the answer.
func (r *remote) look(ctx context.Context) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(r.API, "/")+holdfastpbconnect.PushServicePushProcedure, nil)
	if err != nil {
		return 0, err
	}
	plain := &http.Client{Transport: bearer{r.Token, &http.Transport{DisableKeepAlives: true, TLSClientConfig: r.roots}}}
	answer, err := plain.Do(request)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}

type pushCommand struct {
	remote
	Room      *string       `help:"To the clients in a room." xor:"to" required:"" placeholder:"R"`
	User      *string       `help:"To the clients of a user." xor:"to" required:"" placeholder:"U"`
	Client    *string       `help:"To one client." xor:"to" required:"" placeholder:"C"`
	All       bool          `help:"To everybody in the namespace." xor:"to" required:""`
	Event     string        `help:"Name of the event." required:"" placeholder:"NAME"`
	Namespace string        `help:"Namespace." default:"/"`
	Volatile  bool          `help:"At most once: not kept, dropped for a client that cannot take it now."`
	Wait      time.Duration `help:"Ask for acknowledgements and wait for them as long as this." placeholder:"5s"`
	JSON      []string      `arg:"" optional:"" name:"json" help:"The event's arguments, each a JSON value."`
}

// Help is shown by `holdfast push --help`.
func (*pushCommand) Help() string {
	return `Example: holdfast push --room doc-1 --event hello '{"text":"hi"}' 42 '"a string"'

Arguments stand after -- when one of them is a negative number.`
}

// payload makes one array of the arguments.
func (c *pushCommand) payload() (*holdfastpb.Payload, error) {
	for i, arg := range c.JSON {
		if !json.Valid([]byte(arg)) {
			return nil, usageError{fmt.Errorf(`argument %d, %s, is not JSON; a string needs quotes inside the shell's: '"text"'`, i+1, arg)}
		}
	}
	return &holdfastpb.Payload{Json: "[" + strings.Join(c.JSON, ",") + "]"}, nil
}

// target is whom the flags name.
func (c *pushCommand) target() (*holdfastpb.Target, error) {
	t := &holdfastpb.Target{Namespace: c.Namespace}
	var flag string
	var name *string
	switch {
	case c.All:
		t.To = &holdfastpb.Target_All{All: true}
		return t, nil
	case c.Room != nil:
		flag, name, t.To = "--room", c.Room, &holdfastpb.Target_Room{Room: *c.Room}
	case c.User != nil:
		flag, name, t.To = "--user", c.User, &holdfastpb.Target_User{User: *c.User}
	case c.Client != nil:
		flag, name, t.To = "--client", c.Client, &holdfastpb.Target_Client{Client: *c.Client}
	default:
		return nil, usageError{errors.New("--all=false names nobody; --room R, --user U, --client C or --all does")}
	}
	if *name == "" {
		return nil, usageError{fmt.Errorf("%s is empty", flag)}
	}
	return t, nil
}

// Run pushes one message.
func (c *pushCommand) Run(w *world) error {
	if err := c.check(); err != nil {
		return err
	}
	payload, err := c.payload()
	if err != nil {
		return err
	}
	target, err := c.target()
	if err != nil {
		return err
	}
	if c.Wait < 0 {
		return usageError{fmt.Errorf("--wait: %v is below 0", c.Wait)}
	}
	req := &holdfastpb.PushRequest{
		Targets: []*holdfastpb.Target{target}, Event: c.Event, Payload: payload, Volatile: c.Volatile,
	}
	service := holdfastpbconnect.NewPushServiceClient(c.client(), c.API)
	if c.Wait > 0 {
		req.AckTimeout = durationpb.New(c.Wait)
		ctx, cancel := context.WithTimeout(w.ctx, c.Wait+10*time.Second)
		defer cancel()
		answer, err := service.PushAndWait(ctx, connect.NewRequest(req))
		if err != nil {
			return c.explain(w.ctx, "push", err)
		}
		for _, a := range answer.Msg.GetAcks() {
			fmt.Fprintf(w.stdout, "%s  %s\n", a.GetClient(), a.GetPayload().GetJson())
		}
		fmt.Fprintf(w.stdout, "%s: %d answered, %d did not\n", answer.Msg.GetMessageId(), len(answer.Msg.GetAcks()), answer.Msg.GetMissing())
		return nil
	}
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	answer, err := service.Push(ctx, connect.NewRequest(req))
	if err != nil {
		return c.explain(w.ctx, "push", err)
	}
	nodes := "nobody is there now"
	if n := answer.Msg.GetNodes(); n > 0 {
		nodes = fmt.Sprintf("sent to %d node(s)", n)
	}
	fmt.Fprintf(w.stdout, "%s  %s\n", answer.Msg.GetMessageId(), nodes)
	return nil
}

type tailCommand struct {
	remote
	Events []string `help:"Only events with these names." placeholder:"a,b"`
	JSON   bool     `name:"json" help:"One JSON object a line, with everything that is known of the event."`
}

// Run shows events until it is interrupted.
func (c *tailCommand) Run(w *world) error {
	if err := c.check(); err != nil {
		return err
	}
	signals, stop := boot.Notify()
	defer stop()
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	go func() {
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	stream := holdfastpbconnect.NewEventServiceClient(c.client(), c.API, connect.WithGRPC()).Subscribe(ctx)
	// The transport waits for more of the request, and would not see that ctx has ended.
	defer context.AfterFunc(ctx, func() { _ = stream.CloseRequest() })()
	first := &holdfastpb.SubscribeRequest{Events: c.Events, MaxInFlight: 256}
	if len(c.Events) > 0 {
		first.Types = []holdfastpb.EventType{holdfastpb.EventType_EVENT_TYPE_MESSAGE}
	}
	if err := stream.Send(first); err != nil {
		_, err = stream.Receive() // which says why
		return c.explain(w.ctx, "tail", err)
	}
	// The header comes when the subscription is there: no event is missed from here on.
	// Without one there is no answer, which Receive says.
	if len(stream.ResponseHeader()) > 0 {
		fmt.Fprintln(w.stderr, "Waiting for events; Ctrl-C stops.")
	}
	for {
		answer, err := stream.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return c.explain(w.ctx, "tail", err)
		}
		c.print(w, answer.GetEvent())
		if err := stream.Send(&holdfastpb.SubscribeRequest{EventId: answer.GetEvent().GetId()}); err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
			return c.explain(w.ctx, "tail", err)
		}
	}
}

type tokenCommand struct {
	Config string        `help:"Configuration file with auth.jwt.secret; the variable HOLDFAST_AUTH_JWT_SECRET serves as well." type:"path" placeholder:"F"`
	UID    string        `name:"uid" help:"Who the client is." required:"" placeholder:"U"`
	Room   []string      `help:"Room that it may join; * stands for any characters. May be given more than once." sep:"none" placeholder:"R"`
	TTL    time.Duration `name:"ttl" help:"How long the token is valid." default:"1h"`
}

// Run prints a token.
func (c *tokenCommand) Run(w *world) error {
	cfg, err := boot.Load(boot.Token, c.Config, w.env, nil)
	if err != nil {
		return err
	}
	if cfg.Auth.JWT.Secret == "" {
		return usageError{errors.New("token: auth.jwt.secret is not set; name a file by --config, or set HOLDFAST_AUTH_JWT_SECRET")}
	}
	switch {
	case c.UID == "":
		return usageError{errors.New("--uid is empty")}
	case slices.Contains(c.Room, ""):
		return usageError{errors.New("--room is empty")}
	case c.TTL <= 0:
		return usageError{fmt.Errorf("--ttl: %v is not above 0", c.TTL)}
	}
	token, err := auth.Mint(tokens(cfg, slog.New(slog.DiscardHandler)), c.UID, c.Room, c.TTL)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w.stdout, token)
	return err
}
