package api

import (
	"fmt"
	"strings"

	"connectrpc.com/connect"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
)

// fieldError names the field of a request that is at fault.
type fieldError struct {
	path string
	err  error
}

func (e *fieldError) Error() string { return e.path + ": " + e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }

func badField(path, format string, args ...any) error {
	return &fieldError{path, fmt.Errorf(format, args...)}
}

// invalid makes an answer to a caller out of a fieldError.
func invalid(err error) error { return connect.NewError(connect.CodeInvalidArgument, err) }

// targetKey returns the key that a target stands for. path is where it is found
// in the request.
func targetKey(path string, t *pb.Target) (message.Key, error) {
	ns, err := targetNamespace(path, t)
	if err != nil {
		return "", err
	}
	switch to := t.GetTo().(type) {
	case *pb.Target_Client:
		id := message.PublicID(to.Client)
		if err := message.CheckName(id); err != nil {
			return "", &fieldError{path + ".client", err}
		}
		// The ID of a v2 client says its namespace, except for "/".
		if i := strings.LastIndexByte(id, '#'); i > 0 && t.GetNamespace() == "" && id[0] == '/' {
			ns = id[:i]
		}
		return message.ClientKey(ns, id), nil
	case *pb.Target_User:
		if err := message.CheckName(to.User); err != nil {
			return "", &fieldError{path + ".user", err}
		}
		return message.UserKey(ns, to.User), nil
	case *pb.Target_Room:
		if err := message.CheckName(to.Room); err != nil {
			return "", &fieldError{path + ".room", err}
		}
		return message.RoomKey(ns, to.Room), nil
	case *pb.Target_All:
		if !to.All {
			return "", badField(path+".all", "is false; leave it out, or set it to true for everybody")
		}
		return message.AllKey(ns), nil
	}
	return "", badField(path, "names nobody: set client, user, room or all")
}

func targetNamespace(path string, t *pb.Target) (string, error) {
	ns := t.GetNamespace()
	if ns == "" {
		return "/", nil
	}
	if err := message.CheckNamespace(ns); err != nil {
		return "", &fieldError{path + ".namespace", err}
	}
	return ns, nil
}

// checkRooms checks names of rooms to join or leave.
func (s *Server) checkRooms(path string, rooms []string) error {
	if len(rooms) > s.limits.Rooms {
		return badField(path, "has %d rooms, more than %d", len(rooms), s.limits.Rooms)
	}
	for i, r := range rooms {
		if err := message.CheckName(r); err != nil {
			return &fieldError{fmt.Sprintf("%s[%d]", path, i), err}
		}
	}
	return nil
}
