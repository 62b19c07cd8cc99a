package message

import (
	"fmt"
	"strconv"
	"strings"
)

// The names of headers that only records to nodes and replies have.
const (
	headerOperator    = "X-Operator"
	headerTargets     = "X-Targets"
	headerStamps      = "X-Stamps"
	headerFilter      = "X-Filter"
	headerExcept      = "X-Filter-Except"
	headerAuthTypes   = "X-Filter-Auth-Types"
	headerLocales     = "X-Filter-Locales"
	headerMinVersion  = "X-Filter-Min-Client-Version"
	headerVolatile    = "X-Volatile"
	headerCollapse    = "X-Collapse-Key"
	headerWantAcks    = "X-Wants-Acks"
	headerPushed      = "X-Time-Pushed"
	headerTo          = "X-To"
	headerReconnect   = "X-Allow-Reconnect"
	headerReject      = "X-Reject"
	headerReplyTo     = "X-Reply-To"
	headerExpires     = "X-Expires"
	headerClients     = "X-Clients"
	headerDone        = "X-Done"
	headerError       = "X-Error"
	headerAnswer      = "X-Answer"
	headerProducer    = "X-Producer"
	headerNumber      = "X-Number"
	kindPush          = "push"
	kindAck           = "ack"
	kindVerdict       = "verdict"
	kindJoin          = "join"
	kindLeave         = "leave"
	kindDisconnect    = "disconnect"
	kindHeads         = "heads"
	operatorMulticast = "multicast"
)

// operator is the word for what a push is addressed to.
func operator(targets []Key) string {
	if len(targets) != 1 {
		return operatorMulticast
	}
	switch targets[0].Kind() {
	case KindRoom:
		return "room"
	case KindUser:
		return "user"
	case KindClient:
		return "unicast"
	case KindAll:
		return "broadcast"
	}
	return operatorMulticast
}

// Record returns the record as a bus carries it. key names the first room, user or
// client that it is for. The body is a copy.
func (d *Down) Record() (key string, headers []Header, body []byte) {
	size := 0
	switch {
	case d.Push != nil && d.Push.Push != nil:
		size = d.Push.Payload.Size()
	case d.Ack != nil:
		size = d.Ack.Payload.Size()
	}
	w := newRecordWriter(size)
	switch {
	case d.Push != nil:
		key = w.delivery(d.Push)
	case d.Ack != nil:
		key = d.Ack.Client
		w.text(headerKind, kindAck)
		w.text(headerClient, d.Ack.Client)
		w.number(headerAckID, d.Ack.AckID)
		w.text(headerTraceParent, d.Ack.TraceParent)
		w.payload(&d.Ack.Payload)
	case d.Verdict != nil:
		key = d.Verdict.Client
		w.verdict(d.Verdict)
	case d.Join != nil:
		key = w.membership(kindJoin, d.Join)
	case d.Leave != nil:
		key = w.membership(kindLeave, d.Leave)
	case d.Disconnect != nil:
		key = string(d.Disconnect.To)
		w.text(headerKind, kindDisconnect)
		w.text(headerTo, key)
		w.flag(headerReconnect, d.Disconnect.AllowReconnect)
		w.text(headerReason, d.Disconnect.Reason)
	case d.Heads != nil:
		w.text(headerKind, kindHeads)
		w.text(headerProducer, d.Heads.Producer)
		w.number(headerNumber, d.Heads.Number)
		if len(d.Heads.Stamps) > 0 {
			w.stamps(d.Heads.Stamps)
		}
	}
	w.text(headerCall, d.Call)
	w.text(headerReplyTo, d.ReplyTo)
	w.time(headerExpires, d.Expires)
	headers, body = w.record()
	return key, headers, body
}

