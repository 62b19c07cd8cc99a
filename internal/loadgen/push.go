package loadgen

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Pusher sends one event to all clients of a server, or to a room of them.
type Pusher interface {
	// Push sends an event whose message is size bytes long at the clients, with the
	// due time in it, and returns when the server has taken it.
	Push(ctx context.Context, size int, due time.Time) error
	Close() error
}

// PushByAPI makes APIPushers for scenarios, of the ws-api at a URL. A token that is not
// empty goes with each call; insecure takes any certificate.
func PushByAPI(url, token string, insecure bool) NewPusher {
	return func(ctx context.Context, room string, ack time.Duration) (Pusher, error) {
		limit, cancel := context.WithTimeout(ctx, pushPatience)
		defer cancel()
		// Pushes that are under way at once keep their connections for the next ones.
		client := &http.Client{Transport: &http.Transport{
			MaxIdleConnsPerHost: maxPushes,
			TLSClientConfig:     &tls.Config{InsecureSkipVerify: insecure}, //nolint:gosec // the user says so
		}}
		nobody := &APIPusher{URL: url, Token: token, Room: room + "-nobody", Client: client}
		if err := nobody.Push(limit, 0, time.Now()); err != nil {
			client.CloseIdleConnections()
			return nil, fmt.Errorf("the API at %s takes no push: %w", url, err)
		}
		return &APIPusher{URL: url, Token: token, Room: room, AckTimeout: ack, Client: client}, nil
	}
}

// APIPusher calls the PushService of holdfast.
type APIPusher struct {
	URL   string // of ws-api
	Token string // that it wants; empty: none
	Room  string // empty: all
	// AckTimeout asks every client for an acknowledgement and waits as long for
	// them.
	AckTimeout time.Duration
	Volatile   bool
	Client     *http.Client // default http.DefaultClient
}

var _ Pusher = (*APIPusher)(nil)

// EventName is the name of every event that is pushed.
const EventName = "ev"

// Push implements Pusher.
func (p *APIPusher) Push(ctx context.Context, size int, due time.Time) error {
	target := map[string]any{"all": true}
	if p.Room != "" {
		target = map[string]any{"room": p.Room}
	}
	req := map[string]any{
		"targets": []any{target}, "event": EventName, "volatile": p.Volatile,
		"payload": map[string]string{"json": "[" + Argument(EventName, size, due) + "]"},
	}
	method := "Push"
	if p.AckTimeout > 0 {
		method = "PushAndWait"
		req["ackTimeout"] = fmt.Sprintf("%.3fs", p.AckTimeout.Seconds())
	}
	header := http.Header{}
	if p.Token != "" {
		header.Set("Authorization", "Bearer "+p.Token)
	}
	return post(ctx, p.client(), p.URL+"/holdfast.v1.PushService/"+method, req, header)
}

func (p *APIPusher) client() *http.Client { return cmp.Or(p.Client, http.DefaultClient) }

// Close implements Pusher.
func (p *APIPusher) Close() error {
	p.client().CloseIdleConnections()
	return nil
}

// CentrifugoPusher calls the HTTP API of Centrifugo.
type CentrifugoPusher struct{ URL, Key string }

var _ Pusher = (*CentrifugoPusher)(nil)

// Push implements Pusher.
func (p *CentrifugoPusher) Push(ctx context.Context, size int, due time.Time) error {
	req := map[string]any{
		"channel": CentrifugoChannel,
		"data":    json.RawMessage(Argument(EventName, size, due)),
	}
	return post(ctx, http.DefaultClient, p.URL+"/api/publish", req, http.Header{"X-Api-Key": {p.Key}})
}

// Close implements Pusher.
func (*CentrifugoPusher) Close() error {
	http.DefaultClient.CloseIdleConnections()
	return nil
}

func post(ctx context.Context, by *http.Client, to string, body any, header http.Header) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	if header != nil {
		req.Header = header
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := by.Do(req)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case err != nil:
		return fmt.Errorf("push: %w", err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("push: %s: %.200s", resp.Status, strings.TrimSpace(string(answer)))
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
