package auth

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"holdfast/internal/message"
)

// Mint returns a token that a Verifier of the same Config takes: for a user, for the
// rooms that match the patterns, valid until ttl from now. Only with Config.Secret.
func Mint(cfg Config, uid string, rooms []string, ttl time.Duration) (string, error) {
	switch err := message.CheckName(uid); {
	case len(cfg.Secret) == 0:
		return "", errors.New("mint a token: the secret is empty")
	case err != nil:
		return "", fmt.Errorf("mint a token: the user %w", err)
	case ttl <= 0:
		return "", errors.New("mint a token: the time to live is not positive")
	}
	now := time.Now
	if cfg.Now != nil {
		now = cfg.Now
	}
	method := jwt.SigningMethod(jwt.SigningMethodHS256)
	if len(cfg.Algorithms) > 0 {
		if method = jwt.GetSigningMethod(cfg.Algorithms[0]); method == nil {
			return "", fmt.Errorf("mint a token: there is no algorithm %q", cfg.Algorithms[0])
		}
	}
	held := jwt.MapClaims{
		orDefault(cfg.Claims.UID, "sub"): uid,
		"iat":                            jwt.NewNumericDate(now()),
		"exp":                            jwt.NewNumericDate(now().Add(ttl)),
	}
	if len(rooms) > 0 {
		held[orDefault(cfg.Claims.Rooms, "rooms")] = rooms
	}
	if cfg.Audience != "" {
		held["aud"] = cfg.Audience
	}
	if cfg.Issuer != "" {
		held["iss"] = cfg.Issuer
	}
	text, err := jwt.NewWithClaims(method, held).SignedString(cfg.Secret)
	if err != nil {
		return "", fmt.Errorf("mint a token: %w", err)
	}
	return text, nil
}
