package message

import "time"

// SpanKind says which side of a conversation a span is.
type SpanKind uint8

// The kinds of span.
const (
	SpanInternal SpanKind = iota
	SpanServer            // something from outside is served
	SpanClient            // somebody outside is asked
	SpanProducer          // handed to a bus, a store or a socket
	SpanConsumer          // taken from a bus
)

// Span is one step of a message that is followed, told when it is over. What follows
// messages makes the traceparents; everybody else passes them on as text.
type Span struct {
	Name       string // one of few
	Kind       SpanKind
	Trace      string // traceparent of the span itself
	Parent     string // traceparent of the one above, "" for the first
	Start, End time.Time
	Attributes []Attribute
	Error      string // "" when all went well
}

// Attribute is what a span says beside its name.
type Attribute struct{ Key, Value string }

// The form of a W3C traceparent, version 00:
//
//	00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
//	   trace ID                         span ID          flags, 1: followed
const (
	traceParentLen = 55
	traceStart     = 3
	traceEnd       = traceStart + 32
	spanStart      = traceEnd + 1
	spanEnd        = spanStart + 16
)

// ParseTraceParent returns the IDs in a traceparent as hexadecimal text, parts of s,
// and whether the trace is followed; "" and false for what is none. Versions after
// 00 are read as it, as far as they agree.
func ParseTraceParent(s string) (trace, span string, followed bool) {
	if len(s) < traceParentLen || s[:2] == "00" && len(s) != traceParentLen || s[:2] == "ff" ||
		len(s) > traceParentLen && s[traceParentLen] != '-' ||
		!isHex(s[:2]) || s[2] != '-' || s[traceEnd] != '-' || s[spanEnd] != '-' || !isHex(s[spanEnd+1:traceParentLen]) {
		return "", "", false
	}
	trace, span = s[traceStart:traceEnd], s[spanStart:spanEnd]
	if !isHex(trace) || !isHex(span) || isZero(trace) || isZero(span) {
		return "", "", false
	}
	last := s[traceParentLen-1]
	return trace, span, (last-'0')&1 == 1 && last <= '9' || last == 'b' || last == 'd' || last == 'f'
}

// Followed tells whether a message with this traceparent is followed. It costs
// nothing for one without.
func Followed(traceParent string) bool {
	if traceParent == "" {
		return false
	}
	_, _, followed := ParseTraceParent(traceParent)
	return followed
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isZero(s string) bool {
	for i := range len(s) {
		if s[i] != '0' {
			return false
		}
	}
	return true
}