func (w *recordWriter) verdict(v *Verdict) {
	w.text(headerKind, kindVerdict)
	w.text(headerClient, v.Client)
	w.text(headerUID, v.UID)
	w.text(headerProfile, v.Profile)
	w.list(headerRooms, v.JoinRooms)
	if v.Reject != nil {
		w.headers = append(w.headers, Header{headerReject, v.Reject.Message})
		w.part(partData, v.Reject.Data)
	}
}

func (w *recordWriter) membership(kind string, m *Membership) (key string) {
	w.text(headerKind, kind)
	w.text(headerTo, string(m.To))
	w.list(headerRooms, m.Rooms)
	return string(m.To)
}

func (w *recordWriter) delivery(d *Delivery) (key string) {
	w.text(headerKind, kindPush)
	if len(d.Stamps) > 0 {
		key = string(d.Stamps[0].Key)
		w.stamps(d.Stamps)
	}
	w.flag(headerWantAcks, d.WantAcks)
	w.time(headerPushed, d.Pushed)
	p := d.Push
	if p == nil {
		return key
	}
	w.text(headerID, p.ID)
	w.text(headerEvent, EventMessage.String())
	w.text(headerOperator, operator(p.Targets))
	targets := make([]string, len(p.Targets))
	for i, t := range p.Targets {
		targets[i] = string(t)
	}
	w.list(headerTargets, targets)
	w.text(headerName, p.Event)
	if f := p.Filter; f != nil {
		w.flag(headerFilter, true)
		w.list(headerExcept, f.ExceptClients)
		w.list(headerAuthTypes, f.AuthTypes)
		w.list(headerLocales, f.Locales)
		w.text(headerMinVersion, f.MinClientVersion)
	}
	w.flag(headerVolatile, p.Volatile)
	w.text(headerCollapse, p.CollapseKey)
	w.text(headerTraceID, p.TraceID)
	w.text(headerTraceParent, p.TraceParent)
	w.time(headerReceived, p.Received)
	w.text(headerPushClientID, p.Sender)
	w.payload(&p.Payload)
	return key
}

// stamps writes a list of "key epoch seq prev".
func (w *recordWriter) stamps(stamps []Stamp) {
	items := make([]string, len(stamps))
	for i, s := range stamps {
		b := append([]byte(s.Key), ' ')
		b = append(strconv.AppendUint(b, s.Epoch, 10), ' ')
		b = append(strconv.AppendUint(b, s.Seq, 10), ' ')
		items[i] = string(strconv.AppendUint(b, s.Prev, 10))
	}
	w.list(headerStamps, items)
}

func (r *recordReader) stamps(h Header) []Stamp {
	items := r.list(h)
	stamps := make([]Stamp, len(items))
	for n, item := range items {
		var numbers [3]uint64
		for i := 2; i >= 0; i-- { // from the end: a key may contain spaces
			cut := strings.LastIndexByte(item, ' ')
			if cut < 0 {
				r.fail(h, "lacks a number")
				return nil
			}
			numbers[i] = r.number(Header{h.Name, item[cut+1:]})
			item = item[:cut]
		}
		stamps[n] = Stamp{Key: Key(item), Epoch: numbers[0], Seq: numbers[1], Prev: numbers[2]}
	}
	return stamps
}

// downParts is where the headers of any kind of record go; the kind then chooses.
type downParts struct {
	down       Down
	kind       string
	parts      string
	delivery   Delivery
	push       Push
	filter     Filter
	filtered   bool
	rooms      []string
	to         Key
	client     string
	ackID      uint64
	uid        string
	profile    string
	reject     *Reject
	disconnect Disconnect
	heads      Heads
}

