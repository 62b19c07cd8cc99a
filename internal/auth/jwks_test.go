package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// issuer is an HTTP transport that answers with a set of keys, without a network.
type issuer struct {
	mu      sync.Mutex
	body    string
	status  int
	err     error
	hold    chan struct{} // an answer waits for it, when set
	fetches int
}

func (i *issuer) RoundTrip(req *http.Request) (*http.Response, error) {
	i.mu.Lock()
	i.fetches++
	hold := i.hold
	i.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err != nil {
		return nil, i.err
	}
	return &http.Response{StatusCode: i.status, Body: io.NopCloser(strings.NewReader(i.body)), Request: req}, nil
}

// serve makes the issuer answer with these keys, by their IDs.
func (i *issuer) serve(t *testing.T, keys map[string]any) {
	t.Helper()
	var set []map[string]string
	for kid, key := range keys {
		set = append(set, jwkOf(t, kid, key))
	}
	text, err := json.Marshal(map[string]any{"keys": set})
	if err != nil {
		t.Fatal(err)
	}
	i.answer(200, string(text))
}

func (i *issuer) answer(status int, body string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.status, i.body, i.err = status, body, nil
}

func (i *issuer) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.err = err
}

func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

func jwkOf(t *testing.T, kid string, key any) map[string]string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString
	jwk := map[string]string{"kid": kid, "use": "sig"}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		jwk["kty"], jwk["n"], jwk["e"] = "RSA", text(key.N.Bytes()), text(big.NewInt(int64(key.E)).Bytes())
	case *ecdsa.PrivateKey:
		point, err := key.PublicKey.Bytes() // 4, x, y
		if err != nil {
			t.Fatal(err)
		}
		half := len(point) / 2
		jwk["kty"], jwk["crv"], jwk["alg"] = "EC", "P-256", "ES256"
		jwk["x"], jwk["y"] = text(point[1:half+1]), text(point[half+1:])
	case []byte:
		jwk["kty"], jwk["k"] = "oct", text(key)
	}
	return jwk
}

func (i *issuer) verifier(t *testing.T) *Verifier {
	return newVerifier(t, Config{
		JWKSURL: "https://issuer.example/keys", Client: &http.Client{Transport: i},
		RefreshInterval: time.Hour, RefreshCooldown: 10 * time.Second,
	})
}

func held() jwt.MapClaims { return jwt.MapClaims{"sub": "ann"} }

func TestJWKSRotation(t *testing.T) {
	r1, r2, e := rsaKey(t), rsaKey(t), ecKey(t, elliptic.P256())
	synctest.Test(t, func(t *testing.T) {
		i := new(issuer)
		i.serve(t, map[string]any{"r1": r1, "e": e})
		v := i.verifier(t)
		defer v.Close()
		authenticate := func(method jwt.SigningMethod, key any, kid string) error {
			_, err := v.Authenticate(t.Context(), inQuery(sign(t, method, key, kid, held())))
			return err
		}
		// The first one waits for the first fetch.
		for _, err := range []error{
			authenticate(jwt.SigningMethodRS256, r1, "r1"),
			authenticate(jwt.SigningMethodES256, e, "e"),
			authenticate(jwt.SigningMethodRS256, r1, ""), // tried with each
			authenticate(jwt.SigningMethodES256, e, ""),
		} {
			if err != nil {
				t.Error(err)
			}
		}
		wantRefused(t, authenticate(jwt.SigningMethodRS256, r2, "r1"), CodeUnauthenticated, "the token is not valid")
		wantRefused(t, authenticate(jwt.SigningMethodRS256, r2, ""), CodeUnauthenticated, "the token is not valid")
		wantRefused(t, authenticate(jwt.SigningMethodRS256, r1, "e"), CodeUnauthenticated, "the token is not valid")

		// A new key is fetched when the first token names it, but not within the cooldown.
		i.serve(t, map[string]any{"r2": r2})
		wantRefused(t, authenticate(jwt.SigningMethodRS256, r2, "r2"), CodeUnauthenticated, "the token is not valid")
		if n := i.count(); n != 1 {
			t.Errorf("%d fetches within the cooldown", n)
		}
		<-time.After(11 * time.Second)
		if err := authenticate(jwt.SigningMethodRS256, r2, "r2"); err != nil {
			t.Error(err)
		}
		wantRefused(t, authenticate(jwt.SigningMethodRS256, r1, "r1"), CodeUnauthenticated, "the token is not valid")
		for range 100 {
			_ = authenticate(jwt.SigningMethodRS256, r1, "guessed")
		}
		if n := i.count(); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}

		// In the background, without a token.
		i.serve(t, map[string]any{"r1": r1})
		<-time.After(time.Hour + time.Minute)
		synctest.Wait()
		if n := i.count(); n != 3 {
			t.Errorf("%d fetches, want 3", n)
		}
		if err := authenticate(jwt.SigningMethodRS256, r1, "r1"); err != nil {
			t.Error(err)
		}
	})
}

