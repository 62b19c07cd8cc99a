package auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/golang-jwt/jwt/v5"

	"holdfast/internal/message"
)

// claims is a token's claims with their values as they were written: a long number
// stays exact, and a profile is passed on as it is.
type claims map[string]json.RawMessage

var _ jwt.Claims = (*claims)(nil)

// GetExpirationTime implements jwt.Claims.
func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.date("exp") }

// GetNotBefore implements jwt.Claims.
func (c *claims) GetNotBefore() (*jwt.NumericDate, error) { return c.date("nbf") }

// GetIssuedAt implements jwt.Claims.
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error) { return c.date("iat") }

// GetIssuer implements jwt.Claims.
func (c *claims) GetIssuer() (string, error) { return c.text("iss") }

// GetSubject implements jwt.Claims.
func (c *claims) GetSubject() (string, error) { return c.text("sub") }

// GetAudience implements jwt.Claims.
func (c *claims) GetAudience() (audience jwt.ClaimStrings, err error) {
	return audience, c.read("aud", &audience)
}

func (c *claims) date(name string) (date *jwt.NumericDate, err error) {
	return date, c.read(name, &date)
}

func (c *claims) text(name string) (text string, err error) {
	return text, c.read(name, &text)
}

// read decodes a claim into v, which it leaves alone where the claim is missing or
// null.
func (c *claims) read(name string, v any) error {
	raw, ok := (*c)[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("claim %q: %w: %w", name, jwt.ErrInvalidType, err)
	}
	return nil
}

// identity reads a valid token's claims. The error is an *[Error].
func (n *ClaimNames) identity(held claims) (message.Identity, error) {
	var id message.Identity
	var err error
	if id.UID, err = n.uid(held); err != nil {
		return message.Identity{}, refuse("the token's user is not a text or a whole number", err)
	}
	if err := message.CheckName(id.UID); err != nil {
		return message.Identity{}, refuse("the token's user "+err.Error(), err)
	}
	if id.Rooms, err = patterns(held, orDefault(n.Rooms, "rooms")); err != nil {
		return message.Identity{}, refuse("the token's rooms are not a list of texts", err)
	}
	if id.Profile, err = object(held, orDefault(n.Profile, "profile")); err != nil {
		return message.Identity{}, refuse("the token's profile is not an object", err)
	}
	if n.AuthType != "" {
		if id.AuthType, err = held.text(n.AuthType); err != nil {
			return message.Identity{}, refuse("the token's type of authentication is not a text", err)
		}
	}
	expires, err := held.GetExpirationTime()
	if err != nil {
		return message.Identity{}, refuse("the token is not valid", err)
	}
	if expires != nil {
		id.Expires = expires.Time
	}
	return id, nil
}

func (n *ClaimNames) uid(held claims) (string, error) {
	if n.UID != "" {
		return uid(held, n.UID)
	}
	if id, err := uid(held, "sub"); err != nil || id != "" {
		return id, err
	}
	return uid(held, "uid")
}

// uid reads a text or a whole number, "" where the claim is missing.
func uid(held claims, name string) (string, error) {
	raw, ok := held[name]
	if !ok || string(raw) == "null" {
		return "", nil
	}
	if raw[0] == '"' {
		return held.text(name)
	}
	digits := bytes.TrimPrefix(raw, []byte("-"))
	for _, c := range digits {
		if c < '0' || c > '9' {
			return "", fmt.Errorf("claim %q: %w", name, strconv.ErrSyntax)
		}
	}
	return string(raw), nil
}

// patterns reads a list of texts, or one text as a list of one.
func patterns(held claims, name string) (list []string, err error) {
	if raw := held[name]; len(raw) > 0 && raw[0] == '"' {
		one, err := held.text(name)
		return []string{one}, err
	}
	return list, held.read(name, &list)
}

// object reads a JSON object as text, "" where the claim is missing.
func object(held claims, name string) (string, error) {
	raw, ok := held[name]
	if !ok || string(raw) == "null" {
		return "", nil
	}
	if raw[0] != '{' {
		return "", fmt.Errorf("claim %q: %w", name, jwt.ErrInvalidType)
	}
	var text bytes.Buffer
	if err := json.Compact(&text, raw); err != nil {
		return "", fmt.Errorf("claim %q: %w", name, err)
	}
	return text.String(), nil
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
