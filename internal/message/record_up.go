package message

import "fmt"

// The names of headers that only events have.
const (
	headerGUID          = "X-Guid"
	headerInner         = "X-Inner"
	headerOrder         = "X-Order"
	headerSession       = "X-Session"
	headerNamespace     = "X-Namespace"
	headerAuthType      = "X-Auth-Type"
	headerClientVersion = "X-Client-Version"
	headerLocale        = "X-Locale"
	headerTransport     = "X-Transport"
	headerProtocol      = "X-Protocol"
	headerRemoteAddr    = "X-Remote-Addr"
	headerConnected     = "X-Time-Connected"
	headerWantsAck      = "X-Wants-Ack"
	headerAcked         = "X-Acked"
	headerWantVerdict   = "X-Wants-Verdict"
	headerRecovered     = "X-Recovered"
	headerQuery         = "X-Query"
	headerHTTP          = "X-HTTP-Headers"
	headerEnqueued      = "X-Time-Enqueued"
)

// Record returns the event as a bus carries it. key is what keeps events in order
// (Order). X-Guid and X-Inner are for those who read the topic themselves: the guid
// when it is what orders the session, and whether the event is holdfast's own
// rather than the application's. The body is a copy.
func (u *Up) Record() (key string, headers []Header, body []byte) {
	w := newRecordWriter(u.Payload.Size() + len(u.Auth))
	w.text(headerID, u.ID)
	w.text(headerEvent, u.Type.String())
	if c := u.Client; c != nil {
		w.headers = append(w.headers, Header{headerClient, c.ID}) // even "": there is a client
		w.text(headerUID, c.UID)
		if u.Order != c.UID && u.Order != c.ID {
			w.text(headerGUID, u.Order)
		}
		w.client(c)
	}
	w.flag(headerInner, u.Type != EventMessage)
	w.text(headerOrder, u.Order)
	w.text(headerSession, u.Session)
	w.text(headerName, u.Name)
	w.number(headerAckID, u.AckID)
	w.flag(headerWantsAck, u.WantsAck)
	w.flag(headerAcked, u.Acked)
	w.list(headerRooms, u.Rooms)
	w.flag(headerWantVerdict, u.WantVerdict)
	w.flag(headerRecovered, u.Recovered)
	w.pairs(headerQuery, u.Query)
	w.pairs(headerHTTP, u.HTTPHeaders)
	w.text(headerReason, u.Reason)
	w.text(headerTraceID, u.TraceID)
	w.text(headerTraceParent, u.TraceParent)
	w.time(headerReceived, u.Received)
	w.time(headerEnqueued, u.Enqueued)
	w.payload(&u.Payload)
	w.part(partAuth, u.Auth)
	headers, body = w.record()
	return u.Order, headers, body
}

// client writes what is known of a client, but for its ID and its uid.
func (w *recordWriter) client(c *Client) {
	w.text(headerNamespace, c.Namespace)
	w.text(headerNode, c.Node)
	w.text(headerAuthType, c.AuthType)
	w.text(headerClientVersion, c.ClientVersion)
	w.text(headerLocale, c.Locale)
	w.text(headerTransport, c.Transport)
	w.text(headerProtocol, c.Protocol)
	w.text(headerRemoteAddr, c.RemoteAddr)
	w.time(headerConnected, c.ConnectedAt)
	w.text(headerProfile, c.Profile)
}

// ParseUp reads what [Up.Record] wrote. The event aliases the headers' values and
// the body. It fails with [ErrRecord].
func ParseUp(headers []Header, body []byte) (*Up, error) {
	if err := checkHeaders(headers); err != nil {
		return nil, err
	}
	var r recordReader
	u, c := &Up{}, &Client{}
	parts := ""
	for _, h := range headers {
		switch h.Name {
		case headerParts:
			parts = h.Value
		case headerClient:
			u.Client, c.ID = c, h.Value
		default:
			if !r.upHeader(u, h) {
				r.clientHeader(c, h)
			}
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	if u.Type == 0 {
		return nil, fmt.Errorf("%w: no %s", ErrRecord, headerEvent)
	}
	b, err := readBody(parts, body)
	if err != nil {
		return nil, err
	}
	u.Payload, u.Auth = b.payload, b.auth
	return u, nil
}

// upHeader takes a header of the event itself; false when it is none.
func (r *recordReader) upHeader(u *Up, h Header) bool {
	switch h.Name {
	case headerID:
		u.ID = h.Value
	case headerEvent:
		u.Type = r.eventType(h)
	case headerOrder:
		u.Order = h.Value
	case headerSession:
		u.Session = h.Value
	case headerName:
		u.Name = h.Value
	case headerAckID:
		u.AckID = r.number(h)
	case headerWantsAck:
		u.WantsAck = r.flag(h)
	case headerAcked:
		u.Acked = r.flag(h)
	case headerRooms:
		u.Rooms = r.list(h)
	case headerWantVerdict:
		u.WantVerdict = r.flag(h)
	case headerRecovered:
		u.Recovered = r.flag(h)
	case headerQuery:
		u.Query = r.pairs(h)
	case headerHTTP:
		u.HTTPHeaders = r.pairs(h)
	case headerReason:
		u.Reason = h.Value
	case headerTraceID:
		u.TraceID = h.Value
	case headerTraceParent:
		u.TraceParent = h.Value
	case headerReceived:
		u.Received = r.time(h)
	case headerEnqueued:
		u.Enqueued = r.time(h)
	default:
		return false
	}
	return true
}

func (r *recordReader) eventType(h Header) EventType {
	for t := EventConnect; t <= EventDisconnect; t++ {
		if h.Value == t.String() {
			return t
		}
	}
	r.fail(h, "is not Connect, Message or Disconnect")
	return 0
}

func (r *recordReader) clientHeader(c *Client, h Header) {
	switch h.Name {
	case headerUID:
		c.UID = h.Value
	case headerNamespace:
		c.Namespace = h.Value
	case headerNode:
		c.Node = h.Value
	case headerAuthType:
		c.AuthType = h.Value
	case headerClientVersion:
		c.ClientVersion = h.Value
	case headerLocale:
		c.Locale = h.Value
	case headerTransport:
		c.Transport = h.Value
	case headerProtocol:
		c.Protocol = h.Value
	case headerRemoteAddr:
		c.RemoteAddr = h.Value
	case headerConnected:
		c.ConnectedAt = r.time(h)
	case headerProfile:
		c.Profile = h.Value
	}
}
