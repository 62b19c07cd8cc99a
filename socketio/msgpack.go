package socketio

// IsMsgpack tells whether b, the first binary message of a client, is a packet in the MessagePack form: a map whose first
// key is one that such a packet has. It looks at the beginning only.
func IsMsgpack(b []byte) bool {
	r := reader{data: b}
	// A header that announces more than there is, or a broken first key, is no packet.
	head, err := r.next()
	if err != nil || head.kind != kindMap || head.n == 0 {
		return false
	}
	key, err := r.next()
	if err != nil || key.kind != kindStr {
		return false
	}
	switch string(key.body) {
	case "type", "data", "nsp", "id", "options", "attachments":
		return true
	default:
		return false
	}
}

// ParseMsgpack reads one packet of the MessagePack form and checks it as [Parse] does, all of it included in the limits.
// Data is the JSON text of the data, newly made; Binary has the binary values, and the packet is of a binary
// type when there are any; Msgpack is the data as it came. Binary and Msgpack alias b.
//
// A map among the data that looks like a placeholder is refused when there are binary values, since a reader of Data
// would take it for one. So are ext types that notepack does not write, and keys that are neither text nor integers.
func ParseMsgpack(b []byte, lim Limits) (Packet, error) {
	r := reader{data: b}
	head, err := r.next()
	if err != nil {
		return Packet{}, err
	}
	if head.kind != kindMap {
		return Packet{}, malformed("the packet is not a map")
	}
	f := fields{lim: &lim}
	for range head.n {
		if err = f.read(&r); err != nil {
			return Packet{}, err
		}
	}
	if r.pos != len(b) {
		return Packet{}, malformed("something follows the packet")
	}
	return f.packet()
}

// fields are those of a packet's map, as they come.
type fields struct {
	lim *Limits

	typ, nsp token // kindNone until they were there
	id       token
	data     []byte // raw
	json     []byte
	binary   [][]byte
	hasData  bool
}

func (f *fields) read(r *reader) error {
	key, err := r.next()
	if err != nil {
		return err
	}
	if key.kind != kindStr {
		return malformed("a key of the packet is not a string")
	}
	switch string(key.body) {
	case "type":
		return f.once(r, &f.typ)
	case "nsp":
		return f.once(r, &f.nsp)
	case "id":
		return f.once(r, &f.id)
	case "data":
		return f.readData(r)
	default: // options, which are the sender's own affair, or attachments, which counts what is in place here
		return r.skip()
	}
}

// once reads a scalar field. Two of the same name are refused, as readers differ in which of them counts.
func (f *fields) once(r *reader, t *token) (err error) {
	if t.kind != kindNone {
		return malformed("the packet has a field twice")
	}
	*t, err = r.next()
	return err
}

func (f *fields) readData(r *reader) error {
	if f.hasData {
		return malformed("the packet has a field twice")
	}
	f.hasData = true
	start := r.pos
	t, err := r.next()
	if err != nil {
		return err
	}
	if t.kind == kindNil || t.kind == kindUndefined {
		return nil
	}
	r.pos = start
	w := jsonWriter{reader: r, lim: f.lim}
	if f.json, f.binary, err = w.convert(); err != nil {
		return err
	}
	f.data = r.data[start:r.pos]
	return nil
}

func (f *fields) packet() (Packet, error) {
	p := Packet{Namespace: "/", Data: f.json, Binary: f.binary, Attachments: len(f.binary), Msgpack: f.data}
	if f.typ.kind != kindUint || f.typ.u > uint64(BinaryAck) {
		return Packet{}, malformed("the packet type is unknown")
	}
	// Clients of protocol 4 send the binary types in this form too, with the binary values in place all the same.
	p.Type = PacketType(f.typ.u).withoutBinary()
	if len(p.Binary) > 0 {
		if p.Type = p.Type.withBinary(); !p.Type.Binary() {
			return Packet{}, malformed("a %v has binary data", p.Type)
		}
	}
	if f.nsp.kind != kindStr || len(f.nsp.body) == 0 || f.nsp.body[0] != '/' {
		return Packet{}, malformed("the packet has no namespace")
	}
	if err := p.setNamespace(f.nsp.body, f.lim); err != nil {
		return Packet{}, err
	}
	switch f.id.kind {
	case kindNone, kindNil, kindUndefined:
	case kindUint:
		p.ID, p.HasID = f.id.u, true
	default:
		return Packet{}, malformed("the ack ID is not a non-negative integer")
	}
	if err := checkData(p.Type, p.Data, f.lim); err != nil {
		return Packet{}, err
	}
	return p, nil
}

// AppendMsgpackPacket appends a packet in the MessagePack form. rawData is MessagePack itself, copied as it is; empty for
// no data. Binary types are written as their plain ones, since there are no placeholders in this form; nsp "" is
// "/". The order of the keys is that of a stock server: type, data, id, nsp.
func AppendMsgpackPacket(dst []byte, t PacketType, nsp string, id uint64, hasID bool, rawData []byte) []byte {
	size := 2
	if len(rawData) > 0 {
		size++
	}
	if hasID {
		size++
	}
	dst = appendMapHeader(dst, size)
	dst = appendStr(dst, "type")
	dst = appendUint(dst, uint64(t.withoutBinary()))
	if len(rawData) > 0 {
		dst = appendStr(dst, "data")
		dst = append(dst, rawData...)
	}
	if hasID {
		dst = appendStr(dst, "id")
		dst = appendUint(dst, id)
	}
	dst = appendStr(dst, "nsp")
	if nsp == "" {
		nsp = "/"
	}
	return appendStr(dst, nsp)
}

// AppendMsgpack appends p in the MessagePack form. Its data is Msgpack when that is there, else Data, with Binary in the
// places of its placeholders. dst is returned as it was when that fails.
func AppendMsgpack(dst []byte, p Packet) ([]byte, error) {
	raw := p.Msgpack
	if len(raw) == 0 && len(p.Data) > 0 {
		var err error
		if raw, err = JSONToMsgpack(nil, p.Data, p.Binary); err != nil {
			return dst, err
		}
	}
	nsp := p.Namespace
	if p.Type == Connect && p.Query != "" {
		if nsp == "" {
			nsp = "/"
		}
		nsp += "?" + p.Query
	}
	return AppendMsgpackPacket(dst, p.Type, nsp, p.ID, p.HasID, raw), nil
}
