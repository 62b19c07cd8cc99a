package api

import (
	"fmt"
	"net/http"
	"strings"

	"holdfast/internal/message"
	pb "holdfast/proto/holdfast/v1/holdfastpb"
)

// pushOf checks a request and makes a push of it, without an ID and a time. path
// stands before the names of fields in errors; "" for a request of its own.
// The push shares the request's bytes.
func (s *Server) pushOf(path string, r *pb.PushRequest, h http.Header) (*message.Push, error) {
	p := &message.Push{
		Event:       r.GetEvent(),
		Volatile:    r.GetVolatile(),
		CollapseKey: r.GetCollapseKey(),
	}
	var err error
	if p.Targets, err = s.targetKeys(path+"targets", r.GetTargets()); err != nil {
		return nil, err
	}
	switch {
	case reserved(p.Event):
		return nil, badField(path+"event", "%q is a name that Socket.IO keeps for itself", p.Event)
	case len(p.Event) > s.limits.EventName:
		return nil, badField(path+"event", "is longer than %d bytes", s.limits.EventName)
	case len(p.CollapseKey) > message.MaxKeyName:
		return nil, badField(path+"collapse_key", "is longer than %d bytes", message.MaxKeyName)
	case len(r.GetDedupId()) > message.MaxKeyName:
		return nil, badField(path+"dedup_id", "is longer than %d bytes", message.MaxKeyName)
	}
	if p.Payload, err = s.payloadOf(path+"payload", r.GetPayload(), s.limits.Attachments); err != nil {
		return nil, err
	}
	if p.Filter, err = s.filterOf(path+"filter", r.GetFilter()); err != nil {
		return nil, err
	}
	p.TraceID, p.TraceParent = traceOf(r.GetHeaders(), h)
	return p, nil
}

func (s *Server) targetKeys(path string, targets []*pb.Target) ([]message.Key, error) {
	if len(targets) == 0 {
		return nil, badField(path, "is empty: nobody would get this")
	}
	if len(targets) > s.limits.Targets {
		return nil, badField(path, "has %d targets, more than %d", len(targets), s.limits.Targets)
	}
	keys := make([]message.Key, 0, len(targets))
	var seen map[message.Key]bool
	if len(targets) > 1 {
		seen = make(map[message.Key]bool, len(targets))
	}
	for i, t := range targets {
		key, err := targetKey(fmt.Sprintf("%s[%d]", path, i), t)
		if err != nil {
			return nil, err
		}
		if seen[key] {
			continue // named twice is meant once
		}
		if seen != nil {
			seen[key] = true
		}
		keys = append(keys, key)
	}
	return keys, nil
}

var emptyArgs = []byte("[]")

// payloadOf checks a payload. maxAttachments differs between pushes and acks.
func (s *Server) payloadOf(path string, p *pb.Payload, maxAttachments int) (message.Payload, error) {
	out := message.Payload{Attachments: p.GetAttachments()}
	text, packed := p.GetJson(), p.GetMsgpack()
	binaries := len(out.Attachments)
	switch {
	case text != "" && len(packed) > 0:
		return out, badField(path, "json and msgpack are both set; set one")
	case len(packed) > 0:
		if len(out.Attachments) > 0 {
			return out, badField(path+".attachments", "go with json only; msgpack holds binary values itself")
		}
		if n := len(packed); n > s.limits.PushBytes {
			return out, badField(path, "has %d bytes, more than %d", n, s.limits.PushBytes)
		}
		var err error
		if binaries, err = s.cfg.CheckMsgpack(packed); err != nil {
			return out, &fieldError{path + ".msgpack", err}
		}
		out.Msgpack = packed
	case text == "":
		out.JSON = emptyArgs
	default:
		out.JSON = []byte(text)
	}
	if binaries > maxAttachments {
		where := path + ".attachments"
		if out.Msgpack != nil {
			where = path + ".msgpack: binary values" // which are attachments to those who read JSON
		}
		return out, badField(where, "are %d, more than %d: stock clients would disconnect on it", binaries, maxAttachments)
	}
	if n := out.Size(); n > s.limits.PushBytes {
		return out, badField(path, "has %d bytes, more than %d", n, s.limits.PushBytes)
	}
	if out.JSON != nil && (text != "" || len(out.Attachments) > 0) {
		if err := s.cfg.CheckArgs(out.JSON, len(out.Attachments)); err != nil {
			return out, &fieldError{path + ".json", err}
		}
	}
	return out, nil
}

func (s *Server) filterOf(path string, f *pb.Filter) (*message.Filter, error) {
	if len(f.GetExceptClients())+len(f.GetAuthTypes())+len(f.GetLocales()) == 0 && f.GetMinClientVersion() == "" {
		return nil, nil
	}
	for _, list := range []struct {
		name   string
		values []string
	}{{"except_clients", f.ExceptClients}, {"auth_types", f.AuthTypes}, {"locales", f.Locales}} {
		if len(list.values) > s.limits.Filter {
			return nil, badField(path+"."+list.name, "has %d entries, more than %d", len(list.values), s.limits.Filter)
		}
	}
	if v := f.GetMinClientVersion(); v != "" && !isVersion(v) {
		return nil, badField(path+".min_client_version", "%q is not a semantic version such as 2.10.0", v)
	}
	out := &message.Filter{
		AuthTypes:        f.GetAuthTypes(),
		Locales:          f.GetLocales(),
		MinClientVersion: f.GetMinClientVersion(),
	}
	for _, id := range f.GetExceptClients() {
		out.ExceptClients = append(out.ExceptClients, message.PublicID(id))
	}
	return out, nil
}

// isVersion accepts 1, 1.2 and 1.2.3, each with a pre-release or build part.
func isVersion(v string) bool {
	if i := strings.IndexAny(v, "-+"); i >= 0 {
		v = v[:i]
	}
	parts := strings.Split(v, ".")
	if len(parts) > 3 {
		return false
	}
	for _, p := range parts {
		if p == "" || len(p) > 9 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}
