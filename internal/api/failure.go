package api

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
)

// Codes of failures that clients see, in the spelling of gRPC.
const (
	codeUnavailable       = "UNAVAILABLE"
	codeResourceExhausted = "RESOURCE_EXHAUSTED"
	codeDeadlineExceeded  = "DEADLINE_EXCEEDED"
	codeInternal          = "INTERNAL"
	codeInvalidArgument   = "INVALID_ARGUMENT"
)

// failure is why an event was not handled: code and message go to the client,
// cause to the log.
type failure struct {
	code    string
	message string
	cause   error
}

func (f *failure) Error() string {
	if f.cause != nil {
		return f.code + ": " + f.message + ": " + f.cause.Error()
	}
	return f.code + ": " + f.message
}

func (f *failure) Unwrap() error { return f.cause }

// overloaded tells whether it speaks for fewer calls at once.
func (f *failure) overloaded() bool {
	return f.code == codeUnavailable || f.code == codeResourceExhausted || f.code == codeDeadlineExceeded
}

// final tells whether trying again is no use: the backend understood and said no.
func (f *failure) final() bool {
	switch f.code {
	case codeInvalidArgument, "PERMISSION_DENIED", "UNAUTHENTICATED", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED":
		return true
	}
	return false
}

type errorText struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// args is the failure as the arguments of an acknowledgement.
func (f *failure) args() []byte {
	return plainText([]any{struct {
		Error errorText `json:"error"`
	}{errorText{f.code, f.message}}})
}

// data is the failure as the data of a CONNECT_ERROR.
func (f *failure) data() []byte {
	return plainText(struct {
		Code  string `json:"code"`
		Retry bool   `json:"retry"`
	}{f.code, !f.final()})
}

// plainText writes v, made of plain structs and strings, as JSON.
func plainText(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return []byte("null") // strings and structs of strings always encode
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// codeName spells a code as gRPC does.
func codeName(c connect.Code) string { return strings.ToUpper(c.String()) }

// burst logs the first of many like errors, and then how many there were.
type burst struct {
	now   func() time.Time
	every time.Duration

	mu   sync.Mutex
	last time.Time
	more int
}

// warn logs, or counts what it keeps back.
func (b *burst) warn(log *slog.Logger, text string, args ...any) {
	b.mu.Lock()
	now := b.now()
	if !b.last.IsZero() && now.Sub(b.last) < b.every {
		b.more++
		b.mu.Unlock()
		return
	}
	more := b.more
	b.last, b.more = now, 0
	b.mu.Unlock()
	if more > 0 {
		args = append(args, "more_since_then", more)
	}
	log.Warn(text, args...)
}
