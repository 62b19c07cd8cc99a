package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

const (
	defaultRefreshInterval = 15 * time.Minute
	defaultRefreshCooldown = 10 * time.Second
	fetchTimeout           = 5 * time.Second
	firstRetry             = time.Second

	maxKeySet  = 1 << 20 // bytes
	maxSetKeys = 100     // for a token without a key ID is tried with each
)

// errNoKeys says that the answer held no key that a token can be checked with.
var errNoKeys = errors.New("no usable key in the set")

// fetchedKeys is the keys at a URL. One goroutine fetches them: at once, then at
// intervals, and when a token names a key that is not there. Keys stay in use while
// fetches fail, since an issuer that is away is no reason to lock its users out.
type fetchedKeys struct {
	url      string
	client   *http.Client
	log      *slog.Logger
	interval time.Duration
	cooldown time.Duration

	storage *jwkset.MemoryJWKSet
	keys    keyfunc.Keyfunc

	stop context.CancelFunc
	done chan struct{} // closed when the goroutine has ended
	ask  chan struct{} // holds at most one request to fetch now

	mu      sync.Mutex
	loaded  bool          // a fetch has succeeded
	closed  bool          // the goroutine has ended
	began   time.Time     // when the last fetch was begun or asked for
	pending chan struct{} // closed when the fetch that runs or was asked for ends; nil: none
}

var _ keySource = (*fetchedKeys)(nil)

func newFetchedKeys(cfg *Config) (*fetchedKeys, error) {
	u, err := url.Parse(cfg.JWKSURL)
	if err != nil {
		return nil, err
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("it is not an http or https URL")
	}
	k := &fetchedKeys{
		url: cfg.JWKSURL, client: cfg.Client, log: cfg.Log,
		interval: cfg.RefreshInterval, cooldown: cfg.RefreshCooldown,
		storage: jwkset.NewMemoryStorage(),
		done:    make(chan struct{}), ask: make(chan struct{}, 1),
		began: time.Now(), pending: make(chan struct{}),
	}
	if k.client == nil {
		k.client = &http.Client{Timeout: fetchTimeout}
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	if k.interval <= 0 {
		k.interval = defaultRefreshInterval
	}
	if k.cooldown <= 0 {
		k.cooldown = defaultRefreshCooldown
	}
	if k.keys, err = keyfunc.New(keyfunc.Options{Storage: k.storage}); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	k.stop = stop
	go k.run(ctx)
	return k, nil
}

func (k *fetchedKeys) close() {
	k.stop()
	<-k.done
}

// find returns the key that a token names, or all keys when it names none. A key
// that is not known is waited for while a fetch runs, and asked for at most once in
// the cooldown.
func (k *fetchedKeys) find(ctx context.Context, t *jwt.Token) (any, error) {
	key, err := k.lookUp(ctx, t)
	if !errors.Is(err, jwkset.ErrKeyNotFound) {
		return key, err
	}
	if fetched := k.refresh(); fetched != nil {
		select {
		case <-fetched:
			key, err = k.lookUp(ctx, t)
		case <-ctx.Done():
			err = errors.Join(err, ctx.Err())
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil && !k.loaded {
		return nil, &Error{Code: CodeUnavailable, Message: "tokens cannot be checked at the moment", cause: err}
	}
	return key, err
}

func (k *fetchedKeys) lookUp(ctx context.Context, t *jwt.Token) (any, error) {
	key, err := k.keys.KeyfuncCtx(ctx)(t)
	if set, ok := key.(jwt.VerificationKeySet); ok && len(set.Keys) == 0 {
		return nil, jwkset.ErrKeyNotFound
	}
	return key, err
}

// refresh returns a channel that is closed when the fetch that runs has ended, or
// one that it asks for; nil when the last one was too short a time ago.
func (k *fetchedKeys) refresh() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pending != nil {
		return k.pending
	}
	if k.closed || time.Since(k.began) < k.cooldown {
		return nil
	}
	k.began = time.Now()
	k.pending = make(chan struct{})
	k.ask <- struct{}{} // has room: nothing was pending
	return k.pending
}

func (k *fetchedKeys) run(ctx context.Context) {
	defer close(k.done)
	defer k.end(true) // nobody shall wait for a fetch that does not come
	retry := firstRetry
	for {
		k.begin()
		err := k.fetch(ctx)
		k.end(false)
		wait := k.interval
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait = min(retry, k.interval)
			retry = min(2*retry, k.interval)
			k.log.Warn("fetching the keys for tokens failed; those fetched before stay in use",
				"url", k.url, "error", err, "retry_in", wait)
		default:
			retry = firstRetry
		}
		select {
		case <-ctx.Done():
			return
		case <-k.ask:
		case <-time.After(wait):
		}
	}
}

// begin marks a fetch as running, which it may have been asked to be already.
func (k *fetchedKeys) begin() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.began = time.Now()
	if k.pending == nil {
		k.pending = make(chan struct{})
	}
	select {
	case <-k.ask: // came at the same time as the interval's end
	default:
	}
}

func (k *fetchedKeys) end(forGood bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = forGood
	if k.pending != nil {
		close(k.pending)
		k.pending = nil
	}
}

// fetch replaces the keys by those at the URL. An answer without a usable key is an
// error, so that a mistake at the issuer does not lock everybody out.
func (k *fetchedKeys) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("request: status %d", resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySet+1))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if len(text) > maxKeySet {
		return fmt.Errorf("read the answer: it is longer than %d bytes", maxKeySet)
	}
	keys, err := parseKeySet(text)
	if err != nil {
		return err
	}
	if err := k.storage.KeyReplaceAll(ctx, keys); err != nil {
		return fmt.Errorf("store the keys: %w", err)
	}
	k.mu.Lock()
	k.loaded = true
	k.mu.Unlock()
	return nil
}

// parseKeySet returns the public keys of a set that are for signatures. Others, and
// those that this process does not understand, are passed over: a set may well
// serve other purposes too.
func parseKeySet(text []byte) ([]jwkset.JWK, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	var usable []jwkset.JWK
	for _, raw := range set.Keys {
		key, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil || key.Marshal().USE == jwkset.UseEnc {
			continue
		}
		switch key.Key().(type) {
		case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
			usable = append(usable, key)
		}
	}
	switch {
	case len(usable) == 0:
		return nil, errNoKeys
	case len(usable) > maxSetKeys:
		return nil, fmt.Errorf("the set has %d keys, more than %d", len(usable), maxSetKeys)
	}
	return usable, nil
}
