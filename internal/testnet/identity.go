package testnet

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strconv"
	"strings"
	"sync/atomic"

	"holdfast/internal/message"
)

// IDs makes identifiers of the right lengths. Those of messages sort in their order.
type IDs struct {
	// Fail makes every identifier fail with it, while it is not nil.
	Fail atomic.Pointer[error]
	// Prefix begins every identifier of a node that is not the only one.
	Prefix string

	serial atomic.Uint64
}

func (i *IDs) next(width int) (string, error) {
	if err := i.Fail.Load(); err != nil {
		return "", *err
	}
	s := strconv.FormatUint(i.serial.Add(1), 10)
	return i.Prefix + strings.Repeat("0", width-len(s)-len(i.Prefix)) + s, nil
}

// SessionID is an ID of a session.
func (i *IDs) SessionID() (string, error) {
	id, err := i.next(message.SnowflakeLen)
	if err != nil {
		return "", err
	}
	return id + rand.Text()[:message.SecretLen], nil
}

// ClientID is an ID of a client.
func (i *IDs) ClientID() (string, error) { return i.next(message.SnowflakeLen) }

// Secret is 12 characters that nobody guesses.
func (i *IDs) Secret() (string, error) { return rand.Text()[:message.SecretLen], nil }

// AppendMessageID appends an ID of a message, 20 digits behind the prefix.
func (i *IDs) AppendMessageID(dst []byte) ([]byte, error) {
	if err := i.Fail.Load(); err != nil {
		return dst, *err
	}
	dst = append(dst, i.Prefix...)
	var digits [20]byte
	for n, at := i.serial.Add(1), len(digits)-1; at >= 0; n, at = n/10, at-1 {
		digits[at] = '0' + byte(n%10)
	}
	return append(dst, digits[:]...), nil
}

// Auth takes the auth object's "uid" for who the client is.
type Auth struct {
	// Err is what every check fails with, when it is not nil.
	Err error
}

// Authenticate reads the uid.
func (a Auth) Authenticate(_ context.Context, c message.Credentials) (message.Identity, error) {
	var shown struct {
		UID string `json:"uid"`
	}
	_ = json.Unmarshal(c.Auth, &shown) // no object: nobody
	return message.Identity{UID: shown.UID, Anonymous: shown.UID == ""}, a.Err
}

// RoomPermitted permits every room but those that begin with "secret".
func (a Auth) RoomPermitted(_ message.Identity, room string) bool {
	return !strings.HasPrefix(room, "secret")
}
