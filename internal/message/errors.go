package message

import "errors"

// Errors that stores and buses share with those who call them.
var (
	// ErrNotFound says that there is no such client, session or log.
	ErrNotFound = errors.New("not found")
	// ErrFull says that a bounded queue has no room; try later or drop.
	ErrFull = errors.New("queue is full")
	// ErrGone says that the addressed node or ws-api is not attached to the bus.
	ErrGone = errors.New("nobody is attached there")
	// ErrTooManyRooms says that a client cannot be put into further rooms.
	ErrTooManyRooms = errors.New("in more rooms than limits.rooms permits")
	// ErrForgotten says that a log does not go back far enough to answer.
	ErrForgotten = errors.New("the log does not go back so far")
)
