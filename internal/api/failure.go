package api

import (
	"bytes"
	"encoding/json"
	"errors"
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

// kind is the same for failures that are alike: a cause may name a port that is another
// one each time, while what is wrong with an answer is for somebody to mend.
func (f *failure) kind() string {
	if wrong := errors.Unwrap(f.cause); wrong != nil && f.code == codeInternal {
		return f.code + f.message + wrong.Error()
	}
	return f.code + f.message
}

// burst logs the first of many errors of a kind, and then how many there were, so that
// what happens all the time does not hide what has happened once.
type burst struct {
	now   func() time.Time
	every time.Duration

	mu    sync.Mutex
	kinds map[string]*alike
}

// alike are the errors of one kind.
type alike struct {
	logged time.Time
	more   int // since then
}

// maxKinds bounds what a burst tells apart at a time; those beyond it count as one kind.
const maxKinds = 16

// warn logs, or counts what it keeps back.
func (b *burst) warn(log *slog.Logger, kind, text string, args ...any) {
	more, first := b.note(kind)
	if !first {
		return
	}
	if more > 0 {
		args = append(args, "more_since_then", more)
	}
	log.Warn(text, args...)
}

// note tells whether an error is the first of its kind for a while, and how many there
// have been since the last one that was.
func (b *burst) note(kind string) (more int, first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if b.kinds[kind] == nil && len(b.kinds) >= maxKinds {
		for k, a := range b.kinds {
			if now.Sub(a.logged) >= b.every {
				delete(b.kinds, k)
			}
		}
		if len(b.kinds) >= maxKinds {
			kind = ""
		}
	}
	a := b.kinds[kind]
	if a != nil && now.Sub(a.logged) < b.every {
		a.more++
		return 0, false
	}
	if a != nil {
		more = a.more
	}
	if b.kinds == nil {
		b.kinds = make(map[string]*alike)
	}
	b.kinds[kind] = &alike{logged: now}
	return more, true
}
