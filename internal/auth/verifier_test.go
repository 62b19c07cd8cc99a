package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"holdfast/internal/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	secret  = []byte("a secret of thirty-two characters")
	someDay = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
)

func someTime() time.Time { return someDay }

func sign(t testing.TB, method jwt.SigningMethod, key any, kid string, held jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, held)
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func newVerifier(t testing.TB, cfg Config) *Verifier {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = someTime
	}
	v, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func inQuery(token string) message.Credentials {
	return message.Credentials{Query: map[string]string{"token": token}}
}

// wantRefused checks code and message of a refusal.
func wantRefused(t *testing.T, err error, code, text string) {
	t.Helper()
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Code != code || refusal.Message != text {
		t.Errorf("got %v, want %s: %s", err, code, text)
		return
	}
	var data struct {
		Code  string
		Retry bool
	}
	msg, raw := refusal.Refusal()
	if json.Unmarshal(raw, &data) != nil || msg != text || data.Code != code || data.Retry != (code == CodeUnavailable) {
		t.Errorf("the client is told %q, %s", msg, raw)
	}
}

func TestIdentity(t *testing.T) {
	hour := someDay.Add(time.Hour)
	for _, c := range []struct {
		name   string
		claims ClaimNames
		held   jwt.MapClaims
		want   message.Identity
		refuse string
	}{
		{
			name: "all", held: jwt.MapClaims{
				"sub": "ann", "uid": "other", "rooms": []string{"doc-*", "x"}, "exp": hour.Unix(),
				"profile": map[string]any{"name": "Ann"}, "kind": "sdk",
			},
			claims: ClaimNames{AuthType: "kind"},
			want: message.Identity{
				UID: "ann", Rooms: []string{"doc-*", "x"}, Expires: hour, Profile: `{"name":"Ann"}`, AuthType: "sdk",
			},
		},
		{name: "uid in place of sub", held: jwt.MapClaims{"uid": "ann"}, want: message.Identity{UID: "ann"}},
		{name: "sub is null", held: jwt.MapClaims{"sub": nil, "uid": "ann"}, want: message.Identity{UID: "ann"}},
		{name: "a long number", held: jwt.MapClaims{"sub": json.Number("12345678901234567890")}, want: message.Identity{UID: "12345678901234567890"}},
		{name: "one room", held: jwt.MapClaims{"sub": "a", "rooms": "r"}, want: message.Identity{UID: "a", Rooms: []string{"r"}}},
		{
			name: "other names", held: jwt.MapClaims{"sub": "s", "user": "ann", "docs": []string{"d"}, "me": map[string]any{}},
			claims: ClaimNames{UID: "user", Rooms: "docs", Profile: "me"},
			want:   message.Identity{UID: "ann", Rooms: []string{"d"}, Profile: "{}"},
		},
		{name: "nobody", held: jwt.MapClaims{"rooms": []string{"*"}}, refuse: "the token's user is empty"},
		{name: "another claim is no uid", claims: ClaimNames{UID: "user"}, held: jwt.MapClaims{"sub": "a"}, refuse: "the token's user is empty"},
		{name: "a long name", held: jwt.MapClaims{"sub": strings.Repeat("x", 513)}, refuse: "the token's user is longer than 512 bytes"},
		{name: "a fraction", held: jwt.MapClaims{"sub": 1.5}, refuse: "the token's user is not a text or a whole number"},
		{name: "a list", held: jwt.MapClaims{"sub": []string{"a"}}, refuse: "the token's user is not a text or a whole number"},
		{name: "rooms are a number", held: jwt.MapClaims{"sub": "a", "rooms": 5}, refuse: "the token's rooms are not a list of texts"},
		{name: "rooms are numbers", held: jwt.MapClaims{"sub": "a", "rooms": []int{5}}, refuse: "the token's rooms are not a list of texts"},
		{name: "profile is a text", held: jwt.MapClaims{"sub": "a", "profile": "p"}, refuse: "the token's profile is not an object"},
		{
			name: "type is a number", claims: ClaimNames{AuthType: "kind"}, held: jwt.MapClaims{"sub": "a", "kind": 5},
			refuse: "the token's type of authentication is not a text",
		},
		{name: "exp is a text", held: jwt.MapClaims{"sub": "a", "exp": "soon"}, refuse: "the token is not valid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newVerifier(t, Config{Secret: secret, Claims: c.claims})
			got, err := v.Authenticate(t.Context(), inQuery(sign(t, jwt.SigningMethodHS256, secret, "", c.held)))
			if c.refuse != "" {
				wantRefused(t, err, CodeUnauthenticated, c.refuse)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !got.Expires.Equal(c.want.Expires) {
				t.Errorf("expires %v", got.Expires)
			}
			got.Expires = c.want.Expires
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestWhereTheTokenIs(t *testing.T) {
	mint := func(uid string) string {
		text, err := Mint(Config{Secret: secret, Now: someTime}, uid, nil, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	query := map[string]string{"token": mint("query")}
	headers := map[string]string{"Authorization": "bearer " + mint("header")}
	for _, c := range []struct {
		name   string
		shown  message.Credentials
		uid    string
		refuse string
	}{
		{"auth before all", message.Credentials{Auth: []byte(`{"token":"` + mint("auth") + `"}`), Query: query, Headers: headers}, "auth", ""},
		{"query before header", message.Credentials{Auth: []byte(`{"Token":"x"}`), Query: query, Headers: headers}, "query", ""},
		{"header", message.Credentials{Auth: []byte(`{"token":null}`), Query: map[string]string{"token": ""}, Headers: headers}, "header", ""},
		{"empty text", message.Credentials{Auth: []byte(`{"token":""}`), Query: query}, "query", ""},
		{"nothing", message.Credentials{}, "", "authentication is required"},
		{"another scheme", message.Credentials{Headers: map[string]string{"Authorization": "Basic YTpi"}}, "", "authentication is required"},
		{"only a scheme", message.Credentials{Headers: map[string]string{"Authorization": "Bearer"}}, "", "authentication is required"},
		{"not a text", message.Credentials{Auth: []byte(`{"token":5}`), Query: query}, "", "auth.token is not a text"},
		{"not an object", message.Credentials{Auth: []byte(`[]`), Query: query}, "", "auth is not an object"},
		{"a wrong one hides no right one", message.Credentials{Auth: []byte(`{"token":"x"}`), Query: query}, "", "the token is not valid"},
		{"too long", inQuery(strings.Repeat("x", maxToken+1)), "", "the token is too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, err := newVerifier(t, Config{Secret: secret}).Authenticate(t.Context(), c.shown)
			if c.refuse != "" {
				wantRefused(t, err, CodeUnauthenticated, c.refuse)
			} else if err != nil || id.UID != c.uid || id.Anonymous {
				t.Errorf("got %+v, %v", id, err)
			}
		})
	}
}

func TestAnonymous(t *testing.T) {
	anyone := newVerifier(t, Config{Secret: secret, Anonymous: true})
	id, err := anyone.Authenticate(t.Context(), message.Credentials{})
	if err != nil || !id.Anonymous || id.UID != "" || !anyone.RoomPermitted(id, "any") {
		t.Errorf("got %+v, %v", id, err)
	}
	_, err = anyone.Authenticate(t.Context(), inQuery("wrong"))
	wantRefused(t, err, CodeUnauthenticated, "the token is not valid")

	// Without a key tokens are somebody else's.
	if id, err := newVerifier(t, Config{Anonymous: true}).Authenticate(t.Context(), inQuery("theirs")); err != nil || !id.Anonymous {
		t.Errorf("got %+v, %v", id, err)
	}
	_, err = newVerifier(t, Config{}).Authenticate(t.Context(), inQuery("theirs"))
	wantRefused(t, err, CodeUnauthenticated, "authentication is required")
}

func TestTimesAndIssuers(t *testing.T) {
	at := func(d time.Duration) int64 { return someDay.Add(d).Unix() }
	for _, c := range []struct {
		name   string
		cfg    Config
		held   jwt.MapClaims
		refuse string
	}{
		{"in time", Config{}, jwt.MapClaims{"exp": at(time.Second), "nbf": at(0)}, ""},
		{"expired", Config{}, jwt.MapClaims{"exp": at(0)}, "the token has expired"},
		{"expired within leeway", Config{Leeway: time.Minute}, jwt.MapClaims{"exp": at(-30 * time.Second)}, ""},
		{"expired beyond leeway", Config{Leeway: time.Minute}, jwt.MapClaims{"exp": at(-90 * time.Second)}, "the token has expired"},
		{"too early", Config{}, jwt.MapClaims{"nbf": at(time.Second)}, "the token is not valid yet"},
		{"audience", Config{Audience: "me"}, jwt.MapClaims{"aud": []string{"you", "me"}}, ""},
		{"audience as text", Config{Audience: "me"}, jwt.MapClaims{"aud": "me"}, ""},
		{"another audience", Config{Audience: "me"}, jwt.MapClaims{"aud": "you"}, "the token is meant for another audience"},
		{"no audience", Config{Audience: "me"}, jwt.MapClaims{}, "the token lacks a required claim"},
		{"issuer", Config{Issuer: "i"}, jwt.MapClaims{"iss": "i"}, ""},
		{"another issuer", Config{Issuer: "i"}, jwt.MapClaims{"iss": "j"}, "the token is from another issuer"},
		{"no issuer", Config{Issuer: "i"}, jwt.MapClaims{}, "the token lacks a required claim"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Secret = secret
			c.held["sub"] = "ann"
			_, err := newVerifier(t, c.cfg).Authenticate(t.Context(), inQuery(sign(t, jwt.SigningMethodHS256, secret, "", c.held)))
			if c.refuse != "" {
				wantRefused(t, err, CodeUnauthenticated, c.refuse)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func rsaKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func pemFile(t *testing.T, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func publicDER(t *testing.T, public crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestKeyFiles(t *testing.T) {
	r, e, e384 := rsaKey(t), ecKey(t, elliptic.P256()), ecKey(t, elliptic.P384())
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &r.PublicKey, r)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		path   string
		method jwt.SigningMethod
		key    any
	}{
		{"RSA", pemFile(t, "PUBLIC KEY", publicDER(t, &r.PublicKey)), jwt.SigningMethodRS256, r},
		{"RSA in PKCS1", pemFile(t, "RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&r.PublicKey)), jwt.SigningMethodRS256, r},
		{"certificate", pemFile(t, "CERTIFICATE", cert), jwt.SigningMethodRS256, r},
		{"P-256", pemFile(t, "PUBLIC KEY", publicDER(t, &e.PublicKey)), jwt.SigningMethodES256, e},
		{"P-384", pemFile(t, "PUBLIC KEY", publicDER(t, &e384.PublicKey)), jwt.SigningMethodES384, e384},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newVerifier(t, Config{KeyFile: c.path})
			if id, err := v.Authenticate(t.Context(), inQuery(sign(t, c.method, c.key, "", jwt.MapClaims{"sub": "a"}))); err != nil || id.UID != "a" {
				t.Errorf("got %+v, %v", id, err)
			}
		})
	}
}

// TestAlgorithmConfusion shows tokens whose algorithm is not the key's.
func TestAlgorithmConfusion(t *testing.T) {
	r, other := rsaKey(t), rsaKey(t)
	e := ecKey(t, elliptic.P256())
	der := publicDER(t, &r.PublicKey)
	path := pemFile(t, "PUBLIC KEY", der)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	held := jwt.MapClaims{"sub": "a"}
	good := sign(t, jwt.SigningMethodHS256, secret, "", held)
	parts := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))
	fixed := newVerifier(t, Config{KeyFile: path, Anonymous: true})
	shared := newVerifier(t, Config{Secret: secret, Anonymous: true})
	for name, c := range map[string]struct {
		v     *Verifier
		token string
	}{
		"public key as a secret, PEM": {fixed, sign(t, jwt.SigningMethodHS256, text, "", held)},
		"public key as a secret, DER": {fixed, sign(t, jwt.SigningMethodHS256, der, "", held)},
		"another RSA key":             {fixed, sign(t, jwt.SigningMethodRS256, other, "", held)},
		"another RSA algorithm":       {fixed, sign(t, jwt.SigningMethodRS512, r, "", held)},
		"EC for RSA":                  {fixed, sign(t, jwt.SigningMethodES256, e, "", held)},
		"RSA for a secret":            {shared, sign(t, jwt.SigningMethodRS256, r, "", held)},
		"HS512 where HS256 is pinned": {shared, sign(t, jwt.SigningMethodHS512, secret, "", held)},
		"another secret":              {shared, sign(t, jwt.SigningMethodHS256, []byte("other"), "", held)},
		"none":                        {shared, sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", held)},
		"none for RSA":                {fixed, sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", held)},
		"none with a signature":       {shared, none + "." + parts[1] + "." + parts[2]},
		"no signature":                {shared, parts[0] + "." + parts[1] + "."},
		"other claims":                {shared, parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"b"}`)) + "." + parts[2]},
		"claims are null":             {shared, parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`null`)) + "." + parts[2]},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.v.Authenticate(t.Context(), inQuery(c.token))
			wantRefused(t, err, CodeUnauthenticated, "the token is not valid")
			if text := err.Error(); strings.Contains(text, string(secret)) || strings.Contains(text, c.token) {
				t.Errorf("the refusal tells too much: %s", text)
			}
		})
	}
	wide := newVerifier(t, Config{Secret: secret, Algorithms: []string{"HS512"}})
	if _, err := wide.Authenticate(t.Context(), inQuery(sign(t, jwt.SigningMethodHS512, secret, "", held))); err != nil {
		t.Error(err)
	}
	_, err = wide.Authenticate(t.Context(), inQuery(good))
	wantRefused(t, err, CodeUnauthenticated, "the token is not valid")
}

func TestNewRefuses(t *testing.T) {
	r := rsaKey(t)
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public := pemFile(t, "PUBLIC KEY", publicDER(t, &r.PublicKey))
	for _, c := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"two sources", Config{Secret: secret, KeyFile: public}, "only one of secret, key_file and jwks_url"},
		{"algorithm of another key", Config{KeyFile: public, Algorithms: []string{"HS256"}}, `algorithms: "HS256" does not suit an RSA key`},
		{"none", Config{Secret: secret, Algorithms: []string{"none"}}, `algorithms: "none" does not suit a secret`},
		{"no file", Config{KeyFile: filepath.Join(t.TempDir(), "absent")}, "key_file: open "},
		{"no PEM", Config{KeyFile: os.DevNull}, "no PEM block"},
		{"private key", Config{KeyFile: pemFile(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(r))}, "a public key is needed"},
		{"not a key", Config{KeyFile: pemFile(t, "PUBLIC KEY", []byte("x"))}, "key_file: "},
		{"a curve without algorithm", Config{KeyFile: pemFile(t, "PUBLIC KEY", publicDER(t, &small.PublicKey))}, "not supported"},
		{"not a URL", Config{JWKSURL: "keys.json"}, "jwks_url: it is not an http or https URL"},
		{"a URL that cannot be read", Config{JWKSURL: "http://[::1"}, "jwks_url: "},
		{"secrets from a URL", Config{JWKSURL: "http://localhost/k", Algorithms: []string{"HS256"}}, `does not suit a JWKS`},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := New(c.cfg)
			if err == nil {
				v.Close()
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), string(secret)) {
				t.Errorf("got %q, want %q", err, c.want)
			}
		})
	}
}

func TestMint(t *testing.T) {
	for name, cfg := range map[string]Config{
		"a secret": {Secret: secret},
		"everything that a token has to have": {
			Secret: secret, Audience: "chat", Issuer: "holdfast", Algorithms: []string{"HS512", "HS256"},
			Claims: ClaimNames{UID: "user_id", Rooms: "docs"},
		},
	} {
		cfg.Now = someTime
		text, err := Mint(cfg, "ann", []string{"doc-*"}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		id, err := newVerifier(t, cfg).Authenticate(t.Context(), inQuery(text))
		if err != nil || id.UID != "ann" || !RoomPermitted(id, "doc-7") || RoomPermitted(id, "x") || !id.Expires.Equal(someDay.Add(time.Hour)) {
			t.Errorf("%s: got %+v, %v", name, id, err)
		}
	}
	for name, mint := range map[string]func() (string, error){
		"no secret": func() (string, error) { return Mint(Config{}, "ann", nil, time.Hour) },
		"no user":   func() (string, error) { return Mint(Config{Secret: secret}, "", nil, time.Hour) },
		"no time":   func() (string, error) { return Mint(Config{Secret: secret}, "ann", nil, 0) },
	} {
		if text, err := mint(); err == nil || text != "" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

func FuzzAuthenticate(f *testing.F) {
	good := sign(f, jwt.SigningMethodHS256, secret, "", jwt.MapClaims{"sub": "ann", "rooms": []string{"*"}, "profile": jwt.MapClaims{}})
	f.Add([]byte(`{"token":"`+good+`"}`), "", "")
	f.Add([]byte(nil), good, "")
	f.Add([]byte("{}"), "", "Bearer "+good)
	f.Add([]byte(`{"token":{}}`), "a.b.c", "Basic x")
	v := newVerifier(f, Config{Secret: secret})
	f.Fuzz(func(t *testing.T, auth []byte, query, header string) {
		id, err := v.Authenticate(t.Context(), message.Credentials{
			Auth: auth, Query: map[string]string{"token": query}, Headers: map[string]string{"Authorization": header},
		})
		if refusal := (*Error)(nil); err != nil && (!errors.As(err, &refusal) || refusal.Message == "") {
			t.Fatalf("not a refusal: %v", err)
		}
		if err == nil && (id.Anonymous || id.UID != "ann") {
			t.Fatalf("let in: %+v", id)
		}
	})
}

func FuzzClaims(f *testing.F) {
	f.Add([]byte(`{"sub":"ann","rooms":["a"],"profile":{"a":[1]},"exp":1}`))
	f.Add([]byte(`{"uid":-5,"rooms":"r","sub":null,"aud":["x"],"nbf":1e400}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var held claims
		if json.Unmarshal(text, &held) != nil {
			return
		}
		id, err := new(ClaimNames).identity(held)
		if err != nil {
			return
		}
		if message.CheckName(id.UID) != nil {
			t.Fatalf("user %q", id.UID)
		}
		if id.Profile != "" && !json.Valid([]byte(id.Profile)) {
			t.Fatalf("profile %q", id.Profile)
		}
	})
}
