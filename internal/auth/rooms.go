package auth

import (
	"slices"
	"strings"

	"holdfast/internal/message"
)

// RoomPermitted tells whether a client may ask for a room. An anonymous one may ask
// for any; one with a token for those that match a pattern of its token, in which
// "*" stands for any characters, none and "/" included. A token without patterns
// permits no room.
func RoomPermitted(id message.Identity, room string) bool {
	return id.Anonymous || slices.ContainsFunc(id.Rooms, func(pattern string) bool {
		return matches(pattern, room)
	})
}

// RoomPermitted is the function of that name, for those who meet this package
// through an interface.
func (v *Verifier) RoomPermitted(id message.Identity, room string) bool {
	return RoomPermitted(id, room)
}

// matches takes the pieces between the stars one after the other, each at its first
// place behind the one before: a later place could not leave more room for the
// rest. So each byte is looked at once and nothing is ever tried again.
func matches(pattern, room string) bool {
	head, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return pattern == room
	}
	room, ok := strings.CutPrefix(room, head)
	if !ok {
		return false
	}
	for {
		piece, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(room, piece)
		}
		i := strings.Index(room, piece)
		if i < 0 {
			return false
		}
		room, rest = room[i+len(piece):], after
	}
}
