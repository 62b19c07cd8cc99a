package auth

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"holdfast/internal/message"
)

// maxToken bounds a token's characters. It is above what HTTP servers take as a
// header, and keeps a CONNECT packet from buying a megabyte of hashing.
const maxToken = 16 << 10

// Config of a [Verifier]. At most one of Secret, KeyFile and JWKSURL is set.
type Config struct {
	// Anonymous lets clients in that show no token.
	Anonymous bool

	Secret  []byte // of HS256
	KeyFile string // path of a PEM file: RSA or EC public key, or a certificate
	JWKSURL string // http or https

	// Algorithms narrows down or widens what is accepted, within what suits the key.
	// Default: HS256 for a secret, RS256 for an RSA key, for an EC key the one of its
	// curve, RS256 and ES256 for a JWKS.
	Algorithms []string
	Audience   string // required in "aud" when set
	Issuer     string // required as "iss" when set
	Claims     ClaimNames
	Leeway     time.Duration // for exp and nbf; default none

	// RefreshInterval is how often the JWKS is fetched; default 15 min. A failed
	// fetch is tried again after a second, then ever later up to this.
	RefreshInterval time.Duration
	// RefreshCooldown is how long after a fetch began a token with an unknown key
	// may cause another; default 10 s. Clients choose the key that a token names, so
	// without it they could send holdfast to the URL as often as they like.
	RefreshCooldown time.Duration
	Client          *http.Client     // for the JWKS; default one with a timeout of 5 s
	Log             *slog.Logger     // failed fetches in the background; default none
	Now             func() time.Time // for exp and nbf; default time.Now
}

// ClaimNames says which claim holds what.
type ClaimNames struct {
	UID      string // text or number; default "sub", and "uid" where that is missing
	Rooms    string // list of patterns, or one as a text; default "rooms"
	Profile  string // object; default "profile"
	AuthType string // text; not read by default
}

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	anonymous bool
	claims    ClaimNames
	parser    *jwt.Parser
	keys      keySource // nil: tokens are not looked at
}

// keySource finds the key for a token.
type keySource interface {
	// find is a jwt.Keyfunc with a context, within which it may wait for keys.
	find(ctx context.Context, t *jwt.Token) (any, error)
	close()
}

// New returns a Verifier. It reads KeyFile, but does not wait for JWKSURL, which may
// come up later than holdfast does. Errors name the setting that they are about.
func New(cfg Config) (*Verifier, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	keys, algorithms, err := newKeys(&cfg)
	if err != nil {
		return nil, err
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods(algorithms),
		jwt.WithLeeway(cfg.Leeway),
		jwt.WithTimeFunc(cfg.Now),
	}
	if cfg.Audience != "" {
		options = append(options, jwt.WithAudience(cfg.Audience))
	}
	if cfg.Issuer != "" {
		options = append(options, jwt.WithIssuer(cfg.Issuer))
	}
	return &Verifier{
		anonymous: cfg.Anonymous,
		claims:    cfg.Claims,
		parser:    jwt.NewParser(options...),
		keys:      keys,
	}, nil
}

// Close ends the fetching of keys and waits until it has ended. A token whose key is
// known stays acceptable.
func (v *Verifier) Close() {
	if v.keys != nil {
		v.keys.close()
	}
}

// Authenticate returns who a client is by what it has shown. With a JWKS it may wait
// for a fetch, within ctx and the client's timeout. The error is an *[Error].
func (v *Verifier) Authenticate(ctx context.Context, shown message.Credentials) (message.Identity, error) {
	if v.keys == nil {
		return v.withoutToken()
	}
	text, err := token(&shown)
	switch {
	case err != nil:
		return message.Identity{}, err
	case text == "":
		return v.withoutToken()
	case len(text) > maxToken:
		return message.Identity{}, refuse("the token is too long", nil)
	}
	held := claims{}
	_, err = v.parser.ParseWithClaims(text, &held, func(t *jwt.Token) (any, error) {
		return v.keys.find(ctx, t)
	})
	if err != nil {
		if unavailable := (*Error)(nil); errors.As(err, &unavailable) {
			return message.Identity{}, unavailable
		}
		return message.Identity{}, refuseToken(err)
	}
	return v.claims.identity(held)
}

func (v *Verifier) withoutToken() (message.Identity, error) {
	if v.anonymous {
		return message.Identity{Anonymous: true}, nil
	}
	return message.Identity{}, refuse("authentication is required", nil)
}

// token returns the token that a client has shown, "" when there is none.
func token(shown *message.Credentials) (string, error) {
	if len(shown.Auth) > 0 {
		var auth map[string]json.RawMessage
		if err := json.Unmarshal(shown.Auth, &auth); err != nil {
			return "", refuse("auth is not an object", err)
		}
		var text *string // stays nil for null
		if raw, ok := auth["token"]; ok {
			if err := json.Unmarshal(raw, &text); err != nil {
				return "", refuse("auth.token is not a text", err)
			}
		}
		if text != nil && *text != "" {
			return *text, nil
		}
	}
	if text := shown.Query["token"]; text != "" {
		return text, nil
	}
	scheme, text, _ := strings.Cut(shown.Headers["Authorization"], " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(text), nil
	}
	return "", nil
}
