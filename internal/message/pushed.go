package message

import (
	"fmt"
	"time"
)

// PushRecord is what a backend has written to the bus by itself: a push that ws-api
// has neither seen nor checked. ID is the same whenever it is consumed again.
type PushRecord struct {
	ID      string
	Written time.Time // by the clock of who wrote it
	Again   bool      // it may have been consumed before, see [Up]
	Headers []Header
	Body    []byte
}

// Addressed tells whether the push is in the headers, as [Down.Record] writes one,
// with the arguments in the body. Otherwise the body is all of it.
func (p *PushRecord) Addressed() bool { return p.Header(headerTargets) != "" }

// Header returns a header's value, "" without one.
func (p *PushRecord) Header(name string) string {
	for _, h := range p.Headers {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

// Push reads a push that is in the headers. Nothing is checked but that it is one. It
// fails with [ErrRecord].
func (p *PushRecord) Push() (*Push, error) {
	headers := p.Headers
	switch p.Header(headerKind) {
	case kindPush:
	case "":
		headers = append(headers[:len(headers):len(headers)], Header{headerKind, kindPush})
	default:
		return nil, fmt.Errorf("%w: %s is not %q", ErrRecord, headerKind, kindPush)
	}
	d, err := ParseDown(headers, p.Body)
	if err != nil {
		return nil, err
	}
	return d.Push.Push, nil
}