// ParseDown reads what [Down.Record] wrote. The record aliases the headers' values
// and the body. It fails with [ErrRecord].
func ParseDown(headers []Header, body []byte) (*Down, error) {
	if err := checkHeaders(headers); err != nil {
		return nil, err
	}
	var r recordReader
	var p downParts
	for _, h := range headers {
		if !r.downHeader(&p, h) {
			r.pushHeader(&p, h)
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	b, err := readBody(p.parts, body)
	if err != nil {
		return nil, err
	}
	return p.choose(&b)
}

func (p *downParts) choose(b *recordBody) (*Down, error) {
	d := &p.down
	switch p.kind {
	case kindPush:
		p.push.Payload = b.payload
		if p.filtered {
			p.push.Filter = &p.filter
		}
		p.delivery.Push = &p.push
		d.Push = &p.delivery
	case kindAck:
		d.Ack = &Ack{Client: p.client, AckID: p.ackID, Payload: b.payload, TraceParent: p.push.TraceParent}
	case kindVerdict:
		if p.reject != nil {
			p.reject.Data = b.data
		}
		d.Verdict = &Verdict{Client: p.client, Reject: p.reject, UID: p.uid, Profile: p.profile, JoinRooms: p.rooms}
	case kindJoin:
		d.Join = &Membership{To: p.to, Rooms: p.rooms}
	case kindLeave:
		d.Leave = &Membership{To: p.to, Rooms: p.rooms}
	case kindDisconnect:
		p.disconnect.To = p.to
		d.Disconnect = &p.disconnect
	case kindHeads:
		p.heads.Stamps = p.delivery.Stamps
		d.Heads = &p.heads
	default:
		return nil, fmt.Errorf("%w: %s %q is unknown", ErrRecord, headerKind, p.kind)
	}
	return d, nil
}

// downHeader takes a header that is not a push's alone; false when it is another.
func (r *recordReader) downHeader(p *downParts, h Header) bool {
	switch h.Name {
	case headerKind:
		p.kind = h.Value
	case headerParts:
		p.parts = h.Value
	case headerCall:
		p.down.Call = h.Value
	case headerReplyTo:
		p.down.ReplyTo = h.Value
	case headerExpires:
		p.down.Expires = r.time(h)
	case headerClient:
		p.client = h.Value
	case headerAckID:
		p.ackID = r.number(h)
	case headerUID:
		p.uid = h.Value
	case headerProfile:
		p.profile = h.Value
	case headerRooms:
		p.rooms = r.list(h)
	case headerTo:
		p.to = Key(h.Value)
	case headerReject:
		p.reject = &Reject{Message: h.Value}
	case headerReconnect:
		p.disconnect.AllowReconnect = r.flag(h)
	case headerReason:
		p.disconnect.Reason = h.Value
	case headerProducer:
		p.heads.Producer = h.Value
	case headerNumber:
		p.heads.Number = r.number(h)
	default:
		return false
	}
	return true
}

func (r *recordReader) pushHeader(p *downParts, h Header) {
	switch h.Name {
	case headerID:
		p.push.ID = h.Value
	case headerTargets:
		for _, t := range r.list(h) {
			p.push.Targets = append(p.push.Targets, Key(t))
		}
	case headerStamps:
		p.delivery.Stamps = r.stamps(h)
	case headerName:
		p.push.Event = h.Value
	case headerFilter:
		p.filtered = r.flag(h)
	case headerExcept:
		p.filter.ExceptClients = r.list(h)
	case headerAuthTypes:
		p.filter.AuthTypes = r.list(h)
	case headerLocales:
		p.filter.Locales = r.list(h)
	case headerMinVersion:
		p.filter.MinClientVersion = h.Value
	case headerVolatile:
		p.push.Volatile = r.flag(h)
	case headerCollapse:
		p.push.CollapseKey = h.Value
	case headerWantAcks:
		p.delivery.WantAcks = r.flag(h)
	case headerPushed:
		p.delivery.Pushed = r.time(h)
	case headerTraceID:
		p.push.TraceID = h.Value
	case headerTraceParent:
		p.push.TraceParent = h.Value
	case headerReceived:
		p.push.Received = r.time(h)
	case headerPushClientID:
		p.push.Sender = h.Value
	}
}
