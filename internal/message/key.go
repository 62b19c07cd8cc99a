package message

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Kind tells what a [Key] stands for.
type Kind byte

// The kinds of key. Only rooms can be joined, so that nobody gets into another's
// user or client key by choosing a clever room name.
const (
	KindRoom   Kind = 'r'
	KindUser   Kind = 'u'
	KindClient Kind = 'c'
	KindAll    Kind = 'a'
)

// MaxKeyName bounds the name in a key (a room, a uid, a client ID), in bytes.
const MaxKeyName = 512

// Key is a target with its type and namespace, in the form
//
//	r:/chat,doc-7     room "doc-7" of namespace "/chat"
//	u:/,42            user "42" of namespace "/"
//	c:/,2kJ0…         one client
//	a:/,              everybody in namespace "/"
//
// A namespace cannot contain a comma (the Socket.IO grammar ends it there), so
// the first comma separates it from the name whatever the name holds.
type Key string

// RoomKey returns the key of a room.
func RoomKey(namespace, room string) Key { return newKey(KindRoom, namespace, room) }

// UserKey returns the key of all clients of a user in a namespace.
func UserKey(namespace, uid string) Key { return newKey(KindUser, namespace, uid) }

// ClientKey returns the key of one client; id may have either form of an ID.
func ClientKey(namespace, id string) Key { return newKey(KindClient, namespace, PublicID(id)) }

// AllKey returns the key of every client in a namespace.
func AllKey(namespace string) Key { return newKey(KindAll, namespace, "") }

func newKey(k Kind, namespace, name string) Key {
	return Key(string(rune(k)) + ":" + namespace + "," + name)
}

// Kind returns what the key stands for, or 0 for the zero Key.
func (k Key) Kind() Kind {
	if len(k) < 2 || k[1] != ':' {
		return 0
	}
	return Kind(k[0])
}

// Namespace returns the key's namespace, "/" for the default one.
func (k Key) Namespace() string {
	if i := strings.IndexByte(string(k), ','); i >= 2 {
		return string(k[2:i])
	}
	return ""
}

// Name returns the room, uid or client ID, "" for [KindAll].
func (k Key) Name() string {
	if i := strings.IndexByte(string(k), ','); i >= 2 {
		return string(k[i+1:])
	}
	return ""
}

// Errors of [CheckName] and [CheckNamespace].
var (
	ErrNameEmpty    = errors.New("is empty")
	ErrNameTooLong  = fmt.Errorf("is longer than %d bytes", MaxKeyName)
	ErrNameNotUTF8  = errors.New("is not valid UTF-8")
	ErrNamespaceBad = errors.New(`is not a namespace: it begins with "/" and contains no comma, "?" or control character`)
)

// CheckName tells whether a room name or uid can be part of a key.
func CheckName(name string) error {
	switch {
	case name == "":
		return ErrNameEmpty
	case len(name) > MaxKeyName:
		return ErrNameTooLong
	case !utf8.ValidString(name):
		return ErrNameNotUTF8
	}
	return nil
}

// CheckNamespace tells whether s can be a namespace.
func CheckNamespace(s string) error {
	if s == "" || s[0] != '/' || len(s) > MaxKeyName || !utf8.ValidString(s) {
		return ErrNamespaceBad
	}
	for i := range len(s) {
		if c := s[i]; c == ',' || c == '?' || c < 0x20 || c == 0x7f {
			return ErrNamespaceBad
		}
	}
	return nil
}
