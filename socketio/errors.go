package socketio

import "fmt"

// Kind says which sort of rule an input broke.
type Kind uint8

const (
	// Malformed input breaks the protocol whatever the limits are.
	Malformed Kind = iota + 1
	// OverLimit input is well formed as far as it was read, but passes one of [Limits] or [MaxDepth].
	OverLimit
)

// Error is the only type of error that this package returns. Its text has no bytes of the input in it, so that it can be
// logged and sent back.
type Error struct {
	Kind   Kind
	Reason string
}

var _ error = (*Error)(nil)

func (e *Error) Error() string { return "socketio: " + e.Reason }

func malformed(format string, args ...any) error {
	return &Error{Kind: Malformed, Reason: fmt.Sprintf(format, args...)}
}

func overLimit(format string, args ...any) error {
	return &Error{Kind: OverLimit, Reason: fmt.Sprintf(format, args...)}
}