func TestJWKSKeepsTheLastGoodSet(t *testing.T) {
	r := rsaKey(t)
	synctest.Test(t, func(t *testing.T) {
		i := new(issuer)
		i.serve(t, map[string]any{"r": r})
		v := i.verifier(t)
		defer v.Close()
		token := inQuery(sign(t, jwt.SigningMethodRS256, r, "r", held()))
		if _, err := v.Authenticate(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		for _, spoil := range []func(){
			func() { i.fail(errors.New("no route")) },
			func() { i.answer(500, "") },
			func() { i.answer(200, "<html>") },
			func() { i.answer(200, `{"keys":[]}`) },
			func() { i.serve(t, map[string]any{"s": secret}) },
			func() { i.answer(200, `{"keys":[{"kty":"RSA"},{"kty":"none"},5]}`) },
			func() { i.answer(200, strings.Repeat(" ", maxKeySet+1)) },
		} {
			before := i.count()
			spoil()
			<-time.After(2 * time.Hour)
			if _, err := v.Authenticate(t.Context(), token); err != nil {
				t.Error(err)
			}
			if i.count() == before {
				t.Error("nothing was fetched")
			}
		}
	})
}

func TestJWKSThatComesUpLate(t *testing.T) {
	r := rsaKey(t)
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{err: errors.New("no route to 10.1.2.3")}
		v := i.verifier(t)
		defer v.Close()
		token := inQuery(sign(t, jwt.SigningMethodRS256, r, "r", held()))
		_, err := v.Authenticate(t.Context(), token)
		wantRefused(t, err, CodeUnavailable, "tokens cannot be checked at the moment")
		if strings.Contains(err.Error(), "10.1.2.3") || strings.Contains(err.Error(), "issuer.example") {
			t.Errorf("the refusal tells too much: %v", err)
		}
		<-time.After(20 * time.Second)
		if n := i.count(); n < 4 || n > 6 { // after 1, 2, 4, 8 s
			t.Errorf("%d fetches", n)
		}
		i.serve(t, map[string]any{"r": r})
		<-time.After(time.Minute)
		if _, err := v.Authenticate(t.Context(), token); err != nil {
			t.Error(err)
		}
	})
}

func TestJWKSWaitsNoLongerThanTheCaller(t *testing.T) {
	r := rsaKey(t)
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{hold: make(chan struct{})}
		i.serve(t, map[string]any{"r": r})
		v := i.verifier(t)
		token := inQuery(sign(t, jwt.SigningMethodRS256, r, "r", held()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		_, err := v.Authenticate(ctx, token)
		wantRefused(t, err, CodeUnavailable, "tokens cannot be checked at the moment")
		if took := time.Since(begin); took != time.Second {
			t.Errorf("it took %v", took)
		}
		var wg sync.WaitGroup
		for range 10 { // all wait for the one fetch
			wg.Go(func() {
				if _, err := v.Authenticate(t.Context(), token); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(i.hold)
		wg.Wait()
		if n := i.count(); n != 1 {
			t.Errorf("%d fetches", n)
		}
		v.Close()
		v.Close()
		// Known keys stay, others are refused without a wait.
		if _, err := v.Authenticate(t.Context(), token); err != nil {
			t.Error(err)
		}
		<-time.After(time.Hour)
		_, err = v.Authenticate(t.Context(), inQuery(sign(t, jwt.SigningMethodRS256, r, "new", held())))
		wantRefused(t, err, CodeUnauthenticated, "the token is not valid")
	})
}

// TestJWKSConfusion shows tokens that take a key of the set for what it is not.
func TestJWKSConfusion(t *testing.T) {
	r := rsaKey(t)
	synctest.Test(t, func(t *testing.T) {
		i := new(issuer)
		i.serve(t, map[string]any{"r": r, "oct": secret})
		v := i.verifier(t)
		defer v.Close()
		for name, token := range map[string]string{
			"a secret in the set":        sign(t, jwt.SigningMethodHS256, secret, "oct", held()),
			"a secret without its ID":    sign(t, jwt.SigningMethodHS256, secret, "", held()),
			"the modulus as a secret":    sign(t, jwt.SigningMethodHS256, r.N.Bytes(), "r", held()),
			"an algorithm not asked for": sign(t, jwt.SigningMethodRS512, r, "r", held()),
			"none":                       sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "r", held()),
		} {
			if _, err := v.Authenticate(t.Context(), inQuery(token)); err == nil {
				t.Errorf("%s: let in", name)
			}
		}
	})
}
