package auth

import (
	"errors"

	"github.com/golang-jwt/jwt/v5"
)

// The codes of an [Error].
const (
	CodeUnauthenticated = "UNAUTHENTICATED" // the client must show something else
	CodeUnavailable     = "UNAVAILABLE"     // the keys cannot be had now; try again
)

// Error is why a client was refused. Code and Message are fit for the client: they
// hold nothing of the token, of keys or of where these come from. The cause, for a
// log, is behind Unwrap.
type Error struct {
	Code    string
	Message string
	cause   error
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Unwrap returns the cause, nil when there is none.
func (e *Error) Unwrap() error { return e.cause }

// Refusal returns the message for a client and the code as data for its
// application, with "retry" where coming back later may help.
func (e *Error) Refusal() (msg string, data []byte) {
	if e.Code == CodeUnavailable {
		return e.Message, []byte(`{"code":"` + e.Code + `","retry":true}`)
	}
	return e.Message, []byte(`{"code":"` + e.Code + `"}`)
}

func refuse(text string, cause error) *Error {
	return &Error{Code: CodeUnauthenticated, Message: text, cause: cause}
}

// refuseToken puts the reason why a token was not accepted into words. Only a token
// with a valid signature gets more than the general ones.
func refuseToken(err error) *Error {
	for _, r := range [...]struct {
		is   error
		text string
	}{
		{jwt.ErrTokenExpired, "the token has expired"},
		{jwt.ErrTokenNotValidYet, "the token is not valid yet"},
		{jwt.ErrTokenInvalidAudience, "the token is meant for another audience"},
		{jwt.ErrTokenInvalidIssuer, "the token is from another issuer"},
		{jwt.ErrTokenRequiredClaimMissing, "the token lacks a required claim"},
	} {
		if errors.Is(err, r.is) {
			return refuse(r.text, err)
		}
	}
	return refuse("the token is not valid", err)
}
