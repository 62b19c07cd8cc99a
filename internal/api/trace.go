package api

import (
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"holdfast/internal/message"
)

// Tracer follows some messages. It does not wait.
type Tracer interface {
	// Root decides whether the message of this ID is followed, and returns the
	// traceparent of its first span, else "".
	Root(id string) (traceParent string)
	// Child returns the traceparent of a span below another one's.
	Child(parent string) (traceParent string)
	// Span takes a span that is over.
	Span(s *message.Span)
}

// The spans of ws-api, below those of the gateway that took the event:
//
//	receive (gateway)
//	├─ consume                     on the bus
//	└─ route                       the event's rule is found and carried out
//	   ├─ call backend             the traceparent of this one is what the backend gets
//	   │  └─ push                  of its reply; a push of its own accord begins here
//	   │     ├─ append             to the logs, and which nodes have members
//	   │     ├─ send               to the nodes' inboxes
//	   │     └─ transit, deliver   (gateway)
//	   ├─ verdict                  of a CONNECT
//	   └─ ack
//	      └─ deliver               (gateway)

// step is a span under way. The zero step belongs to a message that nobody follows;
// it costs next to nothing.
type step struct {
	tracer Tracer
	span   *message.Span
}

// begin begins a step of a message whose last step was parent.
func (s *Server) begin(name string, kind message.SpanKind, parent string, start time.Time) step {
	if s.cfg.Tracer == nil || !message.Followed(parent) {
		return step{}
	}
	return step{s.cfg.Tracer, &message.Span{
		Name: name, Kind: kind, Trace: s.cfg.Tracer.Child(parent), Parent: parent, Start: start,
	}}
}

// trace is what those below the step have as their parent: the step itself, or what
// came along with a message that is not followed.
func (st step) trace(came string) string {
	if st.span == nil {
		return came
	}
	return st.span.Trace
}

func (st step) say(key, value string) {
	if st.span != nil && value != "" {
		st.span.Attributes = append(st.span.Attributes, message.Attribute{Key: key, Value: value})
	}
}

// end ends the step; problem is "" when all went well.
func (st step) end(at time.Time, problem string) {
	if st.span == nil {
		return
	}
	st.span.End, st.span.Error = at, problem
	st.tracer.Span(st.span)
}

// follow begins the step of a push that is complete. One that came with a traceparent
// is followed if its sender follows it; of the others the tracer picks some. What is
// below has the step as its parent.
func (s *Server) follow(p *message.Push) step {
	if s.cfg.Tracer == nil {
		return step{}
	}
	st := s.begin("push", message.SpanServer, p.TraceParent, p.Received)
	if p.TraceParent == "" {
		root := s.cfg.Tracer.Root(p.ID)
		if root == "" {
			return step{}
		}
		st = step{s.cfg.Tracer, &message.Span{Name: "push", Kind: message.SpanServer, Trace: root, Start: p.Received}}
	}
	if st.span == nil {
		return step{}
	}
	p.TraceParent = st.span.Trace
	if p.TraceID == "" {
		p.TraceID, _, _ = message.ParseTraceParent(p.TraceParent)
	}
	st.say("holdfast.message", p.ID)
	st.say("holdfast.event", p.Event)
	st.say("holdfast.targets", strconv.Itoa(len(p.Targets)))
	st.say("holdfast.trace_id", p.TraceID) // what the sender calls it, where that is another
	return st
}

// problemOf is an error as a step tells it.
func problemOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Names of the headers that say which trace a message belongs to.
const (
	headerTraceID     = "X-Trace-ID"
	headerTraceParent = "traceparent"
	maxTrace          = 256
)

// traceOf takes the trace from a request's own headers, else from those of the
// call. What is too long or not text is not a trace.
func traceOf(headers map[string]string, h http.Header) (id, parent string) {
	for k, v := range headers {
		switch {
		case strings.EqualFold(k, headerTraceID):
			id = v
		case strings.EqualFold(k, headerTraceParent):
			parent = v
		}
	}
	if id == "" {
		id = h.Get(headerTraceID)
	}
	if parent == "" {
		parent = h.Get(headerTraceParent)
	}
	return trimTrace(id), trimTrace(parent)
}

func trimTrace(s string) string {
	if len(s) > maxTrace || !utf8.ValidString(s) {
		return ""
	}
	return s
}
