package auth

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"holdfast/internal/message"
)

// Mint returns a token for a user, signed with HS256, that permits the rooms which
// match the patterns, and expires ttl after now. It suits a Verifier with that
// secret and the default claims.
func Mint(secret []byte, uid string, rooms []string, ttl time.Duration, now time.Time) (string, error) {
	switch err := message.CheckName(uid); {
	case len(secret) == 0:
		return "", errors.New("mint a token: the secret is empty")
	case err != nil:
		return "", fmt.Errorf("mint a token: the user %w", err)
	case ttl <= 0:
		return "", errors.New("mint a token: the time to live is not positive")
	}
	held := jwt.MapClaims{
		"sub": uid,
		"iat": jwt.NewNumericDate(now),
		"exp": jwt.NewNumericDate(now.Add(ttl)),
	}
	if len(rooms) > 0 {
		held["rooms"] = rooms
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, held).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("mint a token: %w", err)
	}
	return text, nil
}
